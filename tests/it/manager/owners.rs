//! The user and workspace of a response: which tokens are stored, reported, withheld and adopted.

use codex_auth::manager::{AccountPolicy, Error, RefreshReason, ReloadOutcome, Unusable};
use scripted_authority::{Account, Edit, Endpoint, Step};
use serde_json::{Value, json};

use super::world::{World, block_on};
use crate::support::{Guarded, Lines, Machine, jwt, now};

const SAME: Option<&str> = Some("acct-1");
const OTHER: Option<&str> = Some("acct-2");

fn access_token(workspace: Option<&str>) -> String {
    let auth = workspace.map_or_else(|| json!({}), |id| json!({"chatgpt_account_id": id}));
    jwt(&json!({"iat": now(), "exp": now() + 3_600, "https://api.openai.com/auth": auth, "for": "access"}))
}

fn id_token(account: Option<&str>, user: Option<&str>) -> String {
    let mut auth = json!({});
    for (claim, id) in [("chatgpt_account_id", account), ("chatgpt_user_id", user)] {
        if let Some(id) = id {
            auth[claim] = json!(id);
        }
    }
    jwt(&json!({"iat": now(), "email": "person1@example.com", "https://api.openai.com/auth": auth}))
}

/// A document with a login of the authority and these ids.
fn document(world: &World<'_>, account: Option<&str>, user: Option<&str>, workspace: Option<&str>) -> Value {
    let grant = world.authority.grant(Account::numbered(1));
    let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
    document["tokens"]["account_id"] = json!(account);
    document["tokens"]["id_token"] = json!(id_token(account, user));
    document["tokens"]["access_token"] = json!(access_token(workspace));
    document
}

/// The document after Codex's workspace switch: another access token and account id, the rest unchanged.
fn switched(world: &World<'_>) -> Value {
    let mut document: Value = serde_json::from_str(&world.machine.stored_text().unwrap()).unwrap();
    document["tokens"]["account_id"] = json!(OTHER);
    document["tokens"]["access_token"] = json!(access_token(OTHER));
    document
}

#[test]
fn a_response_is_refused_only_if_it_is_known_to_be_another_users() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let ids = [SAME, OTHER, None];
    let users = [Some("user-1"), Some("user-2"), None];
    let (mut refused, mut accepted) = (0, 0);
    let answers: Vec<_> = ids
        .into_iter()
        .flat_map(|account| users.into_iter().map(move |user| (account, user)))
        .flat_map(|(account, user)| ids.into_iter().map(move |workspace| (account, user, workspace)))
        .collect();
    let documents = [(SAME, users[0]), (SAME, None), (None, users[0]), (None, None)].into_iter();
    let documents = documents.flat_map(|(account, user)| ids.map(|workspace| (account, user, workspace)));
    for (account, user, workspace) in documents {
        for answered in answers.iter().copied() {
            let what = format!("{account:?} {user:?} {workspace:?}, answered {answered:?}");
            let _ = std::fs::remove_dir_all(world.machine.home.file("codex-auth"));
            let before = document(&world, account, user, workspace);
            world.machine.store_text(before.to_string());
            let (new_account, new_user, new_workspace) = answered;
            let edited = Step::edited("id_token", Edit::Value(json!(id_token(new_account, new_user))));
            let new_token = Edit::Value(json!(access_token(new_workspace)));
            world.authority.script(Endpoint::Refresh, edited.and_edited("access_token", new_token));
            let revoked = world.authority.counters().of(Endpoint::Revoke);
            let answer = block_on(world.builder().open().unwrap().refresh(RefreshReason::Forced));
            let revoked = world.authority.counters().of(Endpoint::Revoke) - revoked;
            let after = world.document();
            if user.is_some() && new_user == Some("user-2") {
                assert!(matches!(answer, Err(Error::WrongAccount)), "{what}: {answer:?}");
                assert_eq!((revoked, &after), (1, &before), "{what}");
                refused += 1;
                continue;
            }
            let snapshot = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
            let reported = new_workspace.or(account).or(new_account);
            assert_eq!(snapshot.workspace().as_deref(), reported, "{what}");
            assert_ne!(after["tokens"]["refresh_token"], before["tokens"]["refresh_token"], "{what}");
            assert_eq!(after["tokens"]["account_id"], before["tokens"]["account_id"], "{what}");
            assert_eq!((revoked, world.has_rescue()), (0, false), "{what}");
            accepted += 1;
        }
    }
    assert_eq!((refused, accepted), (54, 270));
}

#[test]
fn an_access_token_of_another_user_is_refused_also_without_an_id_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let before = world.document();
    let other_user = Edit::IssuedTo(Account::numbered(2));
    let step = Step::edited("id_token", Edit::Missing).and_edited("access_token", other_user);
    world.authority.script(Endpoint::Refresh, step);
    world.codex(["refresh"]).run().refused(3);
    assert_eq!((world.document(), world.authority.counters().of(Endpoint::Revoke)), (before, 1));
}

