//! Searches for every issued secret in the output, the files and the process list entries of refreshes and logouts.

use scripted_authority::{Account, Edit, Endpoint, Step};
use serde_json::json;

use super::world::World;
use crate::support::{Ended, Flock, Machine, Run, over_both_stores};

over_both_stores!(
    no_outcome_of_a_refresh_shows_a_secret,
    no_outcome_of_a_logout_shows_a_secret,
    a_printed_token_is_the_only_secret_shown,
    a_rescue_is_sealed_or_private_to_its_owner,
);

/// The strings to search for: each secret, and the signature of each JWT.
pub fn traces(world: &World<'_>) -> Vec<String> {
    let parts = |secret: &String| {
        let payload = secret.split('.').nth(1).map(str::to_owned);
        [Some(secret.clone()), payload].into_iter().flatten().collect::<Vec<_>>()
    };
    let traces: Vec<_> = world.authority.issued_secrets().iter().flat_map(parts).collect();
    let document = world.machine.stored_text().unwrap();
    let found = traces.iter().filter(|trace| document.contains(*trace)).count();
    assert!(found >= 3, "the search finds nothing where everything is");
    traces
}

#[track_caller]
pub fn assert_hidden(what: &str, text: &str, traces: &[String]) {
    for trace in traces {
        assert!(!text.contains(trace), "{what} shows {trace}:\n{text}");
    }
}

/// Searches the output and every file of the home except the document; a rescue only if it is sealed.
#[track_caller]
fn assert_shows_no_secret(world: &World<'_>, what: &str, ended: &Ended, traces: &[String]) {
    assert!(!ended.err.contains("panicked"), "{what}\n{ended}");
    assert_hidden(what, &ended.to_string(), traces);
    let (document, rescue) = (world.machine.home.document(), world.machine.home.file("codex-auth/rescue"));
    for (path, _, content) in world.machine.home.tree() {
        if path != document && (path != rescue || world.machine.session.is_some()) {
            assert_hidden(&path.display().to_string(), &String::from_utf8_lossy(&content), traces);
        }
    }
}

/// Runs a command with all its output. Secrets that it receives are searched for too.
fn run_openly(world: &World<'_>, what: &str, arguments: &[&str], prepare: impl Fn(Run) -> Run) {
    let before = traces(world);
    for more in [&["-v"][..], &["-v", "--json"]] {
        let ended = prepare(world.codex(arguments.iter().chain(more).copied())).run();
        let issued = world.authority.issued_secrets();
        assert_shows_no_secret(world, what, &ended, &[&before[..], &issued].concat());
    }
}

/// Error responses that contain the request's secrets.
fn echoes(world: &World<'_>, statuses: &[u16]) -> Vec<Step> {
    let tokens = &world.grant.tokens;
    let said = format!("your {} and {}, \"{}\"", tokens.refresh_token, tokens.access_token, tokens.id_token);
    let bodies = [
        json!({"error": {"code": tokens.refresh_token, "message": said}}),
        json!({"error": tokens.access_token, "error_description": said}),
        json!({"access_token": tokens.access_token, "refresh_token": [tokens.refresh_token]}),
    ];
    let answer =
        |status| bodies.iter().map(move |body| Step::body(status, "application/json", &body.to_string()));
    statuses.iter().copied().flat_map(answer).collect()
}

fn no_outcome_of_a_refresh_shows_a_secret(machine: &mut Machine) {
    let other_account = Edit::IssuedTo(Account::numbered(2));
    let steps = [
        Step::default(),
        Step::status(401, "refresh_token_invalidated"),
        Step::status(503, "busy"),
        Step::edited("id_token", other_account),
        Step::edited("access_token", Edit::Empty),
        Step::truncated(),
    ];
    let world = World::fresh(machine);
    let echoes = echoes(&world, &[200, 401, 500]);
    for (number, step) in steps.into_iter().chain(echoes).enumerate() {
        let again = world.authority.grant(Account::numbered(1));
        world.log_in(&again);
        world.authority.clear_script();
        world.authority.script(Endpoint::Refresh, step.clone());
        run_openly(&world, &format!("{number}: {step:?}"), &["refresh"], |run| run);
    }
}

fn no_outcome_of_a_logout_shows_a_secret(machine: &mut Machine) {
    let world = World::fresh(machine);
    // A transient refusal is retried for seconds, so there is only one.
    for step in [Step::status(500, "oops")].into_iter().chain(echoes(&world, &[400])) {
        world.authority.script_always(Endpoint::Revoke, step.clone());
        let traces = traces(&world);
        for arguments in [&["logout", "-v"][..], &["logout", "--force", "-v", "--json"]] {
            let ended = world.codex(arguments.iter().copied()).env("CODEX_AUTH_LOCK_TIMEOUT", "1s").run();
            assert_shows_no_secret(&world, &format!("{step:?}"), &ended, &traces);
        }
        world.log_in(&world.grant);
    }
}

fn a_printed_token_is_the_only_secret_shown(machine: &mut Machine) {
    for more in [&[][..], &["-v"], &["--json"], &["--header"]] {
        let world = World::expired(machine);
        let ended = world.codex(["token"].iter().chain(more).copied()).run().expect(0);
        let token = world.stored_token("access_token");
        assert_eq!(ended.out.matches(&token).count(), 1, "{ended}");
        let traces = traces(&world);
        let rest = Ended { out: ended.out.replace(&token, "[token]"), ..ended };
        assert_shows_no_secret(&world, &format!("token {more:?}"), &rest, &traces);
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

/// With a keychain the rescue is sealed; in the file store it is as private as the document.
fn a_rescue_is_sealed_or_private_to_its_owner(machine: &mut Machine) {
    let world = World::fresh(machine);
    let before = traces(&world);
    let held = Flock::hold(&world.machine.home.file("auth.json.lock"));
    let ended = world.codex(["refresh", "-v"]).run();
    assert!(world.has_rescue() && ended.code != Some(0), "{ended}");
    let issued = world.authority.issued_secrets();
    assert_shows_no_secret(&world, "a commit that cannot be made", &ended, &[&before[..], &issued].concat());
    let modes =
        world.machine.home.tree().into_iter().filter(|(path, ..)| path.ends_with("codex-auth/rescue"));
    assert_eq!(modes.map(|(_, mode, _)| mode & 0o777).collect::<Vec<_>>(), [0o600]);
    run_openly(&world, "one that finds it and cannot finish it", &["refresh"], |run| run);
    drop(held);
    run_openly(&world, "one that finishes it", &["refresh"], |run| run);
    world.assert_no_token_reused_or_lost();
}
