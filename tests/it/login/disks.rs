//! Logins on a disk that is full at the start or at the commit.

use scripted_authority::{Endpoint, Grant, TokenState};

use super::world::{Login, World};
use crate::support::{Machine, Mounted, TestHome, here, in_private_network, web};

/// Mounts a small disk as a home with the login of `grant`.
fn small_disk(grant: &Grant) -> Mounted {
    let mount = "mount -t tmpfs -o size=256k,mode=700 tmpfs \"$home\"";
    let disk = Mounted::by(TestHome::new(), mount);
    std::fs::write(disk.path().join("auth.json"), grant.auth_json()).unwrap();
    disk
}

fn fill(disk: &Mounted) {
    let chunk = vec![0; 4096];
    let mut file = std::fs::File::create(disk.path().join("filler")).unwrap();
    while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
}

#[test]
fn a_full_disk_is_reported_before_a_browser_is_opened() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let grant = world.authority.grant(scripted_authority::Account::numbered(1));
        let disk = small_disk(&grant);
        fill(&disk);
        let line = ["login", "--no-browser", "--issuer", world.authority.url()];
        let ended = disk.codex(line).run().refused(5);
        assert!(ended.err.contains("hint: free some space"), "{ended}");
        let kept = std::fs::read_to_string(disk.path().join("auth.json")).unwrap();
        assert_eq!(kept, grant.auth_json());
    });
}

/// A login of a few kilobytes would not fit.
#[test]
fn a_nearly_full_disk_is_reported_before_the_user_is_asked_for_anything() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let grant = world.authority.grant(scripted_authority::Account::numbered(1));
        for way in ["--no-browser", "--device-auth"] {
            let disk = small_disk(&grant);
            fill(&disk);
            let filler = disk.path().join("filler");
            let size = std::fs::metadata(&filler).unwrap().len();
            std::fs::File::options().write(true).open(filler).unwrap().set_len(size - 3 * 4096).unwrap();
            let ended = disk.codex(["login", way, "--issuer", world.authority.url()]).run().refused(5);
            assert!(ended.err.contains("hint: free some space"), "{way}: {ended}");
            assert!(!ended.err.contains(world.authority.url()), "{way}: {ended}");
        }
        assert_eq!(world.authority.counters().all(), 0);
    });
}

#[test]
fn a_disk_that_fills_up_while_the_user_logs_in_has_room_for_the_login() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let grant = world.authority.grant(scripted_authority::Account::numbered(1));
        let disk = small_disk(&grant);
        let line = ["login", "--no-browser", "--issuer", world.authority.url()];
        let run = disk.codex(line).env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", world.authority.revoke_url());
        let mut login = Login::start(run);
        let url = login.url();
        fill(&disk);
        web::follow(&url);
        login.finish().expect(0);
        let token = disk.codex(["token"]).run().expect(0);
        assert_ne!(token.out.trim_end(), grant.tokens.access_token);
        let left = crate::support::names(&disk.path().join("codex-auth"));
        assert!(!left.iter().any(|name| name.contains(".tmp")), "{left:?}");
    });
}

#[cfg(feature = "failpoints")]
#[test]
fn a_disk_that_fills_up_leaves_the_stored_login_and_the_new_tokens_are_revoked() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let grant = world.authority.grant(scripted_authority::Account::numbered(1));
        let disk = small_disk(&grant);
        let line = ["login", "--no-browser", "--issuer", world.authority.url()];
        let run = disk.codex(line).env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", world.authority.revoke_url());
        let pause = crate::support::Pause::at("old login read");
        let mut login = Login::start(pause.apply_to(run));
        let url = login.url();
        let pages = std::thread::spawn(move || web::follow(&url));
        let paused = pause.wait();
        fill(&disk);
        drop(paused);
        let pages = pages.join().unwrap();
        let ended = login.finish().expect(5);
        assert!(ended.err.contains("hint: free some space; the stored login is unchanged"), "{ended}");
        let page = &pages.last().unwrap().body;
        assert!(page.contains("The sign-in did not succeed") && page.contains("No space for"), "{page}");
        let kept = std::fs::read_to_string(disk.path().join("auth.json")).unwrap();
        assert_eq!(kept, grant.auth_json());
        assert_eq!(world.state_of(&grant.tokens.refresh_token), TokenState::Live);
        assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1, "the new tokens are revoked");
        let token = disk.codex(["token"]).run().expect(0);
        assert_eq!(token.out.trim_end(), grant.tokens.access_token);
    });
}

#[test]
fn a_config_that_cannot_be_written_is_reported_before_the_user_logs_in() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let home = TestHome::new();
        home.write("config.toml", "cli_auth_credentials_store = \"file\"\n");
        let mounted = Mounted::by(
            home,
            "mount --bind \"$home/config.toml\" \"$home/config.toml\"; mount -o remount,bind,ro \"$home/config.toml\"",
        );
        let line = ["login", "--no-browser", "--store", "auto", "--issuer", world.authority.url()];
        let run = mounted.codex(line).env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", world.authority.revoke_url());
        let ended = run.run().expect(5);
        assert!(ended.err.contains("config.toml") && !ended.err.contains("/oauth/authorize"), "{ended}");
        assert_eq!(world.authority.counters().all(), 0);
    });
}
