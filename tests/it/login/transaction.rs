//! The transaction of a login: the login that it replaces is revoked last, by policy.

use codex_auth::manager::{AuthManager, RecoveryStep};
use scripted_authority::{Account, Decision, Endpoint, Revocation, Step, TokenState};

use super::world::{Login, TEST_TIMEOUT, World};
use crate::support::{Machine, in_private_network_over_both_stores, over_both_stores, web};

in_private_network_over_both_stores![
    persist_tokens_async_revokes_previous_auth_without_failing_login,
    of_two_concurrent_logins_the_last_to_commit_wins_and_both_report_it,
];

over_both_stores![
    the_tokens_of_another_account_are_not_revoked_and_the_output_says_so,
    options_decide_whether_the_old_tokens_are_revoked,
    a_running_program_uses_the_new_login_after_the_grant_is_revoked,
];

/// Logs in with a device code as the current visitor.
fn logged_in(world: &World<'_>, more: &[&str]) -> crate::support::Ended {
    let mut login = Login::start(world.codex(["login", "--device-auth"].iter().chain(more).copied()));
    let code = login.code();
    assert!(world.authority.decide_device(&code, Decision::Approved));
    login.finish()
}

fn persist_tokens_async_revokes_previous_auth_without_failing_login(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    let mut login = world.browser_login(&[]);
    login.line_with("person1@example.com (plus) is logged in here until the new login is stored");
    web::follow(&login.url());
    let ended = login.finish().expect(0);
    let lines: Vec<_> = ended.err.lines().rev().take(3).collect();
    assert_eq!(lines[0], "revoked the tokens of the old login");
    assert!(lines[1].starts_with("stored in the "), "{ended}");
    assert_eq!(lines[2], "logged in as person1@example.com (plus), in place of the old login");
    assert_eq!(world.state_of(&old.tokens.refresh_token), TokenState::Revoked);
    assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live);
    let asked: Vec<_> = world.authority.journal().into_iter().map(|entry| entry.endpoint).collect();
    let order = [Endpoint::Authorize, Endpoint::Exchange, Endpoint::ApiKey, Endpoint::Revoke];
    assert_eq!(asked, order, "the old login is touched last");

    // The authority fails: the new login is stored, and the output says that the old tokens may stay valid.
    let older = world.stored_token("refresh_token");
    world.authority.script_always(Endpoint::Revoke, Step::status(400, "odd"));
    let mut login = world.browser_login(&[]);
    let pages = web::follow(&login.url());
    assert_eq!(pages.last().unwrap().status, 200);
    let ended = login.finish().expect(0);
    let warning = ended.err.lines().last().unwrap();
    assert!(
        warning.starts_with("warning: the tokens of the old login may stay valid until they expire: "),
        "{ended}"
    );
    assert_eq!(world.state_of(&older), TokenState::Live);
    assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live);
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), world.stored_token("access_token"));
}

fn the_tokens_of_another_account_are_not_revoked_and_the_output_says_so(machine: &mut Machine) {
    let world = World::new(machine);
    let other = world.log_in(2);
    let ended = logged_in(&world, &[]).expect(0);
    assert_eq!(
        ended.err.lines().last().unwrap(),
        "the old login was of another account (person2@example.com (plus)), so its tokens stay valid; \
         `codex login --revoke-old` would have revoked them"
    );
    assert_eq!(world.state_of(&other.tokens.refresh_token), TokenState::Live);
    assert_eq!(world.requests(Endpoint::Revoke), 0);
    assert_eq!(world.document()["tokens"]["account_id"], "acct-1");
}

