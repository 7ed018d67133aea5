//! Logins that are killed at any step: the next command leaves exactly the grants alive that are stored.

use scripted_authority::{DeviceFlow, Endpoint, Step, TokenState};
use serde_json::json;

use super::world::{Login, World};
use crate::app_server::client::Client;
use crate::support::{Ended, Machine, in_private_network_over_both_stores, over_both_stores, web};

in_private_network_over_both_stores!(a_browser_login_that_is_killed_at_any_step_leaves_no_grant_behind);

over_both_stores![
    a_device_login_that_is_killed_at_any_step_leaves_no_grant_behind,
    a_first_login_that_is_killed_at_any_step_leaves_no_grant_behind,
    a_login_ends_the_one_that_was_killed_before,
    a_killed_login_is_ended_once_the_authority_can_be_reached,
    a_killed_login_keeps_what_its_policy_keeps,
    a_login_that_replaces_one_with_an_api_key_and_is_killed_leaves_no_grant_behind,
];

// Linux: strace.
#[cfg(target_os = "linux")]
over_both_stores!(a_login_that_is_killed_at_a_system_call_leaves_no_grant_behind);

/// The steps of a login under the lease.
const STEPS: [Killed; 8] = [
    Killed { at: "code recorded", is_stored: false },
    Killed { at: "code exchanged", is_stored: false },
    Killed { at: "tokens recorded", is_stored: false },
    Killed { at: "old login read", is_stored: false },
    Killed { at: "login recorded", is_stored: false },
    Killed { at: "login written", is_stored: true },
    Killed { at: "login stored", is_stored: true },
    Killed { at: "replaced login revoked", is_stored: true },
];

/// A step, and whether the new login is stored if it is killed there.
#[derive(Clone, Copy, Debug)]
struct Killed {
    at: &'static str,
    is_stored: bool,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Browser,
    Device,
}

fn killed(world: &World<'_>, way: Way, step: &str, more: &[&str]) -> Ended {
    let line = match way {
        Way::Browser => ["login", "--no-browser"],
        Way::Device => ["login", "--device-auth"],
    };
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let run = world.codex(line.into_iter().chain(more.iter().copied()));
    let mut login = Login::start(run.env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")));
    if let Way::Browser = way {
        let callback = web::get(&login.url()).location().unwrap();
        // The connection is closed without a response.
        let _ = web::send(web::parts(&callback).0, &super::interruption::visit(&callback));
    }
    let ended = login.finish();
    assert_eq!(ended.code, None, "{way:?} at {step}: {ended}");
    ended
}

/// The only grant that is alive is the one that is stored, if one is.
#[track_caller]
fn only_the_stored_grant_is_alive(world: &World<'_>, what: &str) {
    let stored = world.machine.stored_text();
    assert_eq!(world.live_grants(), usize::from(stored.is_some()), "{what}");
    if stored.is_some() {
        assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live, "{what}");
    }
    let mut names = crate::support::names(&world.machine.home.file("codex-auth"));
    names.retain(|name| name.contains("rescue"));
    assert!(names.is_empty(), "{what}: {names:?}");
}

/// Kills a login by `way` at `step`, and runs `next`.
fn killed_and_ended(world: &World<'_>, way: Way, step: Killed, has_login: bool, next: &[&str]) {
    let what = format!("killed at {}, a login before: {has_login}, next: {next:?}", step.at);
    let old = has_login.then(|| world.log_in(1));
    killed(world, way, step.at, &[]);
    let stored = world.machine.stored_text().is_some();
    assert_eq!(stored, has_login || step.is_stored, "{what}");
    if let Some(old) = &old {
        let is_old = world.stored_token("refresh_token") == old.tokens.refresh_token;
        assert_eq!(is_old, !step.is_stored, "{what}");
    }
    let ended = world.codex(next.iter().copied()).run();
    let is_done = stored || next[0] == "login";
    assert_eq!(ended.code, Some(if is_done { 0 } else { 1 }), "{what}: {ended}");
    only_the_stored_grant_is_alive(world, &what);
    world.codex(["logout"]).run();
    assert_eq!((world.live_grants(), world.machine.stored_text()), (0, None), "{what}");
}

fn a_browser_login_that_is_killed_at_any_step_leaves_no_grant_behind(machine: &mut Machine) {
    let world = World::new(machine);
    for step in STEPS {
        killed_and_ended(&world, Way::Browser, step, true, &["refresh"]);
    }
}

fn a_device_login_that_is_killed_at_any_step_leaves_no_grant_behind(machine: &mut Machine) {
    let world = World::new(machine);
    for step in STEPS {
        killed_and_ended(&world, Way::Device, step, true, &["refresh"]);
    }
}

fn a_first_login_that_is_killed_at_any_step_leaves_no_grant_behind(machine: &mut Machine) {
    let world = World::new(machine);
    for step in &STEPS[..7] {
        killed_and_ended(&world, Way::Device, *step, false, &["refresh"]);
    }
}

