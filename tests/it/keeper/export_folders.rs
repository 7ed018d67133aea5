//! The folders of exports: spoiled, removed, replaced by links, and why one is not served.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;

use codex_auth_platform::lock::{FileLock, LockFileMode, Wait};
use scripted_authority::Account;

use super::exports::{await_export, export, folder};
use super::process::Process;
use super::socket::{get, response_to, status};
use crate::manager::world::World;
use crate::support::{Machine, eventually, names};

/// The reason in `sync export list` why the only export is not served; empty if it is.
#[track_caller]
fn problem(world: &World<'_>) -> String {
    let reported =
        || world.codex(["sync", "export", "list", "--json"]).run().expect(0).json()["exports"][0].take();
    let mut export = reported();
    // The keeper may change it between two commands.
    let shown = loop {
        let shown = world.codex(["sync", "export", "list"]).run().expect(0);
        let before = std::mem::replace(&mut export, reported());
        if (&before["served"], &before["problem"]) == (&export["served"], &export["problem"]) {
            break shown;
        }
    };
    assert_eq!(export["served"], export["problem"].is_null());
    let problem = export["problem"].as_str().unwrap_or_default().to_owned();
    let served =
        if problem.is_empty() { "served   yes".to_owned() } else { format!("served   no: {problem}") };
    assert!(shown.out.contains(&served), "{shown}");
    problem
}

/// Moves `folder` to `moved` and puts a link to `target` in its place, in one step: the keeper creates a missing folder.
fn replace_with_link(folder: &Path, moved: &Path, target: &Path) {
    symlink(target, moved).unwrap();
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, folder, rustix::fs::CWD, moved, exchange).unwrap();
}

/// A container with a writable mount can spoil its own export only.
#[test]
fn a_spoiled_folder_is_restored_and_no_link_in_it_is_followed() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let [spoiled, other] = ["spoiled", "other"].map(|name| folder(&world, name));
    let _keeper = Process::of(&world);
    export(&world, &spoiled, &[]);
    export(&world, &other, &[]);
    let victim = world.machine.home.document();
    let before = world.machine.stored_text();
    for target in [victim.clone(), other.join("auth.json")] {
        fs::remove_file(spoiled.join("auth.json")).unwrap();
        symlink(&target, spoiled.join("auth.json")).unwrap();
        world.codex(["refresh"]).run().expect(0);
        await_export(&world, &other);
        eventually("the link to be replaced", || !spoiled.join("auth.json").is_symlink());
        await_export(&world, &spoiled);
    }
    assert_ne!(world.machine.stored_text(), before);
    assert!(world.machine.stored_text().unwrap().contains(&world.live_refresh_token().unwrap()));
    // A folder in the way stops this export, and no other.
    fs::remove_file(spoiled.join("auth.json")).unwrap();
    fs::create_dir(spoiled.join("auth.json")).unwrap();
    fs::write(spoiled.join("sock.new"), "").unwrap();
    fs::remove_file(spoiled.join("sock")).unwrap();
    world.codex(["refresh"]).run().expect(0);
    await_export(&world, &other);
    assert_eq!(status(&response_to(&other.join("sock"), &get("/v1/token"))), "200");
}

/// Other programs may remove the files at any time, not only between two refreshes.
#[test]
fn a_removed_document_socket_or_folder_returns_without_a_refresh() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let removals: [fn(&Path); 4] = [
        |folder| fs::remove_file(folder.join("auth.json")).unwrap(),
        |folder| fs::remove_file(folder.join("sock")).unwrap(),
        |folder| fs::remove_dir_all(folder).unwrap(),
        |folder| fs::write(folder.join("auth.json"), "{}").unwrap(),
    ];
    for remove in removals {
        remove(&folder);
        await_export(&world, &folder);
        let socket = folder.join("sock");
        eventually("the socket", || {
            UnixStream::connect(&socket).is_ok() && status(&response_to(&socket, &get("/v1/token"))) == "200"
        });
    }
    assert_eq!(world.requests(), 0);
}

#[test]
fn a_folder_that_became_a_link_is_emptied_and_nothing_is_written_through_the_link() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let [exported, moved, other] = ["export", "moved", "other"].map(|name| folder(&world, name));
    export(&world, &exported, &[]);
    fs::create_dir(&other).unwrap();
    for target in [&moved, &other] {
        replace_with_link(&exported, &moved, target);
        eventually("the moved folder to be emptied", || names(&moved).is_empty());
        world.codex(["refresh"]).run().expect(0);
        let why = problem(&world);
        assert!(why.starts_with(&format!("{} is a link by now", exported.display())), "{why}");
        assert_eq!((names(&moved), names(&other)), (Vec::new(), Vec::new()));
        fs::remove_file(&exported).unwrap();
        fs::remove_dir(&moved).unwrap();
        await_export(&world, &exported);
        eventually("the export to be served", || problem(&world).is_empty());
    }
    // An export behind a link can be removed.
    replace_with_link(&exported, &moved, &other);
    world.codex(["sync", "export", "remove", exported.to_str().unwrap()]).run().expect(0);
    assert_eq!(names(&other), Vec::<String>::new());
    eventually("the moved folder to be emptied", || names(&moved).is_empty());
}

#[test]
fn the_list_says_why_an_export_is_not_served() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let folder = folder(&world, "export");
    let keeper = Process::of(&world);
    export(&world, &folder, &[]);
    assert_eq!(problem(&world), "");
    world.log_in(&world.authority.grant(Account::numbered(2)));
    assert!(problem(&world).starts_with("another account is logged in"));
    world.machine.store_text(r#"{"auth_mode": "apikey", "OPENAI_API_KEY": "sk-1"}"#);
    assert!(problem(&world).starts_with("another account is logged in"));
    world.codex(["logout"]).run().expect(0);
    assert_eq!(problem(&world), "not logged in; log in: codex login");
    world.machine.store_text("{");
    assert!(problem(&world).contains("auth.json"), "{}", problem(&world));
    world.log_in(&world.grant);
    await_export(&world, &folder);
    eventually("the export to be served", || problem(&world).is_empty());
    keeper.signal("-TERM");
    assert_eq!(keeper.wait().0, Some(0));
    assert!(problem(&world).starts_with("no keeper runs"));
}

#[test]
fn a_keeper_of_an_older_version_is_named() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    fs::create_dir(world.machine.home.file("codex-auth")).unwrap();
    let path = world.machine.home.file("codex-auth/keeper.lock");
    let lock = FileLock::acquire(&path, LockFileMode::Private, Wait::No).unwrap();
    for program in ["codex-auth keeper", "codex-auth keeper 0.0.9"] {
        lock.write_note(program);
        let ended = export(&world, &folder(&world, "export"), &[]);
        let named = format!("warning: {program} (pid {}) is of an older version", std::process::id());
        assert!(ended.err.contains(&named), "{ended}");
    }
}

/// Such a name could pretend to be another line of the list, or control the terminal.
#[test]
fn a_folder_whose_name_has_control_characters_is_refused() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    for name in ["a\nb", "a\u{1b}[31mb", "a\u{7f}"] {
        let path = folder(&world, name);
        for words in [&["sync", "export"][..], &["sync", "export", "remove"]] {
            let words = words.iter().copied().chain([path.to_str().unwrap()]);
            let ended = world.codex(words).run().refused(1);
            assert!(ended.err.contains("contains a control character"), "{ended}");
        }
        assert!(!path.exists());
    }
    let path = folder(&world, "it's \"mine\" Ω");
    export(&world, &path, &[]);
    assert_eq!(names(&path), Vec::<String>::new());
}
