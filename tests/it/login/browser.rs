//! Browser logins, from the URL that is shown to the final page.

use codex_auth::{AuthDocument, Timestamp};
use scripted_authority::{Consent, Edit, Endpoint, ErrorShape, Outcome, Step, TokenState};

use super::world::{Login, World};
use crate::interop::codex::theirs;
use crate::support::{Machine, TestHome, here, in_private_network, in_private_network_over_both_stores, web};

in_private_network_over_both_stores![
    end_to_end_login_flow_persists_auth_json,
    a_login_that_was_declined_leaves_the_one_before,
];

fn end_to_end_login_flow_persists_auth_json(machine: &mut Machine) {
    let world = World::new(machine);
    let begun = Timestamp::now();
    let mut login = world.browser_login(&[]);
    let url = login.url();
    let pages = web::follow(&url);
    let ended = login.finish().expect(0);

    let document = world.document();
    let text = world.machine.stored_text().unwrap();
    let keys = [
        "auth_mode",
        "OPENAI_API_KEY",
        "tokens",
        "id_token",
        "access_token",
        "refresh_token",
        "oauth_provenance",
        "login_owner_id",
        "account_id",
        "last_refresh",
    ];
    let positions =
        keys.map(|key| text.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}: {text}")));
    assert!(positions.is_sorted(), "{text}");
    let fields = |value: &serde_json::Value| value.as_object().unwrap().len();
    assert_eq!((fields(&document), fields(&document["tokens"])), (4, 6));
    assert_eq!(document["auth_mode"], "chatgpt");
    assert!(document["OPENAI_API_KEY"].as_str().unwrap().starts_with("sk-"));
    assert_eq!(document["tokens"]["account_id"], "acct-1");
    assert_eq!(document["tokens"]["oauth_provenance"]["issuer"], world.authority.url());
    assert_eq!(document["tokens"]["oauth_provenance"]["client_id"], scripted_authority::CODEX_CLIENT_ID);
    assert_eq!(document["tokens"]["login_owner_id"].as_str().unwrap().len(), 43);
    let parsed = AuthDocument::parse(text.as_bytes()).unwrap();
    assert!(parsed.warnings().is_empty() && parsed.last_refresh().unwrap() >= begun);
    assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live);

    let asked: Vec<_> = world.authority.journal().into_iter().map(|entry| entry.endpoint).collect();
    assert_eq!(asked, [Endpoint::Authorize, Endpoint::Exchange, Endpoint::ApiKey]);
    let query = &world.authority.journal()[0].query;
    for (name, value) in [
        ("response_type", "code"),
        ("redirect_uri", "http://127.0.0.1:1455/auth/callback"),
        ("code_challenge_method", "S256"),
        ("scope", "openid profile email offline_access api.connectors.read api.connectors.invoke"),
        ("id_token_add_organizations", "true"),
        ("codex_cli_simplified_flow", "true"),
        ("originator", "codex_cli_rs"),
    ] {
        assert_eq!(query[name], value);
    }

    let [_, callback, success] = &pages[..] else { panic!("{pages:#?}") };
    assert_eq!((callback.status, callback.header("location")), (303, Some("/success")));
    assert_eq!(success.url, "http://127.0.0.1:1455/success", "no token and no code is in sight");
    assert!(success.status == 200 && success.body.contains("<h1>You are signed in</h1>"));
    for page in [callback, success] {
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        world.assert_no_secret_in(&page.body);
    }
    assert_eq!(ended.out, "");
    world.assert_no_secret_in(&format!("{url}\n{ended}"));
    world.assert_nothing_left();
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), world.stored_token("access_token"));
    world.codex(["refresh"]).run().expect(0);
}

fn a_login_that_was_declined_leaves_the_one_before(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    let (ended, page) = refused(&world, "access_denied", "the visitor cancelled");
    assert_eq!(
        ended.err.lines().last(),
        Some("error: the authority refused the login: the visitor cancelled")
    );
    assert!(page.contains("The authority refused the login: the visitor cancelled."), "{page}");
    assert!(page.contains("Nothing was changed on your machine"), "{page}");
    world.assert_nothing_left();
    world.assert_still_works(&old);
}

/// Returns the output of a login that the authority refuses, and the last page.
fn refused(world: &World<'_>, error: &str, description: &str) -> (crate::support::Ended, String) {
    let (error, description) = (error.to_owned(), description.to_owned());
    world.authority.adjust(|policy| policy.consent = Consent::Refuses { error, description });
    let mut login = world.browser_login(&[]);
    let pages = web::follow(&login.url());
    let page = pages.last().unwrap();
    assert_eq!(page.url, "http://127.0.0.1:1455/failed");
    (login.finish().expect(1), page.body.clone())
}

