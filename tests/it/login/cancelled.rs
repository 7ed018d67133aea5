//! Cancelled logins: tokens that were issued are revoked, at whatever step the login was.

use std::pin::pin;
use std::time::{Duration, Instant};

use codex_auth::authority::Issuer;
use codex_auth::config::LoginMethod;
use codex_auth::login::{self, BrowserLogin, CommittedLogin, DeviceLogin, LoginSession};
use codex_auth::store;
use scripted_authority::{DeviceFlow, Edit, Endpoint, Moment, Outcome, Step};
use tokio::runtime::{Builder, Runtime};

use super::world::{Login, TEST_TIMEOUT, World};
use crate::support::{Machine, eventually, here, in_private_network, web};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Begins a login, which the authority approves at once.
fn session(world: &World<'_>) -> LoginSession {
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let (stores, environment) = (world.machine.home.stores(), world.machine.home.environment());
    let issuer = Issuer::parse("the test", world.authority.url()).unwrap();
    let session = LoginSession::begin(&stores, &environment, LoginMethod::ChatGpt, None);
    session.unwrap().with_issuer(issuer)
}

/// Logs in by device code.
async fn log_in(session: LoginSession) -> Result<CommittedLogin, login::Error> {
    let mut login = DeviceLogin::start(session.setup()).await?;
    session.commit(login.obtain().await?, |_| ()).await
}

#[track_caller]
fn everything_is_revoked(world: &World<'_>, grants: u64) {
    eventually("the tokens to be revoked", || {
        world.requests(Endpoint::Revoke) == grants && world.live_grants() == 0
    });
    assert_eq!(world.authority.counters().ended(Endpoint::Exchange, Outcome::Granted), grants);
    assert!(!world.machine.home.file("auth.json").exists());
}

#[test]
fn a_login_that_is_dropped_before_its_commit_sends_nothing() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let session = session(&world);
    runtime().block_on(async {
        let mut login = DeviceLogin::start(session.setup()).await.unwrap();
        drop(login.obtain());
        let obtained = login.obtain().await.unwrap();
        drop(session.commit(obtained, |_| ()));
    });
    assert_eq!((world.requests(Endpoint::Exchange), world.requests(Endpoint::Revoke)), (0, 0));
}

#[test]
fn a_commit_that_is_dropped_during_the_exchange_revokes_the_tokens() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    for (grants, moment) in [(1, Moment::Before), (2, Moment::After)] {
        let session = session(&world);
        let hold = world.authority.hold(Endpoint::Exchange, moment);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let logging_in = runtime.spawn(async move { log_in(session).await.map(drop) });
        hold.arrived(TEST_TIMEOUT).unwrap();
        logging_in.abort();
        // The revocation does not need the caller's runtime.
        drop(runtime);
        hold.release();
        everything_is_revoked(&world, grants);
    }
}

#[test]
fn a_commit_that_is_cancelled_during_the_exchange_fails_at_once_and_revokes_the_tokens() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let (session, runtime) = (session(&world), runtime());
    let hold = world.authority.hold(Endpoint::Exchange, Moment::After);
    let cancelled = session.clone();
    let exchanges = session.setup().exchanges().clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            hold.arrived(TEST_TIMEOUT).unwrap();
            assert!(cancelled.cancel());
        });
        let error = runtime.block_on(log_in(session)).unwrap_err();
        assert!(matches!(error, login::Error::Store(store::Error::Interrupted)), "{error}");
    });
    assert_eq!(world.live_grants(), 1);
    hold.release();
    runtime.block_on(exchanges.finish()).unwrap();
    everything_is_revoked(&world, 1);
    assert!(!world.machine.home.file("codex-auth/rescue").exists());
}

#[test]
fn a_response_without_every_token_is_refused_and_its_tokens_are_revoked() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    for missing in ["id_token", "access_token"] {
        world.authority.script(Endpoint::Exchange, Step::edited(missing, Edit::Missing));
        let stored = runtime().block_on(log_in(session(&world)));
        assert!(stored.unwrap_err().to_string().contains(&format!("it has no {missing}")));
        assert_eq!(world.live_grants(), 0, "{missing}");
        assert!(!world.machine.home.file("codex-auth/rescue").exists());
    }
}

