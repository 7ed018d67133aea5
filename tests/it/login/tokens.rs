//! Logins with an existing token, which is verified before it is stored.

use scripted_authority::{Account, Endpoint, Signing, Step};
use serde_json::{Value, json};

use super::world::World;
use crate::support::{Ended, Machine, over_both_stores};

over_both_stores![
    a_personal_access_token_is_stored_without_a_mode_that_older_builds_refuse,
    an_agent_identity_token_is_stored_with_its_mode,
    a_token_that_cannot_be_verified_leaves_the_stored_login,
];

fn logged_in_with(world: &World<'_>, token: &str) -> Ended {
    world.codex(["login", "-v", "--with-access-token"]).input(token).run()
}

/// Sets the address of the agent identity keys in `config.toml`.
fn trust_its_keys(world: &World<'_>, path: &str) {
    let home = &world.machine.home;
    let before = std::fs::read_to_string(home.file("config.toml")).unwrap_or_default();
    home.write("config.toml", format!("chatgpt_base_url = \"{}{path}\"\n{before}", world.authority.url()));
}

fn a_personal_access_token_is_stored_without_a_mode_that_older_builds_refuse(machine: &mut Machine) {
    let world = World::new(machine);
    let token = world.authority.personal_access_token(Account::numbered(1));
    let ended = logged_in_with(&world, &format!("{token}\n")).expect(0);
    assert!(ended.err.starts_with("the token belongs to person1@example.com\n"), "{ended}");
    world.assert_no_secret_in(&ended.to_string());
    assert_eq!(world.document(), json!({"OPENAI_API_KEY": null, "personal_access_token": token}));
    assert_eq!(world.codex(["token"]).run().expect(0).out, format!("{token}\n"));
}

fn an_agent_identity_token_is_stored_with_its_mode(machine: &mut Machine) {
    let world = World::new(machine);
    for path in ["/backend-api", "/api/codex"] {
        trust_its_keys(&world, path);
        let token = world.authority.agent_identity(&Account::numbered(1), Signing::Valid).unwrap();
        let ended = logged_in_with(&world, &token).expect(0);
        world.assert_no_secret_in(&ended.to_string());
        let kept: Value = world.document();
        assert_eq!((&kept["auth_mode"], &kept["agent_identity"]), (&json!("agentIdentity"), &json!(token)));
        world
            .machine
            .home
            .write("config.toml", world.machine.home.read("config.toml").split_once('\n').unwrap().1);
    }
}

fn a_token_that_cannot_be_verified_leaves_the_stored_login(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    trust_its_keys(&world, "/backend-api");
    let personal = world.authority.personal_access_token(Account::numbered(1));
    let agent = |signing| world.authority.agent_identity(&Account::numbered(1), signing).unwrap();
    world.authority.adjust(|policy| policy.access_lifetime = -4_000);
    let expired = agent(Signing::Valid);
    world.authority.adjust(|policy| policy.access_lifetime = 3_600);
    let ordinary = |_: ()| None;
    let failing = |endpoint, step| Some((endpoint, step));
    for (token, script, exit, message) in [
        ("at-unknown", ordinary(()), 1, "the authority does not accept this personal access token"),
        (&personal, failing(Endpoint::Whoami, Step::status(500, "down")), 4, "whoami answered 500"),
        (&personal, failing(Endpoint::Whoami, Step::closed_before()), 4, "whoami closed the connection"),
        (
            &personal,
            failing(Endpoint::Whoami, Step::body(200, "text/html", "<p>")),
            4,
            "the response is unusable",
        ),
        (&agent(Signing::Forged), ordinary(()), 1, "agent identity token: its signature is invalid"),
        (&agent(Signing::UnknownKey), ordinary(()), 1, "agent identity token: its key is not published"),
        (&agent(Signing::Unsigned), ordinary(()), 1, "agent identity token: it is not signed with RS256"),
        (&expired, ordinary(()), 1, "agent identity token: it has expired"),
        (&agent(Signing::Valid), failing(Endpoint::Jwks, Step::status(503, "busy")), 4, "jwks answered 503"),
        (
            &agent(Signing::Valid),
            failing(Endpoint::Jwks, Step::closed_before()),
            4,
            "jwks closed the connection",
        ),
        (
            &agent(Signing::Valid),
            failing(Endpoint::Jwks, Step::redirect("http://evil.example/")),
            1,
            "evil.example",
        ),
    ] {
        if let Some((endpoint, step)) = script {
            world.authority.script(endpoint, step);
        }
        let ended = logged_in_with(&world, token).expect(exit);
        assert!(ended.err.contains(message), "{message}: {ended}");
        assert!(!ended.err.contains("panicked"), "{ended}");
        world.assert_no_secret_in(&ended.to_string());
    }
    world.assert_still_works(&old);
}
