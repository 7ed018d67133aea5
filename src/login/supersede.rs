//! What becomes of the login that a new one took the place of.

use super::{LoginSetup, StoreReport};
use crate::authority::{self, Revocation, RevocationOutcome};
use crate::document::{AuthDocument, Identity};

/// What a person wants to become of the login before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OldLoginPolicy {
    /// Take its tokens back if it is of the same account.
    #[default]
    OfSameAccount,
    /// Let its tokens live.
    Keep,
    /// Take its tokens back, whosever it is.
    Revoke,
}

/// What became of the tokens of the login before.
#[derive(Debug)]
#[non_exhaustive]
pub enum SupersedeOutcome {
    /// There are none that an authority could take back: nobody was logged in, or not by account, or by these very tokens.
    Nothing,
    /// They live, and can be used by whoever has a copy.
    LeftAlive(RevocationSkipped),
    /// They are worth nothing any more.
    Revoked(RevocationOutcome),
    /// The authority was asked to take them back, and did not do it; they may live on.
    Failed(authority::Error),
}

/// Why the tokens of the login before were let live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationSkipped {
    /// The person asked for it.
    Asked,
    /// They are of another account.
    OtherAccount,
    /// They do not say whose they are.
    UnknownAccount,
}

/// Revokes the tokens of the logins that `new` has replaced, as far as `wish` goes. To be called when `new` is safe;
/// whatever becomes of it, the new login stands. The outcome is the first failure, else that of the login that was in use.
///
/// Where an authority ends the whole grant with a refresh token, the old access token dies at that moment too. A program
/// that still holds it is answered 401, looks into the store, and goes on with the new one.
pub async fn supersede(
    setup: &LoginSetup,
    wish: OldLoginPolicy,
    kept: &StoreReport,
    new: &AuthDocument,
) -> SupersedeOutcome {
    let mut outcome = supersede_one(setup, wish, kept.superseded.as_ref(), new).await;
    for old in &kept.also_superseded {
        let next = supersede_one(setup, wish, Some(old), new).await;
        let counts = matches!(
            (&outcome, &next),
            (SupersedeOutcome::Nothing, _) | (SupersedeOutcome::Revoked(_), SupersedeOutcome::Failed(_))
        );
        if counts {
            outcome = next;
        }
    }
    outcome
}

async fn supersede_one(
    setup: &LoginSetup,
    wish: OldLoginPolicy,
    old: Option<&AuthDocument>,
    new: &AuthDocument,
) -> SupersedeOutcome {
    let Some(old) = old.filter(|old| old.logout_fingerprint() != new.logout_fingerprint()) else {
        return SupersedeOutcome::Nothing;
    };
    if !matches!(Revocation::of_document(&setup.environment, old), Ok(Some(_)) | Err(_)) {
        return SupersedeOutcome::Nothing;
    }
    let why = match (wish, relation(&old.identity(), &new.identity())) {
        (OldLoginPolicy::Keep, _) => Some(RevocationSkipped::Asked),
        (OldLoginPolicy::Revoke, _) | (_, LoginRelation::Same) => None,
        (_, LoginRelation::Other) => Some(RevocationSkipped::OtherAccount),
        (_, LoginRelation::Unknown) => Some(RevocationSkipped::UnknownAccount),
    };
    match why {
        Some(why) => SupersedeOutcome::LeftAlive(why),
        None => match revoke(setup, old).await {
            Ok(None) => SupersedeOutcome::Nothing,
            Ok(Some(revoked)) => SupersedeOutcome::Revoked(revoked),
            Err(error) => SupersedeOutcome::Failed(error),
        },
    }
}

async fn revoke(
    setup: &LoginSetup,
    document: &AuthDocument,
) -> Result<Option<RevocationOutcome>, authority::Error> {
    match Revocation::of_document(&setup.environment, document)? {
        Some(revocation) => setup.authority.revoke(&revocation).await.map(Some),
        None => Ok(None),
    }
}

enum LoginRelation {
    Same,
    Other,
    Unknown,
}

/// Where account or user is not known of either it is not taken for the same: to end a stranger's login would be worse than to let
/// one of ours live.
fn relation(old: &Identity, new: &Identity) -> LoginRelation {
    if old.contradicts(new) {
        LoginRelation::Other
    } else if old.is_same_login_as(new) {
        LoginRelation::Same
    } else {
        LoginRelation::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_the_same_account_is_taken_for_it() {
        let identity = |account: Option<&str>, user: Option<&str>| {
            Identity::new(account.map(str::to_owned), user.map(str::to_owned))
        };
        let (whole, new) = (identity(Some("a"), Some("u")), identity(Some("a"), Some("u")));
        assert!(matches!(relation(&whole, &new), LoginRelation::Same));
        for other in
            [identity(Some("b"), Some("u")), identity(Some("a"), Some("v")), identity(None, Some("v"))]
        {
            assert!(matches!(relation(&other, &new), LoginRelation::Other), "{other:?}");
        }
        for unknown in [identity(None, None), identity(None, Some("u")), identity(Some("a"), None)] {
            assert!(matches!(relation(&unknown, &new), LoginRelation::Unknown), "{unknown:?}");
        }
    }
}
