//! What comes in the way between the request and the commit: the new token is kept until it is gone, and then committed
//! without another request and without a login.

use std::fs;
use std::io::Write as _;
use std::process::Output;

use scripted_authority::{Account, Authority, Endpoint, Grant, Moment, Outcome, TokenState};
use serde_json::Value;

use super::world::{PATIENCE, World};
use crate::support::{Machine, Mounted, Run, TestHome, item, over_both_stores, session};

over_both_stores!(
    a_disk_that_is_full_when_the_answer_comes_has_room_for_it,
    a_home_that_is_read_only_when_the_answer_comes_loses_nothing,
    a_file_system_is_not_made_read_only_while_a_token_is_in_flight,
);

#[cfg(feature = "failpoints")]
over_both_stores!(a_disk_that_is_full_before_the_commit_loses_nothing);

/// A login on a small disk of its own.
struct Disk {
    mounted: Mounted,
    /// Whether the login is in the keychain.
    keychain: bool,
    authority: Authority,
    grant: Grant,
}

impl Disk {
    /// With room for a rescue, and not much more.
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

    fn kept(&self) -> Option<String> {
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

    /// Refreshes, with `obstacle` put in the way when the token is spent and nobody knows yet.
    fn refresh_with(&self, obstacle: impl FnOnce()) -> Output {
        let hold = self.authority.hold(Endpoint::Refresh, Moment::After);
        let child = self.codex(["refresh"]).start();
        hold.arrived(PATIENCE).unwrap();
        obstacle();
        hold.release();
        child.wait_with_output().unwrap()
    }

    /// In the file the old document is untouched, and the new one is safe in the rescue. In a keychain the document needs
    /// no folder; what waits is our record of it.
    fn told_the_truth(&self, output: &Output) {
        assert!(self.has_rescue());
        if self.keychain {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(self.kept(), self.authority.live_refresh_token(self.grant.id));
        } else {
            is_kept_safe(output);
            assert_eq!(self.kept().as_ref(), Some(&self.grant.tokens.refresh_token));
        }
    }

    /// The obstacle is gone: the next refresh commits what was bought and asks for nothing, unless that is in the store
    /// already.
    fn recovers(&self) {
        let committed = self.kept() == self.authority.live_refresh_token(self.grant.id);
        let asked = self.requests();
        let ended = self.codex(["refresh"]).run().expect(0);
        assert_eq!(self.requests(), asked + u64::from(committed));
        let live = self.authority.live_refresh_token(self.grant.id);
        assert_eq!((self.kept(), self.has_rescue()), (live, false), "{ended}");
        let ended = self.codex(["token"]).run().expect(0);
        assert_eq!(self.authority.state_of(ended.out.trim_end()), TokenState::Live);
        assert_eq!(self.requests(), self.authority.counters().ended(Endpoint::Refresh, Outcome::Granted));
    }
}

/// Exit code 5, and a person reads that nothing is lost.
#[track_caller]
fn is_kept_safe(output: &Output) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(
        told.starts_with("error: new tokens arrived and are kept safe, but could not be stored yet"),
        "{told}"
    );
    assert!(told.contains("\nhint: mend that and do the same again; nothing is lost\n"), "{told}");
}

/// The room that was reserved for the answer is more than it needs, so there is enough for the commit as well.
fn a_disk_that_is_full_when_the_answer_comes_has_room_for_it(machine: &mut Machine) {
    let disk = Disk::of(machine);
    let output = disk.refresh_with(|| disk.fill());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(disk.kept(), disk.authority.live_refresh_token(disk.grant.id));
    assert_eq!(disk.requests(), 1);
}

#[cfg(feature = "failpoints")]
fn a_disk_that_is_full_before_the_commit_loses_nothing(machine: &mut Machine) {
    let disk = Disk::of(machine);
    let pause = crate::support::Pause::at("rescued");
    let child = pause.govern(disk.codex(["refresh"])).start();
    let standing = pause.arrived();
    disk.fill();
    drop(standing);
    disk.told_the_truth(&child.wait_with_output().unwrap());
    disk.codex(["refresh"]).run().refused(5);
    // The old access token lives still.
    disk.codex(["token"]).run().expect(0);
    assert_eq!(disk.requests(), 1);
    fs::remove_file(disk.mounted.path().join("filling")).unwrap();
    disk.recovers();
}

