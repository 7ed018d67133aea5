//! Every kind of change, in each store and by each watch mode, is reported once and with the right token.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use codex_auth::manager::AccountPolicy;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use scripted_authority::{Account, fingerprint};
use serde_json::Value;

use super::host::HostProcess;
use super::watcher::{WatchMode, Watcher};
use crate::manager::world::{World, merged, spend};
use crate::support::{Machine, item, over_both_stores};

over_both_stores!(every_change_is_reported_once_by_events);

// Linux: inotify.
#[cfg(target_os = "linux")]
over_both_stores!(every_change_is_reported_once_by_polling);

fn every_change_is_reported_once_by_events(machine: &mut Machine) {
    check_each_change(machine, WatchMode::Native);
}

// Linux: inotify.
#[cfg(target_os = "linux")]
fn every_change_is_reported_once_by_polling(machine: &mut Machine) {
    check_each_change(machine, WatchMode::Polling);
}

/// A change, the stores in which it is possible, the event that is reported, and the reported author.
type Row = (Change, ApplicableStores, &'static str, Author);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Delete,
    LinkElsewhere,
    LogIn,
    LogInAgain,
    LogInAsAnother,
    LogOut,
    PutAnother,
    Refresh,
    RefreshElsewhere,
    RewriteBehindTheLink,
    RewriteInPlace,
    SwapTheHome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ApplicableStores {
    Both,
    File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Author {
    /// This program, with its name and process id.
    ThisProgram,
    /// Another program, which leaves no record.
    OtherProgram,
}

/// The changes in their order. If one were reported twice, the event of the next one would not be the expected one.
const CHANGES: &[Row] = &[
    (Change::LogIn, ApplicableStores::Both, "login", Author::ThisProgram),
    (Change::Refresh, ApplicableStores::Both, "refreshed", Author::ThisProgram),
    (Change::RefreshElsewhere, ApplicableStores::Both, "refreshed", Author::OtherProgram),
    (Change::LogInAgain, ApplicableStores::Both, "login", Author::ThisProgram),
    (Change::LogInAsAnother, ApplicableStores::Both, "account_changed", Author::ThisProgram),
    (Change::PutAnother, ApplicableStores::Both, "account_changed", Author::OtherProgram),
    (Change::RewriteInPlace, ApplicableStores::File, "refreshed", Author::OtherProgram),
    (Change::Delete, ApplicableStores::Both, "logout", Author::OtherProgram),
    (Change::PutAnother, ApplicableStores::Both, "login", Author::OtherProgram),
    (Change::SwapTheHome, ApplicableStores::File, "account_changed", Author::OtherProgram),
    (Change::LinkElsewhere, ApplicableStores::File, "account_changed", Author::OtherProgram),
    (Change::RewriteBehindTheLink, ApplicableStores::File, "refreshed", Author::OtherProgram),
    (Change::LinkElsewhere, ApplicableStores::File, "account_changed", Author::OtherProgram),
    (Change::RefreshElsewhere, ApplicableStores::Both, "refreshed", Author::OtherProgram),
    (Change::LogOut, ApplicableStores::Both, "logout", Author::ThisProgram),
    (Change::LogInAsAnother, ApplicableStores::Both, "login", Author::ThisProgram),
];

fn check_each_change(machine: &mut Machine, mode: WatchMode) {
    let scenario = Scenario { world: World::empty(machine), account: Cell::new(1) };
    let world = &scenario.world;
    let (watcher, first) = Watcher::start(world.codex(["watch", "--json"]), mode);
    assert_eq!(first["logged_in"], false, "{first}");
    let (mut host, first) = HostProcess::start(&world.machine.home, AccountPolicy::Follow, mode);
    assert_eq!(first, "present none");

    for (change, stores, event, by) in CHANGES {
        if *stores == ApplicableStores::File && world.machine.session.is_some() {
            continue;
        }
        scenario.apply(*change);
        let document: Option<Value> =
            world.machine.stored_text().map(|text| serde_json::from_str(&text).unwrap());
        let token =
            document.as_ref().map_or(Value::Null, |document| document["tokens"]["access_token"].clone());

        let reported = host.next_change();
        let token = token.as_str().map_or_else(|| "none".to_owned(), fingerprint);
        assert_eq!(reported, format!("{event} {token}"), "{change:?}");
        let output = watcher.expect_event(event);
        let account = document.as_ref().map_or(&Value::Null, |document| &document["tokens"]["account_id"]);
        assert_eq!(output["account"]["id"], *account, "{change:?}: {output}");
        assert_eq!(output["logged_in"], document.is_some(), "{change:?}: {output}");
        let author = if output["by"]["pid"].is_u64() { Author::ThisProgram } else { Author::OtherProgram };
        assert_eq!(author, *by, "{change:?}: {output}");
    }
    host.finish();
    let stderr = watcher.interrupt();
    let notes =
        stderr.iter().filter(|line| line.starts_with("note: polling for changes every 100 ms")).count();
    assert_eq!((notes, stderr.len()), if mode == WatchMode::Native { (0, 0) } else { (1, 1) }, "{stderr:#?}");
}

/// Makes the changes.
struct Scenario<'a> {
    world: World<'a>,
    /// The account of the last login.
    account: Cell<u32>,
}

impl Scenario<'_> {
    fn apply(&self, change: Change) {
        match change {
            Change::Delete => self.delete(),
            Change::LinkElsewhere => self.link_elsewhere(),
            Change::LogIn => self.log_in(),
            Change::LogInAgain => self.log_in_again(),
            Change::LogInAsAnother => self.log_in_as_another(),
            Change::LogOut => self.log_out(),
            Change::PutAnother => self.put_another(),
            Change::Refresh => self.refresh(),
            Change::RefreshElsewhere => self.refresh_elsewhere(),
            Change::RewriteBehindTheLink => self.rewrite_behind_the_link(),
            Change::RewriteInPlace => self.rewrite_in_place(),
            Change::SwapTheHome => self.swap_the_home(),
        }
    }

    fn log_in(&self) {
        self.world.sign_in(&self.world.grant);
    }

    fn log_in_again(&self) {
        self.world.sign_in(&self.world.authority.grant(Account::numbered(self.account.get())));
    }

    fn log_in_as_another(&self) {
        self.account.set(self.account.get() + 1);
        self.log_in_again();
    }

    fn log_out(&self) {
        self.world.codex(["logout", "--local"]).run().expect(0);
    }

    fn refresh(&self) {
        self.world.codex(["refresh"]).run().expect(0);
    }

    /// As Codex does: the file is replaced; the item is updated in place, which gnome-keyring does not signal.
    fn refresh_elsewhere(&self) {
        self.store(&self.refreshed_document());
    }

    fn put_another(&self) {
        self.store(&self.other_document());
    }

    fn rewrite_in_place(&self) {
        rewrite(&self.world.machine.home.document(), &self.refreshed_document());
    }

    fn delete(&self) {
        match self.world.machine.session {
            Some(_) => item(&self.world.machine.home).delete_credential().unwrap(),
            None => fs::remove_file(self.world.machine.home.document()).unwrap(),
        }
    }

    /// Atomically exchanges the home and another folder.
    fn swap_the_home(&self) {
        let home = &self.world.machine.home;
        let other = home.beside("another home");
        fs::write(other.join("auth.json"), self.other_document()).unwrap();
        renameat_with(CWD, home.path(), CWD, other, RenameFlags::EXCHANGE).unwrap();
    }

    /// Replaces the document by a link to a new file.
    fn link_elsewhere(&self) {
        let document = self.other_document();
        let home = &self.world.machine.home;
        let target = home.beside(&format!("folder {}", self.account.get())).join("the document");
        fs::write(&target, document).unwrap();
        let link = home.file("link");
        symlink(target, &link).unwrap();
        fs::rename(link, home.document()).unwrap();
    }

    fn rewrite_behind_the_link(&self) {
        rewrite(&self.target(), &self.refreshed_document());
    }

    /// Returns the stored document after a refresh that this test makes itself.
    fn refreshed_document(&self) -> String {
        let document = self.world.machine.stored_text().unwrap();
        merged(&document, &spend(&self.world.authority, &self.world.stored_token("refresh_token")))
    }

    /// Returns the document of a new account.
    fn other_document(&self) -> String {
        self.account.set(self.account.get() + 1);
        self.world.authority.grant(Account::numbered(self.account.get())).auth_json()
    }

    fn store(&self, document: &str) {
        if self.world.machine.session.is_some() {
            return self.world.machine.store_text(document);
        }
        let target = self.target();
        let new = target.with_extension("new");
        fs::write(&new, document).unwrap();
        fs::rename(new, target).unwrap();
    }

    /// Returns the path of the file that has or will have the document.
    fn target(&self) -> PathBuf {
        let document = self.world.machine.home.document();
        document.canonicalize().unwrap_or(document)
    }
}

/// Empties the file and fills it in two halves.
fn rewrite(path: &Path, document: &str) {
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    let (one, other) = document.split_at(document.len() / 2);
    file.write_all(one.as_bytes()).unwrap();
    file.write_all(other.as_bytes()).unwrap();
}
