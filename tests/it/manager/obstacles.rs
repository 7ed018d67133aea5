//! Failures between request and commit: the new token is saved, and committed later without another request or login.

use std::fs;
use std::io::Write as _;
use std::process::Output;

use scripted_authority::{Account, Authority, Endpoint, Grant, Moment, Outcome, TokenState};
use serde_json::Value;

use super::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, Mounted, Run, TestHome, item, names, over_both_stores, session};

over_both_stores!(
    a_disk_that_fills_during_the_request_has_room_for_the_response,
    a_home_that_becomes_read_only_during_the_request_loses_nothing,
    a_file_system_cannot_become_read_only_during_a_request,
);

#[cfg(feature = "failpoints")]
over_both_stores!(a_disk_that_is_full_before_the_commit_loses_nothing);

/// A login on a small file system.
struct Disk {
    mounted: Mounted,
    /// Whether the login is in the keychain.
    keychain: bool,
    authority: Authority,
    grant: Grant,
}

impl Disk {
    /// With little more space than a rescue needs.
    fn of(machine: &mut Machine) -> Self {
        let home = std::mem::replace(&mut machine.home, TestHome::new());
        let mounted = Mounted::by(home, "mount -t tmpfs -o size=512k,mode=700 tmpfs \"$home\"");
        let authority = Authority::start().unwrap();
        let grant = authority.grant(Account::numbered(1));
        let disk = Self { mounted, keychain: machine.session.is_some(), authority, grant };
        fs::write(disk.mounted.path().join("auth.json"), disk.grant.auth_json()).unwrap();
        if disk.keychain {
            disk.codex(["migrate", "--to", "keychain"]).run().expect(0);
        }
        disk
    }

    fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let urls = (self.authority.token_url(), self.authority.revoke_url());
        let run = self.mounted.codex(arguments).env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", urls.0);
        run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", urls.1)
    }

    fn stored_refresh_token(&self) -> Option<String> {
        let document: Value = if self.keychain {
            serde_json::from_slice(&item(&self.mounted.home).get_secret().unwrap()).unwrap()
        } else {
            serde_json::from_slice(&fs::read(self.mounted.path().join("auth.json")).unwrap()).unwrap()
        };
        document["tokens"]["refresh_token"].as_str().map(str::to_owned)
    }

    fn has_rescue(&self) -> bool {
        self.mounted.path().join("codex-auth/rescue").exists()
    }

    fn requests(&self) -> u64 {
        self.authority.counters().of(Endpoint::Refresh)
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.mounted.path().join("filling")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Refreshes, and calls `obstacle` when the token is spent and not yet saved.
    fn refresh_with(&self, obstacle: impl FnOnce()) -> Output {
        let hold = self.authority.hold(Endpoint::Refresh, Moment::After);
        let child = self.codex(["refresh"]).start();
        hold.arrived(TEST_TIMEOUT).unwrap();
        obstacle();
        hold.release();
        child.wait_with_output().unwrap()
    }

    /// In the file store the document is unchanged and the rescue holds the new tokens. In the keychain the document is
    /// committed, and only the state is missing.
    fn assert_reported(&self, output: &Output) {
        assert!(self.has_rescue());
        if self.keychain {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(self.stored_refresh_token(), self.authority.live_refresh_token(self.grant.id));
        } else {
            assert_saved_message(output);
            assert_eq!(self.stored_refresh_token().as_ref(), Some(&self.grant.tokens.refresh_token));
        }
    }

    /// Without the obstacle the next refresh commits the new tokens without a request, unless they are stored already.
    fn assert_recovers(&self) {
        let committed = self.stored_refresh_token() == self.authority.live_refresh_token(self.grant.id);
        let asked = self.requests();
        let ended = self.codex(["refresh"]).run().expect(0);
        assert_eq!(self.requests(), asked + u64::from(committed));
        let live = self.authority.live_refresh_token(self.grant.id);
        assert_eq!((self.stored_refresh_token(), self.has_rescue()), (live, false), "{ended}");
        let ended = self.codex(["token"]).run().expect(0);
        assert_eq!(self.authority.state_of(ended.out.trim_end()), TokenState::Live);
        assert_eq!(self.requests(), self.authority.counters().ended(Endpoint::Refresh, Outcome::Granted));
    }
}

/// Exit code 5, and a message that the new tokens are saved.
#[track_caller]
fn assert_saved_message(output: &Output) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(
        message.starts_with("error: new tokens were received and saved to disk, but could not be stored yet"),
        "{message}"
    );
    assert!(message.contains("\nhint: fix that and run the command again; no token is lost\n"), "{message}");
}

/// The reserved space is larger than the response, so the commit fits too.
fn a_disk_that_fills_during_the_request_has_room_for_the_response(machine: &mut Machine) {
    let disk = Disk::of(machine);
    let output = disk.refresh_with(|| disk.fill());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(disk.stored_refresh_token(), disk.authority.live_refresh_token(disk.grant.id));
    assert_eq!(disk.requests(), 1);
}

#[cfg(feature = "failpoints")]
fn a_disk_that_is_full_before_the_commit_loses_nothing(machine: &mut Machine) {
    let disk = Disk::of(machine);
    let pause = crate::support::Pause::at("rescued");
    let child = pause.apply_to(disk.codex(["refresh"])).start();
    let standing = pause.wait();
    disk.fill();
    drop(standing);
    disk.assert_reported(&child.wait_with_output().unwrap());
    disk.codex(["refresh"]).run().refused(5);
    // The old access token is still valid.
    disk.codex(["token"]).run().expect(0);
    assert_eq!(disk.requests(), 1);
    fs::remove_file(disk.mounted.path().join("filling")).unwrap();
    disk.assert_recovers();
}

