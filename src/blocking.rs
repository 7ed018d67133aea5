//! The calls of a manager for programs without an async runtime; each blocks its thread.
//!
//! They may be called inside a tokio runtime as well, which then waits for them: use the async methods there.
//!
//! ```
//! use codex_auth::manager::AuthManager;
//! use codex_auth::{Environment, Home, blocking};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().to_owned();
//! # std::fs::write(path.join("auth.json"), r#"{"OPENAI_API_KEY":"sk-example"}"#)?;
//! let manager = AuthManager::builder(Home::at(&path)?, Environment::for_home(&path)).open()?;
//! let token = blocking::token(&manager)?;
//! assert_eq!(token.authorization_header().expose(), "Bearer sk-example");
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::manager::{AuthManager, Error, RefreshReason, ReloadOutcome, Snapshot, Token, block_on};

/// Calls [`AuthManager::token`] and waits.
///
/// # Errors
/// As [`AuthManager::token`].
pub fn token(manager: &AuthManager) -> Result<Token, Error> {
    block_on(manager.token())?
}

/// Calls [`AuthManager::token_for`] and waits.
///
/// # Errors
/// As [`AuthManager::token_for`].
pub fn token_for(manager: &AuthManager, min_ttl: Duration) -> Result<Token, Error> {
    block_on(manager.token_for(min_ttl))?
}

/// Calls [`AuthManager::refresh`] and waits.
///
/// # Errors
/// As [`AuthManager::refresh`].
pub fn refresh(manager: &AuthManager, reason: RefreshReason) -> Result<Arc<Snapshot>, Error> {
    block_on(manager.refresh(reason))?
}

/// Calls [`AuthManager::reload`] and waits.
///
/// # Errors
/// As [`AuthManager::reload`].
pub fn reload(manager: &AuthManager) -> Result<ReloadOutcome, Error> {
    block_on(manager.reload())?
}

/// Calls [`AuthManager::wait_idle`] and waits.
///
/// # Errors
/// [`Error::Internal`]: no thread could be started for the wait.
pub fn wait_idle(manager: &AuthManager) -> Result<(), Error> {
    block_on(manager.wait_idle())
}
