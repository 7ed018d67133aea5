//! What OpenAI's Codex does with the link and the folder of an account.

use std::fs;
use std::path::{Path, PathBuf};

use scripted_authority::{Account, DeviceFlow, Pacing};
use serde_json::json;

use super::codex::{codex_0169, codex_0171};
use super::provider::Provider;
use crate::accounts::world::World;
use crate::support::{Ended, Run, names};

/// A run of Codex in a home of `world`.
fn codex<'a>(
    program: &Path,
    world: &World,
    home: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Run {
    Run::of(program, arguments)
        .env("CODEX_HOME", home)
        .env("HOME", home)
        .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url())
        .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", world.authority.revoke_url())
}

#[test]
fn codex_reads_the_active_account_and_the_folder_of_each() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work"]);
        world.run(["account", "add", "key", "--with-api-key"]).input("sk-1").run().expect(0);
        let home = world.home.path();
        let status = |home: &Path| codex(&program, &world, home, ["login", "status"]).run().expect(0).err;
        assert!(status(&home).contains("Logged in using ChatGPT"));
        world.run(["account", "use", "key"]).run().expect(0);
        assert!(status(&home).contains("API key"));
        let folder = world.document("work").parent().unwrap().to_owned();
        world.run(["account", "run", "work", "--", "true"]).run().expect(0);
        assert!(status(&folder).contains("Logged in using ChatGPT"));
        world.assert_whole();
    }
}

#[test]
fn a_logout_of_codex_removes_the_link_and_the_next_command_the_rest_of_that_login() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work", "private"]);
        let work = world.document("work");
        codex(&program, &world, &world.home.path(), ["logout"]).run().expect(0);
        assert!(fs::symlink_metadata(world.home.document()).is_err() && work.exists());
        let ended = world.run(["account", "which", "--json"]).run().expect(1);
        assert!(ended.err.contains("another program has logged out of the account work"), "{ended}");
        assert_eq!(ended.json()["reason"], "none_active");
        assert!(!work.exists());
        world.assert_live(&world.document("private"), &world.grants[1]);
        world.run(["account", "use", "private"]).run().expect(0);
        world.run(["refresh"]).run().expect(0);
        world.assert_live(&world.document("private"), &world.grants[1]);
        let ended = world.run(["refresh", "--account", "work"]).run().refused(1);
        assert!(ended.err.contains("not logged in"), "{ended}");
    }
}

#[test]
fn an_api_key_that_codex_stores_goes_through_the_link_into_the_account() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work", "private"]);
        let run = codex(&program, &world, &world.home.path(), ["login", "--with-api-key"]);
        run.input("sk-codex").run().expect(0);
        assert!(world.home.document().is_symlink());
        assert_eq!(world.token(&["token", "--account", "work"]), "sk-codex");
        let told = "another program has replaced the login of the account work by an API key";
        assert!(world.run(["status"]).run().expect(0).err.contains(told));
        assert!(!world.run(["status"]).run().expect(0).err.contains(told));
        world.assert_live(&world.document("private"), &world.grants[1]);
        assert_eq!(world.active(), json!("work"));
    }
}

#[test]
fn codex_adds_an_mcp_server_for_all_accounts_from_the_folder_of_one() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work"]);
        let folder = world.document("work").parent().unwrap().to_owned();
        world.run(["account", "run", "work", "--", "true"]).run().expect(0);
        codex(&program, &world, &folder, ["mcp", "add", "tool", "--", "true"]).run().expect(0);
        assert!(folder.join("config.toml").is_symlink());
        assert!(world.home.read("config.toml").contains("[mcp_servers.tool]"));
        world.assert_whole();
    }
}

/// Asserts that a login of the user of this number, by which Codex has replaced the link, moves into the account `name`.
fn login_moves(world: &World, work: &Path, number: u32, name: &str) {
    assert!(!world.home.document().is_symlink());
    let ended = world.run(["token"]).run().expect(0);
    assert!(ended.err.contains(&format!("{name}, which is active now")), "{ended}");
    assert!(world.home.document().is_symlink());
    assert_eq!((world.active(), work.exists()), (json!(name), number == 1));
    assert_eq!(ended.out.trim(), world.token(&["token", "--account", name]));
    world.assert_live(&world.document("private"), &world.grants[1]);
    world.run(["refresh"]).run().expect(0);
}

