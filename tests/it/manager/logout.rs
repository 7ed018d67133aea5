//! Logout: the token is revoked first, and a failed revocation keeps everything.

use scripted_authority::{Endpoint, Step, TokenState};

use super::world::World;
use crate::support::{Machine, over_both_stores};

over_both_stores!(
    logout_with_revoke_revokes_refresh_token_then_removes_auth,
    a_failed_revocation_keeps_the_login_until_it_is_forced,
);

fn logout_with_revoke_revokes_refresh_token_then_removes_auth(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.codex(["refresh"]).run().expect(0);
    let token = world.stored_token("refresh_token");
    world.codex(["logout"]).run().expect(0);
    assert_eq!(world.machine.stored_text(), None);
    assert_ne!(world.authority.state_of(&token), TokenState::Live);
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1);
    let again = world.codex(["logout"]).run().expect(0);
    assert!(again.err.ends_with("not logged in\n"), "{again}");
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1);
}

fn a_failed_revocation_keeps_the_login_until_it_is_forced(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.script_always(Endpoint::Revoke, Step::status(500, "oops"));
    let before = world.machine.stored_text();
    let ended = world.codex(["logout"]).run().refused(4);
    assert!(
        ended.err.contains("hint: to remove it without revoking its tokens: codex logout --force"),
        "{ended}"
    );
    assert_eq!(world.machine.stored_text(), before);
    let ended = world.codex(["logout", "--force"]).run().expect(0);
    assert!(ended.err.contains("may stay valid until they expire"), "{ended}");
    assert_eq!(world.machine.stored_text(), None);
}

#[test]
fn a_local_logout_sends_no_request() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let ended = world.codex(["logout", "--local"]).run().expect(0);
    assert!(ended.err.contains("the tokens were not revoked (--local)"), "{ended}");
    assert_eq!((world.machine.stored_text(), world.authority.counters().of(Endpoint::Revoke)), (None, 0));
}

#[test]
fn an_invalid_token_counts_as_revoked() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.adjust(|policy| policy.stale_revocation = scripted_authority::StaleRevocation::Refused);
    world.authority.end(world.grant.id, scripted_authority::Ending::WholeGrant);
    world.codex(["logout"]).run().expect(0);
    assert_eq!(world.machine.stored_text(), None);
}
