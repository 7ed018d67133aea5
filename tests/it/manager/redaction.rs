//! Every secret that an authority has ever issued, old and new, is looked for in whatever a refresh or a logout prints,
//! writes beside the login, or shows of itself to other processes, however it ends.

use scripted_authority::{Account, Edit, Endpoint, Step};
use serde_json::json;

use super::world::World;
use crate::support::{Ended, Flock, Machine, Run, over_both_stores};

over_both_stores!(
    no_ending_of_a_refresh_shows_a_secret,
    no_ending_of_a_logout_shows_a_secret,
    a_token_that_is_printed_is_all_that_is_shown,
    what_is_left_half_way_shows_a_secret_to_nobody_but_its_owner,
);

/// What gives a secret away: the whole of it, and the one part of a JWT that no other has.
pub fn traces(world: &World<'_>) -> Vec<String> {
    let parts = |secret: &String| {
        let payload = secret.split('.').nth(1).map(str::to_owned);
        [Some(secret.clone()), payload].into_iter().flatten().collect::<Vec<_>>()
    };
    let traces: Vec<_> = world.authority.issued_secrets().iter().flat_map(parts).collect();
    let document = world.machine.kept().unwrap();
    let found = traces.iter().filter(|trace| document.contains(*trace)).count();
    assert!(found >= 3, "the search finds nothing where everything is");
    traces
}

#[track_caller]
pub fn hides(what: &str, text: &str, traces: &[String]) {
    for trace in traces {
        assert!(!text.contains(trace), "{what} shows {trace}:\n{text}");
    }
}

/// Searches what was said and every file of the home but the document; a rescue only where it is sealed.
#[track_caller]
fn shows_nothing(world: &World<'_>, what: &str, ended: &Ended, traces: &[String]) {
    assert!(!ended.err.contains("panicked"), "{what}\n{ended}");
    hides(what, &ended.to_string(), traces);
    let (document, rescue) = (world.machine.home.document(), world.machine.home.file("codex-auth/rescue"));
    for (path, _, content) in world.machine.home.tree() {
        if path != document && (path != rescue || world.machine.session.is_some()) {
            hides(&path.display().to_string(), &String::from_utf8_lossy(&content), traces);
        }
    }
}

/// Runs a command with all that it can be made to say. Secrets that are issued by it are searched for as well.
fn run_openly(world: &World<'_>, what: &str, arguments: &[&str], prepare: impl Fn(Run) -> Run) {
    let before = traces(world);
    for more in [&["-v"][..], &["-v", "--json"]] {
        let ended = prepare(world.codex(arguments.iter().chain(more).copied())).run();
        let issued = world.authority.issued_secrets();
        shows_nothing(world, what, &ended, &[&before[..], &issued].concat());
    }
}

/// What an authority answers that knows no shame.
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

fn no_ending_of_a_refresh_shows_a_secret(machine: &mut Machine) {
    let stranger = Edit::IssuedTo(Account::numbered(2));
    let steps = [
        Step::default(),
        Step::status(401, "refresh_token_invalidated"),
        Step::status(503, "busy"),
        Step::edited("id_token", stranger),
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

fn no_ending_of_a_logout_shows_a_secret(machine: &mut Machine) {
    let world = World::fresh(machine);
    // A refusal that may pass is tried again for seconds, so there is one of that kind.
    for step in [Step::status(500, "oops")].into_iter().chain(echoes(&world, &[400])) {
        world.authority.script_always(Endpoint::Revoke, step.clone());
        let traces = traces(&world);
        for arguments in [&["logout", "-v"][..], &["logout", "--force", "-v", "--json"]] {
            let ended = world.codex(arguments.iter().copied()).env("CODEX_AUTH_LOCK_TIMEOUT", "1s").run();
            shows_nothing(&world, &format!("{step:?}"), &ended, &traces);
        }
        world.log_in(&world.grant);
    }
}

fn a_token_that_is_printed_is_all_that_is_shown(machine: &mut Machine) {
    for more in [&[][..], &["-v"], &["--json"], &["--header"]] {
        let world = World::expired(machine);
        let ended = world.codex(["token"].iter().chain(more).copied()).run().expect(0);
        let token = world.kept("access_token");
        assert_eq!(ended.out.matches(&token).count(), 1, "{ended}");
        let traces = traces(&world);
        let rest = Ended { out: ended.out.replace(&token, "[token]"), ..ended };
        shows_nothing(&world, &format!("token {more:?}"), &rest, &traces);
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

/// In a keychain's world the rescue is sealed; in the file's it is as private as the document beside it.
fn what_is_left_half_way_shows_a_secret_to_nobody_but_its_owner(machine: &mut Machine) {
    let world = World::fresh(machine);
    let before = traces(&world);
    let held = Flock::hold(&world.machine.home.file("auth.json.lock"));
    let ended = world.codex(["refresh", "-v"]).run();
    assert!(world.has_rescue() && ended.code != Some(0), "{ended}");
    let issued = world.authority.issued_secrets();
    shows_nothing(&world, "a commit that cannot be made", &ended, &[&before[..], &issued].concat());
    let modes =
        world.machine.home.tree().into_iter().filter(|(path, ..)| path.ends_with("codex-auth/rescue"));
    assert_eq!(modes.map(|(_, mode, _)| mode & 0o777).collect::<Vec<_>>(), [0o600]);
    run_openly(&world, "one that finds it and cannot finish it", &["refresh"], |run| run);
    drop(held);
    run_openly(&world, "one that finishes it", &["refresh"], |run| run);
    world.nothing_is_spent_twice_or_lost();
}