/// Another mount covers the folder. The reserved file is open and takes the response.
fn a_home_that_becomes_read_only_during_the_request_loses_nothing(machine: &mut Machine) {
    let disk = Disk::of(machine);
    let output = disk.refresh_with(|| {
        disk.mounted.change("mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$home\"").expect(0);
    });
    disk.assert_reported(&output);
    disk.codex(["refresh"]).run().refused(5);
    disk.codex(["token"]).run().expect(0);
    assert_eq!(disk.requests(), 1);
    disk.mounted.change("umount \"$home\"").expect(0);
    disk.assert_recovers();
}

/// The reserved file is open for writing, so the kernel refuses.
fn a_file_system_cannot_become_read_only_during_a_request(machine: &mut Machine) {
    let disk = Disk::of(machine);
    let output = disk.refresh_with(|| {
        let ended = disk.mounted.change("mount -o remount,ro \"$home\"");
        assert!(ended.err.contains("busy"), "{ended}");
    });
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    disk.mounted.change("mount -o remount,ro \"$home\"").expect(0);
    disk.codex(["refresh"]).run().refused(5);
    assert_eq!(disk.requests(), 1);
    disk.mounted.change("mount -o remount,rw \"$home\"").expect(0);
    disk.assert_recovers();
}

/// The keychain is locked, gone or unresponsive when the response arrives, and available again later.
#[test]
fn a_keychain_that_becomes_unusable_during_the_request_loses_nothing() {
    type Change = fn(&mut session::PrivateSession);
    let changes: [(&str, Change, Change); 3] = [
        ("locked", session::PrivateSession::lock_again, |session| {
            session.stop_service();
            session.start_unlocked();
        }),
        ("gone", session::PrivateSession::stop_service, session::PrivateSession::start_unlocked),
        ("silent", |session| session.freeze(), |session| session.thaw()),
    ];
    session::inside(crate::support::here!(), || {
        for (what, put, remove) in changes {
            let mut machine = Machine::with_keychain();
            let world = World::fresh(&mut machine);
            let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
            let impatient = |run: Run| run.env("CODEX_AUTH_KEYCHAIN_TIMEOUT", "500ms");
            let child = impatient(world.codex(["refresh"])).start();
            hold.arrived(TEST_TIMEOUT).unwrap();
            put(world.machine.session.as_mut().unwrap());
            hold.release();
            let output = child.wait_with_output().unwrap();
            println!("{what}: {}", String::from_utf8_lossy(&output.stderr));
            assert_saved_message(&output);
            assert!(world.has_rescue(), "{what}");
            impatient(world.codex(["refresh"])).run().refused(5);
            assert_eq!(world.requests(), 1, "{what}");
            remove(world.machine.session.as_mut().unwrap());
            world.codex(["refresh"]).run().expect(0);
            world.assert_no_token_reused_or_lost();
            assert_eq!(world.requests(), 1, "{what}");
            assert_eq!(world.machine.session.as_mut().unwrap().dialogues(), [""; 0]);
        }
    });
}

/// A rescue whose sealing key is missing is renamed, and committed when the key is back.
#[cfg(feature = "failpoints")]
#[test]
fn a_rescue_without_its_key_is_set_aside_and_committed_later() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let hash = crate::support::account(&world.machine.home).replace("cli|", "rescue|");
        let key = keyring3::Entry::new("codex-auth", &hash).unwrap();
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        let secret = key.get_secret().unwrap();

        // A locked keychain may hold the key, so nothing is spent meanwhile.
        let session = world.machine.session.as_mut().unwrap();
        session.lock_again();
        world.codex(["refresh"]).run().refused(5);
        assert!(world.has_rescue());
        let session = world.machine.session.as_mut().unwrap();
        session.stop_service();
        session.start_unlocked();

        key.delete_credential().unwrap();
        let ended = world.codex(["migrate", "--to", "keychain"]).run().expect(0);
        assert!(ended.err.contains("holds tokens that are neither stored nor revoked"), "{ended}");
        assert!(!world.has_rescue());
        assert_eq!(world.requests(), 1);
        key.set_secret(&secret).unwrap();
        world.codex(["refresh"]).run().expect(0);
        assert_eq!(world.requests(), 1, "the successor is what a refresh was wanted for");
        world.codex(["refresh"]).run().expect(0);
        assert_eq!(world.requests(), 2);
        let left = names(&world.machine.home.path().join("codex-auth"));
        assert!(left.iter().all(|name| !name.starts_with("rescue")), "{left:?}");
    });
}

/// As above, and a new login replaces the old one.
#[cfg(feature = "failpoints")]
#[test]
fn a_login_over_a_rescue_without_its_key_warns_and_can_be_refreshed() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let hash = crate::support::account(&world.machine.home).replace("cli|", "rescue|");
        let key = keyring3::Entry::new("codex-auth", &hash).unwrap();
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        key.delete_credential().unwrap();
        let ended = world.codex(["login", "--with-api-key"]).input("sk-1").run().expect(0);
        assert!(ended.err.contains("holds tokens that are neither stored nor revoked"), "{ended}");
        assert!(!world.has_rescue());
        world.codex(["logout", "--local"]).run().expect(0);
        let again = world.authority.grant(Account::numbered(1));
        world.log_in(&again);
        world.codex(["refresh"]).run().expect(0);
    });
}