/// From outside: another mount lies over the folder. What was reserved before is open still, and takes the answer.
fn a_home_that_is_read_only_when_the_answer_comes_loses_nothing(machine: &mut Machine) {
    let disk = Disk::of(machine);
    let output = disk.refresh_with(|| {
        disk.mounted.change("mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$home\"").expect(0);
    });
    disk.told_the_truth(&output);
    disk.codex(["refresh"]).run().refused(5);
    disk.codex(["token"]).run().expect(0);
    assert_eq!(disk.requests(), 1);
    disk.mounted.change("umount \"$home\"").expect(0);
    disk.recovers();
}

/// What is reserved for the answer is open for writing, so the kernel refuses.
fn a_file_system_is_not_made_read_only_while_a_token_is_in_flight(machine: &mut Machine) {
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
    disk.recovers();
}

/// The keychain is locked, gone, or silent when the answer comes, and is there again later.
#[test]
fn a_keychain_that_cannot_be_used_when_the_answer_comes_loses_nothing() {
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
            hold.arrived(PATIENCE).unwrap();
            put(world.machine.session.as_mut().unwrap());
            hold.release();
            let output = child.wait_with_output().unwrap();
            println!("{what}: {}", String::from_utf8_lossy(&output.stderr));
            is_kept_safe(&output);
            assert!(world.has_rescue(), "{what}");
            impatient(world.codex(["refresh"])).run().refused(5);
            assert_eq!(world.requests(), 1, "{what}");
            remove(world.machine.session.as_mut().unwrap());
            world.codex(["refresh"]).run().expect(0);
            world.nothing_is_spent_twice_or_lost();
            assert_eq!(world.requests(), 1, "{what}");
            assert_eq!(world.machine.session.as_mut().unwrap().dialogues(), [""; 0]);
        }
    });
}

/// What is sealed with a key that is gone can be read by nobody, and is not in the way of those who come after.
#[cfg(feature = "failpoints")]
#[test]
fn a_rescue_whose_key_is_gone_is_set_aside_where_the_login_is_and_kept_elsewhere() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let hash = crate::support::account(&world.machine.home).replace("cli|", "rescue|");
        let key = keyring3::Entry::new("codex-auth", &hash).unwrap();
        let document = world.machine.kept().unwrap();
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        key.delete_credential().unwrap();

        // A keychain without the login may be another one.
        item(&world.machine.home).delete_credential().unwrap();
        world.codex(["refresh"]).run().refused(5);
        assert!(world.has_rescue());
        world.machine.keep(&document);
        let session = world.machine.session.as_mut().unwrap();
        session.lock_again();
        world.codex(["refresh"]).run().refused(5);
        assert!(world.has_rescue());
        let session = world.machine.session.as_mut().unwrap();
        session.stop_service();
        session.start_unlocked();

        let ended = world.codex(["migrate", "--to", "keychain"]).run().expect(0);
        assert!(ended.err.contains("warning: new tokens had come that were not stored yet"), "{ended}");
        assert!(!world.has_rescue() && key.get_secret().is_ok());
        // Without its key nothing is spent, and the way out is named.
        key.delete_credential().unwrap();
        let ended = world.codex(["refresh"]).run().refused(5);
        assert!(ended.err.contains("\nhint: let it make one: codex migrate --to keychain\n"), "{ended}");
        assert_eq!(world.requests(), 1);
        world.codex(["migrate", "--to", "keychain"]).run().expect(0);
        let ended = world.codex(["refresh"]).run().refused(3);
        assert!(ended.err.contains("did not save its successor"), "{ended}");
        assert_eq!(world.requests(), 2);
    });
}

/// As above, and a new login takes the place of the one that has ended.
#[cfg(feature = "failpoints")]
#[test]
fn a_login_over_a_rescue_whose_key_is_gone_says_so_and_can_be_refreshed() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let hash = crate::support::account(&world.machine.home).replace("cli|", "rescue|");
        let key = keyring3::Entry::new("codex-auth", &hash).unwrap();
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        key.delete_credential().unwrap();
        let ended = world.codex(["login", "--with-api-key"]).input("sk-1").run().expect(0);
        assert!(ended.err.contains("warning: new tokens had come that were not stored yet"), "{ended}");
        assert!(!world.has_rescue());
        world.codex(["logout", "--local"]).run().expect(0);
        let again = world.authority.grant(Account::numbered(1));
        world.log_in(&again);
        world.codex(["refresh"]).run().expect(0);
    });
}
