//! What becomes of the login that a new one took the place of.

use super::{Kept, Setup};
use crate::authority::{self, Revocation, Revoked};
use crate::document::{AuthDocument, Identity};

/// What a person wants to become of the login before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OldLogin {
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
pub enum Superseded {
    /// There are none that an authority could take back: nobody was logged in, or not by account, or by these very tokens.
    Nothing,
    /// They live, and can be used by whoever has a copy.
    LeftAlive(LeftAlive),
    /// They are worth nothing any more.
    Revoked(Revoked),
    /// The authority was asked to take them back, and did not do it; they may live on.
    Failed(authority::Error),
}

/// Why the tokens of the login before were let live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftAlive {
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
pub async fn supersede(setup: &Setup, wish: OldLogin, kept: &Kept, new: &AuthDocument) -> Superseded {
    let mut outcome = supersede_one(setup, wish, kept.superseded.as_ref(), new).await;
    for old in &kept.also_superseded {
        let next = supersede_one(setup, wish, Some(old), new).await;
        let counts = matches!(
            (&outcome, &next),
            (Superseded::Nothing, _) | (Superseded::Revoked(_), Superseded::Failed(_))
        );
        if counts {
            outcome = next;
        }
    }
    outcome
}

async fn supersede_one(
    setup: &Setup,
    wish: OldLogin,
    old: Option<&AuthDocument>,
    new: &AuthDocument,
) -> Superseded {
    let Some(old) = old.filter(|old| old.logout_fingerprint() != new.logout_fingerprint()) else {
        return Superseded::Nothing;
    };
    if !matches!(Revocation::of_document(&setup.environment, old), Ok(Some(_)) | Err(_)) {
        return Superseded::Nothing;
    }
    let why = match (wish, relation(&old.identity(), &new.identity())) {
        (OldLogin::Keep, _) => Some(LeftAlive::Asked),
        (OldLogin::Revoke, _) | (_, Relation::Same) => None,
        (_, Relation::Other) => Some(LeftAlive::OtherAccount),
        (_, Relation::Unknown) => Some(LeftAlive::UnknownAccount),
    };
    match why {
        Some(why) => Superseded::LeftAlive(why),
        None => match revoke(setup, old).await {
            Ok(None) => Superseded::Nothing,
            Ok(Some(revoked)) => Superseded::Revoked(revoked),
            Err(error) => Superseded::Failed(error),
        },
    }
}

async fn revoke(setup: &Setup, document: &AuthDocument) -> Result<Option<Revoked>, authority::Error> {
    match Revocation::of_document(&setup.environment, document)? {
        Some(revocation) => setup.authority.revoke(&revocation).await.map(Some),
        None => Ok(None),
    }
}

enum Relation {
    Same,
    Other,
    Unknown,
}

/// Where account or user is not known of either it is not taken for the same: to end a stranger's login would be worse than to let
/// one of ours live.
fn relation(old: &Identity, new: &Identity) -> Relation {
    if old.contradicts(new) {
        Relation::Other
    } else if old.is_same_login_as(new) {
        Relation::Same
    } else {
        Relation::Unknown
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
        assert!(matches!(relation(&whole, &new), Relation::Same));
        for other in
            [identity(Some("b"), Some("u")), identity(Some("a"), Some("v")), identity(None, Some("v"))]
        {
            assert!(matches!(relation(&other, &new), Relation::Other), "{other:?}");
        }
        for unknown in [identity(None, None), identity(None, Some("u")), identity(Some("a"), None)] {
            assert!(matches!(relation(&unknown, &new), Relation::Unknown), "{unknown:?}");
        }
    }
}
