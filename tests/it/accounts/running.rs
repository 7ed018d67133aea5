//! Accounts whose login a running Codex uses: what is asked, waited for, and refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use scripted_authority::{Account, TokenState};
use serde_json::json;

use super::world::World;
use crate::interop::shared_daemon::signal;
use crate::support::{Lines, eventually};

/// A program called `codex` that runs in a home until this is dropped.
struct Running {
    child: Child,
    _input: ChildStdin,
}

impl Running {
    fn start(world: &World, home: &Path) -> Self {
        let program = world.home.path().with_file_name("foreign").join("codex");
        if !program.exists() {
            fs::create_dir(program.parent().unwrap()).unwrap();
            fs::copy(fs::canonicalize("/bin/sh").unwrap(), &program).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new(program);
        command.args(["-c", "echo started; read line"]).env("CODEX_HOME", home);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        assert_eq!(Lines::of(child.stdout.take().unwrap()).next().as_deref(), Some("started"));
        Self { child, _input: input }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Accounts whose tokens are refreshed before a switch.
fn expiring() -> World {
    let mut world = World::with(&[]);
    world.authority.adjust(|policy| policy.access_lifetime = 480);
    for (number, name) in [(1, "work"), (2, "private")] {
        let grant = world.authority.grant(Account::numbered(number));
        let file = world.write_outside("import.json", &grant.auth_json());
        world.run(["account", "import", file.to_str().unwrap(), name]).run().expect(0);
        world.grants.push(grant);
    }
    world
}

#[test]
fn a_switch_after_a_refresh_waits_for_a_running_codex_until_it_is_interrupted() {
    let world = expiring();
    let running = Running::start(&world, &world.home.path());
    let mut child = world.run(["account", "use", "private"]).start();
    let said = Lines::of(child.stderr.take().unwrap());
    let waiting = format!(
        "waiting 50 s for a refresh that Codex (pid {}) may have begun; --now skips this",
        running.child.id()
    );
    said.until(|line| line == waiting);
    assert_eq!(world.active(), "work");
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(said.rest().iter().any(|line| line.contains("nothing was switched")));
    assert_eq!((world.active(), world.requests()), (json!("work"), 1));
    world.assert_live(&world.document("work"), &world.grants[0]);
}

#[test]
fn a_switch_does_not_wait_with_now_or_without_a_running_codex() {
    for is_running in [true, false] {
        let world = expiring();
        let running = is_running.then(|| Running::start(&world, &world.home.path()));
        let now = is_running.then_some("--now");
        let ended = world.run(["account", "use", "private"].into_iter().chain(now)).run().expect(0);
        assert!(!ended.err.contains("waiting"), "{ended}");
        assert_eq!(ended.err.contains("keeps the other account until it is restarted"), is_running);
        assert_eq!((world.active(), world.requests()), (json!("private"), 1));
        drop(running);
    }
}

#[test]
fn a_switch_and_a_removal_of_a_login_in_use_are_confirmed_on_a_terminal() {
    for (words, question) in [
        (["account", "use", "private"], "Switch to private? [y/N]"),
        (["account", "remove", "work"], "Remove work? [y/N]"),
    ] {
        let world = World::with(&["work", "private"]);
        let running = Running::start(&world, &world.home.path());
        let pid = format!("Codex is running with the active login (pid {})", running.child.id());
        let ask = |answer: &str| {
            let ended = world.run(words).on_a_terminal().input(answer).run();
            assert!(ended.out.contains(&pid) && ended.out.contains(question), "{ended}");
            ended
        };
        for no in ["n\n", "\n", "no\n"] {
            let ended = ask(no);
            assert!(ended.out.contains("nothing was changed: not confirmed"), "{ended}");
            assert_eq!(ended.code, Some(1), "{ended}");
            assert_eq!((world.active(), world.list().len()), (json!("work"), 2));
            world.assert_whole();
        }
        ask("y\n").expect(0);
        assert_ne!(world.active(), "work");
        // There is no question with --yes, or without a terminal.
        let world = World::with(&["work", "private"]);
        let _running = Running::start(&world, &world.home.path());
        let ended = world.run(words.into_iter().chain(["--yes"])).on_a_terminal().run().expect(0);
        assert!(!ended.out.contains("[y/N]"), "{ended}");
    }
}

#[test]
fn an_account_whose_folder_a_codex_runs_in_is_neither_removed_nor_unlinked() {
    let world = World::with(&["work", "private"]);
    let folder = world.document("work").parent().unwrap().to_owned();
    let running = Running::start(&world, &folder);
    for words in [&["account", "remove", "work"][..], &["account", "unlink"]] {
        let ended = world.run(words.iter().copied()).run().refused(4);
        let pid = running.child.id();
        assert!(
            ended.err.contains(&format!("Codex is running in the folder of the account work (pid {pid})")),
            "{ended}"
        );
    }
    world.assert_whole();
    drop(running);
    world.run(["account", "remove", "work"]).run().expect(0);
    let work = &world.grants[0].tokens.refresh_token;
    eventually("the revocation", || world.authority.state_of(work) == TokenState::Revoked);
}

#[test]
fn the_service_is_not_uninstalled_while_a_codex_runs_in_the_folder_of_an_account() {
    let world = World::with(&["work", "private"]);
    let user = world.home.beside("user");
    let uninstall = || world.run(["sync", "uninstall", "--dry-run"]).env("HOME", &user);
    // A dry run needs no service manager.
    let shown = world.run(["sync", "install", "--dry-run"]).env("HOME", &user).run().expect(0);
    let line = shown.err.lines().find_map(|line| line.strip_prefix("would write ")).unwrap().to_owned();
    let file = Path::new(line.trim_end_matches(':'));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, &shown.out).unwrap();
    let running = Running::start(&world, world.document("private").parent().unwrap());
    let ended = uninstall().run().refused(4);
    assert!(ended.err.contains("Codex is running in the folder of the account private"), "{ended}");
    drop(running);
    let ended = uninstall().run().expect(0);
    assert!(ended.err.contains("to make it a file: codex account unlink"), "{ended}");
}
