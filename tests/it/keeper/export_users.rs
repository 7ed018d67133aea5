//! Exports for other users: access control lists, the users of a socket, and user namespaces.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::exports::{await_export, export, exported_token, folder};
use super::process::{AT_WORK, Process};
use super::socket::{get, response_to, status};
use crate::manager::world::World;
use crate::support::{Ended, HelperProcess, Machine, Mounted, Run, TestHome, here, report, role};

const READER: u32 = 65_534;
const STRANGER: u32 = 65_533;
/// A user without an entry in passwd(5).
const NAMELESS: u32 = 54_321;

/// Lets other users reach the folders beside the home.
fn open_way(world: &World<'_>) {
    let above = world.machine.home.path().parent().unwrap().to_owned();
    fs::set_permissions(above, fs::Permissions::from_mode(0o711)).unwrap();
}

fn cat(path: &Path, uid: u32) -> Ended {
    Run::of(Path::new("/bin/cat"), [path.to_str().unwrap()]).by_user(uid).run()
}

/// Asks the socket at `path` as the user `uid`, and returns the status of the answer.
fn ask_as(test: &str, uid: u32, path: &Path, home: &TestHome) -> String {
    ask_through(test, &format!("setpriv --reuid={uid} --regid={uid} --clear-groups"), path, home)
}

/// As [`ask_as`], by the program of the command line `way`.
fn ask_through(test: &str, way: &str, path: &Path, home: &TestHome) -> String {
    // Other users may have no access to the build folder.
    let script = format!("exec 9<\"$0\"; cd /; exec {way} /proc/self/fd/9 \"$@\"");
    let mut other = HelperProcess::start_through(&["sh", "-c", &script], test, path.to_str().unwrap(), home);
    other.next_word()
}

/// The part of a helper process: reports the status of a token request, or that there was no answer.
fn ask(path: &str) {
    let Ok(_) = std::os::unix::net::UnixStream::connect(path) else { return report("no access") };
    let answer = response_to(Path::new(path), &get("/v1/token"));
    report(if answer.is_empty() { "no answer" } else { status(&answer) });
}

#[test]
fn another_user_reads_the_document_and_uses_the_socket_after_every_refresh() {
    let test = here!();
    if let Some(path) = role() {
        return ask(&path);
    }
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    open_way(&world);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &["--uid", "65534"]);
    for round in 0..3 {
        if round > 0 {
            world.codex(["refresh"]).run().expect(0);
        }
        await_export(&world, &folder);
        let read = cat(&folder.join("auth.json"), READER).expect(0);
        assert!(read.out.contains(&world.stored_token("access_token")), "{read}");
        cat(&folder.join("auth.json"), STRANGER).expect(1);
        let socket = folder.join("sock");
        let asked = |uid| ask_as(test, uid, &socket, &world.machine.home);
        assert_eq!([asked(READER), asked(STRANGER)], ["200", "no access"]);
        assert_eq!(status(&response_to(&socket, &get("/v1/token"))), "200");
    }
    let list = Command::new("getfacl").args(["-pcn"]).arg(folder.join("auth.json")).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.trim_end(), "user::rw-\nuser:65534:r--\ngroup::---\nmask::r--\nother::---");
    let write = Run::of(Path::new("/bin/sh"), ["-c", "echo > \"$0\"", folder.join("x").to_str().unwrap()]);
    assert_ne!(write.by_user(READER).run().code, Some(0), "the user may change nothing");
    // Without the option, the access ends.
    export(&world, &folder, &[]);
    world.codex(["refresh"]).run().expect(0);
    await_export(&world, &folder);
    cat(&folder.join("auth.json"), READER).expect(1);
}

#[test]
fn a_socket_serves_only_the_user_that_is_required() {
    let test = here!();
    if let Some(path) = role() {
        return ask(&path);
    }
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    open_way(&world);
    let keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &["--require-uid", "65534"]);
    let socket = folder.join("sock");
    assert_eq!(response_to(&socket, &get("/v1/token")), "", "not even the user of the keeper");
    assert_eq!(ask_as(test, READER, &socket, &world.machine.home), "200");
    // The kernel maps the user of a container: its user 7 is 65534 here, and its user 8 is a stranger here.
    let inside = |uid: u32, there: u32| {
        let person = format!("setpriv --reuid={uid} --regid={uid} --clear-groups");
        let namespace = format!("unshare --user --map-user={there} --map-group={there}");
        ask_through(test, &format!("{person} {namespace}"), &socket, &world.machine.home)
    };
    assert_eq!([inside(READER, 7), inside(STRANGER, 8)], ["200", "no access"]);
    // The commands of this user that look for a keeper are no intruders.
    keeper.signal("-TERM");
    let log = keeper.wait().1;
    assert!(!log.iter().any(|line| line.contains("rejected")), "{log:#?}");
}

