//! Store, change and sight: every change made by one process is told to another once, and the right token is there then.

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

over_both_stores!(every_change_is_told_once_where_the_system_tells);

// Linux: inotify.
#[cfg(target_os = "linux")]
over_both_stores!(every_change_is_told_once_where_one_has_to_look);

fn every_change_is_told_once_where_the_system_tells(machine: &mut Machine) {
    check_each_change(machine, WatchMode::Native);
}

// Linux: inotify.
#[cfg(target_os = "linux")]
fn every_change_is_told_once_where_one_has_to_look(machine: &mut Machine) {
    check_each_change(machine, WatchMode::Polling);
}

/// What is done, in which stores it can be done, what is told of it, and who is said to have done it.
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
    /// A program of ours, by name and process.
    ThisProgram,
    /// Another program, which says nothing of itself.
    OtherProgram,
}

/// In this order; each is the fence of the one before: were that told twice, this would not be what is told next.
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

fn check_each_change(machine: &mut Machine, sight: WatchMode) {
    let scene = Scenario { world: World::empty(machine), account: Cell::new(1) };
    let world = &scene.world;
    let (watcher, first) = Watcher::start(world.codex(["watch", "--json"]), sight);
    assert_eq!(first["logged_in"], false, "{first}");
    let (mut host, first) = HostProcess::start(&world.machine.home, AccountPolicy::Follow, sight);
    assert_eq!(first, "present none");

    for (deed, stores, event, by) in CHANGES {
        if *stores == ApplicableStores::File && world.machine.session.is_some() {
            continue;
        }
        scene.apply(*deed);
        let document: Option<Value> =
            world.machine.stored_text().map(|text| serde_json::from_str(&text).unwrap());
        let token =
            document.as_ref().map_or(Value::Null, |document| document["tokens"]["access_token"].clone());

        let heard = host.next_change();
        let token = token.as_str().map_or_else(|| "none".to_owned(), fingerprint);
        assert_eq!(heard, format!("{event} {token}"), "{deed:?}");
        let told = watcher.expect_event(event);
        let account = document.as_ref().map_or(&Value::Null, |document| &document["tokens"]["account_id"]);
        assert_eq!(told["account"]["id"], *account, "{deed:?}: {told}");
        assert_eq!(told["logged_in"], document.is_some(), "{deed:?}: {told}");
        let named = if told["by"]["pid"].is_u64() { Author::ThisProgram } else { Author::OtherProgram };
        assert_eq!(named, *by, "{deed:?}: {told}");
    }
    host.finish();
    let talk = watcher.interrupt();
    let notes = talk.iter().filter(|line| line.starts_with("note: polling for changes every second")).count();
    assert_eq!((notes, talk.len()), if sight == WatchMode::Native { (0, 0) } else { (1, 1) }, "{talk:#?}");
}

/// What changes of a login are made of.
struct Scenario<'a> {
    world: World<'a>,
    /// The account of the last login.
    account: Cell<u32>,
}

impl Scenario<'_> {
    fn apply(&self, deed: Change) {
        match deed {
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

    /// As Codex does: the file is replaced; the item is updated in place, of which gnome-keyring tells nobody.
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

    /// Another folder has the name of the home from one moment to the next.
    fn swap_the_home(&self) {
        let home = &self.world.machine.home;
        let other = home.beside("another home");
        fs::write(other.join("auth.json"), self.other_document()).unwrap();
        renameat_with(CWD, home.path(), CWD, other, RenameFlags::EXCHANGE).unwrap();
    }

    /// The document is a link from now on, or points elsewhere if it is one already.
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

    /// The stored document with the answer to a refresh in it that none of our processes has made.
    fn refreshed_document(&self) -> String {
        let document = self.world.machine.stored_text().unwrap();
        merged(&document, &spend(&self.world.authority, &self.world.stored_token("refresh_token")))
    }

    /// A document of an account that was not there before.
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

    /// The file that the document is in, or will be.
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
