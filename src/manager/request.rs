//! What a caller of a refresh wants, when it is served without one, and which other caller's outcome covers it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::snapshot::Snapshot;
use crate::document::{AuthDocument, Freshness, Identity};
use crate::secret::Fingerprint;

/// Why a refresh is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefreshReason {
    /// A caller asked for it explicitly; the damper does not apply.
    Forced,
    /// It is kept fresh ahead of time.
    Keeper,
    /// The token must last at least this long, in seconds.
    MinTtl(u64),
    /// It is about to end.
    Stale,
    /// A server refused the access token of this fingerprint.
    Unauthorized(Fingerprint),
}

impl RefreshReason {
    /// Whether `document` is what a caller with this reason wants, so that nothing need be spent. It has `moved` if it is
    /// not what the caller had.
    pub(super) fn is_served_by(self, document: &AuthDocument, moved: bool, now: Timestamp) -> bool {
        if document.bearer().is_none() || ended(document, now) {
            return false;
        }
        let fresh = document.freshness(now) == Freshness::Fresh;
        match self {
            Self::Forced => moved,
            // The keeper asks long before a token is stale; only a new one will do.
            Self::Keeper => moved && fresh,
            Self::MinTtl(seconds) => {
                let lasts = document.expires_at(now).is_none_or(|end| {
                    end.duration_since(now).as_secs() >= i64::try_from(seconds).unwrap_or(i64::MAX)
                });
                lasts || (moved && fresh)
            }
            Self::Stale => fresh,
            Self::Unauthorized(refused) => {
                document.bearer().is_some_and(|bearer| bearer.fingerprint() != refused)
            }
        }
    }

    pub(super) fn is_recovery(self) -> bool {
        matches!(self, Self::Unauthorized(_))
    }
}

/// What the caller had in hand when it asked: what the store is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CallerBase {
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) account_id: Option<String>,
    pub(super) user_id: Option<String>,
}

impl CallerBase {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let Identity { account_id, user_id, .. } = snapshot.identity();
        Self { fingerprint: snapshot.fingerprint(), account_id, user_id }
    }

    /// Whether `document` is the login that the caller had, as far as the caller knew one. `spent` are the refresh tokens
    /// that were spent on the way to it: where an id is missing, only the spending of the caller's own token can tell.
    pub(super) fn is_login_of(&self, document: &AuthDocument, spent: &[Fingerprint]) -> bool {
        let ours = Identity::new(self.account_id.clone(), self.user_id.clone());
        let theirs = document.identity();
        if document.tokens().is_none() || (self.fingerprint.is_none() && ours == Identity::default()) {
            return !ours.contradicts(&theirs);
        }
        let (one_token, descends) = self
            .fingerprint
            .map_or((false, false), |name| (document.fingerprint() == Some(name), spent.contains(&name)));
        (one_token && !ours.is_another_user_than(&theirs))
            || (descends && !ours.contradicts(&theirs))
            || ours.is_same_login_as(&theirs)
    }
}

/// What a caller of a refresh wants.
#[derive(Clone, Debug)]
pub(super) struct RefreshRequest {
    pub(super) reason: RefreshReason,
    pub(super) base: CallerBase,
}

impl RefreshRequest {
    /// Whether `flight`, which ended with `outcome` after this was wanted, covers it: for the same reason by any outcome,
    /// for another one by a token that a flight of its own would serve unspent. A failure covers no other reason, since
    /// what holds back one (a back-off, the damper) need not hold back another.
    pub(super) fn is_covered_by(
        &self,
        flight: &Self,
        outcome: &Result<Arc<Snapshot>, Error>,
        now: Timestamp,
    ) -> bool {
        if self.base != flight.base {
            return false;
        }
        if self.reason == flight.reason {
            return true;
        }
        let Ok(snapshot) = outcome else { return false };
        let Some(document) = snapshot.document() else { return false };
        let ours = self.base.is_login_of(document, &snapshot.record().ancestors);
        let moved = !ours || document.fingerprint() != self.base.fingerprint;
        (ours || !self.reason.is_recovery()) && self.reason.is_served_by(document, moved, now)
    }
}

