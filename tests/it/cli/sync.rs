//! `codex sync install`, `uninstall` and `status`: the files, the commands, and systemd's opinion of the unit.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use codex_auth_platform::service::{Service, ServiceFolders, ServiceManager};

use crate::support::{Run, TestHome, program};

/// A user with a home directory and a `systemctl` that records its arguments, because no systemd session can run here.
struct User {
    home: TestHome,
    folder: tempfile::TempDir,
}

impl User {
    fn new(systemctl: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let script =
            format!("#!/bin/sh\necho \"systemctl $*\" >> '{}/calls'\n{systemctl}\n", folder.path().display());
        fs::write(bin.join("systemctl"), script).unwrap();
        fs::set_permissions(bin.join("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { home: TestHome::new(), folder }
    }

    fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.home.codex(arguments).env("HOME", self.folder.path()).env("PATH", self.folder.path().join("bin"))
    }

    /// The path of the home's unit.
    fn unit(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join(".config/systemd/user")).ok()?;
        entries
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|end| end == "service"))
    }

    /// Installs the service of a copy of the program in the folder `program`, for the home `home`.
    fn installing(&self, folder: &str, home: &str) -> (PathBuf, Run) {
        let (folder, home) = (self.folder.path().join(folder), self.folder.path().join(home));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&home).unwrap();
        let copy = folder.join("codex");
        // A file that this process or its fork has open for writing cannot be run.
        let copied = Command::new("cp").args([Path::new(env!("CARGO_BIN_EXE_codex")), &copy]).status();
        assert!(copied.unwrap().success());
        let run = Run::of(&copy, ["sync", "install"]).env("HOME", self.folder.path());
        (copy, run.env("CODEX_HOME", home).env("PATH", self.folder.path().join("bin")))
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }
}

/// The complaints of `systemd-analyze` about a unit.
fn objections(unit: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify
        .args(["--user", "verify"])
        .arg(unit)
        .env("XDG_RUNTIME_DIR", folder.path())
        .env("HOME", folder.path());
    let ended = verify.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    if ended.status.success() { said } else { format!("{}: {said}", ended.status) }
}

#[test]
fn an_installed_keeper_is_enabled_and_every_step_is_shown() {
    let user = User::new("exit 0");
    let ended = user.codex(["sync", "install"]).run().expect(0);
    let unit = user.unit().unwrap();
    let name = unit.file_name().unwrap().to_str().unwrap();
    assert!(ended.err.contains(&format!("wrote {}\n", unit.display())), "{ended}");
    assert!(ended.err.contains("the keeper starts at the next login"), "{ended}");
    let enabled = format!("systemctl --user daemon-reload\nsystemctl --user enable {name}\n");
    assert_eq!(user.calls(), enabled);
    for call in enabled.lines() {
        assert!(ended.err.contains(&format!("ran {call}\n")), "{ended}");
    }
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains(&format!("CODEX_HOME={}", user.home.path().display())), "{text}");

    user.codex(["sync", "install", "--now"]).run().expect(0);
    assert!(user.calls().ends_with(&format!("systemctl --user restart {name}\n")), "{}", user.calls());

    let status = user.codex(["sync", "status", "--json"]).run().expect(1).json();
    assert_eq!(status["installed"], unit.display().to_string());
    assert_eq!(status["running"], false);

    let ended = user.codex(["sync", "uninstall"]).run().expect(0);
    assert!(ended.err.contains(&format!("removed {}", unit.display())), "{ended}");
    assert_eq!(user.unit(), None);
    let disabled = format!("systemctl --user disable --now {name}\nsystemctl --user daemon-reload\n");
    assert!(user.calls().ends_with(&disabled), "{}", user.calls());
    let again = user.codex(["sync", "uninstall"]).run().expect(0);
    assert!(again.err.starts_with("not installed"), "{again}");
}

#[test]
fn the_default_home_has_one_service_however_it_is_named() {
    let user = User::new("exit 0");
    let (default, link) = (user.folder.path().join(".codex"), user.folder.path().join("link"));
    fs::create_dir(&default).unwrap();
    symlink(&default, &link).unwrap();
    user.codex(["sync", "install"]).without("CODEX_HOME").run().expect(0);
    let unit = user.unit().unwrap();
    let text = fs::read_to_string(&unit).unwrap();
    for home in [&default, &link] {
        user.codex(["sync", "install"]).env("CODEX_HOME", home).run().expect(0);
        assert_eq!(fs::read_dir(unit.parent().unwrap()).unwrap().count(), 1, "{}", home.display());
        assert_eq!(fs::read_to_string(&unit).unwrap(), text);
    }
    user.codex(["sync", "uninstall"]).env("CODEX_HOME", &default).run().expect(0);
    assert_eq!(user.unit(), None);
}

