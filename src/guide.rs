//! How a host application uses a login, provides its own tokens, and follows changes.
//!
//! A host application opens one [`AuthManager`](crate::manager::AuthManager) and keeps it while it runs. Clones share
//! one state, and all processes of the machine see the same login.
//!
//! # Use a token
//!
//! Get a token before every request and do not keep it: returning a fresh one takes no lock, file or network access. If
//! a server refuses the token with a 401, use a recovery: it returns the token that another process has stored since,
//! or else spends at most one refresh token, and never changes to another account.
//!
//! ```
//! use codex_auth::manager::{AuthManager, RecoveryStep};
//! use codex_auth::{Environment, Secret, store};
//!
//! /// Returns the status of a server's response to a request with this token.
//! fn status_of_request(token: &Secret) -> u16 {
//!     // A real host sends `Authorization: Bearer` with `token.expose()`.
//!     if token.expose() == "sk-old" { 401 } else { 200 }
//! }
//!
//! async fn request(manager: &AuthManager) -> Result<u16, codex_auth::Error> {
//!     let token = manager.token().await?;
//!     let mut status = status_of_request(token.secret());
//!     let mut recovery = manager.recover(token.snapshot());
//!     while status == 401 {
//!         match recovery.next().await? {
//!             RecoveryStep::Reloaded(token) | RecoveryStep::Refreshed(token) => {
//!                 status = status_of_request(token.secret());
//!             }
//!             RecoveryStep::Exhausted => break,
//!         }
//!     }
//!     Ok(status)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let path = home.path().to_owned();
//! # std::fs::write(path.join("auth.json"), r#"{"OPENAI_API_KEY":"sk-example"}"#)?;
//! # let environment = Environment::read(|name| (name == "CODEX_HOME").then(|| path.clone().into()))?;
//! # /* what a program writes instead:
//! let environment = Environment::of_process()?;
//! # */
//! let manager = AuthManager::builder(store::locate(&environment)?, environment).open()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! assert_eq!(request(&manager).await?, 200);
//! // Before the host exits, wait for a refresh that is in progress.
//! manager.wait_idle().await;
//! # Ok(()) })
//! # }
//! ```
//!
//! An error has an [`ErrorKind`](crate::ErrorKind), which says what its receiver should do, and may have a
//! [`Remedy`](crate::remedy::Remedy). A program shows the message, and offers a login only for
//! [`LogInAgain`](crate::ErrorKind::LogInAgain) and [`NotLoggedIn`](crate::ErrorKind::NotLoggedIn).
//!
//! # Provide tokens
//!
//! A host application that has its own tokens, such as an editor or a gateway, implements
//! [`ExternalAuth`](crate::external::ExternalAuth). A bare bearer token is enough. The manager then reads no store. It
//! calls the provider once per process, keeps the token while it is valid, serves a valid token during a temporary
//! failure, and stops calling a provider that has failed permanently.
//!
//! ```
//! use std::sync::Arc;
//!
//! use codex_auth::external::{Error, ExternalAuth, ExternalToken, ProviderContext, RequestReason, TokenFuture};
//! use codex_auth::manager::AuthManager;
//! use codex_auth::{Environment, Home, Secret};
//!
//! /// A gateway that issues tokens.
//! struct Gateway;
//!
//! impl ExternalAuth for Gateway {
//!     fn name(&self) -> &str {
//!         "the gateway"
//!     }
//!
//!     fn refresh(&self, context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
//!         Box::pin(async move {
//!             if context.reason == RequestReason::Unauthorized {
//!                 // The manager does not call again until `reload` is called.
//!                 return Err(Error::permanent(self.name(), "its user has signed out"));
//!             }
//!             Ok(ExternalToken::bearer(Secret::from("a token of the gateway")))
//!         })
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let environment = Environment::read(|name| (name == "CODEX_HOME").then(|| "/nowhere".into()))?;
//! # /* what a program writes instead:
//! let environment = Environment::of_process()?;
//! # */
//! let manager = AuthManager::builder(Home::at("/nowhere")?, environment).provider(Arc::new(Gateway)).open()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let token = manager.token().await?;
//! assert_eq!(token.secret().expose(), "a token of the gateway");
//!
//! // A server refuses the token, and the gateway has no other.
//! let refused = manager.recover(token.snapshot()).next().await.unwrap_err();
//! assert_eq!(refused.to_string(), "the gateway no longer issues tokens: its user has signed out");
//! assert!(manager.token().await.is_err());
//! # Ok(()) })
//! # }
//! ```
//!
//! A ChatGPT token needs its account id ([`ExternalToken::chatgpt`](crate::external::ExternalToken::chatgpt)):
//! documents are made from it, and a recovery compares it. Other providers are a command that prints tokens
//! ([`BearerCommand`](crate::external::BearerCommand)) and the environment
//! ([`EnvironmentToken`](crate::external::EnvironmentToken)).
//!
//! # Follow changes
//!
//! [`subscribe`](crate::manager::AuthManager::subscribe) reports each change of the login. Changes by other processes
//! are reported while a [`watch`](crate::manager::AuthManager::watch) is running; see the
//! [example](crate#following-changes) on the front page.
//!
//! # Use another keychain
//!
//! A host with a keychain of its own, or a test without one, implements [`Keychain`](crate::store::Keychain). Every call
//! has a deadline; calls that come later wait for it.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use codex_auth::config::StoreSelection;
//! use codex_auth::manager::AuthManager;
//! use codex_auth::store::{
//!     ItemId, ItemName, ItemSelection, ItemWrite, Keychain, KeychainClient, KeychainError, KeychainItem, LastModified,
//!     WriteTarget,
//! };
//! use codex_auth::{Environment, Home};
//!
//! /// A keychain in memory, with one item of each name.
//! #[derive(Clone, Default)]
//! struct Memory(Arc<Mutex<HashMap<ItemName, Vec<u8>>>>);
//!
//! impl Keychain for Memory {
//!     fn read(&mut self, name: &ItemName) -> Result<Vec<KeychainItem>, KeychainError> {
//!         let secret = self.0.lock().unwrap().get(name).cloned();
//!         Ok(secret.map(|secret| KeychainItem::new(ItemId::new("1"), secret)).into_iter().collect())
//!     }
//!
//!     fn read_with_prompt(&mut self, name: &ItemName) -> Result<Vec<KeychainItem>, KeychainError> {
//!         self.read(name)
//!     }
//!
//!     fn modified(&mut self, name: &ItemName) -> Result<LastModified, KeychainError> {
//!         let is_there = self.0.lock().unwrap().contains_key(name);
//!         Ok(if is_there { LastModified::Unknown } else { LastModified::NoItem })
//!     }
//!
//!     fn write(&mut self, name: &ItemName, _: &WriteTarget, secret: &[u8]) -> Result<ItemWrite, KeychainError> {
//!         let old = self.0.lock().unwrap().insert(name.clone(), secret.to_vec());
//!         Ok(if old.is_some() { ItemWrite::Updated } else { ItemWrite::Created })
//!     }
//!
//!     fn delete(&mut self, name: &ItemName, _: &ItemSelection) -> Result<usize, KeychainError> {
//!         Ok(usize::from(self.0.lock().unwrap().remove(name).is_some()))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let memory = Memory::default();
//! let shared = memory.clone();
//! let keychain = KeychainClient::new("the keychain in memory", move |_| Ok(Box::new(shared.clone())));
//! let (home, environment) = (Home::at(folder.path())?, Environment::for_home(folder.path()));
//! let manager = AuthManager::builder(home, environment)
//!     .keychain(keychain)
//!     .store(StoreSelection::Keychain)
//!     .open()?;
//! assert!(manager.current().document().is_none());
//! # Ok(())
//! # }
//! ```
