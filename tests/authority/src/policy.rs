//! The policy of an authority, which can be changed while it runs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The client id of Codex 0.169, known to every authority unless its policy says otherwise.
pub const CODEX_CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// The choices in which real authorities differ.
///
/// The default is strict: single-use refresh tokens, access tokens of an hour, no clock error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// How long an access token is valid.
    pub access: AccessLife,
    /// The seconds between `iat` and `exp` of an access token; zero or less makes expired tokens.
    pub access_lifetime: i64,
    /// The known client ids.
    pub client_ids: Vec<String>,
    /// The seconds by which the authority's clock is ahead of the machine's.
    pub clock_offset: i64,
    /// How the authorize page responds.
    pub consent: Consent,
    /// What happens to a device code without a decision.
    pub device: DeviceFlow,
    /// The poll interval of the device flow in seconds.
    pub device_interval: u64,
    /// The format of error responses.
    pub error_shape: ErrorShape,
    /// The `exp` claim of access tokens.
    pub expiry: Expiry,
    /// The response to polls that are too frequent.
    pub pacing: Pacing,
    /// The registered redirect URIs.
    pub redirects: Redirects,
    /// How many seconds a refresh token can be spent.
    pub refresh_lifetime: i64,
    /// The effect of spending a refresh token twice.
    pub reuse: Reuse,
    /// What the revocation of a refresh token ends.
    pub revocation: Revocation,
    /// Whether a refresh rotates the refresh token.
    pub rotation: Rotation,
    /// The response to the revocation of a token that is not valid.
    pub stale_revocation: StaleRevocation,
}

impl Policy {
    /// Returns the authority's clock in seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(since).unwrap_or(i64::MAX).saturating_add(self.clock_offset)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            access: AccessLife::UntilExpiry,
            access_lifetime: 3_600,
            client_ids: vec![CODEX_CLIENT_ID.to_owned()],
            clock_offset: 0,
            consent: Consent::Straight,
            device: DeviceFlow::Waits,
            device_interval: 1,
            error_shape: ErrorShape::Nested,
            expiry: Expiry::Integer,
            pacing: Pacing::Enforced,
            redirects: Redirects::AnyLoopbackPort,
            refresh_lifetime: 90 * 86_400,
            reuse: Reuse::RefusesToken,
            revocation: Revocation::TokenOnly,
            rotation: Rotation::SingleUse,
            stale_revocation: StaleRevocation::Accepted,
        }
    }
}

/// How long an access token is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLife {
    /// Until its `exp`, independent of the refresh token.
    UntilExpiry,
    /// Until its `exp`, or until the next refresh of its grant.
    UntilRefresh,
}

/// How the authorize page responds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// A page with a button to continue and one to cancel, for a real browser.
    Page,
    /// A redirect that carries this error instead of a code.
    Refuses {
        /// The `error` parameter, such as `access_denied`.
        error: String,
        /// The `error_description` parameter.
        description: String,
    },
    /// A redirect with a code, at once.
    Straight,
}

/// What happens to a device code without a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceFlow {
    /// It is approved at the first poll.
    Approves,
    /// It is approved after this many pending polls.
    ApprovesAfter(u32),
    /// It is denied at the first poll.
    Denies,
    /// The flow is disabled: a request for a code gets 404.
    NotEnabled,
    /// It stays pending until `Authority::decide_device` or the verification page decides.
    Waits,
}

/// The format of error responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// `{"error": CODE, "error_description": …}`
    Flat,
    /// `{"error": {"code": CODE, "message": …}}`
    Nested,
    /// `{"code": CODE, "message": …}`
    TopLevel,
}

/// The `exp` claim of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// `exp` is the greatest 64-bit integer.
    Absurd,
    /// `exp` is 1e30.
    Enormous,
    /// `exp` has a fraction.
    Float,
    /// `exp` is an integer.
    Integer,
    /// There is no `exp`.
    Missing,
    /// `exp` is a moment before 1970.
    Negative,
    /// The access token is not a JWT at all.
    Opaque,
    /// `exp` is a string.
    Text,
}

/// The response to polls that are too frequent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pacing {
    /// 429 `slow_down`; the poll does not count.
    Enforced,
    /// The ordinary answer.
    Ignored,
}

/// The registered redirect URIs; the path is always `/auth/callback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redirects {
    /// Any port of the loopback interface.
    AnyLoopbackPort,
    /// Ports 1455 and 1457 of the loopback interface alone.
    CodexPorts,
}

/// The effect of spending a refresh token twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reuse {
    /// The request is refused; the valid tokens of the grant stay valid.
    RefusesToken,
    /// The request is refused, and every token of the grant is revoked.
    RevokesFamily,
}

/// What the revocation of a refresh token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// The token only; access tokens stay valid until they expire.
    TokenOnly,
    /// Every token of its grant, also for a token that was spent before.
    WholeGrant,
}

/// Whether a refresh rotates the refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// The token stays valid, and the response has no `refresh_token`.
    Keeps,
    /// Every token is single-use and replaced.
    SingleUse,
}

/// The response to the revocation of an unknown, spent or revoked token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleRevocation {
    /// 200, as RFC 7009 requires.
    Accepted,
    /// 400 `invalid_token`.
    Refused,
}
