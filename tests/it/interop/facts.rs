//! The facts about OpenAI's Codex that this program relies on, checked with each measured version.
//!
//! A test is named after its version and its fact, so that a version that departs fails with the name of the fact.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use scripted_authority::{Account, Ending, Endpoint, Expiry, Moment, Outcome};
use serde_json::{Value, json};

// Linux: procfs.
#[cfg(target_os = "linux")]
use super::account_facts::the_daemon_of_a_home_has_this_socket_and_records_its_process;
use super::account_facts::{
    a_document_with_a_dummy_refresh_token_adopts_a_newer_one_without_a_request,
    a_model_that_refuses_the_token_makes_it_refresh_once, a_switch_of_workspaces_keeps_the_refresh_token,
};
use super::codex::{codex_0169, codex_0171, codex_newest};
use crate::app_server::client::Client;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Flock, Machine, Run, TestHome, eventually};
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
use crate::support::{item, items};

/// Defines the tests of each fact: one for each version. Those after the semicolon need a keychain.
macro_rules! facts {
    ($($(#[$attribute:meta])* $fact:ident),+; $($stored:ident),+ $(,)?) => {
        facts!(in codex_0_169, codex_0169, [$($(#[$attribute])* $fact),+], [$($stored),+]);
        facts!(in codex_0_171, codex_0171, [$($(#[$attribute])* $fact),+], [$($stored),+]);
        // Only `cargo nextest run --profile newest` runs it, as .github/workflows/weekly.yml does.
        facts!(in newest, codex_newest, [$($(#[$attribute])* $fact),+], [$($stored),+]);
    };
    (in $version:ident, $program:ident, [$($(#[$attribute:meta])* $fact:ident),+], [$($stored:ident),+]) => {
        mod $version {
            $(
                $(#[$attribute])*
                #[test]
                fn $fact() {
                    super::$fact(&super::$program());
                }
            )+
            $(
                // Linux: keychain items of other programs.
                #[cfg(target_os = "linux")]
                #[test]
                fn $stored() {
                    use crate::support::{here, session};
                    session::inside(here!(), || super::$stored(&super::$program()));
                }
            )+
        }
    };
}

facts!(
    // Linux: strace.
    #[cfg(target_os = "linux")]
    a_login_locks_auth_lock_then_auth_json_lock_and_renames_a_synced_file,
    an_api_key_is_stored_as_these_bytes_for_the_owner_only,
    a_linked_document_stays_a_link_with_its_lock_beside_the_target,
    a_refresh_holds_no_lock_during_the_request,
    a_refresh_waits_for_auth_lock_before_it_commits,
    a_refresh_gives_up_on_auth_json_lock_after_five_seconds_and_loses_the_token,
    a_refresh_leaves_a_login_that_changed_during_the_request,
    a_refresh_drops_unknown_fields_and_keeps_the_login_owner_id,
    a_token_is_refreshed_in_its_last_five_minutes_and_not_before,
    an_expiry_that_is_not_an_integer_is_ignored,
    a_forced_read_adopts_newer_tokens_without_a_request_and_a_plain_read_does_not,
    a_permanent_refusal_poisons_until_a_forced_read_finds_newer_tokens,
    a_transient_refusal_keeps_the_token_and_asks_again,
    another_account_in_the_file_is_never_adopted,
    tokens_that_a_host_handed_in_are_never_sent,
    a_logged_out_app_server_finds_a_login_on_its_own,
    a_logout_revokes_first_and_removes_then,
    a_model_that_refuses_the_token_makes_it_refresh_once,
    a_document_with_a_dummy_refresh_token_adopts_a_newer_one_without_a_request,
    a_switch_of_workspaces_keeps_the_refresh_token,
    // Linux: procfs.
    #[cfg(target_os = "linux")]
    the_daemon_of_a_home_has_this_socket_and_records_its_process,
    eight_processes_send_eight_requests_and_seven_lose_their_token;
    a_keychain_login_is_one_item_of_this_name_and_these_bytes,
    an_encrypted_login_is_an_age_file_whose_length_shows_whether_it_holds_one,
);

pub(super) fn run<'a>(codex: &Path, home: &TestHome, arguments: impl IntoIterator<Item = &'a str>) -> Run {
    Run::of(codex, arguments).envs(home.variables()).env("HOME", home.path())
}

/// A client of an app-server, which sends no request but to the authority.
pub(super) fn server(codex: &Path, world: &World<'_>) -> Client {
    let arguments = ["-c", "chatgpt_base_url=\"http://127.0.0.1:9/\"", "app-server"];
    let server = run(codex, &world.machine.home, arguments);
    Client::from_run(server.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url()))
}

fn forced() -> Value {
    json!({"includeToken": true, "refreshToken": true})
}

/// Asserts the number of refresh requests so far.
#[track_caller]
pub(super) fn requested(world: &World<'_>, times: u64) {
    assert_eq!(world.requests(), times, "{:#?}", world.authority.journal());
}

/// Replaces the stored login by another one of `account`, and returns its access token.
fn replace(world: &World<'_>, account: Account) -> String {
    world.log_in(&world.authority.grant(account));
    world.stored_token("access_token")
}

// Linux: strace.
#[cfg(target_os = "linux")]
fn a_login_locks_auth_lock_then_auth_json_lock_and_renames_a_synced_file(codex: &Path) {
    use crate::store::order::{calls, in_order};
    let home = TestHome::new();
    run(codex, &home, ["login", "--with-api-key"]).input("sk-old").run().expect(0);
    let calls = calls(&home, run(codex, &home, ["login", "--with-api-key"]), "sk-new");
    let steps: [&[&str]; 8] = [
        &["open", "/auth.lock\", O_RDWR|O_CREAT", "0666)"],
        &["flock(", "/auth.lock>, LOCK_EX", "= 0"],
        &["open", "/auth.json.lock\", O_RDWR|O_CREAT", "0600)"],
        &["flock(", "/auth.json.lock>, LOCK_EX|LOCK_NB", "= 0"],
        &["open", "/.auth-", "O_CREAT|O_EXCL", "0600)"],
        &["write(", "/.auth-", "sk-new"],
        &["fsync(", "/.auth-", "= 0"],
        &["rename", "/.auth-", "/auth.json\"", "= 0"],
    ];
    in_order(&calls, &steps);
    assert_eq!(calls.iter().find(|call| call.contains("unlink") && call.contains(".lock")), None);
}

fn an_api_key_is_stored_as_these_bytes_for_the_owner_only(codex: &Path) {
    let home = TestHome::new();
    run(codex, &home, ["login", "--with-api-key"]).input("sk-1\n").run().expect(0);
    let bytes = "{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"sk-1\"\n}";
    assert_eq!(home.read("auth.json"), bytes);
    assert_eq!(fs::metadata(home.document()).unwrap().permissions().mode() & 0o7777, 0o600);
}

fn a_linked_document_stays_a_link_with_its_lock_beside_the_target(codex: &Path) {
    let home = TestHome::new();
    let target = home.beside("elsewhere").join("auth.json");
    symlink(&target, home.document()).unwrap();
    run(codex, &home, ["login", "--with-api-key"]).input("sk-1").run().expect(0);
    assert!(home.document().is_symlink() && target.is_file());
    assert!(target.with_file_name("auth.json.lock").is_file() && home.file("auth.lock").is_file());
    assert!(!home.file("auth.json.lock").exists());
}

fn a_refresh_holds_no_lock_during_the_request(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut server = server(codex, &world);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::Before);
    let id = server.send_request("getAuthStatus", forced());
    hold.arrived(TEST_TIMEOUT).unwrap();
    for lock in ["auth.lock", "auth.json.lock"] {
        assert!(Flock::is_free(&world.machine.home.file(lock)), "{lock}");
    }
    hold.release();
    assert_eq!(server.response(id)["result"]["authToken"], world.stored_token("access_token"));
}

fn a_refresh_waits_for_auth_lock_before_it_commits(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut server = server(codex, &world);
    let before = world.machine.stored_text();
    let lock = Flock::hold(&world.machine.home.file("auth.lock"));
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let id = server.send_request("getAuthStatus", forced());
    hold.arrived(TEST_TIMEOUT).unwrap();
    hold.release();
    // Another process starts and ends, while this one waits for the lock.
    run(codex, &world.machine.home, ["login", "status"]).run().expect(0);
    assert_eq!(world.machine.stored_text(), before);
    drop(lock);
    assert_eq!(server.response(id)["result"]["authToken"], world.stored_token("access_token"));
    assert_ne!(world.machine.stored_text(), before);
}

fn a_refresh_gives_up_on_auth_json_lock_after_five_seconds_and_loses_the_token(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut server = server(codex, &world);
    let before = world.stored_token("refresh_token");
    let _lock = Flock::hold(&world.machine.home.file("auth.json.lock"));
    let start = Instant::now();
    server.outcome("getAuthStatus", forced());
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(4_500) && waited < Duration::from_secs(15), "{waited:?}");
    requested(&world, 1);
    assert_eq!(world.stored_token("refresh_token"), before);
    assert_ne!(world.live_refresh_token(), Some(before));
}

fn a_refresh_leaves_a_login_that_changed_during_the_request(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut server = server(codex, &world);
    let old = world.stored_token("access_token");
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let id = server.send_request("getAuthStatus", forced());
    hold.arrived(TEST_TIMEOUT).unwrap();
    replace(&world, Account::numbered(1));
    let written = world.machine.stored_text();
    hold.release();
    assert_eq!(server.response(id)["result"]["authToken"], old);
    assert_eq!(world.machine.stored_text(), written);
}

fn a_refresh_drops_unknown_fields_and_keeps_the_login_owner_id(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut document = world.document();
    document["unknown"] = json!(1);
    document["tokens"]["unknown"] = json!(1);
    document["tokens"]["login_owner_id"] = json!("owner");
    world.machine.store_text(document.to_string());
    server(codex, &world).new_token();
    let kept = world.document();
    assert_eq!((kept.get("unknown"), kept["tokens"].get("unknown")), (None, None));
    assert_eq!(kept["tokens"]["login_owner_id"], "owner");
}

fn a_token_is_refreshed_in_its_last_five_minutes_and_not_before(codex: &Path) {
    for (left, times) in [(290, 1), (360, 0)] {
        let mut machine = Machine::with_file();
        let mut world = World::empty(&mut machine);
        world.log_in_as(Account::numbered(1), left);
        let token = server(codex, &world).token();
        requested(&world, times);
        assert_eq!(token, Some(world.stored_token("access_token")));
    }
}

fn an_expiry_that_is_not_an_integer_is_ignored(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::with_policy(&mut machine, |policy| {
        policy.expiry = Expiry::Float;
        policy.clock_offset = -3_500;
    });
    assert_eq!(server(codex, &world).token(), Some(world.stored_token("access_token")));
    requested(&world, 0);
}

fn a_forced_read_adopts_newer_tokens_without_a_request_and_a_plain_read_does_not(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut server = server(codex, &world);
    let old = server.token();
    let new = replace(&world, Account::numbered(1));
    assert_eq!(server.token(), old);
    assert_eq!(server.new_token(), new);
    assert_eq!(server.token(), Some(new));
    requested(&world, 0);
}

fn a_permanent_refusal_poisons_until_a_forced_read_finds_newer_tokens(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut server = server(codex, &world);
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    for _ in 0..3 {
        assert_eq!(server.new_token(), Value::Null);
    }
    requested(&world, 1);
    let new = replace(&world, Account::numbered(1));
    assert_eq!(server.token(), None);
    assert_eq!(server.new_token(), new);
    requested(&world, 1);
}

fn a_transient_refusal_keeps_the_token_and_asks_again(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut server = server(codex, &world);
    world.authority.script_always(Endpoint::Refresh, scripted_authority::Step::status(503, "overloaded"));
    for times in 1..=2 {
        assert_eq!(server.new_token(), world.stored_token("access_token"));
        requested(&world, times);
    }
}

fn another_account_in_the_file_is_never_adopted(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut server = server(codex, &world);
    let old = server.token().unwrap();
    let other = replace(&world, Account::numbered(2));
    assert_eq!(server.new_token(), old);
    requested(&world, 0);
    assert_eq!(world.stored_token("access_token"), other);
}

fn tokens_that_a_host_handed_in_are_never_sent(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let mut document = world.document();
    document["auth_mode"] = json!("chatgptAuthTokens");
    document["tokens"]["refresh_token"] = json!("");
    world.machine.store_text(document.to_string());
    assert_eq!(server(codex, &world).new_token(), document["tokens"]["access_token"]);
    requested(&world, 0);
}

fn a_logged_out_app_server_finds_a_login_on_its_own(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    let mut server = server(codex, &world);
    assert_eq!(server.token(), None);
    world.log_in(&world.grant);
    let token = world.stored_token("access_token");
    eventually("the app-server to find the login", || server.token().as_ref() == Some(&token));
    requested(&world, 0);
}

fn a_logout_revokes_first_and_removes_then(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hold = world.authority.hold(Endpoint::Revoke, Moment::Before);
    let logout = run(codex, &world.machine.home, ["logout"]);
    let logout = logout.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", world.authority.revoke_url()).start();
    hold.arrived(TEST_TIMEOUT).unwrap();
    assert!(world.machine.home.document().exists());
    hold.release();
    assert!(logout.wait_with_output().unwrap().status.success());
    assert!(!world.machine.home.document().exists());
    assert_eq!(world.live_refresh_token(), None);
}

/// The README cites the result. The same with this program is in `app_server/together.rs`.
fn eight_processes_send_eight_requests_and_seven_lose_their_token(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut instances: Vec<_> = (0..8).map(|_| server(codex, &world)).collect();
    let before = world.stored_token("access_token");
    for instance in &mut instances {
        assert_eq!(instance.token().as_ref(), Some(&before));
    }
    // No request is answered before all have arrived, as when all processes find the token expired.
    let holds: Vec<_> = (0..8).map(|_| world.authority.hold(Endpoint::Refresh, Moment::Before)).collect();
    let ids: Vec<_> =
        instances.iter_mut().map(|instance| instance.send_request("getAuthStatus", forced())).collect();
    for hold in &holds {
        hold.arrived(TEST_TIMEOUT).unwrap();
    }
    holds.into_iter().for_each(scripted_authority::Hold::release);
    let tokens: Vec<_> = instances
        .iter_mut()
        .zip(ids)
        .map(|(instance, id)| instance.response(id)["result"]["authToken"].take())
        .collect();
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (8, 1));
    let without = tokens.iter().filter(|token| token.is_null()).count();
    assert_eq!(without, 7, "{tokens:?}");
    assert!(tokens.contains(&Value::from(world.stored_token("access_token"))));
}

// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
fn a_keychain_login_is_one_item_of_this_name_and_these_bytes(codex: &Path) {
    let machine = Machine::with_keychain();
    let home = &machine.home;
    home.write("auth.json", "{}");
    run(codex, home, ["login", "--with-api-key"]).input("sk-1").run().expect(0);
    let secret = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-1"}"#;
    // The service is "Codex Auth", the account `cli|` and 16 digits of the hash of the home's path.
    assert_eq!(item(home).get_secret().unwrap(), secret.as_bytes());
    assert_eq!((items(home).len(), home.document().exists()), (1, false));
    run(codex, home, ["logout"]).run().expect(0);
    assert_eq!(items(home).len(), 0);
}

// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
fn an_encrypted_login_is_an_age_file_whose_length_shows_whether_it_holds_one(codex: &Path) {
    let machine = Machine::with_keychain();
    let home = &machine.home;
    let with = |words: &[&'static str]| {
        run(codex, home, ["--enable", "secret_auth_storage"].iter().chain(words).copied())
    };
    // The length of what is encrypted: that of the file without its header, a nonce and a tag.
    let length = || {
        let file = fs::read(home.file("secrets/codex_auth.age")).unwrap();
        let head = String::from_utf8_lossy(&file[..200]).find("\n--- ").unwrap() + 1 + 48;
        file.len() - head - 32
    };
    with(&["login", "--with-api-key"]).input("sk-1").run().expect(0);
    assert_eq!((items(home).len(), home.document().exists()), (0, false));
    assert!(length() > r#"{"version":1,"secrets":{"global/CODEX_AUTH":""}}"#.len());
    with(&["logout"]).run().expect(0);
    assert_eq!(length(), r#"{"version":1,"secrets":{}}"#.len());
}
