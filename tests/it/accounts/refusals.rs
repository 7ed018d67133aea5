//! What is refused, before anything has changed, and with words for the user.

use std::fs;

use super::world::World;
use crate::store::homes::link_to;

#[test]
fn a_switch_to_an_account_without_a_login_is_refused_before_anything_else_happens() {
    let world = World::with_policy(&["work", "private"], |policy| policy.access_lifetime = 480);
    world.run(["logout", "--account", "private", "--local"]).run().expect(0);
    let plain = || drop(world.run(["account", "unlink"]).run().expect(0));
    let broken = || link_to("/nowhere/auth.json".as_ref(), &world.home.document());
    // A lock notes who held it last.
    let without_locks = || {
        let mut tree = world.home.tree();
        tree.retain(|(path, ..)| path.extension().is_none_or(|kind| kind != "lock"));
        tree
    };
    let refusal =
        "error: the account private is not logged in\nhint: to log in: codex login --account private\n";
    for prepare in [&(|| ()) as &dyn Fn(), &plain, &broken] {
        prepare();
        let before = without_locks();
        for words in [&["account", "use", "private"][..], &["account", "use", "private", "--yes"]] {
            assert_eq!(world.run(words.iter().copied()).run().refused(1).err, refusal);
        }
        assert_eq!(without_locks(), before);
    }
    assert_eq!(world.requests(), 0);
}

#[test]
fn a_command_that_cannot_be_run_with_an_account_has_the_exit_code_of_a_shell() {
    let world = World::with(&["work"]);
    let file = world.write_outside("file", "");
    let code = |program: &str| world.run(["account", "run", "work", "--", program]).run().code;
    assert_eq!(
        (code("/no/such/program"), code(file.to_str().unwrap()), code("false")),
        (Some(127), Some(126), Some(1))
    );
}

/// The current copy lives on elsewhere. The older one would end that login if it were used.
#[test]
fn of_the_copies_of_a_login_that_was_removed_without_revocation_only_the_current_one_is_imported() {
    let world = World::with(&["work"]);
    let copy = || fs::read_to_string(world.document("work")).unwrap();
    let old = copy();
    world.run(["refresh"]).run().expect(0);
    let current = copy();
    world.run(["logout", "--local"]).run().expect(0);
    let import = |text: &str| {
        let file = world.write_outside("copy.json", text);
        world.run(["account", "import", file.to_str().unwrap(), "again"]).run()
    };
    let ended = import(&old).refused(1);
    assert!(ended.err.contains("is an old copy of a login"), "{ended}");
    import(&current).expect(0);
    world.assert_live(&world.document("again"), &world.grants[0]);
    world.run(["refresh", "--account", "again"]).run().expect(0);
    assert_eq!(world.requests(), 2);
}

/// What another program did waits for a process that may write.
// Linux: mounts.
#[cfg(target_os = "linux")]
#[test]
fn in_a_read_only_home_a_removed_link_and_a_lost_list_are_named_and_commands_go_on() {
    use crate::support::Mounted;

    const READ_ONLY: &str = "mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$home\"";
    let world = World::with(&["work", "private"]);
    let token = world.token(&["token", "--account", "private"]);
    let World { home, .. } = world;
    fs::remove_file(home.document()).unwrap();
    let mounted = Mounted::by(home, READ_ONLY);
    let ended = mounted.codex(["token", "--account", "private"]).run().expect(0);
    assert_eq!(ended.out.trim(), token);
    assert_eq!(ended.err.matches("note: another program has removed ").count(), 1, "{ended}");
    assert!(ended.err.contains("whether it has logged out is not known: "), "{ended}");
    assert!(ended.err.contains("is read-only"), "{ended}");
    let world = World::with(&["work", "private"]);
    fs::remove_file(world.home.file("codex-auth/accounts.toml")).unwrap();
    let World { home, .. } = world;
    let mounted = Mounted::by(home, READ_ONLY);
    let ended = mounted.codex(["account", "list"]).run().expect(0);
    assert!(ended.err.starts_with("warning: there are accounts whose list was lost: "), "{ended}");
    assert!(ended.err.contains("is read-only"), "{ended}");
}
