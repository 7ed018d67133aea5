//! The restrictions in `config.toml`: checked before the user is asked, and again for the account that signed in.

use scripted_authority::{DeviceFlow, Endpoint, TokenState};

use super::world::World;
use crate::support::{Machine, here, in_private_network, in_private_network_over_both_stores, web};

in_private_network_over_both_stores![forced_chatgpt_workspace_id_mismatch_blocks_login];

/// Adds lines to the machine's `config.toml`.
fn configure(world: &World<'_>, lines: &str) {
    let home = &world.machine.home;
    let before = std::fs::read_to_string(home.file("config.toml")).unwrap_or_default();
    home.write("config.toml", format!("{before}{lines}\n"));
}

fn forced_chatgpt_workspace_id_mismatch_blocks_login(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    configure(&world, "forced_chatgpt_workspace_id = [\"ws-1\", \"ws-2\"]");
    let message = "login is for workspace acct-1, but config.toml allows only ws-1, ws-2";

    let mut login = world.browser_login(&[]);
    let pages = web::follow(&login.url());
    let ended = login.finish().expect(1);
    assert!(ended.err.contains(message), "{ended}");
    assert!(pages.last().unwrap().body.contains(message), "{pages:?}");
    let query = &world.authority.journal()[0].query;
    assert_eq!(query["allowed_workspace_id"], "ws-1,ws-2", "one parameter");

    // Device: rejects_workspace_mismatch.
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let ended = world.codex(["login", "--device-auth"]).run().expect(1);
    assert!(ended.err.contains(message), "{ended}");

    let token = world.authority.personal_access_token(scripted_authority::Account::numbered(1));
    let ended = world.codex(["login", "--with-access-token"]).input(token).run().expect(1);
    assert!(ended.err.contains(message), "{ended}");

    assert_eq!(world.requests(Endpoint::Revoke), 2, "tokens that are not kept are given back");
    // The stored login is not of an allowed workspace either; it works again without the rule.
    world.codex(["token"]).run().refused(3);
    let config = world.machine.home.read("config.toml");
    let lines = config.lines().filter(|line| !line.starts_with("forced_chatgpt_workspace_id"));
    world.machine.home.write("config.toml", lines.collect::<Vec<_>>().join("\n"));
    world.assert_still_works(&old);
}

#[test]
fn a_login_of_an_allowed_workspace_is_stored_and_an_api_key_has_no_workspace() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        configure(&world, "forced_chatgpt_workspace_id = \"acct-1\"");
        let mut login = world.browser_login(&[]);
        web::follow(&login.url());
        login.finish().expect(0);
        assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live);
        world.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
    });
}

#[test]
fn a_forbidden_method_is_refused_before_the_user_is_asked() {
    in_private_network(here!(), || {
        for (forced, lines, hint) in [
            (
                "api",
                &[
                    &["login", "--no-browser"][..],
                    &["login"],
                    &["login", "--device-auth"],
                    &["login", "--with-access-token"],
                ][..],
                "use an API key: printenv OPENAI_API_KEY | codex login --with-api-key",
            ),
            ("chatgpt", &[&["login", "--with-api-key"]], "log in with your account: codex login"),
        ] {
            let mut machine = Machine::with_file();
            let world = World::new(&mut machine);
            let old = world.log_in(1);
            let config = world.machine.home.file("config.toml");
            let unrestricted = std::fs::read_to_string(&config).unwrap_or_default();
            configure(&world, &format!("forced_login_method = \"{forced}\""));
            for line in lines {
                let ended = world.codex(line.iter().copied()).input("at-anything").run().refused(1);
                assert!(ended.err.starts_with("error: config.toml allows logins only by "), "{ended}");
                assert!(ended.err.ends_with(&format!("hint: {hint}\n")), "{ended}");
            }
            assert!(world.authority.journal().is_empty(), "the authority was not asked");
            world.assert_nothing_left();
            // Without the rule, which forbids the old login too.
            std::fs::write(&config, unrestricted).unwrap();
            world.assert_still_works(&old);
        }
    });
}
