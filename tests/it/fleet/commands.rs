//! Two hosts that share a login by the commands of the program, with a real etcd that has users and a private CA.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_auth::fleet::Change;
use scripted_authority::{Account, Authority, DeviceFlow, Endpoint, Grant, Outcome, Reuse, TokenState};
use serde_json::Value;

use super::etcd::{Etcd, TLS_URL, URL, store};
use crate::interop::codex::codex_0171;
use crate::keeper::process::{AT_WORK, Process};
use crate::manager::world::block_on;
use crate::support::{
    Ended, Machine, Run, TestHome, eventually, here, in_private_network, program, search_path, session,
};

/// The password of the etcd user, which must be nowhere but with the hosts.
const PASSWORD: &str = "marked-password";

/// Two hosts, an authority and an etcd.
struct Site {
    etcd: Etcd,
    authority: Authority,
    grant: Grant,
    first: TestHome,
    second: TestHome,
}

/// Whether etcd asks for passwords.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Anyone,
    Users,
}

impl Site {
    /// The first host is logged in.
    fn start(access: Access) -> Self {
        let authority = Authority::start().unwrap();
        authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
        let grant = authority.grant(Account::numbered(1));
        let (first, second) = (TestHome::new(), TestHome::new());
        first.write("auth.json", grant.auth_json());
        let site = Self { etcd: Etcd::start(), authority, grant, first, second };
        if access == Access::Users {
            site.follow_the_recipe();
        }
        site
    }

    /// Runs the commands of the README that give the hosts a user of etcd.
    fn follow_the_recipe(&self) {
        for command in recipe("etcdctl user add root").lines() {
            let mut words: Vec<_> = command.split(' ').skip(1).map(str::to_owned).collect();
            if words[..2] == ["user", "add"] {
                words[2] = format!("{}:{PASSWORD}", words[2]);
            }
            self.etcd.ctl(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    fn with_authority(&self, run: Run) -> Run {
        run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url())
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url())
            .env("CODEX_AUTHAPI_BASE_URL", self.authority.url())
    }

    fn codex<'a>(&self, host: &TestHome, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.with_authority(host.codex(arguments))
    }

    /// Founds a fleet without users on the first host, and joins on the second.
    fn join_both(&self) {
        self.codex(&self.first, ["fleet", "init", "--etcd", URL, "--member", "one"]).run().expect(0);
        self.join(&self.second, "two").expect(0);
    }

    fn invite(&self) -> String {
        self.codex(&self.first, ["fleet", "invite"]).run().expect(0).out
    }

    fn join(&self, host: &TestHome, name: &str) -> Ended {
        self.codex(host, ["fleet", "join", "--member", name]).input(self.invite()).run()
    }

    fn keeper(&self, host: &TestHome) -> Process {
        let keeper = Process::start(self.codex(host, ["sync", "run"]).env("CODEX_AUTH_LOG", "debug"));
        keeper.until(AT_WORK);
        keeper
    }

    fn status(&self, host: &TestHome) -> Value {
        self.codex(host, ["fleet", "status", "--json"]).run().json()
    }

    fn token(&self, host: &TestHome) -> String {
        self.codex(host, ["token"]).run().expect(0).out.trim().to_owned()
    }

    /// The number of refreshes that the authority granted; every one was the first with its token.
    #[track_caller]
    fn refreshes(&self) -> u64 {
        let counters = self.authority.counters();
        assert_eq!(counters.ended(Endpoint::Refresh, Outcome::Refused), 0, "{:#?}", self.authority.journal());
        counters.ended(Endpoint::Refresh, Outcome::Granted)
    }

    /// Checks that the stored login of `host` has the access token of the authority and no refresh token.
    #[track_caller]
    fn assert_served(&self, host: &TestHome) {
        let document: Value = serde_json::from_str(&host.read("auth.json")).unwrap();
        let refresh_token = document["tokens"]["refresh_token"].as_str().unwrap();
        assert!(refresh_token.starts_with("codex-auth.dummy."), "it has a refresh token");
        let access_token = document["tokens"]["access_token"].as_str().unwrap();
        assert_eq!(self.authority.state_of(access_token), TokenState::Live, "{document:#}");
    }

    /// Checks that no secret is in a file of etcd, and that no refresh token is readable on a host.
    fn assert_no_secret_leaked(&self, hosts: &[&TestHome]) {
        let mut secrets = self.authority.issued_secrets();
        for host in hosts {
            let keys: Value = serde_json::from_str(&host.read("codex-auth/fleet/keys")).unwrap();
            // Etcd 3.4 itself writes the password of its user to its log.
            let keys = keys["keys"].as_array().unwrap();
            secrets
                .extend(keys.iter().map(|key| key.as_str().unwrap().split_once(':').unwrap().1.to_owned()));
        }
        let is_in = |text: &str| secrets.iter().any(|secret| text.contains(secret.as_str()));
        for file in self.etcd.files() {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            assert!(!is_in(&text), "{} has a secret", file.display());
        }
        let live = self.authority.live_refresh_token(self.grant.id);
        for host in hosts {
            for (path, mode, content) in host.tree() {
                let text = String::from_utf8_lossy(&content);
                assert!(live.as_ref().is_none_or(|token| !text.contains(token)), "{}", path.display());
                let is_ours = path.to_string_lossy().contains("/fleet/");
                assert!(!is_ours || mode & 0o077 == 0, "{}: {mode:o}", path.display());
            }
        }
    }
}