/// The numbers of users and the accounts of their logins, if the first user is active.
const LOGINS: [(u32, &str); 2] = [(1, "work"), (3, "person3")];

#[test]
fn a_device_login_of_codex_moves_into_the_account_of_its_user_or_becomes_one() {
    for program in [codex_0169(), codex_0171()] {
        for (number, name) in LOGINS {
            let world = World::with(&["work", "private"]);
            let work = world.document("work");
            world.authority.visit_as(Account::numbered(number));
            world.authority.adjust(|policy| {
                (policy.device, policy.pacing) = (DeviceFlow::Approves, Pacing::Ignored);
            });
            let words = ["login", "--device-auth", "--experimental_issuer", world.authority.url()];
            codex(&program, &world, &world.home.path(), words).run().expect(0);
            login_moves(&world, &work, number, name);
        }
    }
}

// Linux: chromium.
#[cfg(target_os = "linux")]
#[test]
fn a_browser_login_of_the_server_of_codex_goes_through_the_link_into_the_account() {
    use crate::app_server::client::Client;
    use crate::login::devtools::Chromium;
    use crate::support::{here, in_private_network};

    const TOLD: &str =
        "another program has replaced the login of the account work by the login of person3@example.com";
    in_private_network(here!(), || {
        let mut browser = Chromium::start();
        for program in [codex_0169(), codex_0171()] {
            for (number, _) in LOGINS {
                let world = World::with(&["work", "private"]);
                world.authority.visit_as(Account::numbered(number));
                let base = format!("chatgpt_base_url=\"{}/backend-api\"", world.authority.url());
                let run = codex(&program, &world, &world.home.path(), ["-c", &base, "app-server"]);
                let run = run.env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url());
                let mut server = Client::from_run(run);
                let before = world.token(&["token"]);
                let started = server.call("account/login/start", json!({"type": "chatgpt"}));
                browser.visit(started["authUrl"].as_str().unwrap());
                let ended = server.notification("account/login/completed");
                assert_eq!(ended["success"], true, "{ended}");
                server.end();
                assert!(world.home.document().is_symlink());
                let status = world.run(["status"]).run().expect(0);
                assert_eq!(status.err.contains(TOLD), number == 3, "{status}");
                let now = world.token(&["token", "--account", "work"]);
                assert_ne!(now, before);
                assert_eq!((world.token(&["token"]), world.active()), (now, json!("work")));
                world.assert_live(&world.document("private"), &world.grants[1]);
                world.run(["refresh"]).run().expect(0);
            }
        }
    });
}

/// The commands of the README that give two terminals an account each.
#[test]
fn the_five_commands_of_the_readme_give_two_terminals_an_account_each() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, text) = readme.split_once("\n## Accounts\n").unwrap();
    let block = text.split("```").nth(1).unwrap();
    let lines: Vec<_> = block.lines().filter_map(|line| line.strip_prefix("codex ")).collect();
    assert_eq!(lines.len(), 5, "{block}");
    let (world, program) = (World::with(&[]), codex_0171());
    world.authority.adjust(|policy| (policy.device, policy.pacing) = (DeviceFlow::Approves, Pacing::Ignored));
    let mut logins = 0;
    let mut outputs = Vec::new();
    for line in lines {
        let mut words: Vec<_> = line.split(' ').collect();
        if words == ["login"] || words.starts_with(&["account", "add"]) {
            logins += 1;
            world.authority.visit_as(Account::numbered(logins));
            words.push("--device-auth");
        }
        if words.pop_if(|last| *last == "codex").is_some() {
            words.extend([program.to_str().unwrap(), "login", "status"]);
        }
        let run = world.run(words).env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url());
        outputs.push(run.run().expect(0));
    }
    assert!(outputs[3].err.contains("Logged in using ChatGPT"), "{}", outputs[3]);
    let listed = &outputs[4].out;
    assert!(listed.contains("*  work     person1@example.com"), "{listed}");
    assert!(listed.contains("   private  person2@example.com"), "{listed}");
    let email = |words: &[&str]| {
        let report = world.run(words.iter().copied().chain(["status", "--json"])).run().expect(0).json();
        report["account"]["email"].clone()
    };
    assert_eq!(email(&[]), "person1@example.com");
    let ours = crate::support::program();
    assert_eq!(email(&["account", "run", "private", "--", ours.to_str().unwrap()]), "person2@example.com");
}