/// Whether the access token of `document` has expired.
pub(super) fn ended(document: &AuthDocument, now: Timestamp) -> bool {
    document.expires_at(now).is_some_and(|end| end <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const NOW: i64 = 1_800_000_000;

    /// A login whose access token began now and lives for so many seconds.
    fn login(account: &str, refresh_token: &str, lifetime: i64) -> Snapshot {
        use base64::Engine as _;
        let part = |value: &serde_json::Value| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
        };
        let owner = serde_json::json!({"chatgpt_user_id": "user-1"});
        let claims = serde_json::json!({
            "iat": NOW, "exp": NOW + lifetime, "of": refresh_token, "https://api.openai.com/auth": owner,
        });
        let token = format!("{}.{}.sig", part(&serde_json::json!({"alg": "none"})), part(&claims));
        let document = serde_json::json!({"tokens": {
            "id_token": token, "access_token": token, "refresh_token": refresh_token, "account_id": account,
        }});
        Snapshot::of(AuthDocument::parse(document.to_string().as_bytes()).unwrap())
    }

    /// What a flight for one reason leaves to callers who asked meanwhile for each of the others.
    #[test]
    fn a_failure_covers_the_same_reason_and_a_token_every_caller_that_it_would_serve() {
        let held = login("acct-1", "rt-1", 3_600);
        let refused = held.bearer_fingerprint().unwrap();
        let another = Secret::from("another token").fingerprint();
        let reasons = [
            RefreshReason::Forced,
            RefreshReason::Keeper,
            RefreshReason::MinTtl(60),
            RefreshReason::MinTtl(7_200),
            RefreshReason::Stale,
            RefreshReason::Unauthorized(refused),
            RefreshReason::Unauthorized(another),
        ];
        let failed = || Err(Error::JustReceived);
        let unspent = || Ok(login("acct-1", "rt-1", 3_600));
        let fresh = || Ok(login("acct-1", "rt-2", 3_600));
        let short = || Ok(login("acct-1", "rt-2", -1));
        let elsewhere = || Ok(login("acct-2", "rt-3", 3_600));
        type Row<'a> = (&'a str, &'a dyn Fn() -> Result<Snapshot, Error>, [bool; 7]);
        let table: [Row<'_>; 5] = [
            // Whether it covers: forced, keeper, min 60, min 7200, stale, refused, another refused.
            ("a failure", &failed, [false; 7]),
            ("the token that the callers have", &unspent, [false, false, true, false, true, false, true]),
            ("a new token", &fresh, [true; 7]),
            ("a new token that has ended", &short, [false; 7]),
            ("the token of another account", &elsewhere, [true, true, true, true, true, false, false]),
        ];
        let base = CallerBase::of(&held);
        let now = Timestamp::from_second(NOW).unwrap();
        for (what, outcome, expected) in table {
            for flight in reasons {
                let flight = RefreshRequest { reason: flight, base: base.clone() };
                for (reason, expected) in reasons.into_iter().zip(expected) {
                    let wanted = RefreshRequest { reason, base: base.clone() };
                    let covered = wanted.is_covered_by(&flight, &outcome().map(Arc::new), now);
                    let expected = expected || reason == flight.reason;
                    assert_eq!(covered, expected, "{what}, from {:?} to {reason:?}", flight.reason);
                }
            }
        }
    }

    #[test]
    fn a_caller_who_has_been_given_another_token_meanwhile_is_not_covered() {
        let (old, new) = (login("acct-1", "rt-1", 3_600), login("acct-1", "rt-2", 3_600));
        let now = Timestamp::from_second(NOW).unwrap();
        let flight = RefreshRequest { reason: RefreshReason::Forced, base: CallerBase::of(&old) };
        let wanted = RefreshRequest { reason: RefreshReason::Forced, base: CallerBase::of(&new) };
        assert!(!wanted.is_covered_by(&flight, &Ok(Arc::new(new)), now));
    }
}