fn options_decide_whether_the_old_tokens_are_revoked(machine: &mut Machine) {
    let world = World::new(machine);
    let other = world.log_in(2);
    let report = logged_in(&world, &["--revoke-old", "--json"]).expect(0).json();
    assert_eq!((&report["old_tokens"], &report["replaced"]), (&"revoked".into(), &true.into()));
    assert_eq!(world.state_of(&other.tokens.refresh_token), TokenState::Revoked);
    let mine = world.stored_token("refresh_token");
    let report = logged_in(&world, &["--keep-old", "--json"]).expect(0).json();
    assert_eq!(report["old_tokens"], "left-alive");
    assert_eq!(world.state_of(&mine), TokenState::Live);
    let ended = world.codex(["login", "--with-api-key", "--json"]).input("sk-new").run().expect(0);
    assert_eq!(ended.json()["old_tokens"], "left-alive", "an API key does not say whose it is");
    let report = logged_in(&world, &["--json"]).expect(0).json();
    assert!(report["old_tokens"].is_null(), "an API key cannot be taken back");
}

/// Codex's case: the reuse of a token does not end it. Here a copy of the same document is logged in over.
#[test]
fn does_not_revoke_reused_refresh_token() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let grant = world.log_in(1);
    world.authority.script(
        Endpoint::Exchange,
        Step::edited(
            "refresh_token",
            scripted_authority::Edit::Value(grant.tokens.refresh_token.clone().into()),
        ),
    );
    let report = logged_in(&world, &["--revoke-old", "--json"]).expect(0).json();
    assert!(report["old_tokens"].is_null());
    assert_eq!(world.requests(Endpoint::Revoke), 0);
    assert_eq!(world.state_of(&grant.tokens.refresh_token), TokenState::Live);
}

/// A program that holds the old access token gets a 401, reads the store again and continues.
fn a_running_program_uses_the_new_login_after_the_grant_is_revoked(machine: &mut Machine) {
    let world = World::new(machine);
    world.authority.adjust(|policy| policy.revocation = Revocation::WholeGrant);
    let old = world.log_in(1);
    let home = world.machine.home.home();
    let running = AuthManager::builder(home, world.machine.home.environment()).open().unwrap();
    let held = running.current();
    assert_eq!(held.document().unwrap().bearer().unwrap().expose(), old.tokens.access_token);
    logged_in(&world, &[]).expect(0);
    for token in [&old.tokens.access_token, &old.tokens.refresh_token] {
        assert_eq!(world.state_of(token), TokenState::Revoked, "the whole grant has ended");
    }
    for token in ["access_token", "refresh_token"] {
        assert_eq!(
            world.state_of(&world.stored_token(token)),
            TokenState::Live,
            "the new login is another grant"
        );
    }
    let recovered = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(running.recover(&held).next());
    let RecoveryStep::Reloaded(token) = recovered.unwrap() else { panic!("the new one is there already") };
    assert_eq!(token.secret().expose(), world.stored_token("access_token"));
    world.codex(["refresh"]).run().expect(0);
}

fn of_two_concurrent_logins_the_last_to_commit_wins_and_both_report_it(machine: &mut Machine) {
    let world = World::new(machine);
    let begin = || Login::start(world.codex(["login", "--device-auth"]));
    let (mut one, mut other) = (begin(), begin());
    let codes = [one.code(), other.code()];
    world.authority.visit_as(Account::numbered(1));
    // One code is exchanged, and the other login waits for the lease.
    let hold = world.authority.hold(Endpoint::Exchange, scripted_authority::Moment::After);
    for code in &codes {
        assert!(world.authority.decide_device(code, Decision::Approved));
    }
    hold.arrived(TEST_TIMEOUT).unwrap();
    drop(hold);
    let ended = [one.finish().expect(0), other.finish().expect(0)];
    let kept = world.stored_token("refresh_token");
    assert_eq!(world.state_of(&kept), TokenState::Live, "the one that is kept is good");
    let replaced = ended.iter().filter(|ended| ended.err.contains("in place of the old login")).count();
    assert_eq!(replaced, 1, "{}\n{}", ended[0], ended[1]);
    let revoked =
        ended.iter().filter(|ended| ended.err.contains("revoked the tokens of the old login")).count();
    assert_eq!(revoked, 1, "{}\n{}", ended[0], ended[1]);
    world.codex(["refresh"]).run().expect(0);
}
