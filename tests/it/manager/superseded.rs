//! A login revokes the logins that it replaces, also those that another program has just stored.

use scripted_authority::{Account, TokenState};

use super::rival::Rival;
use super::world::World;
use crate::support::{Machine, Pause, here, over_both_stores, session};

over_both_stores!(a_login_revokes_the_token_that_another_program_stored_just_before);

fn a_login_revokes_the_token_that_another_program_stored_just_before(machine: &mut Machine) {
    let world = World::fresh(machine);
    let pause = Pause::at("old login read");
    let login = world.codex(["login", "--with-api-key", "--revoke-old"]).input("sk-test");
    let login = pause.apply_to(login).start();
    let standing = pause.wait();
    let rival = Rival::refreshing(&world);
    rival.commit(world.machine);
    drop(standing);
    assert_eq!(login.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(world.document()["OPENAI_API_KEY"], "sk-test");
    assert_eq!(world.authority.state_of(rival.token("refresh_token")), TokenState::Revoked);
}

/// The state after a login that was killed before it removed the copy in the other store.
fn both_logins_are_revoked(to: &str) {
    let machine = &mut Machine::with_keychain();
    let world = World::fresh(machine);
    let other = world.authority.grant(Account::numbered(1));
    world.machine.home.write("auth.json", other.auth_json());
    let login = world.codex(["login", "--with-api-key", "--revoke-old", "--store", to]);
    login.input("sk-test").run().expect(0);
    for token in [&world.grant.tokens.refresh_token, &other.tokens.refresh_token] {
        assert_eq!(world.authority.state_of(token), TokenState::Revoked);
    }
}

#[test]
fn a_login_to_the_keychain_revokes_both_logins_that_were_in_two_stores() {
    session::inside(here!(), || both_logins_are_revoked("keychain"));
}

#[test]
fn a_login_to_the_file_revokes_both_logins_that_were_in_two_stores() {
    session::inside(here!(), || both_logins_are_revoked("file"));
}
