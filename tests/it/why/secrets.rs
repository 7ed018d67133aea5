//! No secret is in the history, nor in what is printed from it; the report has no name either.

use std::fs;

use scripted_authority::{Ending, Step};

use super::world::World;

#[test]
fn no_output_of_the_history_holds_a_secret_and_the_report_no_name() {
    let world = World::new();
    world.refresh().expect(0);
    world.script(Step::status(503, "unavailable"));
    world.refresh().expect(4);
    world.codex(["login", "--with-api-key", "--store", "file"]).input("sk-marked-secret").run().expect(0);
    let third = world.authority.grant(scripted_authority::Account::numbered(1));
    world.home.write("auth.json", third.auth_json());
    world.refresh().expect(0);
    let file = world.user.join("second.json");
    let second = world.authority.grant(scripted_authority::Account::numbered(2));
    fs::write(&file, second.auth_json()).unwrap();
    world.codex(["account", "import", file.to_str().unwrap(), "acme-inc"]).run().expect(0);
    world.authority.end(third.id, Ending::RefreshInvalidated);
    world.refresh().expect(3);

    let mut files = String::new();
    for (path, mode, content) in world.home.tree() {
        if path.components().any(|part| part.as_os_str() == "history") && path.is_file() {
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
            files.push_str(&String::from_utf8(content).unwrap());
        }
    }
    assert!(files.lines().count() > 6, "{files}");
    let report = world.codex(["why", "--report"]).run().expect(0);
    let texts = [
        files,
        world.codex(["log"]).run().expect(0).to_string(),
        world.codex(["log", "--json"]).run().expect(0).to_string(),
        world.codex(["why"]).run().expect(0).to_string(),
        world.codex(["why", "--json"]).run().expect(0).to_string(),
        report.to_string(),
    ];
    let mut secrets = world.authority.issued_secrets();
    secrets.push("sk-marked-secret".to_owned());
    assert!(secrets.len() > 8);
    for text in &texts {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} in {text}");
        }
    }
    let home = world.home.path();
    let account = scripted_authority::Account::numbered(1);
    let names = [
        "acme-inc",
        "127.0.0.1",
        "@",
        home.to_str().unwrap(),
        "/tmp/",
        &account.account_id,
        &account.user_id,
    ];
    for name in names {
        assert!(!report.out.contains(name), "{name} in {report}");
    }
    let report = report.json();
    assert!(report["events"].as_array().unwrap().len() > 6, "{report:#}");
    assert!(report["diagnosis"]["folders"]["access"] == "Writable", "{report:#}");
}

#[test]
fn nothing_is_recorded_if_the_history_is_off() {
    let world = World::empty();
    world.home.write("auth.json", world.grant.auth_json());
    world.codex(["refresh"]).env("CODEX_AUTH_HISTORY", "off").run().expect(0);
    assert!(!world.home.file("codex-auth/history").exists());
    world.codex(["refresh"]).env("CODEX_AUTH_HISTORY", "perhaps").run().refused(1);
}
