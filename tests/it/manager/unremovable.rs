//! Files that cannot be read or removed: no request is sent, and the login is unchanged.

use std::fs;

use scripted_authority::{Account, Grant};

use super::logouts::{is_live, revocations};
use super::world::World;
use crate::support::{Machine, Mounted, Run, TestHome};

/// Every read fails, as on a broken disk.
#[test]
fn a_document_that_cannot_be_read_is_kept() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let path = world.machine.home.document().display().to_string();
    let way = ["strace", "-f", "-o", "/dev/null", "-P", &path, "-e", "inject=read:error=EIO"];
    let ended = world.codex(["logout"]).through(way).run().refused(5);
    assert!(ended.err.contains("was not removed"), "{ended}");
    assert!(is_live(&world, &world.grant) && world.machine.stored_text().is_some());
    world.codex(["token"]).run().expect(0);
}

#[test]
fn a_document_that_is_too_large_is_revoked_and_removed_unless_the_logout_is_local() {
    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    let large = |grant: &Grant| {
        let document = grant.auth_json();
        let open = document.trim_end().strip_suffix('}').unwrap();
        format!("{open},\"theirs\":\"{}\"}}", "m".repeat(2 << 20))
    };
    world.machine.store_text(large(&world.grant));
    world.codex(["logout"]).run().expect(0);
    assert_eq!((world.machine.stored_text(), is_live(&world, &world.grant)), (None, false));
    let asked = revocations(&world);
    let grant = world.authority.grant(Account::numbered(2));
    world.machine.store_text(large(&grant));
    world.codex(["logout", "--local"]).run().expect(0);
    assert_eq!((world.machine.stored_text(), revocations(&world)), (None, asked));
}

/// Asserts that logouts fail, send no request and keep the file.
fn stays(world: &World<'_>, run: &dyn Fn(&'static str) -> Run, kept: &dyn Fn() -> String) {
    let before = kept();
    let ended = run("logout").run().refused(5);
    assert_eq!((kept(), revocations(world)), (before, 0), "{ended}");
    run("status").run().expect(0);
    assert_eq!(run("token").run().expect(0).out.trim_end(), world.grant.tokens.access_token);
}

#[test]
fn a_mounted_file_stays_and_nothing_is_revoked() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let home = std::mem::replace(&mut world.machine.home, TestHome::new());
    let mounted = Mounted::by(home, "mount --bind \"$home/auth.json\" \"$home/auth.json\"");
    let with = |arguments: &[&'static str]| {
        let run = mounted.codex(arguments.iter().copied());
        let run = run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", world.authority.revoke_url());
        run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url())
    };
    let run = |command: &'static str| with(&[command]);
    stays(&world, &run, &|| mounted.home.read("auth.json"));
    // The same for a file that is too large for a document.
    let whole = mounted.home.read("auth.json");
    fs::write(mounted.path().join("auth.json"), whole.clone() + &" ".repeat(2 << 20)).unwrap();
    run("logout").run().refused(5);
    assert_eq!(revocations(&world), 0);
    is_revoked_and_stays(&with);
    fs::write(mounted.path().join("auth.json"), whole).unwrap();
    is_revoked_and_stays(&with);
}

/// Asserts that forced logouts report both that the tokens are revoked and that the file stays.
fn is_revoked_and_stays(run: &dyn Fn(&[&'static str]) -> Run) {
    let ended = run(&["logout", "--force"]).run().refused(5);
    assert!(
        ended.err.contains("warning: the tokens were revoked; the remaining copy is of no use"),
        "{ended}"
    );
    assert!(ended.err.contains("was not removed: "), "{ended}");
    let report = run(&["logout", "--force", "--json"]).run().expect(5).json();
    assert_eq!((&report["revoked"], &report["logged_out"]), (&true.into(), &false.into()), "{report:#}");
    assert_eq!(report["failed"].as_array().unwrap().len(), 1, "{report:#}");
}

#[test]
fn an_immutable_file_stays_and_nothing_is_revoked() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let document = world.machine.home.document();
    let change = |sign: &str, flag: &str| {
        let changed =
            std::process::Command::new("chattr").arg(format!("{sign}{flag}")).arg(&document).status();
        changed.unwrap().success()
    };
    let with = |arguments: &[&'static str]| world.codex(arguments.iter().copied());
    for flag in ["i", "a"] {
        if !change("+", flag) {
            println!("this file system has no flags");
            return;
        }
        stays(&world, &|command| with(&[command]), &|| world.machine.home.read("auth.json"));
        assert!(change("-", flag));
    }
    assert!(change("+", "i"));
    is_revoked_and_stays(&with);
    assert!(change("-", "i"));
}

#[test]
fn a_file_in_another_users_sticky_folder_stays_and_nothing_is_revoked() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let (user, owner) = (64_077, 64_078);
    let mut machine = Machine { home: TestHome::new().owned_by(owner), session: None };
    let world = World::empty(&mut machine);
    world.machine.store_text(world.grant.auth_json());
    fs::set_permissions(world.machine.home.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let document = world.machine.home.document();
    chown(&document, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(&document, fs::Permissions::from_mode(0o644)).unwrap();
    let run = |command: &'static str| world.codex([command]).by_user(user);
    stays(&world, &run, &|| world.machine.home.read("auth.json"));
}
