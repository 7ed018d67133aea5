//! `codex doctor` about the folders of a home: permissions, owners, locks and leftovers.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Duration;

use codex_auth::Lease;

use super::{Patient, Report};
use crate::support::{Flock, Folder, TestHome};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_unusable_home_is_a_problem_and_a_missing_one_is_not() {
    let patient = Patient::healthy();
    let missing = patient.home.file("missing");
    let at = |home: &Path| {
        let home = home.to_owned();
        Report::of(move |arguments| TestHome::new().codex(arguments.iter().copied()).env("CODEX_HOME", &home))
    };
    at(&missing).says("problem", "place", "which does not exist; create the folder or unset CODEX_HOME", "");
    at(&patient.home.document()).says("problem", "place", "which is not a folder", "");
    let home = TestHome::new();
    let report = Report::of(|arguments| {
        home.codex(arguments.iter().copied()).without("CODEX_HOME").env("HOME", home.path())
    });
    report.says("ok", "place", ".codex (the default) does not exist yet", "");
    report.says("warning", "store", "not logged in", "codex login");
    assert!(home.names().is_empty());
    let patient = Patient::healthy();
    let limit = Report::of(|arguments| {
        patient.codex(arguments.iter().copied()).env("CODEX_AUTH_LOCK_TIMEOUT", "soon")
    });
    limit.says("problem", "place", "CODEX_AUTH_LOCK_TIMEOUT must be a duration", "");
}

#[test]
fn missing_permissions_of_a_folder_are_reported() {
    let folder = Folder::new();
    let home = folder.home(0o755);
    fs::write(home.join("auth.json"), r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test"}"#).unwrap();
    set_mode(&home.join("auth.json"), 0o644);
    folder.set_mode(0o555);
    let report = Report::of(|arguments| folder.codex(&home, arguments.iter().copied()));
    report.says("warning", "place", "is read and never refreshed", "writable");
}

// Linux: mounts.
#[cfg(target_os = "linux")]
#[test]
fn the_risks_of_a_file_system_are_reported() {
    use crate::support::Mounted;

    let memory = Mounted::by(TestHome::new(), "mount -t tmpfs none \"$home\"");
    let report = Report::of(|arguments| memory.codex(arguments.iter().copied()));
    report.says("warning", "filesystem", "tmpfs: a login here is lost at the next restart", "CODEX_HOME");

    let patient = Patient::healthy();
    let mounted = Mounted::by(patient.home, "mount --bind \"$home/auth.json\" \"$home/auth.json\"");
    let report = Report::of(|arguments| mounted.codex(arguments.iter().copied()));
    report.says("problem", "filesystem", "is mounted by itself", "mount the folder");
}

#[test]
fn files_that_others_can_read_or_change_are_reported_and_ours_are_fixed() {
    let patient = Patient::healthy();
    patient.codex(["refresh"]).run().expect(0);
    patient.home.write("config.toml", "");
    let file = |name: &str| patient.home.file(name);
    set_mode(&file("auth.json"), 0o640);
    set_mode(&file("codex-auth/state.json"), 0o644);
    set_mode(&file("codex-auth"), 0o755);
    set_mode(&file("codex-auth/history/events.jsonl"), 0o664);
    set_mode(&file("config.toml"), 0o666);
    set_mode(&patient.home.path(), 0o777);
    let report = patient.look();
    let name = |name: &str| file(name).display().to_string();
    report
        .says("problem", "modes", "auth.json has mode 640", &format!("chmod 600 {}", name("auth.json")))
        .says("warning", "modes", "state.json has mode 644", "chmod go= ")
        .says("warning", "modes", "codex-auth has mode 755", "chmod go= ")
        .says("warning", "modes", "events.jsonl has mode 664", "chmod go= ")
        .says("problem", "modes", "config.toml has mode 666", "chmod go-w ")
        .says("problem", "modes", "home has mode 777", "chmod go-w ");
    let before = patient.home.read("auth.json");
    let printed = patient.codex(["doctor", "--fix", "--json"]).run().expect(1).json();
    assert_eq!(printed["mended"].as_array().unwrap().len(), 4, "{printed:#}");
    assert_eq!(patient.home.read("auth.json"), before);
    let report = patient.look();
    report.says("problem", "modes", "config.toml has mode 666", "chmod go-w ");
    assert_eq!(report.json["problems"], 2, "{}", report.text);
    set_mode(&file("config.toml"), 0o644);
    set_mode(&patient.home.path(), 0o755);
    patient.look().says("ok", "modes", "no other user can read or change the login", "");

    set_mode(&file("auth.lock"), 0o644);
    patient.look().says(
        "warning",
        "modes",
        "auth.lock has mode 644, so other users can lock it",
        "chmod 600 ",
    );
    patient.codex(["doctor", "--fix"]).run();
    patient.look().says("ok", "modes", "no other user can read or change the login", "");
    set_mode(&file("auth.lock"), 0o644);
    set_mode(&patient.home.path(), 0o700);
    patient.look().says("ok", "modes", "no other user can read or change the login", "");

    chown(file("auth.json"), Some(65_534), None).expect("the tests run as root");
    patient.look().says("problem", "owners", "auth.json belongs to user 65534", "sudo chown ");
}

#[test]
fn who_holds_a_lock_is_named() {
    let patient = Patient::healthy();
    let lease = Lease::acquire(&patient.home.home(), Duration::from_secs(60), |_| {}).unwrap();
    let us = format!(
        "codex-auth (pid {}) holds {}",
        std::process::id(),
        patient.home.home().refresh_lock().display()
    );
    patient.look().says("warning", "locks", &us, &format!("ps -fp {}", std::process::id()));
    drop(lease);
    let codex = Flock::hold(&patient.home.file("auth.json.lock"));
    patient.look().says("warning", "locks", "auth.json.lock; other processes wait", "if this persists");
    drop(codex);
    patient.look().says("ok", "locks", "none is held", "");
}

#[test]
fn leftovers_of_killed_processes_are_reported_and_removed_but_tokens_are_kept() {
    let patient = Patient::healthy();
    // A refresh that is killed between the rescue and the store.
    patient.home.write("config.toml", "");
    #[cfg(feature = "failpoints")]
    patient.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run();
    patient.home.write(".auth.json.0123456789abcdef.tmp", "half");
    patient.home.write("auth.json.bak", "an old login");
    fs::write(patient.home.home().refresh_lock(), "999999999 codex-auth\n").unwrap();
    let report = patient.look();
    report
        .says("warning", "leftovers", ".auth.json.0123456789abcdef.tmp was being written", "")
        .says("warning", "leftovers", "auth.json.bak contains the previous login", "rm ")
        .says("warning", "leftovers", "names codex-auth (pid 999999999), which was killed", "");
    #[cfg(feature = "failpoints")]
    report.says("warning", "leftovers", "contains new tokens that are not stored yet", "codex refresh");
    patient.codex(["doctor", "--fix"]).run().expect(0);
    assert!(!patient.home.file(".auth.json.0123456789abcdef.tmp").exists());
    assert!(patient.home.file("auth.json.bak").exists());
    patient.codex(["refresh"]).run().expect(0);
    fs::remove_file(patient.home.file("auth.json.bak")).unwrap();
    patient.look().says("ok", "leftovers", "none", "");
    let live = patient.authority.live_refresh_token(patient.grant.id).unwrap();
    assert!(patient.home.read("auth.json").contains(&live), "a token was lost");
}