#[test]
fn the_workspace_of_the_access_token_is_reported_with_the_one_that_was_selected() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.machine.store_text(switched(&world).to_string());
    let run = |arguments: &[&str]| world.codex(arguments.iter().copied()).run().expect(0);
    let account = run(&["status", "--json"]).json()["account"].clone();
    assert_eq!((account["id"].as_str(), account.get("account_id")), (OTHER, None));

    run(&["refresh"]);
    for report in [&["status", "--json"][..], &["token", "--json"]] {
        let account = run(report).json()["account"].clone();
        assert_eq!((account["id"].as_str(), account["account_id"].as_str()), (SAME, OTHER), "{report:?}");
    }
    assert!(run(&["status"]).out.contains("acct-1, while the login names acct-2"));
    assert_eq!(world.document()["tokens"]["account_id"].as_str(), OTHER, "Codex's choice stays");
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 0);
}

#[test]
fn a_token_for_a_forbidden_workspace_is_not_served_and_not_revoked() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.machine.store_text(switched(&world).to_string());
    world.machine.home.write("config.toml", "forced_chatgpt_workspace_id = \"acct-2\"\n");
    world.codex(["token"]).run().expect(0);
    // The authority issues tokens for the previous workspace.
    for arguments in [&["refresh"][..], &["token"], &["token", "--min-ttl", "2h"], &["refresh"]] {
        let ended = world.codex(arguments.iter().copied()).run().refused(3);
        assert!(ended.out.is_empty() && ended.err.contains("config.toml allows only acct-2"), "{ended}");
    }
    let status = world.codex(["status", "--json"]).run().expect(3).json();
    assert_eq!((&status["logged_in"], &status["usable"]), (&json!(true), &json!(false)));
    let manager = world.builder().open().unwrap();
    assert!(matches!(block_on(manager.token()), Err(Error::Unusable(_))));
    let refused = block_on(manager.refresh(RefreshReason::Forced)).unwrap_err();
    assert!(matches!(refused, Error::Unusable(Unusable::Forbidden(_))), "{refused:?}");
    assert_eq!(
        world.authority.counters().of(Endpoint::Refresh),
        1,
        "no token is spent for one that is not served"
    );
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 0);
    assert_eq!(Some(world.stored_token("refresh_token")), world.authority.live_refresh_token(world.grant.id));

    world.machine.home.write("config.toml", "");
    world.codex(["token"]).run().expect(0);
    assert_eq!(block_on(manager.token()).unwrap().secret().expose(), world.stored_token("access_token"));
}

#[test]
fn watch_reports_another_workspace_of_the_same_login() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut watch = Guarded(world.codex(["watch", "--json"]).start());
    let lines = Lines::of(watch.0.stdout.take().unwrap());
    let next = || serde_json::from_str::<Value>(&lines.next().unwrap()).unwrap();
    assert_eq!(next()["event"], "present");
    world.machine.store_text(switched(&world).to_string());
    let event = next();
    assert_eq!((&event["event"], event["account"]["id"].as_str()), (&json!("workspace_changed"), OTHER));
    world.codex(["refresh"]).run().expect(0);
    let event = next();
    assert_eq!((&event["event"], event["account"]["id"].as_str()), (&json!("workspace_changed"), SAME));
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(next()["event"], "refreshed");
}

#[test]
fn tokens_without_identity_are_adopted_only_as_successors_of_the_callers_token() {
    for user in [Some("user-1"), None] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        world.machine.store_text(document(&world, SAME, user, SAME).to_string());
        let manager = world.builder().policy(AccountPolicy::Stay).open().unwrap();
        let edited = || Step::edited("id_token", Edit::Value(json!(id_token(SAME, user))));
        world.authority.script(Endpoint::Refresh, edited());
        world.codex(["refresh"]).run().expect(0);
        assert_eq!(block_on(manager.reload()).unwrap(), ReloadOutcome::Changed, "own refresh: {user:?}");
        world.authority.script(Endpoint::Refresh, edited());
        world.codex(["refresh"]).run().expect(0);
        block_on(manager.refresh(RefreshReason::Stale)).unwrap();

        // By another program.
        world.machine.store_text(document(&world, SAME, user, SAME).to_string());
        let found = block_on(manager.reload()).unwrap();
        assert_eq!(
            found,
            if user.is_some() { ReloadOutcome::Changed } else { ReloadOutcome::OtherAccount },
            "{user:?}"
        );
        let refreshed = block_on(manager.refresh(RefreshReason::Stale));
        assert_eq!(refreshed.is_ok(), user.is_some(), "{user:?}: {refreshed:?}");
    }
}
