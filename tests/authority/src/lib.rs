//! A strict, scripted OAuth authority for the tests of codex-auth: in this process, or as a program.
//!
//! It behaves like OpenAI's authority, and strictly: a refresh token is single-use, a request has exactly the fields
//! that Codex sends, and a code is redeemed once with its PKCE verifier. On request it fails: see [`Step`]. It records
//! all requests without secrets: see [`Entry`].
//!
//! ```
//! use scripted_authority::{Account, Authority, Endpoint, Reuse, Step, TokenState};
//!
//! let authority = Authority::start()?;
//! authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
//! let grant = authority.grant(Account::numbered(1));
//! assert!(grant.auth_json().starts_with("{\n  \"auth_mode\": \"chatgpt\""));
//!
//! // The next refresh rotates the token and loses the response; the one after it gets a 503.
//! authority.script(Endpoint::Refresh, Step::closed_after());
//! authority.script(Endpoint::Refresh, Step::status(503, "busy").with_header("Retry-After", "2"));
//!
//! // … start a program that refreshes at `authority.token_url()` here …
//! assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Live);
//! assert_eq!(authority.counters().of(Endpoint::Refresh), 0);
//! # Ok::<_, scripted_authority::StartError>(())
//! ```
//!
//! # Races without sleeps
//!
//! [`Authority::hold`] holds a request before or after it takes effect, and [`Hold::arrived`] waits until it is held.
//! Meanwhile a test may kill the client, rewrite its files, or start another. A request that has arrived is carried out
//! even if its client has left.
//!
//! # The program
//!
//! `scripted-authority` prints one line of JSON with its addresses when it is ready, offers the methods of
//! [`Authority`] as `/control/NAME`, and ends at the end of its stdin or on SIGTERM. Arguments are a JSON object in the
//! body, with any HTTP method; those in parentheses are optional, and so is a body without arguments. Errors are
//! `{"error": …}` with 400 (arguments), 404 (no such call or grant) or 408 (timeout).
//!
//! | call | arguments | answer |
//! |---|---|---|
//! | `grant` | (`account`, `client_id`) | `id`, `account`, `tokens`, `issued_at` |
//! | `latest` | `grant` | as `grant`, with the newest tokens |
//! | `auth-json` | `grant`, (`last_refresh`) | the text of `auth.json` with the newest tokens |
//! | `end` | `grant`, `ending` | `{}` |
//! | `state-of` | `token` | `state` |
//! | `live-refresh-token` | `grant` | `refresh_token` or null |
//! | `visit-as` | the fields of an account | `{}` |
//! | `personal-access-token` | the fields of an account | `token` |
//! | `agent-identity` | (`account`, `signing`) | `token` |
//! | `decide-device` | `user_code`, `decision` | `decided` |
//! | `policy` | the rules to change | all rules |
//! | `script` | `endpoint`, (`step`, `times`) | `steps`, their ids |
//! | `script-always` | `endpoint`, (`step`) | `{}` |
//! | `clear-script` | | `{}` |
//! | `release` | `step` | `{}` |
//! | `release-all` | | `released`, how many |
//! | `wait-for-step` | `step`, (`within_ms`) | the journal entry that met it |
//! | `wait-for-requests` | `endpoint`, `count`, (`within_ms`) | `{}` |
//! | `journal` | (`after`, a number) | the entries |
//! | `counters` | | counts by endpoint and outcome |
//! | `issued-secrets` | | every secret |
//!
//! # Bounds
//!
//! 8,192 concurrent connections, 64 KiB per request body (16 MiB for a turn of the model), five minutes per hold or delay, 65,536 journal entries.
//! Secrets and tokens are kept until the authority is dropped.
//!
//! # Limitations
//!
//! IPv4 loopback and plain HTTP only. The signatures of ordinary tokens are invalid on purpose; those of agent
//! identities are valid. There are no sessions, passwords or organisations: every visitor is signed in as the account
//! that [`Authority::visit_as`] sets.

#![forbid(unsafe_code)]
#![allow(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "tests build and match these; the crate is never published"
)]

mod agent;
mod authority;
mod authorize;
mod backend;
mod control;
mod device;
mod exchange;
mod faults;
mod grants;
mod journal;
mod policy;
mod reply;
mod request;
mod resource;
mod revoke;
mod server;
mod state;
mod token_endpoint;
mod tokens;

// The public interface is:
pub use crate::agent::Signing;
pub use crate::authority::{Authority, Hold, Options, StartError};
pub use crate::device::Decision;
pub use crate::faults::{Answer, Edit, Effect, Endpoint, Moment, Step, StepId};
pub use crate::grants::{Account, Ending, GrantId, TokenState};
pub use crate::journal::{Counters, Entry, Outcome};
pub use crate::policy::{
    AccessLife, CODEX_CLIENT_ID, Consent, DeviceFlow, ErrorShape, Expiry, Pacing, Policy, Redirects, Reuse,
    Revocation, Rotation, StaleRevocation,
};
pub use crate::state::TimedOut;
pub use crate::tokens::{Grant, Tokens, fingerprint};
