//! What programs that know nothing of a fleet do on its hosts: OpenAI's Codex 0.171, and logins that are put there.

use scripted_authority::Account;
use serde_json::Value;

use super::site::{Access, Site};
use crate::interop::codex::codex_0171;
use crate::support::{Run, here, in_private_network};

#[test]
fn a_codex_on_a_host_sends_no_request_and_finds_its_login() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let requests = site.authority.counters().all();
        for host in [&site.first, &site.second] {
            let theirs = Run::of(&codex_0171(), ["login", "status"]).envs(host.variables());
            let status = site.with_authority(theirs).run().expect(0);
            assert!(status.err.contains("Logged in using ChatGPT"), "{status}");
            site.assert_served(host);
        }
        assert_eq!(site.authority.counters().all(), requests);
    });
}

#[test]
fn a_logout_of_codex_leaves_the_fleet_alone_and_resume_returns_to_it() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let theirs = Run::of(&codex_0171(), ["logout"]).envs(site.second.variables());
        site.with_authority(theirs).run().expect(0);
        assert!(!site.second.document().exists());
        let keeper = site.keeper(&site.second);
        keeper.until("does not serve any more");
        assert_eq!(site.status(&site.second)["standing"], "left");
        // A rotation of the others is not written here.
        site.codex(&site.first, ["refresh"]).run().expect(0);
        site.codex(&site.second, ["status"]).run().expect(1);
        assert!(!site.second.document().exists());
        site.assert_served(&site.first);

        site.codex(&site.second, ["fleet", "resume"]).run().expect(0);
        site.assert_served(&site.second);
        assert_eq!(site.token(&site.second), site.token(&site.first));
        assert_eq!(site.status(&site.second)["standing"], "active");
    });
}

#[test]
fn a_login_of_another_account_detaches_the_host_and_one_of_the_same_becomes_that_of_the_fleet() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let other = site.authority.grant(Account::numbered(2));
        site.second.write("auth.json", other.auth_json());
        site.codex(&site.second, ["refresh"]).run();
        assert_eq!(site.status(&site.second)["standing"], "detached");
        let stored: Value = serde_json::from_str(&site.second.read("auth.json")).unwrap();
        assert_eq!(stored["tokens"]["account_id"], "acct-2");
        let log = site.codex(&site.second, ["log"]).run().expect(0);
        assert!(log.out.contains("another account has logged in here"), "{log}");
        site.assert_served(&site.first);

        // As a program does that logs in again on the first host.
        let again = site.authority.grant(Account::numbered(1));
        site.first.write("auth.json", again.auth_json());
        site.codex(&site.first, ["refresh"]).run().expect(0);
        site.assert_served(&site.first);
        assert!(site.authority.live_refresh_token(again.id).is_some());
        assert!(site.authority.live_refresh_token(site.grant.id).is_none(), "the old login is revoked");
    });
}

#[test]
fn an_api_key_that_codex_stores_detaches_the_host_and_is_not_overwritten() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let keeper = site.keeper(&site.second);
        keeper.until("taking part");
        let theirs = Run::of(&codex_0171(), ["login", "--with-api-key"]).envs(site.second.variables());
        site.with_authority(theirs).input("sk-of-the-user").run().expect(0);
        keeper.until("another account has logged in to this home");
        site.codex(&site.first, ["refresh"]).run().expect(0);
        assert_eq!(site.status(&site.second)["standing"], "detached");
        assert!(site.second.read("auth.json").contains("sk-of-the-user"));
        let refused = site.codex(&site.second, ["fleet", "resume"]).run().refused(1);
        assert!(refused.err.contains("another login than the fleet"), "{refused}");
        site.codex(&site.second, ["logout"]).run().expect(0);
        assert!(site.authority.live_refresh_token(site.grant.id).is_some(), "the fleet is untouched");
        site.codex(&site.second, ["fleet", "resume"]).run().expect(0);
        site.assert_served(&site.second);
    });
}