#[test]
fn a_browser_login_that_is_dropped_while_it_asks_for_the_api_key_revokes_its_tokens() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let session = session(&world);
        let hold = world.authority.hold(Endpoint::ApiKey, Moment::Before);
        runtime().block_on(async {
            let home = world.machine.home.home();
            let mut login = BrowserLogin::start(session.setup(), &home).await.unwrap();
            let callback = web::get(login.authorize_url()).location().unwrap();
            let browser = std::thread::spawn(move || {
                web::send(web::parts(&callback).0, &super::interruption::visit(&callback))
            });
            let asked = async {
                while world.requests(Endpoint::ApiKey) == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            {
                let obtained = login.obtain().await.unwrap();
                let committing = pin!(session.commit(obtained, |_| ()));
                tokio::select! {
                    _ = committing => panic!("the API key is held"),
                    () = asked => {}
                }
            }
            drop(login);
            let _ = tokio::task::spawn_blocking(move || browser.join()).await;
        });
        // The response about the API key is not awaited.
        everything_is_revoked(&world, 1);
        hold.release();
    });
}

fn device_login(world: &World<'_>) -> Login {
    Login::start(world.codex(["login", "--device-auth"]))
}

#[test]
fn an_interruption_during_the_exchange_revokes_the_tokens_before_the_program_ends() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    for (grants, signal) in [(1, "INT"), (2, "TERM")] {
        let hold = world.authority.hold(Endpoint::Exchange, Moment::After);
        let mut login = device_login(&world);
        hold.arrived(TEST_TIMEOUT).unwrap();
        login.signal(signal);
        login.line_with("to revoke the unfinished login");
        hold.release();
        let ended = login.finish().expect(130);
        assert!(ended.err.ends_with("error: interrupted; nothing was changed\n"), "{ended}");
        assert_eq!((world.live_grants(), world.requests(Endpoint::Revoke)), (0, grants));
        assert!(world.machine.stored_text().is_none());
    }
}

#[test]
fn an_interruption_ends_a_login_that_waits_for_the_user_at_once() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let mut login = device_login(&world);
    login.code();
    world.authority.wait_for_requests(Endpoint::DevicePoll, 1, TEST_TIMEOUT).unwrap();
    let interrupted = Instant::now();
    login.signal("INT");
    let ended = login.finish().expect(130);
    // 200 ms on an idle machine.
    assert!(interrupted.elapsed() < Duration::from_secs(1), "{:?}", interrupted.elapsed());
    assert!(!ended.err.contains("to revoke"), "{ended}");
    assert_eq!((world.requests(Endpoint::Exchange), world.requests(Endpoint::Revoke)), (0, 0));
}

#[test]
fn a_second_interruption_ends_the_program_and_says_that_the_tokens_may_stay_valid() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let hold = world.authority.hold(Endpoint::Exchange, Moment::After);
    let mut login = device_login(&world);
    hold.arrived(TEST_TIMEOUT).unwrap();
    login.signal("INT");
    login.line_with("to revoke the unfinished login");
    login.signal("INT");
    let ended = login.finish().expect(130);
    assert!(ended.err.contains("error: interrupted; the cancelled login may stay valid at "), "{ended}");
    hold.release();
}

#[test]
fn a_cancelled_login_that_cannot_be_revoked_is_reported() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    world.authority.script_always(Endpoint::Revoke, Step::status(400, "odd"));
    let hold = world.authority.hold(Endpoint::Exchange, Moment::After);
    let mut login = device_login(&world);
    hold.arrived(TEST_TIMEOUT).unwrap();
    login.signal("INT");
    login.line_with("to revoke the unfinished login");
    hold.release();
    let ended = login.finish().expect(130);
    assert!(ended.err.contains("error: interrupted; the cancelled login may stay valid at "), "{ended}");
    assert!(ended.err.contains("answered 400 (odd"), "{ended}");
    world.assert_no_secret_in(&ended.to_string());
}
