//! The document: the content of `auth.json`, wherever it is stored.
//!
//! Known fields are parsed; unknown ones keep their place, at the top level and inside `tokens`. Some faults make Codex
//! 0.169 refuse a whole file: an unknown `auth_mode`, an `id_token` that is not a JWT, a missing token. Such a document
//! loads here and the fault is reported as a [`DocumentWarning`].

mod auth_document;
mod error;
mod export;
mod freshness;
mod identity;
mod json;
mod mode;
mod new;
mod salvage;
#[cfg(any(feature = "fleet", feature = "keeper"))]
mod schedule;
mod tokens;

pub use self::auth_document::{AuthDocument, Revision};
pub use self::error::{DocumentWarning, Error, JsonError};
pub(crate) use self::freshness::Validity;
pub use self::freshness::{Freshness, Staleness};
pub use self::identity::Identity;
pub use self::mode::AuthMode;
pub use self::new::{ExternalLogin, NewLogin, NewTokens};
pub use self::salvage::{SalvagedTokens, salvage};
pub use self::tokens::{Provenance, TokenOwner, Tokens};

#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod tests;
