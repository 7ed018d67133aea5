//! The rules an authority can be told to live by; every one can be changed while it runs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The client id of Codex 0.169, known to every authority unless its policy says otherwise.
pub const CODEX_CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// What the authority does where a real one could do this or that.
///
/// The default is the strict everyday case: single-use refresh tokens, tokens of an hour, no clock error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// How long an access token is honoured.
    pub access: AccessLife,
    /// Seconds between `iat` and `exp` of an access token; zero or less makes tokens that are born expired.
    pub access_lifetime: i64,
    /// The client ids that are known.
    pub client_ids: Vec<String>,
    /// Seconds by which the authority's clock is ahead of ours.
    pub clock_offset: i64,
    /// What a visitor of the authorize page meets.
    pub consent: Consent,
    /// What becomes of a device code that nobody decides on.
    pub device: DeviceFlow,
    /// Seconds between two polls that the device flow asks for.
    pub device_interval: u64,
    /// Where a refusal carries its code.
    pub error_shape: ErrorShape,
    /// How an access token tells when it expires.
    pub expiry: Expiry,
    /// What a device that polls too fast gets.
    pub pacing: Pacing,
    /// Which redirect URIs are registered.
    pub redirects: Redirects,
    /// Seconds for which a refresh token can be spent.
    pub refresh_lifetime: i64,
    /// What the second use of a refresh token costs.
    pub reuse: Reuse,
    /// How far the revocation of a refresh token reaches.
    pub revocation: Revocation,
    /// Whether a refresh hands out a new refresh token.
    pub rotation: Rotation,
    /// What the revocation of a token that is not live gets.
    pub stale_revocation: StaleRevocation,
}

impl Policy {
    /// The authority's clock, in seconds since 1970.
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

/// How long an access token is honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLife {
    /// Until its `exp`, whatever happens to the refresh token.
    UntilExpiry,
    /// Until its `exp`, or until the next refresh of its grant.
    UntilRefresh,
}

/// What a visitor of the authorize page meets.
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

/// What becomes of a device code that nobody decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceFlow {
    /// It is approved at the first poll.
    Approves,
    /// It is approved after this many polls that were told to wait.
    ApprovesAfter(u32),
    /// It is denied at the first poll.
    Denies,
    /// The flow is not enabled: asking for a code gets 404.
    NotEnabled,
    /// It stays pending until `Authority::decide_device` or the verification page decides.
    Waits,
}

/// Where a refusal carries its code.
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

/// How an access token tells when it expires.
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

/// What a device that polls faster than the interval gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pacing {
    /// 429 `slow_down`, and nothing is decided by that poll.
    Enforced,
    /// The ordinary answer.
    Ignored,
}

/// Which redirect URIs are registered; the path is always `/auth/callback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redirects {
    /// Any port of the loopback interface.
    AnyLoopbackPort,
    /// Ports 1455 and 1457 of the loopback interface alone.
    CodexPorts,
}

/// What the second use of a refresh token costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reuse {
    /// That request is refused; the living tokens of the grant stay.
    RefusesToken,
    /// That request is refused and every token of the grant dies.
    RevokesFamily,
}

/// How far the revocation of a refresh token reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// It alone ends; access tokens live until they expire.
    TokenOnly,
    /// Every token of its grant ends, also when it is an older one that was spent long ago.
    WholeGrant,
}

/// Whether a refresh hands out a new refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// The token stays as it is and the answer has no `refresh_token`.
    Keeps,
    /// Every token can be spent once and is replaced.
    SingleUse,
}

/// What the revocation of an unknown, spent or dead token gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleRevocation {
    /// 200, as RFC 7009 wants.
    Accepted,
    /// 400 `invalid_token`.
    Refused,
}
