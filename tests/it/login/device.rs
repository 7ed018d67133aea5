//! Device-code logins.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use scripted_authority::{Decision, DeviceFlow, Endpoint, Outcome, Pacing, Step, TokenState};

use super::world::{Login, TEST_TIMEOUT, World};
#[cfg(feature = "failpoints")]
use crate::support::Pause;
use crate::support::{Ended, Machine, over_both_stores};

over_both_stores![
    integration_succeeds,
    a_declined_device_login_leaves_the_stored_one,
    a_failure_at_any_request_leaves_the_login_before,
];

fn begun(world: &World<'_>, more: &[&str]) -> Login {
    Login::start(world.codex(["login", "--device-auth"].iter().chain(more).copied()))
}

fn integration_succeeds(machine: &mut Machine) {
    let world = World::new(machine);
    let mut login = begun(&world, &[]);
    assert_eq!(login.line_with("/codex/device"), format!("{}/codex/device", world.authority.url()));
    let code = login.code();
    world.authority.wait_for_requests(Endpoint::DevicePoll, 2, TEST_TIMEOUT).unwrap();
    assert!(world.authority.decide_device(&code, Decision::Approved), "{code}");
    let ended = login.finish().expect(0);
    assert!(ended.err.contains("logged in as person1@example.com (plus)\n"), "{ended}");
    world.assert_no_secret_in(&ended.to_string());
    let document = world.document();
    assert!(document["OPENAI_API_KEY"].is_null(), "persists_without_api_key_on_exchange_failure");
    assert_eq!(world.requests(Endpoint::ApiKey), 0);
    assert_eq!(document["tokens"]["account_id"], "acct-1");
    assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live);
    world.codex(["refresh"]).run().expect(0);
}

fn a_declined_device_login_leaves_the_stored_one(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    let mut login = begun(&world, &[]);
    let code = login.code();
    assert!(world.authority.decide_device(&code, Decision::Denied));
    let ended = login.finish().expect(1);
    assert_eq!(last(&ended), "error: the authority refused the login: authorization_declined");
    world.assert_still_works(&old);
}

/// Upstream: `handles_usercode_http_failure`, `handles_error_payload`; and every other request.
fn a_failure_at_any_request_leaves_the_login_before(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    for (endpoint, step, exit, message) in [
        (Endpoint::DeviceCode, Step::status(503, "busy"), 4, "usercode answered 503 (busy: "),
        (Endpoint::DeviceCode, Step::status(400, "odd"), 1, "usercode answered 400 (odd: "),
        (
            Endpoint::DeviceCode,
            Step::closed_before(),
            4,
            "usercode closed the connection before the response was complete",
        ),
        (Endpoint::DeviceCode, Step::body(200, "application/json", "{}"), 4, "the response is unusable"),
        (Endpoint::DevicePoll, Step::status(401, "authorization_declined"), 1, "refused the login"),
        (Endpoint::DevicePoll, Step::status(400, "expired_token"), 1, "answered 400 (expired_token: "),
        (Endpoint::DevicePoll, Step::redirect("http://evil.example/"), 1, "redirects to evil.example"),
        (Endpoint::Exchange, Step::status(400, "invalid_grant"), 1, "answered 400 (invalid_grant: "),
        (
            Endpoint::Exchange,
            Step::closed_before(),
            4,
            "token closed the connection before the response was complete",
        ),
        (
            Endpoint::Exchange,
            Step::closed_after(),
            4,
            "token closed the connection before the response was complete",
        ),
        (
            Endpoint::Exchange,
            Step::truncated(),
            4,
            "token closed the connection before the response was complete",
        ),
    ] {
        world.authority.script(endpoint, step.clone());
        let ended = begun(&world, &["-v"]).finish().expect(exit);
        assert!(ended.err.contains(message), "{step:?}: {ended}");
        world.assert_no_secret_in(&ended.to_string());
        world.authority.clear_script();
        assert_eq!(world.stored_token("refresh_token"), old.tokens.refresh_token);
    }
    world.assert_still_works(&old);
}

#[test]
fn polls_keep_the_interval_that_the_authority_asks_for() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| {
        (policy.device, policy.device_interval) = (DeviceFlow::ApprovesAfter(2), 2);
    });
    let begun = Instant::now();
    super::device::begun(&world, &[]).finish().expect(0);
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    let polls = world.authority.counters();
    assert_eq!(polls.of(Endpoint::DevicePoll), 3);
    assert!(world.authority.journal().iter().all(|entry| entry.code.as_deref() != Some("slow_down")));
}

#[test]
fn an_interval_of_zero_is_one_second() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| {
        (policy.device, policy.device_interval, policy.pacing) =
            (DeviceFlow::ApprovesAfter(2), 0, Pacing::Ignored);
    });
    let begun = Instant::now();
    super::device::begun(&world, &[]).finish().expect(0);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(world.requests(Endpoint::DevicePoll), 3);
}

