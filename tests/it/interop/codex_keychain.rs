//! OpenAI's Codex 0.169 and this program with one item of the Secret Service.

use scripted_authority::{Account, DeviceFlow};

use super::codex::{codex_0169, codex_0171};
use super::codex::{our_login, their_login, their_status, theirs, they_are_logged_out, they_have_a_key};
use super::hand_over::eight_cost_one_request;
use crate::manager::world::World;
use crate::support::session::{PrivateSession, inside};
use crate::support::{Machine, Run, TestHome, chatgpt, eventually, here, items, now};

#[test]
fn a_login_into_the_keychain_makes_codex_use_it() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        our_login(&home, "keychain", "sk-ours").run().expect(0);
        they_have_a_key(&home);
        assert!(!home.document().exists());
        let asked = theirs(&home, ["-c", "cli_auth_credentials_store=file", "login", "status"]).run();
        assert!(
            asked.expect(1).err.contains("Not logged in"),
            "only our config.toml sends Codex to the keychain"
        );
    });
}

#[test]
fn codex_reads_the_login_after_migrations_in_both_directions() {
    let session = PrivateSession::unlocked();
    for (from, to) in [("file", "keychain"), ("keychain", "file")] {
        let home = TestHome::within(&session);
        our_login(&home, from, "sk-1").run().expect(0);
        they_have_a_key(&home);
        for store in [to, from] {
            home.codex(["migrate", "--to", store]).run().expect(0);
            they_have_a_key(&home);
            assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-1\n");
        }
    }
    let home = TestHome::within(&session);
    let document = chatgpt("acct-1", "rt-1", 1, 4_102_444_800);
    home.write("auth.json", &document);
    for store in ["keychain", "file"] {
        home.codex(["migrate", "--to", store]).run().expect(0);
        let status = their_status(&home).expect(0);
        assert!(status.err.contains("Logged in using ChatGPT"), "{status}");
    }
    assert_eq!(home.read("auth.json"), document);
}

#[test]
fn a_keychain_login_of_codex_is_found_without_configuration() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let keyring = ["-c", "cli_auth_credentials_store=keyring"];
        theirs(&home, keyring.into_iter().chain(["login", "--with-api-key"]))
            .input("sk-theirs")
            .run()
            .expect(0);
        let status = home.codex(["status"]).run().expect(0);
        assert!(status.err.contains("codex migrate --to keychain"), "{status}");
        assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-theirs\n");
        home.codex(["migrate", "--to", "keychain"]).run().expect(0);
        they_have_a_key(&home);
        assert_eq!(items(&home).len(), 1);
    });
}

#[test]
fn with_auto_both_choose_the_same_store() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for home in [TestHome::new(), TestHome::within(&session)] {
            our_login(&home, "auto", "sk-ours").run().expect(0);
            they_have_a_key(&home);
            their_login(&home, "sk-theirs").run().expect(0);
            assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-theirs\n");
            home.codex(["logout", "--local"]).run().expect(0);
            they_are_logged_out(&home);
        }
    });
}

#[test]
fn a_migration_joins_two_items_that_codex_rejects() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        our_login(&home, "keychain", "sk-ours").run().expect(0);
        crate::support::add_second_item(&home, br#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-other"}"#);
        let refused = their_status(&home).expect(1);
        assert!(refused.err.contains("matched by 2 credentials"), "{refused}");
        home.codex(["migrate", "--to", "keychain"]).run().expect(0);
        they_have_a_key(&home);
    });
}

#[test]
fn eight_codex_processes_with_an_expired_login_by_codex_cost_one_request() {
    inside(here!(), || {
        for codex in [codex_0169(), codex_0171()] {
            let mut machine = Machine::with_keychain();
            let world = World::empty(&mut machine);
            let home = &world.machine.home;
            world.authority.visit_as(Account::numbered(1));
            world.authority.adjust(|policy| {
                policy.device = DeviceFlow::ApprovesAfter(1);
                policy.access_lifetime = 1;
            });
            let url = world.authority.url().to_owned();
            let login = Run::of(&codex, ["login", "--device-auth", "--experimental_issuer", &url]);
            login.envs(home.variables()).env("HOME", home.beside("user")).run().expect(0);
            assert!(!home.document().exists() && items(home).len() == 1);
            world.authority.adjust(|policy| policy.access_lifetime = 3_600);
            let received = now();
            eventually("the end of the token", || now() > received + 1);
            eight_cost_one_request(&codex, &world, &[]);
            // The stored refresh token is the live one.
            world.codex(["refresh"]).run().expect(0);
            assert!(!home.document().exists() && items(home).len() == 1);
        }
    });
}
