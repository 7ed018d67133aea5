//! Importing the login from Codex's own keychain item, on a system where only its creator may read an item.

use codex_auth::login::{CodexImport, ImportOutcome, ImportSource};
use codex_auth::manager::{AccountPolicy, AuthManager, RefreshReason};
use codex_auth::store::{Error, KeychainError, PromptPolicy};
use codex_auth::{AuthDocument, Environment, HomeState, StoreKind, Stores, Timestamp};
use codex_auth_platform::keychain::{
    CallEffect as Change, Fault, ItemName, ItemSelection, Memory, Operation,
};
use scripted_authority::{Account, Authority, Endpoint, Grant};

use super::SOON;
use crate::support::{TestHome, account};

/// A home beside a Codex that is logged in with its own keychain item.
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
        world.memory.add_foreign(&world.theirs(), world.grant.auth_json().as_bytes());
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

    fn begin(&self) -> CodexImport {
        match CodexImport::begin(&self.stores(), Some(StoreKind::Keychain)).unwrap() {
            ImportSource::Separate(import) => *import,
            source => panic!("{source:?}"),
        }
    }

    fn read_theirs(&self) -> AuthDocument {
        self.begin().read(PromptPolicy::Allowed, SOON).unwrap().unwrap().document
    }

    fn import(&self, document: &AuthDocument) -> Result<ImportOutcome, Error> {
        self.begin().commit(document, SOON, |_waiting| {})
    }

    fn refresh(&self) {
        let manager = AuthManager::builder(self.home.home(), self.environment());
        let manager = manager.keychain(self.memory.client()).policy(AccountPolicy::Stay).open().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(manager.refresh(RefreshReason::Forced)).unwrap();
    }

    fn refresh_token(&self, name: &ItemName) -> Option<String> {
        let item = self.memory.items(name).into_iter().next()?;
        let document: serde_json::Value = serde_json::from_slice(&item.secret).unwrap();
        document["tokens"]["refresh_token"].as_str().map(str::to_owned)
    }
}

#[test]
fn an_import_reads_the_item_of_codex_once_stores_a_copy_and_refreshes_it() {
    let world = World::new();
    let theirs = world.read_theirs();
    let imported = world.import(&theirs).unwrap();
    assert!(matches!(imported, ImportOutcome::Stored(_)) && imported.needs_refresh(&theirs));
    let old = world.grant.tokens.refresh_token.clone();
    assert_eq!(world.refresh_token(&world.ours()), Some(old.clone()), "it is stored before it is spent");
    assert_eq!(world.authority.counters().of(Endpoint::Refresh), 0);
    world.refresh();
    assert_eq!(world.authority.counters().of(Endpoint::Refresh), 1);
    assert_eq!(world.refresh_token(&world.ours()), world.authority.live_refresh_token(world.grant.id));
    assert_eq!(world.refresh_token(&world.theirs()), Some(old), "the item of Codex is unchanged");
    assert_eq!(world.memory.calls(Operation::ReadWithPrompt), 1);
    assert_eq!(HomeState::read(&world.home.home()).unwrap().0.store, Some(StoreKind::Keychain));
}

#[test]
fn nothing_else_accesses_the_item_of_codex_and_no_prompt_appears_without_a_terminal() {
    let world = World::new();
    let stores = world.stores();
    assert!(stores.find().unwrap().stored.is_none());
    let refused = stores.keychain().read_codex_item(PromptPolicy::Forbidden, SOON).unwrap_err();
    assert!(matches!(refused, Error::Keychain(KeychainError::Locked { .. })), "{refused}");
    assert_eq!(world.memory.calls(Operation::ReadWithPrompt), 0);
    world.memory.inject(Operation::ReadWithPrompt, Fault::Denied);
    let refused = stores.keychain().read_codex_item(PromptPolicy::Allowed, SOON).unwrap_err();
    let Error::Keychain(refused @ KeychainError::Denied { .. }) = refused else { panic!("{refused}") };
    assert_eq!(refused.effect(), Change::Unchanged);
}

#[test]
fn an_import_refuses_a_login_that_a_keeper_elsewhere_hands_in() {
    let world = World::new();
    let handed_in = world.read_theirs().exported(Timestamp::now()).unwrap();
    let imported = world.import(&handed_in);
    assert!(matches!(imported, Err(Error::HandedIn { .. })), "{imported:?}");
    assert_eq!(world.refresh_token(&world.ours()), None);
}

#[test]
fn an_import_does_not_overwrite_another_login_and_recognises_an_earlier_import() {
    let world = World::new();
    let theirs = world.read_theirs();
    let other =
        AuthDocument::parse(world.authority.grant(Account::numbered(2)).auth_json().as_bytes()).unwrap();
    world.import(&other).unwrap();
    assert!(matches!(world.import(&theirs), Err(Error::Occupied { .. })));
    world.memory.client().delete(&world.ours(), &ItemSelection::All, SOON).unwrap();
    world.import(&theirs).unwrap();
    assert!(
        matches!(world.import(&theirs), Ok(ImportOutcome::AlreadyStored(_))),
        "the refresh may have failed"
    );
    world.refresh();
    assert!(matches!(world.import(&theirs), Ok(ImportOutcome::Superseded(_))));
    let again =
        AuthDocument::parse(world.authority.grant(Account::numbered(1)).auth_json().as_bytes()).unwrap();
    assert!(matches!(world.import(&again), Err(Error::Occupied { .. })), "another login of the same person");
}

#[test]
fn without_an_item_there_is_nothing_to_import_and_an_unparsable_one_is_reported() {
    let world = World::new();
    world.memory.client().delete(&world.theirs(), &ItemSelection::All, SOON).unwrap();
    let keychain = world.stores().keychain();
    assert!(keychain.read_codex_item(PromptPolicy::Allowed, SOON).unwrap().is_none());
    world.memory.add_foreign(&world.theirs(), b"{");
    let strange = keychain.read_codex_item(PromptPolicy::Allowed, SOON).unwrap_err();
    assert!(strange.to_string().contains("item \"Codex Auth\""), "{strange}");
}
