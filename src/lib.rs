//! One login, kept alive and in one place for everything on a machine that uses it.
//!
//! A login belongs to a [`Home`], the folder that `CODEX_HOME` names. Its [`AuthDocument`] lives in one of the stores of
//! that home: an item of the system's keychain, or a locked `auth.json`. The form is the one that OpenAI's Codex CLI
//! 0.169 reads and writes, and both may use the same home at the same time.
//!
//! Reading takes no lock. Writing takes the [`Lease`] of the home, which no two processes hold at once, and then goes
//! through a compare-and-swap under Codex's own locks; see [`store`].
//!
//! ```
//! use codex_auth::{AuthDocument, Environment, Lease, Secret, Stores, config::StoreSelection, login, store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().to_owned();
//! # let environment = Environment::read(|name| (name == "CODEX_HOME").then(|| path.clone().into()))?;
//! # /* what a program writes instead:
//! let environment = Environment::of_process()?;
//! # */
//! let stores = Stores::open(store::locate(&environment)?, &environment)?;
//!
//! // Keep a credential, in place of whatever was there.
//! let document = AuthDocument::with_api_key(&Secret::from("sk-example"));
//! let lease = Lease::acquire(stores.home(), environment.lock_timeout, |_waiting| {})?;
//! let choice = stores.choose(Some(StoreSelection::File))?;
//! let kept = login::keep(&mut stores.writer(&lease)?, &choice, &document)?;
//! drop(lease);
//!
//! // Find it again, wherever it is: from this process or any other.
//! let stored = stores.find()?.stored.ok_or("not logged in")?;
//! assert_eq!(stored.location, kept.location);
//! assert_eq!(stored.document.bearer().map(Secret::expose), Some("sk-example"));
//! # Ok(())
//! # }
//! ```
//!
//! The [`guide`] shows how a host application uses a login and gives tokens of its own.
//!
//! # Following changes
//!
//! A host that lives longer than one request follows what others do to its login: a refresh by another process, a logout,
//! another account. What it hears of is always a credential that it can use, or that there is none.
//!
//! ```
//! use codex_auth::manager::{AuthManager, Change};
//! use codex_auth::{AuthDocument, Environment, Lease, Secret, Stores, config::StoreSelection, login, store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().to_owned();
//! # let environment = Environment::read(|name| (name == "CODEX_HOME").then(|| path.clone().into()))?;
//! # /* what a program writes instead:
//! let environment = Environment::of_process()?;
//! # */
//! let home = store::locate(&environment)?;
//! let manager = AuthManager::builder(home.clone(), environment.clone()).open()?;
//! let mut snapshots = manager.subscribe();
//! let _watching = manager.watch();
//!
//! # let stores = Stores::open(home, &environment)?;
//! # std::thread::spawn(move || -> Result<(), codex_auth::Error> {
//! // Meanwhile, somewhere else:
//! let lease = Lease::acquire(stores.home(), environment.lock_timeout, |_waiting| {})?;
//! let choice = stores.choose(Some(StoreSelection::File))?;
//! login::keep(&mut stores.writer(&lease)?, &choice, &AuthDocument::with_api_key(&Secret::from("sk-example")))?;
//! # Ok(()) });
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let before = manager.current();
//! snapshots.changed().await?;
//! let now = snapshots.borrow_and_update().clone();
//! assert_eq!(Change::between(&before, &now), Some(Change::Login));
//! assert_eq!(manager.token().await?.secret().map(Secret::expose), Some("sk-example"));
//! # Ok(()) })
//! # }
//! ```
//!
//! # Layout
//!
//! Plain values: [`secret`], [`claims`], [`document`], [`home`], [`config`], [`clock`], [`remedy`]. Above them the four
//! that touch the world: [`store`] has the files and keychains, [`authority`] the network, [`external`] the tokens that
//! others give, [`watch`] the folders. Above those [`login`], which obtains a credential and keeps it, and [`manager`],
//! which keeps it fresh and ends it; and above that `keeper` (feature `keeper`), which does so for a whole machine.
//! [`error`] is the roof. `tests/it/structure.rs` holds these lines.
//!
//! The library prints nothing, installs no signal handler and reads the environment in [`config`] alone.
//!
//! # What this does not protect against
//!
//! - Another program of the same user: it can read the file, and on Linux the keychain item, as this library can.
//! - Copies that a parser, the kernel or an HTTP client made of a secret: what we hold ourselves is wiped on drop.
//! - A network file system that does not pass locks on to other machines.
#![forbid(unsafe_code)]

pub mod authority;
pub mod claims;
pub mod clock;
pub mod config;
pub mod document;
pub mod error;
pub mod external;
mod failpoint;
#[cfg(any(doc, doctest))]
pub mod guide;
pub mod home;
#[cfg(feature = "keeper")]
pub mod keeper;
pub mod login;
pub mod manager;
mod redaction;
pub mod remedy;
pub mod secret;
pub mod store;
pub mod watch;

// The public interface is:
pub use jiff::Timestamp;

pub use self::clock::Clock;
pub use self::config::{Environment, StoreKind};
pub use self::document::{AuthDocument, AuthMode};
pub use self::error::{Error, ErrorKind};
pub use self::home::Home;
pub use self::secret::{Fingerprint, Secret};
pub use self::store::{HomeState, Lease, Stores};

/// The examples of the README, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
