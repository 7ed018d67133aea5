//! What becomes of the login that a new one took the place of.

use super::Setup;
use crate::authority::{self, Endpoint, Revocation, Revoked, client_id};
use crate::document::{AuthDocument, AuthMode, Identity, Tokens};
use crate::store::{Stored, Stores};

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

/// Takes back the tokens of `old`, which `new` has taken the place of, as far as `wish` goes. To be called when `new` is
/// safe; whatever becomes of it, the new login stands.
///
/// Where an authority ends the whole grant with a refresh token, the old access token dies at that moment too. A program
/// that still holds it is answered 401, looks into the store, and goes on with the new one.
pub async fn supersede(
    setup: &Setup,
    wish: OldLogin,
    old: Option<&AuthDocument>,
    new: &AuthDocument,
) -> Superseded {
    let Some((old, tokens)) = old.and_then(|old| revocable(old).map(|tokens| (old, tokens))) else {
        return Superseded::Nothing;
    };
    if old.fingerprint() == new.fingerprint() {
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
        None => match revoke(setup, tokens).await {
            Ok(revoked) => Superseded::Revoked(revoked),
            Err(error) => Superseded::Failed(error),
        },
    }
}

/// Takes back the tokens of `new`, which could not be kept: nobody has them. Best effort. Where a reader of `stores` finds
/// them all the same, because it was a later step that failed, or cannot tell, they are let live.
pub async fn give_back(setup: &Setup, stores: &Stores, new: &AuthDocument) {
    let Ok(found) = stores.find() else { return };
    let is_new = |stored: &Stored| stored.document.revision() == new.revision();
    if found.stored.as_ref().is_some_and(is_new) {
        return;
    }
    if let Some(tokens) = revocable(new) {
        // Whoever could not keep them has something more important to say.
        let _ = revoke(setup, tokens).await;
    }
}

fn revocable(document: &AuthDocument) -> Option<&Tokens> {
    let managed = document.mode() == Some(AuthMode::ChatGpt) && document.fingerprint().is_some();
    document.tokens().filter(|_| managed)
}

async fn revoke(setup: &Setup, tokens: &Tokens) -> Result<Revoked, authority::Error> {
    let endpoint = Endpoint::revoke(&setup.environment, &tokens.provenance)?;
    match Revocation::of_tokens(endpoint, client_id(&tokens.provenance).to_owned(), tokens) {
        Some(revocation) => setup.authority.revoke(&revocation).await,
        None => Ok(Revoked::AlreadyInvalid),
    }
}

enum Relation {
    Same,
    Other,
    Unknown,
}

/// Where either account is not known it is not taken for the same: to end a stranger's login would be worse than to let
/// one of ours live.
fn relation(old: &Identity, new: &Identity) -> Relation {
    if !old.matches(new) {
        Relation::Other
    } else if old.account_id.is_some() && new.account_id.is_some() {
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
        assert!(matches!(relation(&identity(Some("a"), None), &new), Relation::Same));
        for other in
            [identity(Some("b"), Some("u")), identity(Some("a"), Some("v")), identity(None, Some("v"))]
        {
            assert!(matches!(relation(&other, &new), Relation::Other), "{other:?}");
        }
        for unknown in [identity(None, None), identity(None, Some("u"))] {
            assert!(matches!(relation(&unknown, &new), Relation::Unknown), "{unknown:?}");
        }
    }
}