/// A turn of `codex exec` with an account. Returns the bearer token.
fn turn(program: &Path, world: &World, provider: &Provider, account: &str, words: &[&str]) -> String {
    let before = provider.bearers().len();
    let user = world.home.path().with_file_name("user");
    let program = program.to_str().unwrap();
    let fixed = ["account", "run", account, "--", program, "exec", "--skip-git-repo-check"];
    let settings = provider.settings();
    let settings = settings.iter().map(String::as_str);
    let run = world.run(fixed.into_iter().chain(settings).chain(words.iter().copied()));
    let ended: Ended = run.env("HOME", &user).run().expect(0);
    assert_eq!(ended.out, "pong\n", "{ended}");
    provider.bearers()[before].clone()
}

fn turns_and_resumed_threads_use_the_account_of_the_folder(program: &Path) {
    let world = World::with(&["work", "private"]);
    let provider = Provider::start();
    world.home.beside("user");
    let token = |name| world.token(&["token", "--account", name]);
    assert_eq!(turn(program, &world, &provider, "work", &["ping"]), token("work"));
    let threads = || find(&world.home.file("sessions"), ".jsonl");
    let first = threads();
    let [thread] = first.as_slice() else { panic!("{first:?}") };
    let name = thread.file_stem().unwrap().to_str().unwrap();
    let id = &name[name.len() - 36..];
    // Both continue the thread, also the account that has not begun it.
    for account in ["work", "private", "work"] {
        let length = fs::metadata(thread).unwrap().len();
        let words = ["resume", id, "ping"];
        assert_eq!(turn(program, &world, &provider, account, &words), token(account), "{account}");
        assert_eq!(threads(), first, "{account}");
        assert!(fs::metadata(thread).unwrap().len() > length, "{account}");
    }
    for name in ["work", "private"] {
        let folder = world.document(name).parent().unwrap().to_owned();
        assert_eq!(fs::read_link(folder.join("sessions")).unwrap(), Path::new("../../sessions"));
        for file in names(&folder).iter().filter(|file| file.contains(".sqlite")) {
            let is_link = folder.join(file).is_symlink();
            assert_eq!(is_link, file.ends_with(".sqlite"), "{file} of {name}");
        }
    }
    assert!(world.home.file("state_5.sqlite").is_file());
    world.assert_whole();
}

/// The files below `folder` whose names end in `ending`.
fn find(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { find(&path, ending) } else { vec![path] });
    found.filter(|path| path.to_str().unwrap().ends_with(ending)).collect()
}

#[test]
fn turns_and_resumed_threads_of_codex_0169_use_the_account_of_the_folder() {
    turns_and_resumed_threads_use_the_account_of_the_folder(&codex_0169());
}

#[test]
fn turns_and_resumed_threads_of_codex_0171_use_the_account_of_the_folder() {
    turns_and_resumed_threads_use_the_account_of_the_folder(&codex_0171());
}

#[test]
fn codex_changes_a_feature_for_all_accounts_from_the_folder_of_one() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work"]);
        let folder = world.document("work").parent().unwrap().to_owned();
        world.run(["account", "run", "work", "--", "true"]).run().expect(0);
        codex(&program, &world, &folder, ["features", "enable", "shell_snapshot_v2"]).run().expect(0);
        assert!(folder.join("config.toml").is_symlink());
        assert!(world.home.read("config.toml").contains("shell_snapshot_v2 = true"));
        world.assert_whole();
    }
}
