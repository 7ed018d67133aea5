//! Other users of the machine: one who holds a commit lock, and those of a group that shares the home.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use scripted_authority::Endpoint;

use crate::manager::world::World;
use crate::support::{Flock, Guarded, Machine, Run, TestHome, eventually};

const OTHER_USER: u32 = 64_079;
const GROUP: u32 = 64_080;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_lock_that_another_user_holds_is_named_with_the_way_to_end_it() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let home = world.machine.home.path();
    let temporary = std::env::temp_dir();
    home.ancestors().take_while(|folder| **folder != temporary).for_each(|folder| set_mode(folder, 0o755));
    let lock = world.machine.home.write("auth.lock", "");
    set_mode(&lock, 0o644);
    let path = lock.display().to_string();
    let holding =
        Run::of(Path::new("/usr/bin/flock"), ["--no-fork", &path, "sleep", "600"]).by_user(OTHER_USER);
    let holding = Guarded(holding.start());
    eventually("the lock to be held", || !Flock::is_free(&lock));

    let doctor = world.codex(["doctor"]).run();
    let said = format!("{}{}", doctor.out, doctor.err);
    let holder = format!("sleep (pid {}) of user {OTHER_USER}", holding.0.id());
    assert!(said.contains(&format!("{holder} holds {path}")), "{doctor}");
    assert!(said.contains(&format!("{path} has mode 644, so other users can lock it")), "{doctor}");

    let ended = world.codex(["refresh"]).run().expect(5);
    assert!(ended.err.contains(&format!("{path} is still locked by {holder} after 10.0s")), "{ended}");
    assert!(ended.err.contains(&format!("rm {path}")), "{ended}");
    assert!(world.has_rescue(), "{ended}");
    let successor = world.live_refresh_token().unwrap();

    fs::remove_file(&lock).unwrap();
    world.codex(["status"]).run().expect(0);
    world.codex(["token"]).run().expect(0);
    assert_eq!(world.stored_token("refresh_token"), successor);
    assert_eq!(world.authority.counters().of(Endpoint::Refresh), 1, "nothing was spent again");
    assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600, "the next one is closed to other users");
}

#[test]
fn users_who_share_a_home_by_a_group_are_told_before_a_write_ends_it() {
    let home = TestHome::new();
    let document = home.write("auth.json", r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-old"}"#);
    for (path, mode) in [(home.path(), 0o2770), (document.clone(), 0o660)] {
        chown(&path, None, Some(GROUP)).unwrap();
        set_mode(&path, mode);
    }
    let warning =
        format!("has mode 660, so the users of group {GROUP} can use the login; the next write makes it 600");
    let status = home.codex(["status"]).run().expect(0);
    assert!(status.err.contains(&warning), "{status}");
    let report = home.codex(["status", "--json"]).run().expect(0).json();
    assert!(report["warnings"][0].as_str().unwrap().contains(&warning), "{report:#}");
    let doctor = home.codex(["doctor"]).run();
    assert!(doctor.to_string().contains("the next write makes it 600"), "{doctor}");
    assert_eq!(fs::metadata(&document).unwrap().mode() & 0o777, 0o660, "nothing has changed yet");

    // Before the credential is read.
    let ended = home.codex(["login", "--with-api-key"]).input("").run();
    assert!(ended.code != Some(0) && ended.err.contains(&warning), "{ended}");
    let ended = home.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
    assert!(ended.err.contains(&warning) && ended.err.contains("it is 600 now"), "{ended}");
    assert_eq!(fs::metadata(&document).unwrap().mode() & 0o777, 0o600);
    let status = home.codex(["status"]).run().expect(0);
    assert!(!status.err.contains("group"), "{status}");
}

#[test]
fn a_configuration_keeps_its_mode_and_group_when_the_store_is_set() {
    for mode in [0o640, 0o644, 0o600, 0o444] {
        let home = TestHome::new();
        let config = home.write("config.toml", "cli_auth_credentials_store = \"auto\" # mine\n");
        chown(&config, None, Some(GROUP)).unwrap();
        set_mode(&config, mode);
        home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
        let found = fs::metadata(&config).unwrap();
        assert_eq!((found.mode() & 0o777, found.gid()), (mode, GROUP));
        assert_eq!(home.read("config.toml"), "cli_auth_credentials_store = \"file\" # mine\n");
    }
}

/// The mode of a file with an access control list includes the rights of other users and groups.
#[test]
fn a_configuration_with_an_access_control_list_becomes_private_and_that_is_reported() {
    let home = TestHome::new();
    let config = home.write("config.toml", "cli_auth_credentials_store = \"auto\"\n");
    let granted =
        std::process::Command::new("setfacl").args(["-m", "u:64079:r"]).arg(&config).status().unwrap();
    assert!(granted.success());
    let ended = home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
    assert_eq!(fs::metadata(&config).unwrap().mode() & 0o777, 0o600);
    assert!(ended.err.contains("whose mode was 6") && ended.err.contains("and is 600 now"), "{ended}");
}