/// As Homebrew and Nix install: an upgrade moves the link and removes the folder that it led to.
#[test]
fn the_unit_names_the_link_that_was_called_and_doctor_a_program_that_is_gone() {
    let user = User::new("exit 0");
    let (version, bin) = (user.home.beside("1.0"), user.folder.path().join("bin"));
    for (name, from) in [("codex", program()), ("codex-auth", env!("CARGO_BIN_EXE_codex-auth").into())] {
        assert!(Command::new("cp").arg(from).arg(&version).status().unwrap().success());
        symlink(version.join(name), bin.join(name)).unwrap();
    }
    let link = bin.join("codex");
    let install = |called: &Path, words: &[&str]| {
        let environment = user.home.variables().into_iter();
        let run = Run::of(called, words.iter().copied()).envs(environment).env("HOME", user.folder.path());
        run.env("PATH", &bin)
    };
    // Called by name, by path and by the second name.
    for called in [Path::new("codex"), &link, Path::new("codex-auth"), &bin.join("codex-auth")] {
        install(called, &["sync", "install"]).run().expect(0);
        let unit = fs::read_to_string(user.unit().unwrap()).unwrap();
        let command = format!("ExecStart=\"{}\" \"sync\" \"run\"\n", link.display());
        assert!(unit.contains(&command), "{}: {unit}", called.display());
    }
    let doctor = || user.codex(["doctor", "--json"]).run().json()["findings"].as_array().unwrap().clone();
    let healthy = |findings: &[serde_json::Value]| findings.iter().all(|found| found["check"] != "service");
    assert!(healthy(&doctor()), "{:#?}", doctor());
    fs::remove_file(version.join("codex")).unwrap();
    let expected = serde_json::json!({
        "check": "service", "standing": "problem", "fixable": false,
        "message": format!("{} runs {}, which does not exist", user.unit().unwrap().display(), link.display()),
        "remedy": "codex sync install --now",
    });
    assert!(doctor().contains(&expected), "{:#?}", doctor());
    user.codex(["sync", "install"]).run().expect(0);
    assert!(healthy(&doctor()), "{:#?}", doctor());
}

/// As a package installs that has no `codex`.
#[test]
fn a_program_that_is_only_called_codex_auth_is_in_the_unit_by_its_link() {
    let user = User::new("exit 0");
    let [old, new] = ["1.0", "1.1"].map(|version| user.home.beside(version).join("codex-auth"));
    for version in [&old, &new] {
        assert!(Command::new("cp").args([&program(), version]).status().unwrap().success());
    }
    let link = user.folder.path().join("bin/codex-auth");
    symlink(&old, &link).unwrap();
    let run = |words: &[&str]| {
        let run = Run::of(&link, words.iter().copied()).envs(user.home.variables());
        run.env("HOME", user.folder.path()).env("PATH", user.folder.path().join("bin")).run()
    };
    run(&["sync", "install"]).expect(0);
    let unit = fs::read_to_string(user.unit().unwrap()).unwrap();
    assert!(unit.contains(&format!("ExecStart=\"{}\" \"sync\" \"run\"\n", link.display())), "{unit}");
    // The upgrade of Homebrew and Nix.
    fs::remove_file(&link).unwrap();
    symlink(&new, &link).unwrap();
    fs::remove_file(&old).unwrap();
    let doctor = run(&["doctor", "--json"]).json();
    let findings = doctor["findings"].as_array().unwrap();
    assert!(findings.iter().all(|found| found["check"] != "service"), "{findings:#?}");
}

#[test]
fn the_default_home_has_the_plain_name_and_needs_no_variable() {
    let user = User::new("exit 0");
    user.codex(["sync", "install"]).without("CODEX_HOME").run().expect(0);
    let unit = user.unit().unwrap();
    assert_eq!(unit.file_name().unwrap(), "codex-auth.service");
    assert!(!fs::read_to_string(unit).unwrap().contains("Environment"));
}

#[test]
fn a_dry_run_shows_everything_and_does_nothing() {
    let user = User::new("exit 0");
    let ended = user.codex(["sync", "install", "--now", "--dry-run"]).run().expect(0);
    assert!(ended.out.starts_with("[Unit]\n") && ended.out.contains("Type=notify"), "{ended}");
    assert!(
        ended.err.contains("would write") && ended.err.contains("would run: systemctl --user restart"),
        "{ended}"
    );
    assert_eq!((user.unit(), user.calls()), (None, String::new()));
    user.codex(["sync", "install"]).run().expect(0);
    let before = user.calls();
    let ended = user.codex(["sync", "uninstall", "--dry-run"]).run().expect(0);
    assert!(ended.err.contains("would remove"), "{ended}");
    assert!(user.unit().is_some());
    assert_eq!(user.calls(), before);
}

/// Names with quotes, blanks, specifiers and variables, which systemd interprets.
#[test]
fn systemd_accepts_the_unit_for_any_name_of_program_and_home() {
    for name in ["plain", "a b", "%n %h", "$HOME ${PATH}"] {
        let user = User::new("exit 0");
        // A home may have any name; systemd restricts the name of a program.
        let (copy, run) = user.installing(name, &format!("{name} quo\"te's back\\slash"));
        run.run().expect(0);
        let unit = user.unit().unwrap();
        let text = fs::read_to_string(&unit).unwrap();
        assert_eq!(objections(&unit), "", "{name}: {text}");
        assert_eq!(ServiceManager::Systemd.program(&text).as_ref(), Some(&copy));
        fs::remove_file(&copy).unwrap();
        assert!(objections(&unit).contains("codex"), "the program that was looked for is that one");
    }
}