fn a_login_ends_the_one_that_was_killed_before(machine: &mut Machine) {
    let world = World::new(machine);
    for (number, step) in STEPS.into_iter().enumerate() {
        killed_and_ended(&world, Way::Device, step, number % 2 == 1, &["login", "--device-auth"]);
    }
}

fn a_killed_login_is_ended_once_the_authority_can_be_reached(machine: &mut Machine) {
    let world = World::new(machine);
    for step in STEPS {
        world.log_in(1);
        killed(&world, Way::Device, step.at, &[]);
        let kept = world.stored_token("refresh_token");
        for endpoint in [Endpoint::Revoke, Endpoint::Exchange] {
            world.authority.script_always(endpoint, Step::closed_before());
        }
        let live = world.live_grants();
        world.codex(["refresh"]).run().expect(0);
        assert_eq!(world.live_grants(), live, "{}", step.at);
        assert_ne!(world.stored_token("refresh_token"), kept, "{}", step.at);
        world.authority.clear_script();
        world.codex(["refresh"]).run().expect(0);
        only_the_stored_grant_is_alive(&world, step.at);
        world.codex(["logout"]).run().expect(0);
    }
}

fn a_killed_login_keeps_what_its_policy_keeps(machine: &mut Machine) {
    let world = World::new(machine);
    for (old_account, more, is_kept) in
        [(1, &["--keep-old"][..], true), (2, &[][..], true), (2, &["--revoke-old"][..], false)]
    {
        for step in STEPS.iter().filter(|step| step.is_stored) {
            let what = format!("{old_account} {more:?} {}", step.at);
            if is_kept && step.at == "replaced login revoked" {
                continue;
            }
            let old = world.log_in(old_account);
            killed(&world, Way::Device, step.at, more);
            world.codex(["refresh"]).run().expect(0);
            let kept = world.state_of(&old.tokens.refresh_token) == TokenState::Live;
            assert_eq!(kept, is_kept, "{what}");
            assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live, "{what}");
            assert_eq!(world.document()["tokens"]["account_id"], "acct-1", "{what}");
            world.codex(["logout"]).run().expect(0);
        }
    }
}

fn a_login_that_replaces_one_with_an_api_key_and_is_killed_leaves_no_grant_behind(machine: &mut Machine) {
    let world = World::new(machine);
    for step in ["login recorded", "login written", "login stored"] {
        let old = world.log_in(1);
        let line = ["login", "--with-api-key", "--revoke-old"];
        let run = world.codex(line).input("sk-new").env("CODEX_AUTH_FAILPOINT", format!("{step}=kill"));
        assert_eq!(run.run().code, None, "{step}");
        let is_stored = world.document()["tokens"].is_null();
        assert_eq!(is_stored, step != "login recorded", "{step}");
        // A migration takes the lease whatever is stored.
        let kind = if world.machine.session.is_some() { "keychain" } else { "file" };
        world.codex(["migrate", "--to", kind]).run().expect(0);
        let is_alive = world.state_of(&old.tokens.refresh_token) == TokenState::Live;
        assert_eq!(is_alive, !is_stored, "{step}");
        world.codex(["logout"]).run().expect(0);
    }
}

// Linux: strace.
#[cfg(target_os = "linux")]
fn a_login_that_is_killed_at_a_system_call_leaves_no_grant_behind(machine: &mut Machine) {
    // `tests/soak kills` hits all of them.
    use crate::soak::strace::{Fault, calls_under_lease, inject};

    const SAMPLE: usize = 6;
    let trace = machine.home.beside("strace").join("trace");
    let world = World::new(machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let login = || world.codex(["login", "--device-auth"]);
    world.log_in(1);
    let mut calls = calls_under_lease(login(), &trace);
    calls.retain(|call| call.is_after_change);
    world.codex(["logout"]).run().expect(0);
    for call in calls.iter().step_by(calls.len().div_ceil(SAMPLE)) {
        world.log_in(1);
        inject(login(), call, Fault::Kill, &trace).run();
        world.codex(["refresh"]).run().expect(0);
        only_the_stored_grant_is_alive(&world, &format!("{call:?}"));
        world.codex(["logout"]).run().expect(0);
    }
}

#[test]
fn an_app_server_that_is_killed_during_a_login_leaves_no_grant_behind() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    for step in ["code exchanged", "tokens recorded", "login stored"] {
        let old = world.log_in(1);
        let run = world.codex(["app-server"]).env("CODEX_AUTH_FAILPOINT", format!("{step}=kill"));
        let mut client = Client::from_run(run);
        client.call("account/login/start", json!({"type": "chatgptDeviceCode"}));
        assert_eq!(client.wait(), None, "{step}");
        let is_old = world.stored_token("refresh_token") == old.tokens.refresh_token;
        assert_eq!(is_old, step != "login stored", "{step}");
        world.codex(["refresh"]).run().expect(0);
        only_the_stored_grant_is_alive(&world, step);
        world.codex(["logout"]).run().expect(0);
    }
}
