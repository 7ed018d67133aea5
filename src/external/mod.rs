//! Providers: external sources of bearer tokens, such as a host application, the environment or a command.
//!
//! A host application with its own tokens implements [`ExternalAuth`] and passes it to
//! [`Builder::provider`](crate::manager::Builder::provider). A [`BearerCommand`] runs a program. A bare bearer token is
//! enough; only [`ExternalToken::to_document`] needs the ChatGPT account.

mod command;
mod environment;
mod error;
mod provider;
mod token;

pub use self::command::BearerCommand;
pub use self::environment::{ApiKeyPolicy, EnvironmentToken};
pub use self::error::{Error, Persistence};
pub use self::provider::{ExternalAuth, ProviderContext, RequestReason, TokenFuture};
pub use self::token::{ChatGptAccount, ExternalToken};