#[test]
fn polls_slow_down_when_the_authority_asks_for_it() {
    let slowed = |step: Step| {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
        world.authority.script(Endpoint::DevicePoll, step);
        let begun = Instant::now();
        super::device::begun(&world, &[]).finish().expect(0);
        assert!(begun.elapsed() >= Duration::from_secs(6), "{:?}", begun.elapsed());
        assert_eq!(world.requests(Endpoint::DevicePoll), 2);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| slowed(Step::status(429, "slow_down")));
        scope.spawn(|| slowed(Step::status(400, "slow_down")));
        scope.spawn(|| slowed(Step::status(429, "busy").with_header("Retry-After", "6")));
    });
}

#[test]
fn a_temporary_network_failure_does_not_end_the_wait() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    world.authority.script(Endpoint::DevicePoll, Step::closed_before());
    world.authority.script(Endpoint::DevicePoll, Step::status(502, "bad_gateway"));
    begun(&world, &[]).finish().expect(0);
    assert_eq!(world.authority.counters().ended(Endpoint::DevicePoll, Outcome::Granted), 1);
}

#[test]
fn the_report_is_json_and_the_code_goes_to_stderr() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let mut login = begun(&world, &["--json"]);
    let code = login.code();
    world.authority.decide_device(&code, Decision::Approved);
    let ended = login.finish().expect(0);
    let report = ended.json();
    assert_eq!((&report["logged_in"], &report["method"]), (&true.into(), &"chatgpt".into()));
    assert_eq!(report["account"]["email"], "person1@example.com");
    world.assert_no_secret_in(&ended.to_string());
}

#[test]
fn a_terminal_shows_a_large_code_a_qr_code_and_a_countdown() {
    let on = |rows: u32, columns: u32, locale: &str, no_color: &str| {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let size = format!("stty rows {rows} cols {columns}; exec \"$@\"");
        let run = world.codex(["login", "--device-auth"]).env("LC_ALL", locale);
        let run = run.env("TERM", "xterm").env("NO_COLOR", no_color);
        let mut login = Login::on_a_terminal(run.through(["sh", "-c", &size, "sh"]));
        login.line_with("type this code");
        // The code is also there as plain text.
        let code = loop {
            let line = login.line_with("");
            if line.contains('-') && !line.contains('█') {
                break line;
            }
        };
        assert!(world.authority.decide_device(&code, Decision::Approved), "{code}");
        let ended = login.finish();
        assert!(ended.err.contains("waiting for you to approve it; 1"), "{ended}");
        assert!(ended.err.contains("logged in as person1@example.com"), "{ended}");
        ended.err
    };
    let large = on(50, 100, "C.UTF-8", "");
    assert!(large.contains("██") && large.contains("\u{1b}[30;107m"), "{large}");
    let pale = on(50, 100, "C.UTF-8", "1");
    assert!(pale.contains("██") && !pale.contains("\u{1b}[30"), "{pale}");
    let low = on(24, 80, "C.UTF-8", "");
    assert!(low.contains("██") && !low.contains("\u{1b}[30;107m"), "{low}");
    let narrow = on(50, 40, "C.UTF-8", "");
    assert!(!narrow.contains("██ ") && narrow.contains("type this code"), "{narrow}");
    let plain = on(50, 100, "C", "");
    assert!(!plain.contains('█') && !plain.contains("\u{1b}[30"), "{plain}");
}

fn last(ended: &Ended) -> &str {
    ended.err.lines().last().unwrap()
}

/// The user is not asked to sign in for a login that could not be stored.
#[test]
fn a_store_that_cannot_be_written_is_reported_before_the_user_signs_in() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let folder = world.machine.home.file("codex-auth");
    for block in [
        |folder: &Path| fs::write(folder, "a file").unwrap(),
        |folder: &Path| fs::create_dir_all(folder.join("refresh.lock")).unwrap(),
    ] {
        block(&folder);
        let ended = world.codex(["login", "--device-auth"]).run().expect(5);
        assert!(ended.err.contains("codex-auth") && !ended.err.contains("/codex/device"), "{ended}");
        let _ = fs::remove_file(&folder);
        let _ = fs::remove_dir_all(&folder);
    }
    assert_eq!(world.authority.counters().all(), 0);
}

/// The document becomes unreadable while the login waits to be stored.
#[cfg(feature = "failpoints")]
#[test]
fn a_login_that_cannot_be_stored_is_revoked() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let pause = Pause::at("old login read");
    let run = world.codex(["login", "--device-auth", "--store", "file"]);
    let login = pause.apply_to(run).start();
    let standing = pause.wait();
    assert_eq!(world.live_grants(), 1);
    fs::create_dir(world.machine.home.document()).unwrap();
    drop(standing);
    let ended = login.wait_with_output().unwrap();
    assert_ne!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(world.live_grants(), 0, "{ended:?}");
}
