//! Upgrades: a keeper and an app-server continue to refresh after their program file is replaced or removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use scripted_authority::{Account, Endpoint, Moment};

use crate::app_server::client::Client;
use crate::keeper::process::{AT_WORK, Process, STANDING_BY};
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, Run, eventually, program};

/// A program of a version that sends no protocol version.
const OLDER: &str = "#!/bin/sh\ncat > /dev/null\necho '{\"done\":\"served\"}'\n";

/// Runs its arguments with an empty `/proc`.
// Linux: mounts.
#[cfg(target_os = "linux")]
const MASKED: &str = "mount -t tmpfs none /proc; exec \"$@\"";

/// An installed program file.
struct Installed(PathBuf);

impl Installed {
    fn new(folder: &Path) -> Self {
        let installed = Self(folder.join("codex"));
        installed.copy_to(&installed.0);
        installed
    }

    fn copy_to(&self, path: &Path) {
        // By another process: a child of another test could inherit the file open for writing, and such a file cannot
        // be run.
        assert!(Command::new("cp").args([&program(), path]).status().unwrap().success());
    }

    /// Replaces the file, as a package manager does.
    fn replace(&self, by: Replacement) {
        let new = self.0.with_extension("new");
        match by {
            Replacement::Newer => {
                self.copy_to(&new);
                let append = Command::new("sh").args(["-c", "echo more >> \"$0\""]).arg(&new).status();
                assert!(append.unwrap().success());
            }
            Replacement::Older => {
                fs::write(&new, OLDER).unwrap();
                fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
            }
            Replacement::Nothing => return fs::remove_file(&self.0).unwrap(),
        }
        fs::rename(new, &self.0).unwrap();
    }

    /// A run of this program in `world`.
    fn run(&self, world: &World<'_>, words: &[&str]) -> Run {
        let run = Run::of(&self.0, words.iter().copied());
        let command = world.codex(words.iter().copied()).into_command();
        run.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name.to_str().unwrap().to_owned(), value?.to_owned()))),
        )
    }
}

#[derive(Clone, Copy, Debug)]
enum Replacement {
    Newer,
    Older,
    Nothing,
}

const REPLACEMENTS: [Replacement; 3] = [Replacement::Newer, Replacement::Older, Replacement::Nothing];

/// Logs in as another account, with a token that must be refreshed at once.
fn become_stale(world: &mut World<'_>) {
    world.log_in_as(Account::numbered(2), 60);
}

#[test]
fn a_keeper_refreshes_after_its_program_was_replaced_or_removed() {
    for replacement in REPLACEMENTS {
        let mut machine = Machine::with_file();
        let mut world = World::fresh(&mut machine);
        let installed = Installed::new(&world.machine.home.beside("bin"));
        let keeper = Process::start(installed.run(&world, &["sync", "run"]));
        keeper.until(AT_WORK);
        installed.replace(replacement);
        become_stale(&mut world);
        keeper.until("INFO refreshed");
        assert_eq!(
            (world.requests(), Some(world.stored_token("refresh_token"))),
            (1, world.live_refresh_token()),
            "{replacement:?}"
        );
        assert!(!world.has_rescue());

        if !matches!(replacement, Replacement::Nothing) {
            keeper.signal("-HUP");
            let warning =
                format!("{} was replaced, but this keeper still runs the old version", installed.0.display());
            keeper.until(&warning);
        }
        keeper.signal("-HUP");
        keeper.signal("-TERM");
        let (code, rest) = keeper.wait();
        assert_eq!(code, Some(0), "{replacement:?}: {rest:#?}");
        assert!(
            !rest.iter().any(|line| line.contains("old version")),
            "the warning is logged once: {rest:#?}"
        );
    }
}

