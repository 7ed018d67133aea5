//! A new user's steps with the commands of the README: clone, install, first login, second terminal, keeper, doctor,
//! and uninstall.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use scripted_authority::TokenState;

use super::container::{Access, Container, HOME, inside};
use super::faults;
use super::output::{agrees, plain};
use super::stage::Stage;
use super::terminal::Terminal;
use crate::docs::markdown::{Block, Document};
use crate::docs::scene::{Scene, headings, scene};
use crate::docs::transcript::exchanges;
use crate::structure::root;
use crate::support::here;

/// Enough for a clean build on a busy machine.
const BUILD: Duration = Duration::from_secs(20 * 60);
/// Far longer than a watcher needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stand-in for systemd, which cannot run here: it starts and stops the command of the unit.
const SYSTEMCTL: &str = r#"
echo "systemctl $*" >> /run/calls
unit="$HOME/.config/systemd/user/codex-auth.service"
case "$*" in
    '--user restart codex-auth.service')
        program=$(sed -n 's/^ExecStart=//p' "$unit")
        sh -c "exec $program" > /run/keeper.log 2>&1 &
        echo $! > /run/keeper.pid
        socket="$HOME/.codex/codex-auth/keeper/sock"
        for _ in $(seq 300); do [ -S "$socket" ] && exit 0; sleep 0.1; done
        cat /run/keeper.log; exit 1 ;;
    '--user disable --now codex-auth.service')
        kill "$(cat /run/keeper.pid)"
        for _ in $(seq 300); do kill -0 "$(cat /run/keeper.pid)" 2>/dev/null || exit 0; sleep 0.1; done
        exit 1 ;;
esac"#;

