//! Two hosts that share a login by the commands of the program, with a real etcd that has users and a private CA.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use scripted_authority::{DeviceFlow, TokenState};

use super::etcd::TLS_URL;
use super::site::{Access, PASSWORD, Site, recipe};
use crate::support::{Run, TestHome, eventually, here, in_private_network, program, search_path};

#[test]
fn the_six_commands_of_the_readme_set_up_two_hosts() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Users);
        let commands = recipe("codex login\ncodex fleet init");
        let (first, second) = commands.split_once("\n\n").unwrap();
        assert_eq!(commands.lines().filter(|line| !line.is_empty()).count(), 6);
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(program(), bin.join("codex")).unwrap();
        fs::copy(site.etcd.ca(), folder.path().join("ca.pem")).unwrap();
        fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let path: Vec<PathBuf> = [bin].into_iter().chain(std::env::split_paths(&search_path())).collect();
        let path = std::env::join_paths(path).unwrap();
        let follow = |host: &TestHome, lines: &str, member: &str| {
            // The hosts are logged in already, and have no service manager; both are on one machine.
            let ours =
                lines.lines().filter(|line| !line.contains("codex login") && !line.contains("install"));
            for line in ours {
                let line = line.replace("https://etcd.example:2379", TLS_URL);
                let line = line.replace("fleet init", &format!("fleet init --member {member}"));
                let line = line.replace("fleet join", &format!("fleet join --member {member}"));
                let run = Run::of(Path::new("sh"), ["-euc", &line]).envs(host.variables()).env("PATH", &path);
                site.with_authority(run).at(folder.path()).run().expect(0);
            }
        };
        follow(&site.first, first, "one");
        let _one = site.keeper(&site.first);
        follow(&site.second, second, "two");
        let _two = site.keeper(&site.second);

        let before = site.token(&site.first);
        assert_eq!(site.token(&site.second), before);
        for (rotation, host) in [&site.second, &site.first, &site.second].into_iter().enumerate() {
            site.codex(host, ["refresh"]).run().expect(0);
            let token = site.token(host);
            assert_ne!(token, before);
            eventually("both hosts have the new token", || {
                [&site.first, &site.second].iter().all(|host| site.token(host) == token)
            });
            assert_eq!(site.refreshes(), rotation as u64 + 1);
        }
        for host in [&site.first, &site.second] {
            site.assert_served(host);
        }
        let status = site.status(&site.first);
        assert_eq!(status["etcd"]["reachable"], true, "{status:#}");
        assert_eq!(status["members"].as_array().unwrap().len(), 2, "{status:#}");
        site.assert_no_secret_leaked(&[&site.first, &site.second]);
    });
}

#[test]
fn without_a_keeper_a_command_takes_part_itself() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let before = site.token(&site.second);
        assert_eq!(site.token(&site.first), before);
        site.codex(&site.second, ["refresh"]).run().expect(0);
        let token = site.token(&site.second);
        assert_ne!(token, before);
        // The first host has not seen it; it asks the fleet and gets that one.
        site.codex(&site.first, ["refresh"]).run().expect(0);
        assert_eq!((site.token(&site.first), site.refreshes()), (token, 1));
        for host in [&site.first, &site.second] {
            site.assert_served(host);
        }
        site.assert_no_secret_leaked(&[&site.first, &site.second]);
    });
}

#[test]
fn a_logout_of_ours_ends_the_login_of_every_host() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let _keeper = site.keeper(&site.second);
        site.codex(&site.first, ["logout"]).run().expect(0);
        assert!(site.authority.live_refresh_token(site.grant.id).is_none());
        assert!(!site.first.document().exists());
        eventually("the other host is logged out", || !site.second.document().exists());
        assert_eq!(site.status(&site.first)["logged_out"], true);
    });
}

#[test]
fn a_rekey_gives_the_other_hosts_the_new_key_by_a_new_invite_only() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let old = site.token(&site.second);
        site.codex(&site.first, ["fleet", "rekey"]).run().expect(0);
        assert_eq!(site.refreshes(), 1);
        let refused = site.codex(&site.second, ["refresh"]).run().refused(1);
        assert!(refused.err.contains("key of the fleet was changed"), "{refused}");
        assert!(refused.err.contains("codex fleet join"), "{refused}");
        assert_eq!(site.token(&site.second), old, "the token is served while it lives");
        site.join(&site.second, "two").expect(0);
        assert_eq!(site.token(&site.second), site.token(&site.first));
        site.codex(&site.second, ["refresh"]).run().expect(0);
        assert_eq!(site.refreshes(), 2);
    });
}

#[test]
fn a_host_that_leaves_has_no_login_and_the_last_one_may_not_take_the_key_along() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        site.codex(&site.second, ["fleet", "leave"]).run().expect(0);
        assert!(!site.second.document().exists() && !site.second.file("codex-auth/fleet").exists());
        assert_eq!(site.status(&site.first)["members"].as_array().unwrap().len(), 1);
        site.codex(&site.second, ["fleet", "status"]).run().refused(1);
        let last = site.codex(&site.first, ["fleet", "leave"]).run().refused(1);
        assert!(last.err.contains("the last host"), "{last}");
        site.assert_served(&site.first);
        site.codex(&site.first, ["logout"]).run().expect(0);
        site.codex(&site.first, ["fleet", "leave"]).run().expect(0);
        assert!(!site.first.file("codex-auth/fleet").exists());
    });
}

#[test]
fn without_etcd_the_token_is_served_and_nothing_is_spent() {
    in_private_network(here!(), || {
        let mut site = Site::start(Access::Anyone);
        site.join_both();
        let token = site.token(&site.second);
        let keeper = site.keeper(&site.second);
        keeper.until("taking part");
        site.etcd.kill();
        let failed = site.codex(&site.second, ["refresh"]).run().refused(4);
        assert!(failed.err.contains("etcd cannot be reached"), "{failed}");
        assert_eq!((site.token(&site.second), site.refreshes()), (token, 0));
        let status = site.codex(&site.second, ["fleet", "status"]).run().expect(4);
        assert!(status.out.contains("not usable"), "{status}");
        site.codex(&site.second, ["doctor"]).run().expect(1);
        eventually("the status says it", || {
            site.codex(&site.second, ["status"]).run().out.contains("not reached")
        });
        let why = site.codex(&site.second, ["why"]).run().expect(0);
        assert!(why.out.contains("cannot take part in the fleet"), "{why}");
        site.etcd.start_again();
        eventually("the host refreshes again", || {
            site.codex(&site.second, ["refresh"]).run().code == Some(0)
        });
        assert_eq!(site.refreshes(), 1);
    });
}

#[test]
fn a_login_by_our_command_becomes_that_of_every_host() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let _keeper = site.keeper(&site.first);
        site.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
        let login = site.codex(&site.second, ["login", "--device-auth"]);
        let login = login.env("CODEX_APP_SERVER_LOGIN_ISSUER", site.authority.url()).run().expect(0);
        assert!(login.err.contains("every host of the fleet 'default' has this login now"), "{login}");
        assert!(site.authority.live_refresh_token(site.grant.id).is_none(), "the old login is revoked");
        eventually("both hosts have the new login", || {
            let [one, two] = [&site.first, &site.second].map(|host| site.token(host));
            one == two && site.authority.state_of(&one) == TokenState::Live
        });
        site.assert_served(&site.first);
        site.assert_served(&site.second);
    });
}