#[test]
fn an_app_server_refreshes_after_its_program_was_replaced_or_removed() {
    for replacement in REPLACEMENTS {
        let mut machine = Machine::with_file();
        let mut world = World::fresh(&mut machine);
        let installed = Installed::new(&world.machine.home.beside("bin"));
        let mut editor = Client::initialized(installed.run(&world, &["app-server"]).into_command());
        installed.replace(replacement);
        become_stale(&mut world);
        eventually("a refresh", || {
            editor.token();
            world.requests() == 1
        });
        eventually("the new token", || editor.token() == Some(world.stored_token("access_token")));
        assert_eq!(
            (world.requests(), Some(world.stored_token("refresh_token"))),
            (1, world.live_refresh_token()),
            "{replacement:?}"
        );
    }
}

#[test]
fn a_managed_keeper_finishes_its_refresh_and_exits_for_an_upgrade() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let installed = Installed::new(&world.machine.home.beside("bin"));
    let socket = world.machine.home.beside("manager").join("notify");
    let _manager = UnixDatagram::bind(&socket).unwrap();
    let managed = || Process::start(installed.run(&world, &["sync", "run"]).env("NOTIFY_SOCKET", &socket));
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let keeper = managed();
    hold.arrived(TEST_TIMEOUT).unwrap();
    let standby = managed();
    standby.until(STANDING_BY);

    installed.replace(Replacement::Newer);
    // Both detect it within seconds without a signal.
    keeper.until("was replaced; exiting so that the service manager starts the new version");
    hold.release();
    assert_eq!(keeper.wait().0, Some(4), "the units restart it on this code");
    assert_eq!(
        Some(world.stored_token("refresh_token")),
        world.live_refresh_token(),
        "the running refresh is stored"
    );
    // The standby may have become active meanwhile.
    standby.until("was replaced; exiting so that the service manager starts the new version");
    assert_eq!(standby.wait().0, Some(4));
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_keeper_started_through_a_link_watches_the_link() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let [old, new, bin] = ["1.0", "1.1", "bin"].map(|name| world.machine.home.beside(name));
    Installed::new(&old);
    Installed::new(&new);
    let link = bin.join("codex");
    symlink(old.join("codex"), &link).unwrap();
    // By its name on PATH.
    let by_name = Installed("codex".into()).run(&world, &["sync", "run"]).env("PATH", &bin);
    let keeper = Process::start(by_name);
    keeper.until(AT_WORK);
    fs::remove_file(&link).unwrap();
    symlink(new.join("codex"), &link).unwrap();
    fs::remove_file(old.join("codex")).unwrap();
    keeper.signal("-HUP");
    keeper.until(&format!("{} was replaced", link.display()));
}

/// Without `/proc` the program cannot find its own file, and refreshes without a child process.
// Linux: mounts.
#[cfg(target_os = "linux")]
#[test]
fn a_refresh_needs_no_child_process() {
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let loader = loader.into_iter().find(|path| Path::new(path).exists()).unwrap();
    for way in [&["unshare", "--map-root-user", "--mount", "sh", "-euc", MASKED, "sh"][..], &[loader]] {
        let mut machine = Machine::with_file();
        let world = World::stale(&mut machine);
        let refresh = |words: &[&str]| world.codex(words.iter().copied()).through(way.iter().copied()).run();
        refresh(&["refresh"]).expect(0);
        assert_eq!(
            (world.requests(), Some(world.stored_token("refresh_token"))),
            (1, world.live_refresh_token()),
            "{way:?}"
        );
        assert!(!world.has_rescue());
        refresh(&["logout"]).expect(0);
        assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1, "{way:?}");
    }
}

// Linux: mounts.
#[cfg(target_os = "linux")]
#[test]
fn the_next_codex_gets_a_refreshed_login_without_a_child_process() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let next = world.machine.home.beside("next");
    let script = next.join("codex");
    fs::write(&script, "#!/bin/sh\nexit 7\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", next.display());
    let way = ["unshare", "--map-root-user", "--mount", "sh", "-euc", MASKED, "sh"];
    world.codex(["exec"]).env("PATH", path).through(way).run().expect(7);
    assert_eq!(
        (world.requests(), Some(world.stored_token("refresh_token"))),
        (1, world.live_refresh_token())
    );
}