#[test]
fn another_user_gets_a_token_from_the_named_socket_alone() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    open_way(&world);
    let _keeper = Process::of(&world);
    let token = |folder: &Path, words: &[&str]| {
        let run = world.codex(words.iter().copied()).without("CODEX_HOME").without("HOME");
        run.env("CODEX_AUTH_SOCKET", folder.join("sock"))
    };
    for option in ["--uid", "--require-uid"] {
        let folder = folder(&world, option.trim_start_matches('-'));
        export(&world, &folder, &[option, "54321"]);
        await_export(&world, &folder);
        let stored = world.stored_token("access_token");
        let as_user = token(&folder, &["token"]).by_user(NAMELESS).run().expect(0);
        assert_eq!((as_user.out.trim_end(), &*as_user.err), (&*stored, ""));
        token(&folder, &["status"]).by_user(NAMELESS).run().expect(0);
        token(&folder, &["sync", "status"]).by_user(NAMELESS).run().expect(0);
        // In the user namespace of a container the owner of the keeper has no id.
        let container = "exec 9<\"$0\"; cd /; exec setpriv --reuid=54321 --regid=54321 --clear-groups \
            unshare --user --map-user=7 --map-group=7 /proc/self/fd/9 \"$@\"";
        let inside = token(&folder, &["token"]).through(["sh", "-c", container]).run().expect(0);
        assert_eq!((inside.out.trim_end(), &*inside.err), (&*stored, ""));
    }
    // A home is needed for everything else.
    let ended = token(Path::new("/nowhere"), &["token"])
        .without("CODEX_AUTH_SOCKET")
        .by_user(NAMELESS)
        .run()
        .refused(1);
    assert!(ended.err.contains("cannot find the home directory of this user; set CODEX_HOME"), "{ended}");
}

#[test]
fn doctor_of_another_user_finds_no_fault_in_a_document_that_is_handed_in() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    open_way(&world);
    let _keeper = Process::of(&world);
    let export_folder = folder(&world, "export");
    export(&world, &export_folder, &["--uid", "65534"]);
    await_export(&world, &export_folder);
    let home = TestHome::new();
    std::os::unix::fs::symlink(export_folder.join("auth.json"), home.file("auth.json")).unwrap();
    let home = home.owned_by(READER);
    let report = home.codex(["doctor", "--json"]).by_user(READER).run().json();
    let findings = report["findings"].as_array().unwrap();
    let faults = findings.iter().filter(|finding| {
        finding["standing"] != "ok" && (finding["check"] == "owners" || finding["check"] == "modes")
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty() && findings.len() > 3, "{report:#}");
}

#[test]
fn a_user_who_is_not_in_the_namespace_is_refused() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let export = folder(&world, "export");
    for option in ["--uid", "--require-uid"] {
        let run = world.codex(["sync", "export", export.to_str().unwrap(), option, "4321"]);
        let ended = run.through(["unshare", "--user", "--map-root-user"]).run().refused(1);
        assert!(ended.err.contains("user 4321 does not exist in this user namespace"), "{ended}");
    }
    for uid in ["99999999999", "4294967295", "-1", "ada"] {
        let ended = world.codex(["sync", "export", "/x", &format!("--uid={uid}")]).run().refused(2);
        assert!(ended.err.contains("--uid needs the number of a user, from 0 to 4294967294"), "{ended}");
    }
    assert!(!export.exists());
}

#[test]
fn a_file_system_without_access_lists_is_refused_for_another_user_and_serves_its_owner() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let text = world.machine.stored_text().unwrap();
    let home = TestHome::new();
    home.write("auth.json", &text);
    fs::create_dir(home.file("volume")).unwrap();
    let mounted = Mounted::by(home, "mount -t ramfs none \"$home/volume\"");
    let export = mounted.home.file("volume/export");
    let words = ["sync", "export", export.to_str().unwrap()];
    let ended = mounted.codex(words.into_iter().chain(["--uid", "65534"])).run().refused(5);
    assert!(ended.err.contains("there are no POSIX access control lists here"), "{ended}");
    assert!(!mounted.home.file("codex-auth/exports.json").exists());
    mounted.codex(words).run().expect(0);
    let keeper = Process::start(mounted.codex(["sync", "run"]));
    keeper.until("exporting the login");
    let written = mounted.path().join("volume/export");
    assert_eq!(exported_token(&written), Some(world.stored_token("access_token")));
}

/// A token can be spent only if its successor can be saved.
#[test]
fn a_keeper_whose_home_became_read_only_serves_each_login_and_spends_nothing() {
    let mut machine = Machine::with_file();
    let mut world = World::fresh(&mut machine);
    let keeper = Process::start(world.codex(["sync", "run"]).through(["unshare", "--mount"]));
    keeper.until(AT_WORK);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    await_export(&world, &folder);
    let home = world.machine.home.path();
    let script = "mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro \"$0\"";
    let mut mount = Command::new("nsenter");
    mount.args(["--mount", "--target", &keeper.pid().to_string(), "sh", "-euc", script]).arg(&home);
    assert!(mount.status().unwrap().success());
    // Nine minutes are left, so a refresh is due.
    let account = world.grant.account.clone();
    world.log_in_as(account, 540);
    await_export(&world, &folder);
    keeper.until("is read-only: a login in it can be used");
    fs::remove_file(folder.join("auth.json")).unwrap();
    await_export(&world, &folder);
    for socket in [folder.join("sock"), super::socket::socket(&world)] {
        let answer = response_to(&socket, &get("/v1/token?wait=yes"));
        assert!(answer.contains(&world.stored_token("access_token")), "{answer}");
    }
    assert_eq!(world.requests(), 0);
}