#[test]
fn oauth_access_denied_missing_entitlement_blocks_login_with_clear_error() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let (ended, page) = refused(&world, "access_denied", "missing_codex_entitlement");
        let message =
            "Codex is not enabled for this account or its workspace; ask the administrator of the workspace";
        assert!(ended.err.contains(message) && page.contains(message), "{ended}\n{page}");
        assert!(world.machine.stored_text().is_none());
    });
}

#[test]
fn oauth_access_denied_unknown_reason_uses_generic_error_page() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let (ended, page) = refused(&world, "access_denied", "<b>some reason</b>\u{1b}[2J");
        assert!(page.contains("refused the login: &lt;b&gt;some reason&lt;/b&gt;[2J."), "{page}");
        assert!(!ended.err.contains('\u{1b}'), "{ended}");
    });
}

#[test]
fn creates_missing_codex_home_dir() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let home = TestHome::new();
        let run = world.codex(["login", "--no-browser"]).without("CODEX_HOME").env("HOME", home.path());
        let mut login = Login::start(run);
        web::follow(&login.url());
        login.finish().expect(0);
        assert!(home.read(".codex/auth.json").contains("\"auth_mode\": \"chatgpt\""));
        assert_eq!(home.names(), [".codex"]);
    });
}

#[test]
fn the_users_browser_is_opened_at_the_shown_url() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        // A fake browser that requests the URL and records the redirect.
        let browser = world.machine.home.beside("bin").join("browser");
        let visited = world.machine.home.path().with_file_name("visited");
        let script = format!("#!/bin/sh\nprintf %s \"$1\" > {0}.new\nmv {0}.new {0}\n", visited.display());
        std::fs::write(&browser, script).unwrap();
        std::fs::set_permissions(&browser, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut login = Login::start(world.codex(["login"]).env("BROWSER", &browser));
        let url = login.url();
        crate::support::eventually("the browser to open", || visited.exists());
        assert_eq!(std::fs::read_to_string(visited).unwrap(), url);
        web::follow(&url);
        login.finish().expect(0);
    });
}

#[test]
fn an_account_without_an_api_key_is_logged_in_without_one() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        world.authority.script(Endpoint::ApiKey, Step::status(403, "no_api_organization"));
        let mut login = world.browser_login(&[]);
        web::follow(&login.url());
        login.finish().expect(0);
        assert!(world.document()["OPENAI_API_KEY"].is_null());
    });
}

/// The four formats of an error response.
#[test]
fn parse_token_endpoint_error_in_every_format() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let coded = "answered 400 (invalid_grant: as the script says); start the login again";
        let plain = Step::body(502, "text/plain", "down for a moment");
        for (shape, step, exit, message) in [
            (ErrorShape::Flat, Step::status(400, "invalid_grant"), 1, coded),
            (ErrorShape::Nested, Step::status(400, "invalid_grant"), 1, coded),
            (ErrorShape::TopLevel, Step::status(400, "invalid_grant"), 1, coded),
            (ErrorShape::Flat, plain, 4, "answered 502; try again later"),
        ] {
            world.authority.adjust(|policy| policy.error_shape = shape);
            world.authority.script(Endpoint::Exchange, step);
            let mut login = world.browser_login(&[]);
            let pages = web::follow(&login.url());
            let ended = login.finish().expect(exit);
            assert!(ended.err.lines().last().unwrap().ends_with(message), "{ended}");
            assert!(pages.last().unwrap().body.contains(message), "{:?}", pages.last());
            assert!(world.machine.stored_text().is_none());
        }
    });
}

#[test]
fn a_response_without_all_three_tokens_is_refused_and_not_shown() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        for field in ["id_token", "access_token", "refresh_token"] {
            for edit in [Edit::Missing, Edit::Null, Edit::Empty] {
                world.authority.script(Endpoint::Exchange, Step::edited(field, edit));
                let mut login = world.browser_login(&["-v"]);
                web::follow(&login.url());
                let ended = login.finish().expect(4);
                assert!(ended.err.contains(field), "{ended}");
                world.assert_no_secret_in(&ended.to_string());
            }
        }
        assert!(world.machine.stored_text().is_none());
        assert_eq!(world.authority.counters().ended(Endpoint::ApiKey, Outcome::Granted), 0);
    });
}

#[test]
fn codex_reads_the_login_that_we_made() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let mut login = world.browser_login(&[]);
        web::follow(&login.url());
        login.finish().expect(0);
        let status = theirs(&world.machine.home, ["login", "status"]).run().expect(0);
        assert!(status.err.contains("Logged in using ChatGPT"), "{status}");
    });
}
