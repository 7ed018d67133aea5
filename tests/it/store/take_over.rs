//! Taking over the login that Codex keeps in an item of its own, where the system guards every item for its maker.

use codex_auth::login::{TakeOver, take_over};
use codex_auth::manager::{AccountPolicy, AuthManager, Reason};
use codex_auth::store::{Dialogues, Error, KeychainError};
use codex_auth::{AuthDocument, Environment, Lease, State, StoreKind, Stores};
use codex_auth_platform::keychain::{Fault, ItemName, Memory, Operation, Outcome as Change, Selection};
use scripted_authority::{Account, Authority, Endpoint, Grant};

use super::SOON;
use crate::support::{TestHome, account};

/// A home beside a Codex that is logged in and shares nothing.
struct World {
    home: TestHome,
    memory: Memory,
    authority: Authority,
    grant: Grant,
}

impl World {
    fn new() -> Self {
        let authority = Authority::start().unwrap();
        let grant = authority.grant(Account::numbered(1));
        let world = Self { home: TestHome::new(), memory: Memory::owner_only(), authority, grant };
        world.memory.plant(&world.theirs(), world.grant.auth_json().as_bytes());
        world
    }

    fn theirs(&self) -> ItemName {
        ItemName::new("Codex Auth", account(&self.home))
    }

    fn ours(&self) -> ItemName {
        ItemName::new("codex-auth", account(&self.home))
    }

    fn environment(&self) -> Environment {
        let (home, url) = (self.home.path(), self.authority.token_url());
        let environment = Environment::read(move |name| match name {
            "CODEX_HOME" => Some(home.clone().into()),
            "CODEX_REFRESH_TOKEN_URL_OVERRIDE" => Some(url.clone().into()),
            _ => None,
        });
        environment.unwrap()
    }

    fn stores(&self) -> Stores {
        Stores::with_keychain(self.home.home(), &self.environment(), self.memory.client()).unwrap()
    }

    fn read_theirs(&self) -> AuthDocument {
        let item = self.stores().keychain().codexs_item(Dialogues::Allowed, SOON).unwrap();
        item.unwrap().document
    }

    fn take(&self, document: &AuthDocument) -> Result<TakeOver, Error> {
        let stores = self.stores();
        let lease = Lease::acquire(stores.home(), SOON, |_| {}).unwrap();
        take_over(&stores, &lease, &stores.choose(Some(StoreKind::Keychain)).unwrap(), document)
    }

    fn refresh(&self) {
        let manager = AuthManager::builder(self.home.home(), self.environment());
        let manager = manager.keychain(self.memory.client()).policy(AccountPolicy::Stay).open().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(manager.refresh(Reason::Forced)).unwrap();
    }

    fn refresh_token(&self, name: &ItemName) -> Option<String> {
        let item = self.memory.items(name).into_iter().next()?;
        let document: serde_json::Value = serde_json::from_slice(&item.secret).unwrap();
        document["tokens"]["refresh_token"].as_str().map(str::to_owned)
    }
}

#[test]
fn the_item_of_codex_is_asked_for_once_kept_here_and_then_refreshed_so_that_ours_lives() {
    let world = World::new();
    let theirs = world.read_theirs();
    assert!(matches!(world.take(&theirs), Ok(TakeOver::Kept(_))));
    let old = world.grant.tokens.refresh_token.clone();
    assert_eq!(world.refresh_token(&world.ours()), Some(old.clone()), "it is safe before it is spent");
    assert_eq!(world.authority.counters().of(Endpoint::Refresh), 0);
    world.refresh();
    assert_eq!(world.authority.counters().of(Endpoint::Refresh), 1);
    assert_eq!(world.refresh_token(&world.ours()), world.authority.live_refresh_token(world.grant.id));
    assert_eq!(world.refresh_token(&world.theirs()), Some(old), "not ours to change");
    assert_eq!(world.memory.calls(Operation::ReadAsking), 1);
    assert_eq!(State::read(&world.home.home()).unwrap().0.store, Some(StoreKind::Keychain));
}

#[test]
fn nothing_else_touches_the_item_of_codex_and_nobody_is_asked_where_there_is_no_terminal() {
    let world = World::new();
    let stores = world.stores();
    assert!(stores.find().unwrap().stored.is_none());
    let refused = stores.keychain().codexs_item(Dialogues::Forbidden, SOON).unwrap_err();
    assert!(matches!(refused, Error::Keychain(KeychainError::Locked { .. })), "{refused}");
    assert_eq!(world.memory.calls(Operation::ReadAsking), 0);
    world.memory.inject(Operation::ReadAsking, Fault::Declined);
    let refused = stores.keychain().codexs_item(Dialogues::Allowed, SOON).unwrap_err();
    let Error::Keychain(refused @ KeychainError::Declined { .. }) = refused else { panic!("{refused}") };
    assert_eq!(refused.outcome(), Change::Unchanged);
}

#[test]
fn another_login_is_not_overwritten_and_what_was_taken_over_before_is_known() {
    let world = World::new();
    let theirs = world.read_theirs();
    let other =
        AuthDocument::parse(world.authority.grant(Account::numbered(2)).auth_json().as_bytes()).unwrap();
    world.take(&other).unwrap();
    assert!(matches!(world.take(&theirs), Err(Error::Occupied { .. })));
    world.memory.client().delete(&world.ours(), &Selection::All, SOON).unwrap();
    world.take(&theirs).unwrap();
    assert!(matches!(world.take(&theirs), Ok(TakeOver::Copied)), "the refresh may have failed");
    world.refresh();
    assert!(matches!(world.take(&theirs), Ok(TakeOver::Superseded)));
    let again =
        AuthDocument::parse(world.authority.grant(Account::numbered(1)).auth_json().as_bytes()).unwrap();
    assert!(matches!(world.take(&again), Err(Error::Occupied { .. })), "another login of the same person");
}

#[test]
fn without_an_item_there_is_nothing_to_take_over_and_a_strange_one_is_named() {
    let world = World::new();
    world.memory.client().delete(&world.theirs(), &Selection::All, SOON).unwrap();
    let keychain = world.stores().keychain();
    assert!(keychain.codexs_item(Dialogues::Allowed, SOON).unwrap().is_none());
    world.memory.plant(&world.theirs(), b"{");
    let strange = keychain.codexs_item(Dialogues::Allowed, SOON).unwrap_err();
    assert!(strange.to_string().contains("item \"Codex Auth\""), "{strange}");
}
