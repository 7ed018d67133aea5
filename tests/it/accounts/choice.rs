//! Which account a command uses.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::world::World;
use crate::support::{Ended, Run};

/// A run in a working folder.
fn within(run: Run, folder: &Path) -> Ended {
    let script = format!("cd '{}' && exec \"$0\" \"$@\"", folder.display());
    run.through(["sh", "-c", &script]).run()
}

/// Two API keys, so that a token shows whose it is.
fn world() -> World {
    let world = World::with(&[]);
    for (name, key) in [("one", "sk-one"), ("two", "sk-two"), ("three", "sk-three")] {
        world.run(["account", "add", name, "--with-api-key"]).input(key).run().expect(0);
    }
    world
}

#[test]
fn option_variable_pin_and_active_account_decide_in_this_order() {
    let world = world();
    let folder = world.home.beside("project");
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    world.run(["account", "pin", "two", folder.to_str().unwrap()]).run().expect(0);
    let deep = folder.join("deep/er");
    let which = |run: Run| {
        let report = within(run, &deep).expect(0).json();
        (report["name"].clone(), report["reason"].clone())
    };
    let run = |words: &[&str]| world.run(words.iter().copied());
    let variable = |run: Run| run.env("CODEX_AUTH_ACCOUNT", "three");
    let words = ["account", "which", "--json"];
    assert_eq!(which(run(&words)), (json!("two"), json!("pin")));
    assert_eq!(which(variable(run(&words))), (json!("three"), json!("variable")));
    let named = ["--account", "one", "account", "which", "--json"];
    assert_eq!(which(variable(run(&named))), (json!("one"), json!("option")));
    let report = run(&words).run().expect(0).json();
    assert_eq!((&report["name"], &report["reason"]), (&json!("one"), &json!("active")));
    for words in [
        &["token", "--account", "three"][..],
        &["--account", "three", "token"],
        &["--account=three", "token"],
        &["token", "--account=three"],
        &["--account", "three", "-c", "forced_login_method=\"api\"", "token"],
    ] {
        assert_eq!(within(run(words), &deep).expect(0).out, "sk-three\n", "{words:?}");
    }
    assert_eq!(within(run(&["token"]), &deep).expect(0).out, "sk-two\n");
    assert_eq!(within(run(&["token"]), folder.parent().unwrap()).expect(0).out, "sk-one\n");
    let shown = within(run(&["status"]), &deep).expect(0).out;
    assert!(shown.contains("  name         two (pinned to /"), "{shown}");
    // A deeper pin wins, and an unpinned folder falls back.
    world.run(["account", "pin", "three", deep.to_str().unwrap()]).run().expect(0);
    assert_eq!(within(run(&["token"]), &deep).expect(0).out, "sk-three\n");
    within(run(&["account", "unpin"]), &deep).expect(0);
    assert_eq!(within(run(&["token"]), &deep).expect(0).out, "sk-two\n");
    within(run(&["account", "unpin"]), &deep).refused(1);
}

#[test]
fn an_unknown_account_is_an_error_that_names_the_others() {
    let world = world();
    for run in [
        world.run(["token", "--account", "four"]),
        world.run(["token"]).env("CODEX_AUTH_ACCOUNT", "four"),
        world.run(["status", "--account", "four"]),
    ] {
        let ended = run.run();
        assert!(
            ended.err.contains("error: there is no account four\nhint: the accounts are one, two, three"),
            "{ended}"
        );
        assert_eq!(ended.out, "");
    }
    for words in [&["--account"][..], &["--account", "one", "--account", "two", "token"]] {
        world.run(words.iter().copied()).run().refused(2);
    }
}