/// Provides a compiler, cargo's downloads, and the repository at the URL in the README. `repository` is an empty folder
/// for a clone, which contains only committed files.
fn prepare(container: &mut Container, repository: &Path) {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot).unwrap().trim());
    container.mount(&sysroot, "opt/rust", Access::ReadOnly);
    let cargo = std::env::var_os("CARGO_HOME")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"), PathBuf::from);
    container.mount(&cargo.join("registry"), "home/ada/.cargo/registry", Access::ReadOnly);
    for settings in
        ["config.toml", "config"].map(|name| cargo.join(name)).iter().filter(|path| path.is_file())
    {
        container.mount(settings, "home/ada/.cargo/config.toml", Access::ReadOnly);
    }
    let mut clone = Command::new("git");
    clone.args(["-c", "safe.directory=*", "clone", "--quiet", "--bare"]).arg(root()).arg(repository);
    assert!(clone.status().unwrap().success());
    container.mount(repository, "opt/repository", Access::ReadOnly);
    let built = root().join("target/newcomer");
    fs::create_dir_all(&built).unwrap();
    container.mount(&built, "opt/built", Access::ReadWrite);
    container.set("PATH", format!("{HOME}/.cargo/bin:/opt/bin:/opt/rust/bin:/usr/local/bin:/usr/bin:/bin"));
    container.set("CARGO_TARGET_DIR", "/opt/built");
    container.set("CARGO_NET_OFFLINE", "true");
    // The optimisation of a release takes minutes and is tested elsewhere.
    for (setting, value) in [("LTO", "off"), ("OPT_LEVEL", "0"), ("CODEGEN_UNITS", "16")] {
        container.set(&format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    let settings = [("url./opt/repository.insteadOf", env!("CARGO_PKG_REPOSITORY")), ("safe.directory", "*")];
    container.set("GIT_CONFIG_COUNT", settings.len().to_string());
    for (number, (key, value)) in settings.into_iter().enumerate() {
        container.set(&format!("GIT_CONFIG_KEY_{number}"), key);
        container.set(&format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    container.install("systemctl", SYSTEMCTL);
}

/// A block for a second terminal: its command is typed at once, and its output is checked at the end.
struct Second<'a> {
    block: &'a Block,
    terminal: Terminal,
}

impl<'a> Second<'a> {
    fn begin(container: &Container, block: &'a Block) -> Self {
        let mut terminal = container.terminal();
        let [exchange] = &exchanges(block)[..] else { panic!("a second terminal has one command") };
        terminal.type_in(&exchange.command);
        // Its output depends on the next commands of the first terminal.
        terminal.await_on_screen(PATIENCE, &exchange.command, |screen| screen.ends_with('\n'));
        Self { block, terminal }
    }

    /// Waits until it shows the documented output.
    fn end(mut self, authority: &str) {
        let documented = &exchanges(self.block)[0].shown;
        let what = format!("it to show\n{}\n", documented.join("\n"));
        self.terminal
            .await_on_screen(PATIENCE, &what, |screen| agrees(documented, &plain(screen, authority)));
    }
}

/// The names of the installed programs.
fn programs() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let sections = manifest.split("[[bin]]").skip(1);
    let names = sections.filter_map(|section| section.split_once("name = \"")?.1.split_once('"'));
    let names: Vec<_> = names.map(|(name, _)| name.to_owned()).collect();
    assert!(!names.is_empty(), "no program in Cargo.toml");
    names
}

/// Every file below a folder, with its path and content.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn the_readme_leads_from_clone_to_login_and_back_to_a_clean_machine() {
    inside(here!(), || {
        let readme = Document::read("README.md");
        let mut stage = Stage::bare(None);
        // On a disk: `codex doctor` warns of a login in memory.
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        stage.container.mount(home.path(), HOME, Access::ReadWrite);
        let repository = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        prepare(&mut stage.container, repository.path());
        let mut terminal = stage.container.terminal();
        let mut second: Option<Second<'_>> = None;
        let mut wrong = Vec::new();
        let path =
            headings(&readme.name).filter(|heading| scene(&readme.name, heading) == Some(Scene::Newcomer));
        for heading in path {
            for block in readme.blocks.iter().filter(|block| block.heading == heading) {
                if block.info == "console second terminal" {
                    second = Some(Second::begin(&stage.container, block));
                } else if block.text.iter().any(|line| line.starts_with("cargo install")) {
                    for exchange in exchanges(block) {
                        let outcome = terminal.run_within(BUILD, &exchange.command);
                        assert_eq!(outcome.code, 0, "{}\n{}", exchange.command, outcome.shown);
                    }
                    for name in programs() {
                        let there = terminal.run(&format!("[ -x ~/.cargo/bin/{name} ] && {name} --version"));
                        assert!(
                            there.code == 0 && there.shown.contains(env!("CARGO_PKG_VERSION")),
                            "{}",
                            there.shown
                        );
                    }
                } else {
                    wrong.extend(faults(block, &mut terminal, stage.authority.url()));
                }
            }
            if heading == "Try it" {
                second.take().expect("there is a second terminal").end(stage.authority.url());
                let login = fs::read_to_string(stage.container.home(".codex/auth.json")).unwrap();
                assert!(login.contains("ada@example.com") || login.contains("id_token"), "{login}");
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));

        // The service had the documented name, and is removed.
        let calls = fs::read_to_string(stage.container.path("run/calls")).unwrap();
        assert!(calls.contains("--user restart codex-auth.service"), "{calls}");
        assert!(calls.contains("--user disable --now codex-auth.service"), "{calls}");
        let names = programs().join(" ");
        let gone = stage.container.terminal().run(&format!("command -v {names}; ls ~/.config/systemd/user"));
        assert_eq!(gone.shown, "");
        // No secret is left, and none is valid any more.
        let secrets = stage.authority.issued_secrets();
        assert!(secrets.len() > 3);
        for (path, content) in
            files(&stage.container.home(".codex")).into_iter().chain(files(&stage.container.path("run")))
        {
            let content = String::from_utf8_lossy(&content);
            assert!(secrets.iter().all(|secret| !content.contains(secret)), "{}", path.display());
            assert!(!path.components().any(|part| part.as_os_str() == "codex-auth"), "{}", path.display());
        }
        let live = secrets.iter().filter(|secret| {
            secret.starts_with("rt-") && stage.authority.state_of(secret) == TokenState::Live
        });
        assert_eq!(live.count(), 0);
    });
}