/// The block of the README that begins with `line`.
fn recipe(line: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, after) = page.split_once(&format!("```sh\n{line}")).unwrap_or_else(|| panic!("no recipe {line}"));
    format!("{line}{}", after.split_once("\n```").unwrap().0)
}

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
fn an_invite_works_once_and_a_used_or_foreign_one_is_refused_with_the_next_step() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.codex(&site.first, ["fleet", "init", "--etcd", URL, "--member", "one"]).run().expect(0);
        let invite = site.invite();
        let join = |host: &TestHome, line: &str| {
            site.codex(host, ["fleet", "join", "--member", "two"]).input(line).run()
        };
        join(&site.second, &invite).expect(0);
        let third = TestHome::new();
        let used = join(&third, &invite).refused(1);
        assert!(used.err.contains("used already") && used.err.contains("codex fleet invite"), "{used}");
        for line in ["", "codex-fleet-1.x", &invite[..invite.len() / 2]] {
            join(&third, line).refused(1);
        }
        assert!(third.names().is_empty() || !third.file("codex-auth/fleet").exists(), "{:?}", third.names());
        let taken = join(&third, &site.invite()).refused(1);
        assert!(taken.err.contains("a member 'two' already") && taken.err.contains("--member"), "{taken}");
        // A home with another login is not overwritten.
        third.write("auth.json", site.authority.grant(Account::numbered(2)).auth_json());
        let other =
            site.codex(&third, ["fleet", "join", "--member", "three"]).input(site.invite()).run().refused(1);
        assert!(other.err.contains("another login than the fleet"), "{other}");
        site.codex(&site.first, ["fleet", "init", "--etcd", URL]).run().refused(1);
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

#[test]
fn a_record_that_is_not_the_fleets_is_a_clear_error_and_nothing_is_spent() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        site.join_both();
        let token = site.token(&site.second);
        let genuine = site.etcd.ctl(&["get", "/codex-auth/default/record", "--print-value-only", "--hex"]);
        assert!(!genuine.is_empty());
        for (hostile, why) in [
            ("anything", "was not written by codex-auth"),
            (
                "codex-auth record 1\n\0\0\0\0\0\0\0\u{1}sealed by a stranger, and long enough",
                "does not open it",
            ),
        ] {
            // Through the gateway, because arguments have no zero bytes.
            put_bytes("/codex-auth/default/record", hostile.as_bytes());
            let refused = site.codex(&site.second, ["refresh"]).run().refused(1);
            assert!(refused.err.contains(why), "{refused}");
            site.codex(&site.second, ["fleet", "status"]).run().expect(1);
        }
        assert_eq!((site.token(&site.second), site.refreshes()), (token, 0));
    });
}

/// Writes a value of any bytes.
fn put_bytes(key: &str, value: &[u8]) {
    let change = Change::Put { key: key.to_owned(), bytes: value.to_vec(), lease: None };
    block_on(async { store().commit(&[], &[change]).await.unwrap() });
}

#[test]
fn what_goes_to_etcd_has_no_token_and_no_key() {
    in_private_network(here!(), || {
        let site = Site::start(Access::Anyone);
        let tap = Tap::start();
        site.codex(&site.first, ["fleet", "init", "--etcd", &tap.url, "--member", "one"]).run().expect(0);
        site.join(&site.second, "two").expect(0);
        site.codex(&site.second, ["refresh"]).run().expect(0);
        let seen = tap.seen();
        assert!(seen.contains("/v3/kv/txn"), "the tap sees the requests");
        let mut secrets = site.authority.issued_secrets();
        let keys: Value = serde_json::from_str(&site.first.read("codex-auth/fleet/keys")).unwrap();
        secrets.push(keys["keys"][0].as_str().unwrap().split_once(':').unwrap().1.to_owned());
        for secret in secrets {
            let encoded = STANDARD.encode(&secret);
            let found = seen.contains(&secret) || seen.contains(encoded.trim_end_matches('='));
            assert!(!found, "a secret is in the traffic");
        }
    });
}

/// A TCP proxy in front of etcd that keeps what it passes on.
struct Tap {
    url: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(URL.trim_start_matches("http://")).unwrap();
                let ways = [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
                for (mut from, mut to) in ways {
                    let seen = Arc::clone(&copy);
                    thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(length @ 1..) = from.read(&mut buffer) {
                            seen.lock().unwrap().extend_from_slice(&buffer[..length]);
                            if to.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }
}

/// Linux: a keychain.
#[cfg(target_os = "linux")]
#[test]
fn in_a_keychain_the_keys_and_the_login_are_items_and_no_file_has_a_secret() {
    let test = here!();
    in_private_network(test, || {
        session::inside(test, || {
            let mut site = Site::start(Access::Anyone);
            let machine = Machine::with_keychain();
            machine.store_text(site.grant.auth_json());
            site.first = machine.home;
            site.join_both();
            site.codex(&site.first, ["refresh"]).run().expect(0);
            assert_eq!(site.token(&site.second), site.token(&site.first));
            assert!(!site.first.file("codex-auth/fleet/keys").exists());
            let secrets = site.authority.issued_secrets();
            for (path, _, content) in site.first.tree() {
                let text = String::from_utf8_lossy(&content);
                assert!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "{}", path.display());
            }
        });
    });
}