#[test]
fn a_program_that_systemd_would_not_start_is_refused_before_anything_is_written() {
    for name in ["quo\"te", "it's", "back\\slash"] {
        let user = User::new("exit 0");
        let (_, run) = user.installing(name, "home");
        let ended = run.run().refused(1);
        assert!(ended.err.contains("cannot be used in a service description"), "{ended}");
        assert_eq!((user.unit(), user.calls()), (None, String::new()));
    }
}

#[test]
fn a_home_whose_name_no_unit_can_hold_is_refused_before_anything_is_written() {
    let user = User::new("exit 0");
    let home = user.folder.path().join("two\nlines");
    fs::create_dir(&home).unwrap();
    user.codex(["sync", "install"]).env("CODEX_HOME", &home).run().refused(1);
    assert_eq!((user.unit(), user.calls()), (None, String::new()));
}

#[test]
fn an_unreachable_service_manager_is_reported_with_a_hint() {
    let user = User::new("echo 'Failed to connect to bus: No medium found' >&2; exit 1");
    let ended = user.codex(["sync", "install"]).run().expect(1);
    assert!(
        ended.err.contains("`systemctl --user daemon-reload` failed: Failed to connect to bus"),
        "{ended}"
    );
    assert!(ended.err.contains("hint: "), "{ended}");
    assert_eq!(user.unit(), None, "{ended}");
}

#[test]
fn a_failed_installation_leaves_the_unit_as_it_was() {
    let user = User::new("exit 0");
    user.codex(["sync", "install"]).run().expect(0);
    let unit = user.unit().unwrap();
    fs::write(&unit, "[Unit]\nDescription=mine\n").unwrap();
    fs::write(user.folder.path().join("bin/systemctl"), "#!/bin/sh\nexit 1\n").unwrap();
    let ended = user.codex(["sync", "install"]).run().expect(1);
    assert!(ended.err.contains("restored"), "{ended}");
    assert_eq!(fs::read_to_string(&unit).unwrap(), "[Unit]\nDescription=mine\n");
    let ended = user.codex(["sync", "uninstall"]).run().expect(1);
    assert!(ended.err.contains("removed"), "{ended}");
    assert_eq!(user.unit(), None);
}

#[test]
fn root_installs_no_service_in_the_home_directory_of_another_user() {
    let user = User::new("exit 0");
    std::os::unix::fs::chown(user.folder.path(), Some(65_534), Some(65_534)).expect("the tests run as root");
    for command in ["install", "uninstall"] {
        let ended = user.codex(["sync", command]).run().expect(1);
        assert!(ended.err.contains("root cannot manage the service of user 65534"), "{ended}");
        assert!(ended.err.contains("hint: run this as that user, without sudo"), "{ended}");
    }
    assert!(!user.folder.path().join(".config").exists());
    assert_eq!(user.calls(), "");
}

#[test]
fn variables_that_the_service_will_not_see_are_reported() {
    let user = User::new("exit 0");
    let run = user.codex(["sync", "install"]).env("HTTPS_PROXY", "http://user:pass-word@127.0.0.1:1");
    let ended = run.run().expect(0);
    assert!(ended.err.contains("HTTPS_PROXY is set in this shell but not for the service"), "{ended}");
    assert!(!ended.err.contains("pass-word"), "{ended}");
}

#[test]
fn an_agent_of_launchd_is_described_as_xml_that_parses() {
    let service = Service {
        name: "codex-auth".to_owned(),
        purpose: "purpose".to_owned(),
        command: ["/a & b/<codex>", "sync", "run"].map(Into::into).to_vec(),
        environment: vec![("CODEX_HOME".to_owned(), "/x & y".into())],
        writable_folders: Vec::new(),
    };
    let folders = ServiceFolders { home: "/Users/person".into(), config: "/unused".into() };
    let file = ServiceManager::Launchd.file_path(&service, &folders);
    assert_eq!(file, Path::new("/Users/person/Library/LaunchAgents/io.github.codex-auth.plist"));
    let text = ServiceManager::Launchd.describe(&service).unwrap();
    let input = text.clone();
    let read = "import plistlib, sys, json; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))";
    let ended = Run::of(Path::new("python3"), ["-c", read]).input(input).run().expect(0);
    let plist = ended.json();
    assert_eq!(plist["Label"], "io.github.codex-auth");
    assert_eq!(plist["ProgramArguments"], serde_json::json!(["/a & b/<codex>", "sync", "run"]));
    assert_eq!(plist["EnvironmentVariables"]["CODEX_HOME"], "/x & y");
    assert_eq!(plist["KeepAlive"]["SuccessfulExit"], false);
    assert_eq!(ServiceManager::Launchd.program(&text).as_deref(), Some(Path::new("/a & b/<codex>")));
}
