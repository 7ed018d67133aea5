//! Keeps one login alive for all processes of a machine.
//!
//! ```
//! use codex_auth::manager::AuthManager;
//! use codex_auth::{Environment, store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().to_owned();
//! # std::fs::write(path.join("auth.json"), r#"{"OPENAI_API_KEY":"sk-example"}"#)?;
//! # let environment = Environment::read(|name| (name == "CODEX_HOME").then(|| path.clone().into()))?;
//! # /* what a program writes instead:
//! let environment = Environment::of_process()?;
//! # */
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let token = AuthManager::builder(store::locate(&environment)?, environment).open()?.token().await?;
//! # assert_eq!(token.secret().expose(), "sk-example");
//! # Ok(()) })
//! # }
//! ```
//!
//! The token is fresh: if the stored one is stale, it is refreshed first. However many processes find it stale, one
//! request is sent and all of them get the new token. A program that sends several requests keeps the
//! [`AuthManager`](manager::AuthManager) and calls [`token`](manager::AuthManager::token) before each; the [`guide`]
//! shows that, and what to do when a server refuses a token.
//!
//! A login belongs to a [`Home`], the folder that `CODEX_HOME` names. Its [`AuthDocument`] is in one of the stores of
//! that home: a keychain item, or a locked `auth.json`. The format is that of OpenAI's Codex CLI 0.169, and both
//! programs can use the same home at the same time.
//!
//! # Saving a login
//!
//! Reading takes no lock. A login is written under the [`Lease`] of the home, which one process holds at a time, by a
//! compare-and-swap under Codex's own locks; see [`store`]. A [`LoginSession`](login::LoginSession) does all of that,
//! and revokes the tokens of the login that it replaces.
//!
//! ```
//! use codex_auth::config::{LoginMethod, StoreSelection};
//! use codex_auth::{AuthDocument, Environment, Secret, Stores, login::LoginSession, store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let environment = Environment::for_home(folder.path());
//! # /* what a program writes instead:
//! let environment = Environment::of_process()?;
//! # */
//! let stores = Stores::open(store::locate(&environment)?, &environment)?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//!
//! // Save a credential. It replaces the one that is stored.
//! let file = Some(StoreSelection::File);
//! let session = LoginSession::begin(&stores, &environment, LoginMethod::Api, file)?;
//! let document = AuthDocument::with_api_key(&Secret::from("sk-example"));
//! let committed = session.commit(document, |_waiting| {}).await?;
//! committed.announce(async { println!("logged in") }).await;
//!
//! // Read it again, in this process or in another one.
//! let stored = stores.find()?.stored.ok_or("not logged in")?;
//! assert_eq!(stored.location, committed.report().location);
//! assert_eq!(stored.document.bearer().map(Secret::expose), Some("sk-example"));
//! # Ok(()) })
//! # }
//! ```
//!
//! # Following changes
//!
//! A long-lived host application can follow the changes that other processes make to its login: a refresh, a logout, a
//! login to another account.
//!
//! ```
//! use codex_auth::config::{LoginMethod, StoreSelection};
//! use codex_auth::manager::{AuthManager, LoginChange};
//! use codex_auth::{AuthDocument, Environment, Secret, Stores, login::LoginSession, store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let environment = Environment::for_home(folder.path());
//! # /* what a program writes instead:
//! let environment = Environment::of_process()?;
//! # */
//! let home = store::locate(&environment)?;
//! let manager = AuthManager::builder(home.clone(), environment.clone()).open()?;
//! let mut snapshots = manager.subscribe();
//! let _watching = manager.watch();
//! let before = manager.current();
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//!
//! // Meanwhile, in another process:
//! # let stores = Stores::open(home, &environment)?;
//! let file = Some(StoreSelection::File);
//! let session = LoginSession::begin(&stores, &environment, LoginMethod::Api, file)?;
//! let document = AuthDocument::with_api_key(&Secret::from("sk-example"));
//! let committed = session.commit(document, |_waiting| {}).await?;
//! # drop(committed);
//!
//! // In this one:
//! snapshots.changed().await?;
//! let now = snapshots.borrow_and_update().clone();
//! assert_eq!(LoginChange::between(&before, &now), Some(LoginChange::Login));
//! assert_eq!(manager.token().await?.secret().expose(), "sk-example");
//! # Ok(()) })
//! # }
//! ```
//!
//! # Host applications
//!
//! Cargo builds each dependency once, with the features that all of a program's crates ask for. The feature `http` of
//! this crate adds two that a host with a TLS client of its own notices:
//!
//! - `reqwest/rustls-no-provider`: where the host enables no TLS feature of reqwest, `reqwest::Client::new()` panics.
//! - `rustls/ring`: where the host uses rustls with its default provider, aws-lc-rs, there are two, and
//!   `rustls::ClientConfig::builder()` panics.
//!
//! Such a host selects a provider when it starts. The client of this crate always uses ring, whatever is selected.
//!
//! ```
//! # #[cfg(feature = "http")] {
//! // First in `main`. A host with aws-lc-rs selects that one.
//! let _ = rustls::crypto::ring::default_provider().install_default();
//!
//! let client = reqwest::Client::new();
//! # drop(client);
//! # }
//! ```
//!
//! A host that provides its own tokens, or gets them from a keeper, needs neither `http` nor `keychain`, and builds about
//! 70 crates instead of 190:
//!
//! ```toml
//! codex-auth = { version = "0.1", default-features = false, features = ["keeper"] }
//! ```
//!
//! In its tests, a host replaces what is outside of it: the folder of the login
//! ([`Environment::for_home`], [`Home::at`]), the store ([`Builder::store`](manager::Builder::store),
//! [`Builder::keychain`](manager::Builder::keychain), with the host's own [`Keychain`](store::Keychain) if it has one),
//! the clock ([`Builder::clock`](manager::Builder::clock)), and the
//! authority ([`Builder::authority`](manager::Builder::authority), with `authority::MemoryAuthority` of the feature
//! `testing`).
//!
//! Public types have `#[non_exhaustive]`, except structs that a caller constructs in full, and enums of which a caller
//! handles or chooses every case. [`Keychain`](store::Keychain), [`ExternalAuth`](external::ExternalAuth) and the
//! keeper's `Refresher` are for hosts to implement; [`Store`](store::Store) is not.
//!
//! # Modules
//!
//! - Plain values: [`secret`], [`redaction`], [`claims`], [`document`], [`home`], [`config`], [`clock`], [`remedy`].
//! - Input and output: [`store`] accesses files and keychains, [`authority`] the OAuth server, [`external`] other
//!   sources of tokens, [`watch`] reports changed files, and [`history`] records what happened to a login.
//! - `daemon` (feature `daemon`) finds Codex's shared daemon, asks which login it serves, and restarts it.
//! - [`login`] obtains and saves a credential; [`manager`] serves, refreshes and ends it for one process, and
//!   [`blocking`] does so without an async runtime; `keeper` (feature `keeper`) refreshes it for the whole machine.
//! - [`accounts`] keeps several logins in one home.
//! - [`diagnosis`] examines what a login depends on, for a report; [`why`] explains a sign-out; `overview` (feature
//!   `keeper`) follows all logins of a home, for a dashboard; [`error`] has the error type of the crate.
//!
//! A module imports only from those above it in this list. The library prints nothing, installs no signal handler, and
//! reads the environment only in [`config`].
//!
//! # What this does not protect against
//!
//! - Another program of the same user, which can read the file and, on Linux, the keychain item as this library does.
//! - Copies of a secret made by a parser, the kernel or an HTTP client. The library wipes its own copies on drop.
//! - A network file system that does not share locks between machines.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod authority;
mod backoff;
pub mod blocking;
pub mod claims;
pub mod clock;
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod diagnosis;
pub mod document;
pub mod error;
pub mod external;
mod failpoint;
#[cfg(any(doc, doctest))]
pub mod guide;
pub mod history;
pub mod home;
#[cfg(feature = "keeper")]
pub mod keeper;
pub mod login;
pub mod manager;
#[cfg(feature = "keeper")]
pub mod overview;
pub mod redaction;
pub mod remedy;
pub mod secret;
pub mod store;
pub mod watch;
pub mod why;

pub use jiff::Timestamp;

pub use self::clock::Clock;
pub use self::config::{Environment, StoreKind};
pub use self::document::{AuthDocument, AuthMode};
pub use self::error::{Error, ErrorKind};
pub use self::home::Home;
pub use self::secret::{Fingerprint, Secret};
pub use self::store::{HomeState, Lease, Stores};

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
