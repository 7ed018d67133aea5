//! What `codex fleet init` and `codex fleet join` accept, and what they say of the rest.

use scripted_authority::Account;

use super::etcd::{TLS_URL, URL};
use super::site::{Access, PASSWORD, Site};
use crate::support::{TestHome, here, in_private_network};

#[test]
fn an_invite_is_read_with_white_space_around_it_and_a_broken_one_is_named() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Users);
        let init = ["fleet", "init", "--name", "work", "--etcd", URL, "--user", "ada", "--member", "one"];
        site.codex(&site.first, init).input(PASSWORD).run().expect(0);
        let invite = site.invite();
        let join =
            |input: String| site.codex(&site.second, ["fleet", "join", "--member", "two"]).input(input).run();
        let refused = join(invite.clone()).refused(1);
        assert!(refused.err.contains("needs the password of the etcd user 'ada'"), "{refused}");
        assert!(refused.err.contains("cat invite password | codex fleet join"), "{refused}");
        let (line, rest) = invite.split_at(80);
        let refused = join(format!("{line}\n{rest}{PASSWORD}\n")).refused(1);
        assert!(refused.err.contains("this is no invite to a fleet, which is one line"), "{refused}");
        let whole = format!("\r\n  {}\r\n{PASSWORD}\r\n", invite.trim());
        join(whole.clone()).expect(0);
        let again = join(whole).refused(1);
        assert!(again.err.contains("this home is in the fleet 'work' already"), "{again}");
    });
}

#[test]
fn a_login_that_a_host_brings_along_is_reported_and_a_failed_init_leaves_nothing() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        let brought = site.authority.grant(Account::numbered(1));
        site.second.write("auth.json", brought.auth_json());
        site.codex(&site.first, ["fleet", "init", "--etcd", URL, "--member", "one"]).run().expect(0);
        let ca = site.etcd.ca();
        let init = ["fleet", "init", "--etcd", TLS_URL, "--ca", ca.to_str().unwrap()];
        let refused = site.codex(&site.second, init).run().refused(1);
        assert!(refused.err.contains("etcd holds a fleet 'default' already"), "{refused}");
        assert!(!site.second.file("codex-auth/fleet").exists());
        let joined = site.join(&site.second, "two").expect(0);
        assert!(joined.err.contains("the login of this host is that of the fleet now"), "{joined}");
        assert!(site.authority.live_refresh_token(site.grant.id).is_none(), "the old login is revoked");
        assert!(site.authority.live_refresh_token(brought.id).is_some());
    });
}

#[test]
fn a_wrong_address_or_name_is_answered_with_what_is_needed() {
    let host = TestHome::new();
    for address in ["127.0.0.1:2379", "ada:marked-password@etcd"] {
        let init = host.codex(["fleet", "init", "--etcd", address]).run().refused(2);
        assert!(init.err.contains("--etcd needs a URL such as https://etcd.example:2379"), "{init}");
        assert!(!init.err.contains("marked"), "{init}");
    }
    let init = host.codex(["fleet", "init", "--etcd", URL, "--name", "a b"]).run().refused(2);
    assert!(init.err.contains("--name needs a name of 1 to 64 letters"), "{init}");
    for command in ["rekey", "leave", "resume"] {
        let help = host.codex(["fleet", command, "--help"]).run().expect(0);
        assert!(help.out.contains(&format!("codex fleet {command}")), "{help}");
        assert!(!help.out.contains("codex fleet status"), "{help}");
    }
}