#[test]
fn every_command_about_a_login_uses_the_chosen_account() {
    let world = World::with(&["work", "private"]);
    let private = world.document("private");
    let home = private.parent().unwrap().to_str().unwrap().to_owned();
    for words in [
        &["status", "--json"][..],
        &["refresh", "--json"],
        &["token", "--json"],
        &["doctor", "--json"],
        &["sync", "status", "--json"],
        &["logout", "--json", "--local"],
    ] {
        let report = world.run(words.iter().copied()).env("CODEX_AUTH_ACCOUNT", "private").run();
        assert_eq!(report.json()["home"], home, "{words:?}\n{report}");
    }
    assert!(!private.exists());
    world.assert_live(&world.document("work"), &world.grants[0]);
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_worktree_uses_the_account_of_its_repository_and_a_project_cannot_choose() {
    let world = world();
    let (repository, worktree) = (world.home.beside("repository"), world.home.beside("worktree"));
    let administration = repository.join(".git/worktrees/tree");
    fs::create_dir_all(&administration).unwrap();
    fs::create_dir_all(worktree.join("src")).unwrap();
    fs::write(worktree.join(".git"), format!("gitdir: {}\n", administration.display())).unwrap();
    fs::write(administration.join("commondir"), "../..\n").unwrap();
    fs::write(administration.join("gitdir"), format!("{}/.git\n", worktree.display())).unwrap();
    world.run(["account", "pin", "two", repository.to_str().unwrap()]).run().expect(0);
    let token = |folder: &Path| within(world.run(["token"]), folder).expect(0).out;
    assert_eq!(token(&worktree.join("src")), "sk-two\n");
    let report = within(world.run(["account", "which", "--json"]), &worktree).expect(0).json();
    assert_eq!(report["reason"], "repository_pin");
    // A pin of the worktree itself is as deep, and nearer.
    world.run(["account", "pin", "three", worktree.to_str().unwrap()]).run().expect(0);
    assert_eq!(token(&worktree), "sk-three\n");
    world.run(["account", "unpin", worktree.to_str().unwrap()]).run().expect(0);
    // Another folder that claims to be a worktree of the repository is none.
    let forged = world.home.beside("forged");
    fs::write(forged.join(".git"), format!("gitdir: {}\n", administration.display())).unwrap();
    assert_eq!(token(&forged), "sk-one\n");
    fs::create_dir(forged.join("own")).unwrap();
    fs::write(forged.join(".git"), "gitdir: own\n").unwrap();
    fs::write(forged.join("own/commondir"), format!("{}/.git\n", repository.display())).unwrap();
    fs::write(forged.join("own/gitdir"), format!("{}/.git\n", forged.display())).unwrap();
    assert_eq!(token(&forged), "sk-one\n");
}

#[test]
fn the_folder_of_an_account_is_a_home_whose_commands_know_the_others() {
    let world = world();
    let home = world.document("two").parent().unwrap().to_owned();
    assert_eq!(world.run_at(&home, ["token"]).run().expect(0).out, "sk-two\n");
    assert_eq!(world.run_at(&home, ["token", "--account", "three"]).run().expect(0).out, "sk-three\n");
    let report = world.run_at(&home, ["account", "which", "--json"]).run().expect(0).json();
    assert_eq!((&report["name"], &report["reason"]), (&json!("two"), &json!("home")));
    assert_eq!(world.list_at(&home).len(), 3);
}

#[test]
fn the_next_program_and_the_command_of_a_run_get_the_folder_of_the_account() {
    let world = world();
    let home = world.document("two").parent().unwrap().to_owned();
    let tools = world.home.beside("tools");
    let program = tools.join("codex");
    fs::write(&program, "#!/bin/sh\necho \"$CODEX_HOME $CODEX_AUTH_ACCOUNT $*\"\n").unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", tools.display());
    for words in [&["--account", "two", "exec", "a prompt"][..], &["--account=two", "exec", "a prompt"]] {
        let ended = world.run(words.iter().copied()).env("PATH", &path).run().expect(0);
        assert_eq!(ended.out, format!("{}  exec a prompt\n", home.display()));
    }
    let ended = world.run(["--account", "four", "exec", "x"]).env("PATH", &path).run().refused(1);
    assert!(ended.err.contains("there is no account four") && ended.out.is_empty(), "{ended}");
    let shell = ["account", "run", "two", "--", "sh", "-c", "echo $CODEX_HOME; exit 7"];
    assert_eq!(world.run(shell).run().expect(7).out, format!("{}\n", home.display()));
    assert_eq!(fs::read_link(home.join("sessions")).unwrap(), Path::new("../../sessions"));
    assert!(world.home.file("sessions").is_dir());
    assert!(!home.join("auth.json").is_symlink());
    let ended = world.run(["exec", "x"]).env("PATH", &path).run().expect(0);
    assert_eq!(ended.out, format!("{}  exec x\n", world.home.path().display()));
}

#[test]
fn a_pin_ends_with_its_account_or_by_the_path_of_a_folder_that_is_gone() {
    let world = World::with(&["work", "private"]);
    let project = world.home.path().with_file_name("project");
    let pin = || {
        fs::create_dir(&project).unwrap();
        world.run(["account", "pin", "private", project.to_str().unwrap()]).run().expect(0);
    };
    pin();
    fs::remove_dir(&project).unwrap();
    within(world.run(["account", "unpin", "project"]), project.parent().unwrap()).expect(0);
    pin();
    let ended = world.run(["account", "remove", "private"]).run().expect(0);
    let told = format!("commands in {} use the active account from now on\n", project.display());
    assert!(ended.err.contains(&told), "{ended}");
}

#[test]
fn a_switch_says_when_commands_here_use_another_account_all_the_same() {
    let world = world();
    let folder = world.home.beside("project");
    world.run(["account", "pin", "two", folder.to_str().unwrap()]).run().expect(0);
    let ended = within(world.run(["account", "use", "three"]), &folder).expect(0);
    let said = format!("commands here use the account two all the same: pinned to {}", folder.display());
    assert!(ended.err.contains(&said), "{ended}");
    let report = within(world.run(["account", "use", "one", "--json"]), &folder).expect(0).json();
    assert!(report["warnings"].to_string().contains("use the account two all the same"), "{report}");
    let ended = world.run(["account", "use", "three"]).env("CODEX_AUTH_ACCOUNT", "one").run().expect(0);
    assert!(ended.err.contains("use the account one all the same: named by CODEX_AUTH_ACCOUNT"), "{ended}");
    for run in [
        within(world.run(["account", "use", "two"]), &folder),
        world.run(["account", "use", "three"]).run(),
        world.run(["account", "use", "one"]).env("CODEX_AUTH_ACCOUNT", "one").run(),
    ] {
        assert!(!run.expect(0).err.contains("all the same"));
    }
}
