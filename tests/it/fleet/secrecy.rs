//! What an invite, etcd and its traffic reveal, and what a hostile one can do.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_auth::fleet::Change;
use scripted_authority::Account;
use serde_json::Value;

use super::etcd::{URL, store};
use super::site::{Access, Site};
use crate::manager::world::block_on;
#[cfg(target_os = "linux")]
use crate::support::{Machine, session};
use crate::support::{TestHome, here, in_private_network};

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

// Linux: keychain items of other programs.
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
            site.codex(&site.second, ["refresh"]).run().expect(0);
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

/// Writes a value of any bytes.
fn put_bytes(key: &str, value: &[u8]) {
    let change = Change::Put { key: key.to_owned(), bytes: value.to_vec(), lease: None };
    block_on(async { store().commit(&[], &[change]).await.unwrap() });
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
