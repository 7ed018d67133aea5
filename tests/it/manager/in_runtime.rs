//! Blocking calls of the library inside a tokio runtime, where tokio itself panics.

use std::ops::ControlFlow;

use codex_auth::Lease;
use codex_auth::manager::logout::LogoutScope;
use codex_auth::manager::{AccountPolicy, Job, JobOutcome, RefreshReason, finish_rescue};
use scripted_authority::{Account, Endpoint};
use tokio::runtime::Builder;

use super::world::{TEST_TIMEOUT, World};
use crate::support::Machine;

/// Runs `call` inside both flavours of runtime, each in a new world.
fn on_both_flavours(call: impl Fn(&mut World<'_>)) {
    for mut flavour in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let mut machine = Machine::with_file();
        let mut world = World::fresh(&mut machine);
        let runtime = flavour.enable_all().build().unwrap();
        runtime.block_on(async { call(&mut world) });
    }
}

#[test]
fn a_job_refreshes_and_logs_out_inside_a_runtime() {
    on_both_flavours(|world| {
        let environment = world.environment();
        let home = world.machine.home.home();
        let snapshot = world.builder().open().unwrap().current();
        let refresh = Job::refresh(RefreshReason::Forced, &snapshot, AccountPolicy::Stay);
        let done = refresh.run(home.clone(), &environment, |_| ControlFlow::Continue(()));
        assert!(matches!(done, JobOutcome::Served), "{done:?}");
        assert_eq!(world.requests(), 1);
        assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());

        let done = Job::logout(LogoutScope::Revoke).run(home, &environment, |_| ControlFlow::Continue(()));
        assert!(matches!(done, JobOutcome::LoggedOut(_)), "{done:?}");
        assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1);
    });
}

#[test]
fn the_rescue_of_a_replaced_login_is_revoked_inside_a_runtime() {
    on_both_flavours(|world| {
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        let orphan = world.live_refresh_token();
        assert!(orphan.is_some() && world.has_rescue());
        let before = world.grant.id;
        world.log_in_as(Account::numbered(2), 3_600);

        let lease = Lease::acquire(&world.machine.home.home(), TEST_TIMEOUT, |_| {}).unwrap();
        finish_rescue(&lease, &world.environment()).unwrap();
        assert!(!world.has_rescue());
        assert_eq!(world.authority.live_refresh_token(before), None, "the orphan is revoked");
        assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
    });
}
