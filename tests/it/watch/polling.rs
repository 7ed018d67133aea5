//! A file system for which the system reports no changes.

use std::fs;

use scripted_authority::{Account, Authority};

use super::watcher::{WatchMode, Watcher};
use crate::support::{Mounted, TestHome};

/// Mounts the folder beside the home as the home, through FUSE. `bindfs` ends with the shell that started it.
const THROUGH_FUSE: &str = "setpriv --pdeathsig KILL bindfs -f \"${home%/*}/behind\" \"$home\" &
    until mountpoint -q \"$home\"; do kill -0 $!; sleep 0.01; done";

#[test]
fn changes_behind_a_fuse_file_system_are_found_by_polling_with_one_note() {
    let home = TestHome::new();
    let behind = home.beside("behind");
    let mounted = Mounted::by(home, THROUGH_FUSE);
    let authority = Authority::start().unwrap();
    let (watcher, first) = Watcher::start(mounted.codex(["watch", "--json"]), WatchMode::Native);
    assert_eq!(first["logged_in"], false);

    // These changes do not pass through the mount, as if another machine made them.
    let document = behind.join("auth.json");
    for (account, event) in [(1, "login"), (2, "account_changed"), (3, "account_changed")] {
        let new = behind.join("new");
        fs::write(&new, authority.grant(Account::numbered(account)).auth_json()).unwrap();
        fs::rename(&new, &document).unwrap();
        assert_eq!(watcher.expect_event(event)["account"]["id"], format!("acct-{account}"));
    }
    fs::remove_file(document).unwrap();
    watcher.expect_event("logout");
    let stderr = watcher.interrupt();
    assert_eq!(
        stderr,
        ["note: polling for changes every 1000 ms (fuse: a program decides which changes are reported)"]
    );
}
