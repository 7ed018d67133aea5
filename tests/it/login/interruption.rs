//! Logins that are interrupted, killed, or cut off from the network at every step: the login before still works.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use codex_auth::Lease;
use codex_auth::login::{BrowserLogin, LoginSetup};
use scripted_authority::{Endpoint, Moment, Step};

use super::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, here, in_private_network, in_private_network_over_both_stores, web};

in_private_network_over_both_stores![
    a_login_that_is_ended_at_any_step_leaves_the_one_before,
    a_network_that_fails_at_any_step_leaves_the_one_before,
];

/// The step at which a login is held.
#[derive(Clone, Copy, Debug)]
enum At {
    /// It waits for the browser.
    Browser,
    /// The authority has the code, before or after it issued tokens.
    Exchange(Moment),
    /// It requests the API key.
    ApiKey,
    /// It has the code and waits for the lease.
    Lease,
}

const STEPS: [At; 5] =
    [At::Browser, At::Exchange(Moment::Before), At::Exchange(Moment::After), At::ApiKey, At::Lease];

fn a_login_that_is_ended_at_any_step_leaves_the_one_before(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    for signal in ["INT", "TERM", "HUP", "KILL"] {
        for at in STEPS {
            let live = world.live_grants();
            let begun = Instant::now();
            ended_at(&world, at, signal);
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{signal} at {at:?} took {:?}",
                begun.elapsed()
            );
            assert_eq!(world.stored_token("refresh_token"), old.tokens.refresh_token, "{signal} at {at:?}");
            if signal != "KILL" {
                world.assert_nothing_left();
                assert_eq!(world.live_grants(), live, "{signal} at {at:?}");
                assert!(!world.machine.home.file("codex-auth/rescue").exists(), "{signal} at {at:?}");
            }
        }
    }
    world.assert_still_works(&old);
}

fn ended_at(world: &World<'_>, at: At, signal: &str) {
    let lease = matches!(at, At::Lease)
        .then(|| Lease::acquire(&world.machine.home.home(), Duration::from_secs(30), |_| ()).unwrap());
    let mut hold = match at {
        At::Browser | At::Lease => None,
        At::Exchange(moment) => Some(world.authority.hold(Endpoint::Exchange, moment)),
        At::ApiKey => Some(world.authority.hold(Endpoint::ApiKey, Moment::Before)),
    };
    let mut login = world.browser_login(&[]);
    let url = login.url();
    let exchanges = world.requests(Endpoint::Exchange);
    let callback = || web::get(&url).location().unwrap();
    let browser = hold.is_some().then(|| {
        let callback = callback();
        // The connection will be closed.
        std::thread::spawn(move || web::send(web::parts(&callback).0, &visit(&callback)))
    });
    let waiting = matches!(at, At::Lease).then(|| {
        let callback = callback();
        let mut stream = TcpStream::connect(web::parts(&callback).0).unwrap();
        stream.write_all(visit(&callback).as_bytes()).unwrap();
        stream
    });
    if let Some(hold) = &hold {
        drop(hold.arrived(TEST_TIMEOUT).unwrap());
    }
    login.signal(signal);
    if signal != "KILL" && matches!(at, At::Exchange(_)) {
        // Tokens can only be revoked after they have arrived.
        drop(hold.take());
    }
    let ended = login.finish();
    if signal == "KILL" {
        assert_eq!(ended.code, None);
    } else {
        assert_eq!(ended.code, Some(130), "{signal} at {at:?}: {ended}");
        assert!(ended.err.ends_with("error: interrupted; nothing was changed\n"), "{ended}");
    }
    if lease.is_some() {
        assert_eq!(world.requests(Endpoint::Exchange), exchanges, "nothing is requested without the lease");
    }
    drop((hold, lease, waiting));
    if let Some(browser) = browser {
        let _ = browser.join().unwrap();
    }
}

pub fn visit(url: &str) -> String {
    let (authority, path) = web::parts(url);
    format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
}

fn a_network_that_fails_at_any_step_leaves_the_one_before(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    for (step, message) in [
        (Step::closed_before(), "closed the connection before the response was complete"),
        (Step::closed_after(), "closed the connection before the response was complete"),
        (Step::truncated(), "closed the connection before the response was complete"),
        (Step::flood(1_000_000), "it is too large"),
        (Step::status(503, "down").with_header("Retry-After", "7"), "try again in 7 seconds"),
    ] {
        world.authority.script(Endpoint::Exchange, step.clone());
        let mut login = world.browser_login(&[]);
        let pages = web::follow(&login.url());
        let ended = login.finish().expect(4);
        assert!(ended.err.contains(message), "{step:?}: {ended}");
        let page = &pages.last().unwrap().body;
        assert!(page.contains(message) && page.contains("Nothing was changed"), "{page}");
        assert_eq!(world.stored_token("refresh_token"), old.tokens.refresh_token, "{step:?}");
    }
    // The authority no longer listens.
    let run =
        world.codex(["login", "--device-auth"]).env("CODEX_APP_SERVER_LOGIN_ISSUER", "http://127.0.0.1:9");
    let ended = run.run().refused(4);
    assert!(ended.err.contains("cannot be reached: Connection refused"), "{ended}");
    world.assert_still_works(&old);
}

#[test]
fn an_interruption_after_the_commit_keeps_the_new_login_and_reports_what_was_skipped() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let old = world.log_in(1);
        let hold = world.authority.hold(Endpoint::Revoke, Moment::Before);
        let mut login = world.browser_login(&[]);
        web::follow(&login.url());
        hold.arrived(TEST_TIMEOUT).unwrap();
        login.signal("INT");
        let ended = login.finish().expect(0);
        let warning =
            "warning: interrupted before the tokens of the old login were revoked; they may stay valid";
        assert_eq!(ended.err.lines().last(), Some(warning), "{ended}");
        assert_ne!(world.stored_token("refresh_token"), old.tokens.refresh_token);
        world.codex(["token"]).run().expect(0);
    });
}

#[test]
fn dropping_a_login_of_the_library_frees_its_port_and_its_note() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let old = world.log_in(1);
        let environment = world.machine.home.environment();
        let stores = world.machine.home.stores();
        let issuer = codex_auth::authority::Issuer::parse("the test", world.authority.url()).unwrap();
        let setup = LoginSetup::new(&environment, &stores.settings().config).unwrap().with_issuer(issuer);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..3 {
                let mut login = BrowserLogin::start(&setup, stores.home()).await.unwrap();
                assert!(login.authorize_url().contains("127.0.0.1%3A1455"));
                assert!(world.machine.home.file("codex-auth/login").exists());
                // The user has not come back when the host cancels.
                let waited = tokio::time::timeout(Duration::from_millis(50), login.obtain()).await;
                assert!(waited.is_err());
                drop(login);
                tokio::task::yield_now().await;
                world.assert_nothing_left();
            }
        });
        world.assert_still_works(&old);
    });
}
