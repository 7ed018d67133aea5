//! What the commands of a host say and do once its login has ended, for the fleet or on this host alone.

use scripted_authority::{Endpoint, Step};

use super::site::{Access, Site};
use crate::support::{Ended, Flock, WallClock, here, in_private_network};

/// Longer than an access token lives.
const LATER: i64 = 2 * 60 * 60;

#[test]
fn a_login_that_the_authority_refuses_has_ended_for_every_command() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        site.authority.script(Endpoint::Refresh, Step::status(400, "refresh_token_reused"));
        let refused = site.codex(&site.first, ["refresh"]).run().refused(3);
        assert!(refused.err.contains("the login of the fleet does not work any more"), "{refused}");
        assert!(refused.err.contains("codex login"), "{refused}");
        site.token(&site.first);
        let clock = WallClock::ahead_by(LATER);
        let later =
            |command: &'static str| -> Ended { clock.apply_to(site.codex(&site.first, [command])).run() };
        later("token").refused(3);
        let status = later("status").expect(3);
        assert!(status.out.contains("no: the login of the fleet does not work any more"), "{status}");
        assert!(status.err.contains("codex login"), "{status}");
        let why = later("why").expect(0);
        assert!(why.out.contains("the authority refused the refresh token"), "{why}");
        let doctor = later("doctor").expect(1);
        assert!(doctor.out.contains("the login of the fleet does not work any more"), "{doctor}");
    });
}

#[test]
fn a_refresh_does_not_end_with_a_token_of_another_host_that_has_expired() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        site.codex(&site.first, ["refresh"]).run().expect(0);
        let clock = WallClock::ahead_by(LATER);
        clock.apply_to(site.codex(&site.second, ["refresh"])).run().expect(0);
        assert_eq!(site.refreshes(), 2);
    });
}

#[test]
fn a_login_that_a_program_removed_is_not_replaced_but_resumed() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let token = site.token(&site.first);
        std::fs::remove_file(site.second.document()).unwrap();
        let check = |run: Ended| {
            assert!(run.err.contains("codex fleet resume"), "{run}");
            assert!(!run.err.contains("codex login"), "{run}");
        };
        check(site.codex(&site.second, ["status"]).run().expect(1));
        check(site.codex(&site.second, ["token"]).run().refused(1));
        assert_eq!(site.status(&site.second)["standing"], "left");
        let status = site.codex(&site.second, ["fleet", "status"]).run().expect(0);
        assert!(status.out.contains("to return: codex fleet resume"), "{status}");
        check(site.codex(&site.second, ["refresh"]).run().refused(1));
        check(site.codex(&site.second, ["status"]).run().expect(1));
        site.codex(&site.second, ["fleet", "resume"]).run().expect(0);
        assert_eq!((site.token(&site.second), site.refreshes()), (token, 0));

        // Also if no command has seen it.
        std::fs::remove_file(site.second.document()).unwrap();
        site.codex(&site.second, ["fleet", "resume"]).run().expect(0);
        site.assert_served(&site.second);
        let again = site.codex(&site.second, ["fleet", "resume"]).run().refused(1);
        assert!(again.err.contains("serves this home already"), "{again}");
    });
}

#[test]
fn a_fleet_that_is_logged_out_says_so_on_every_host() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        site.codex(&site.first, ["logout"]).run().expect(0);
        for host in [&site.first, &site.second] {
            site.codex(host, ["refresh"]).run().refused(1);
            let status = site.codex(host, ["fleet", "status"]).run().expect(0);
            assert!(status.out.contains("the next login of the fleet, which is logged out"), "{status}");
            let resumed = site.codex(host, ["fleet", "resume"]).run().refused(1);
            assert!(resumed.err.contains("the fleet is logged out"), "{resumed}");
            assert!(resumed.err.contains("codex login"), "{resumed}");
        }
    });
}

#[test]
fn a_host_that_cannot_leave_is_still_a_member() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let lock = Flock::hold(&site.second.file("codex-auth/fleet/member/lock"));
        site.codex(&site.second, ["fleet", "leave"]).run().refused(6);
        assert_eq!(site.status(&site.second)["standing"], "active");
        drop(lock);
        site.assert_served(&site.second);
        site.codex(&site.second, ["fleet", "leave"]).run().expect(0);
    });
}
