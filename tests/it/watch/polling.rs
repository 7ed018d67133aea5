//! Where the system cannot tell: a file system that others change behind its back.

use std::fs;

use scripted_authority::{Account, Authority};

use super::watcher::{WatchMode, Watcher};
use crate::support::{Mounted, TestHome};

/// `bindfs` shows the folder beside the home as the home, through FUSE. It ends with the shell that started it.
const THROUGH_FUSE: &str = "setpriv --pdeathsig KILL bindfs -f \"${home%/*}/behind\" \"$home\" &
    until mountpoint -q \"$home\"; do kill -0 $!; sleep 0.01; done";

#[test]
fn what_is_changed_behind_a_fuse_file_system_is_found_by_looking_and_that_is_said_once() {
    let home = TestHome::new();
    let behind = home.beside("behind");
    let mounted = Mounted::by(home, THROUGH_FUSE);
    let authority = Authority::start().unwrap();
    let (watcher, first) = Watcher::start(mounted.codex(["watch", "--json"]), WatchMode::Native);
    assert_eq!(first["logged_in"], false);

    // Nothing of this passes through the mount, as if another machine did it.
    let document = behind.join("auth.json");
    for (account, event) in [(1, "login"), (2, "account_changed"), (3, "account_changed")] {
        let new = behind.join("new");
        fs::write(&new, authority.grant(Account::numbered(account)).auth_json()).unwrap();
        fs::rename(&new, &document).unwrap();
        assert_eq!(watcher.expect_event(event)["account"]["id"], format!("acct-{account}"));
    }
    fs::remove_file(document).unwrap();
    watcher.expect_event("logout");
    let talk = watcher.interrupt();
    assert_eq!(
        talk,
        ["note: polling for changes every second (fuse: a program decides which changes are reported)"]
    );
}
