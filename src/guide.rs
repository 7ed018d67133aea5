//! Embedding: how a host application uses a login, gives tokens of its own, and follows what others do.
//!
//! A host opens one [`AuthManager`](crate::manager::AuthManager) and keeps it for as long as it lives. Clones are handles on
//! the same one, and every process of the machine that does so sees the same login.
//!
//! # Use a token
//!
//! Ask for a token before every request and keep none: a fresh one costs no lock, no file and no network. When a server
//! refuses it all the same, a recovery looks whether somebody has another by now, spends one refresh token at most, and
//! never crosses to another account.
//!
//! ```
//! use codex_auth::manager::{AuthManager, Recovered};
//! use codex_auth::{Environment, Secret, store};
//!
//! /// What a server says to a request with this token.
//! fn status_of_request(token: &Secret) -> u16 {
//!     // A real host puts `token.expose()` behind `Authorization: Bearer`.
//!     if token.expose() == "sk-old" { 401 } else { 200 }
//! }
//!
//! async fn request(manager: &AuthManager) -> Result<u16, codex_auth::Error> {
//!     let token = manager.token().await?;
//!     let mut status = token.secret().map_or(401, status_of_request);
//!     let mut recovery = manager.recover(token.snapshot());
//!     while status == 401 {
//!         match recovery.next().await? {
//!             Recovered::Reloaded(token) | Recovered::Refreshed(token) => {
//!                 status = token.secret().map_or(401, status_of_request);
//!             }
//!             Recovered::Exhausted => break,
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
//! // The last call before the host exits: a refresh that is under way is not cut off.
//! manager.settle().await;
//! # Ok(()) })
//! # }
//! ```
//!
//! An error says what its receiver should do ([`ErrorKind`](crate::ErrorKind)) and what would mend it: a program shows the
//! message, and offers a login for [`LogInAgain`](crate::ErrorKind::LogInAgain) and
//! [`NotLoggedIn`](crate::ErrorKind::NotLoggedIn) alone.
//!
//! # Provide tokens
//!
//! A host that has tokens already (an editor, a gateway) implements [`ExternalAuth`](crate::external::ExternalAuth). A bare
//! bearer token is enough. The manager then reads no store: it asks the provider once per process, keeps the answer while it
//! is good, serves a token that lives through a failure that passes, and leaves a provider alone that has failed for good.
//!
//! ```
//! use std::sync::Arc;
//!
//! use codex_auth::external::{Answer, Context, Error, ExternalAuth, ExternalToken, Reason};
//! use codex_auth::manager::AuthManager;
//! use codex_auth::{Environment, Home, Secret};
//!
//! /// A gateway that gives out a token for the asking.
//! struct Gateway;
//!
//! impl ExternalAuth for Gateway {
//!     fn name(&self) -> &str {
//!         "the gateway"
//!     }
//!
//!     fn refresh(&self, context: Context) -> Answer<'_, ExternalToken> {
//!         Box::pin(async move {
//!             if context.reason == Reason::Unauthorized {
//!                 // Nothing is asked again before somebody calls `reload`.
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
//! assert_eq!(token.secret().map(Secret::expose), Some("a token of the gateway"));
//!
//! // A server has refused it, and the gateway has no other.
//! let refused = manager.recover(token.snapshot()).next().await.unwrap_err();
//! assert_eq!(refused.to_string(), "the gateway gives no token any more: its user has signed out");
//! assert!(manager.token().await.is_err());
//! # Ok(()) })
//! # }
//! ```
//!
//! Tokens of ChatGPT name their account ([`ExternalToken::chatgpt`](crate::external::ExternalToken::chatgpt)): whatever makes
//! a ChatGPT login of a token asks for it, and a recovery holds on to it. A program of the user's that prints tokens is a
//! provider too ([`BearerCommand`](crate::external::BearerCommand)), and so is what the environment holds
//! ([`EnvironmentToken`](crate::external::EnvironmentToken)).
//!
//! # Follow changes
//!
//! A host that lives longer than one request hears of a login, a logout, a refresh or another account by
//! [`subscribe`](crate::manager::AuthManager::subscribe), and of those by other processes while it
//! [`watch`](crate::manager::AuthManager::watch)es; the [front page](crate#following-changes) has the whole of it.
