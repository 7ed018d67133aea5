//! The formats of the state, the rescue and the login note.

use codex_auth::store::{LoginNote, PoisonCause, SpendOutcome};
use codex_auth::{HomeState, Secret, StoreKind};
use scripted_authority::fingerprint;
use serde_json::{Value, json};

use super::{assert_form, fixture, parse};
use crate::manager::world::World;
use crate::support::writing::writing;
use crate::support::{Machine, TestHome, chatgpt};

#[test]
fn a_state_is_read_and_unknown_fields_survive_a_write() {
    let home = TestHome::new();
    std::fs::create_dir(home.file("codex-auth")).unwrap();
    home.write("codex-auth/state.json", fixture("state.json"));
    let (state, note) = HomeState::read(&home.home()).unwrap();
    assert_eq!(note, None);
    assert_eq!((state.store, state.spent.len()), (Some(StoreKind::File), 2));
    assert_eq!(state.received_at.unwrap().as_millisecond(), 1_767_323_045_678);
    let poison = state.poison.as_ref().unwrap();
    assert_eq!(
        (poison.cause, poison.fingerprint.to_string().as_str()),
        (PoisonCause::Reused, "8899aabbccddeeff")
    );
    let outcome = state.outcome.as_ref().unwrap();
    assert_eq!((outcome.outcome, outcome.failures), (SpendOutcome::Transient, 2));
    assert_eq!(state.logging_out.unwrap().to_string(), "ffeeddccbbaa9988");
    assert_eq!(state.logging_out_login.as_deref(), Some("login-1"));
    assert_eq!(state.by.as_ref().unwrap().pid, 4711);

    writing(&home.stores(), |writer| writer.record(|_| {}).unwrap());
    let mut expected = parse(&fixture("state.json"));
    expected["generation"] = json!("<text>");
    expected["by"] = json!({"pid": "<number>", "program": "<text>"});
    let written = parse(&home.read("codex-auth/state.json"));
    assert_form(&written, &expected);
    assert_ne!(written["generation"], parse(&fixture("state.json"))["generation"]);
}

/// Returns a document whose refresh token is the parent of the rescue in the fixture.
fn parent_document() -> String {
    let mut document = parse(&chatgpt("acct-1", "rt-of-the-test", 0, 60));
    document["tokens"]["login_owner_id"] = json!("login-1");
    document.to_string()
}

#[test]
fn a_plain_rescue_is_read() {
    let home = TestHome::new();
    std::fs::create_dir(home.file("codex-auth")).unwrap();
    home.write("auth.json", parent_document());
    home.write("codex-auth/rescue", fixture("rescue.json"));
    writing(&home.stores(), |writer| assert!(writer.recover().unwrap().is_empty()));
    let tokens = &parse(&home.read("auth.json"))["tokens"];
    assert_eq!((&tokens["access_token"], &tokens["refresh_token"]), (&json!("at-child"), &json!("rt-child")));
    assert!(!home.file("codex-auth/rescue").exists());
}

#[cfg(feature = "failpoints")]
#[test]
fn a_plain_rescue_is_written_in_that_form() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let spent = world.stored_token("refresh_token");
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let written = std::fs::read(world.machine.home.file("codex-auth/rescue")).unwrap();
    // Reserved space follows the object; JSON ignores it.
    let written: Value = serde_json::from_slice(&written).unwrap();
    let mut expected = parse(&fixture("rescue.json"));
    for (key, value) in [
        ("parent", json!(fingerprint(&spent))),
        ("account_id", json!("<text>")),
        ("user_id", json!("<text>")),
        ("received_at", json!("<time>")),
        ("id_token", json!("<text>")),
        ("access_token", json!("<text>")),
        ("refresh_token", json!("<text>")),
    ] {
        expected[key] = value;
    }
    for key in ["login", "issuer", "client_id"] {
        expected[key] = world.document()["tokens"]["oauth_provenance"][key].clone();
    }
    assert_form(&written, &expected);
}

#[test]
fn the_note_of_a_browser_login_is_a_port_and_a_token() {
    let home = TestHome::new();
    let note = LoginNote::write(&home.home(), 1455, &Secret::from("a-token")).unwrap();
    let text = r#"{"port":1455,"token":"a-token"}"#;
    assert_eq!(home.read("codex-auth/login"), text);
    let read = LoginNote::read(&home.home()).unwrap();
    assert_eq!((read.port, read.token.expose()), (1455, "a-token"));
    drop(note);
}

// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod sealed {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::*;
    use crate::support::{here, session};

    const KEY: [u8; 32] = [7; 32];
    const NONCE: [u8; 12] = [9; 12];

    /// Returns the keychain item of a home's sealing key.
    fn key_item(home: &TestHome) -> keyring3::Entry {
        let account = crate::support::account(home).replace("cli|", "rescue|");
        keyring3::Entry::new("codex-auth", &account).unwrap()
    }

    fn key() -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &KEY).unwrap())
    }

    /// Seals a rescue: a line, a length of four bytes, a nonce, and the ciphertext with its tag. The path of the folder
    /// is the associated data.
    fn sealed(home: &TestHome, plain: &str) -> Vec<u8> {
        let folder = home.file("codex-auth");
        let mut text = plain.as_bytes().to_vec();
        let bound = Aad::from(folder.as_os_str().as_encoded_bytes());
        key().seal_in_place_append_tag(Nonce::assume_unique_for_key(NONCE), bound, &mut text).unwrap();
        let length = u32::try_from(plain.len()).unwrap().to_be_bytes();
        [b"codex-auth sealed 1\n".as_slice(), &length, &NONCE, &text].concat()
    }

    #[test]
    fn a_sealed_rescue_is_read_in_a_keychain() {
        session::inside(here!(), || {
            let machine = Machine::with_keychain();
            machine.store_text(parent_document());
            key_item(&machine.home).set_secret(STANDARD.encode(KEY).as_bytes()).unwrap();
            std::fs::create_dir(machine.home.file("codex-auth")).unwrap();
            let mut rescue = parse(&fixture("rescue.json"));
            rescue["item"] = json!(crate::support::account(&machine.home));
            machine.home.write("codex-auth/rescue", sealed(&machine.home, &rescue.to_string()));
            writing(&machine.home.stores(), |writer| assert!(writer.recover().unwrap().is_empty()));
            assert_eq!(parse(&machine.stored_text().unwrap())["tokens"]["refresh_token"], "rt-child");
        });
    }

    #[cfg(feature = "failpoints")]
    #[test]
    fn a_sealed_rescue_is_written_in_that_form() {
        session::inside(here!(), || {
            let mut machine = Machine::with_keychain();
            let world = World::expired(&mut machine);
            key_item(&world.machine.home).set_secret(STANDARD.encode(KEY).as_bytes()).unwrap();
            world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
            let home = &world.machine.home;
            let bytes = std::fs::read(home.file("codex-auth/rescue")).unwrap();
            let rest = bytes.strip_prefix(b"codex-auth sealed 1\n").unwrap();
            let (length, rest) = rest.split_at(4);
            let (nonce, rest) = rest.split_at(12);
            let length = usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap();
            let mut text = rest[..length + 16].to_vec();
            let folder = home.file("codex-auth");
            let bound = Aad::from(folder.as_os_str().as_encoded_bytes());
            let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
            let plain: Value =
                serde_json::from_slice(key().open_in_place(nonce, bound, &mut text).unwrap()).unwrap();
            assert_eq!(
                (&plain["purpose"], &plain["item"]),
                (&json!("commit"), &json!(crate::support::account(home)))
            );
        });
    }
}
