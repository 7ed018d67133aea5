//! Whose login a document is, and whether two documents are one login.

use super::{AuthDocument, Tokens};

/// Account id and user id of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The workspace.
    pub account_id: Option<String>,
    /// The person.
    pub user_id: Option<String>,
}

impl Identity {
    /// The login of these ids, as far as they are known.
    #[must_use]
    pub fn new(account_id: Option<String>, user_id: Option<String>) -> Self {
        Self { account_id, user_id }
    }

    /// Whether both users are known and differ. Tokens that were bought with a refresh token are the same login's unless
    /// this is so: an account, which is a workspace, may change, and an id may be left out.
    #[must_use]
    pub fn is_another_user_than(&self, other: &Self) -> bool {
        differ(self.user_id.as_ref(), other.user_id.as_ref())
    }

    /// Whether an id is known of both and differs. What is missing contradicts nothing.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        self.is_another_user_than(other) || differ(self.account_id.as_ref(), other.account_id.as_ref())
    }

    /// Whether both are one user in one account. Where an id is missing it is not.
    #[must_use]
    pub fn is_same_login_as(&self, other: &Self) -> bool {
        self.account_id.is_some() && self.user_id.is_some() && self == other
    }
}

fn differ(one: Option<&String>, other: Option<&String>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

impl AuthDocument {
    /// Whose login it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let stored = self.tokens().and_then(|tokens| tokens.account_id.clone());
        let (id, access) = (self.claims(), self.access_claims());
        Identity {
            account_id: stored.or_else(|| id.account_id.clone()),
            user_id: id.user_id.clone().or_else(|| access.user_id.clone()),
        }
    }

    /// The workspace that the access token acts for; where it does not say, the one that the document names.
    ///
    /// Both differ after Codex switched to another workspace and the next refresh switched back.
    #[must_use]
    pub fn workspace(&self) -> Option<String> {
        self.access_claims().account_id.clone().or_else(|| self.identity().account_id)
    }

    /// Whether both are known to be one login: they hold the same credential or the same refresh token, come from one act of
    /// logging in, or belong to one user in one account. Another user's is never the same; where an id is missing, it is not
    /// known.
    #[must_use]
    pub fn is_same_login_as(&self, other: &Self) -> bool {
        if self.revision() == other.revision() {
            return true;
        }
        let (ours, theirs) = (self.identity(), other.identity());
        let login = |document: &Self| document.tokens().and_then(|tokens: &Tokens| tokens.login.clone());
        let same = |one: Option<String>, other: Option<String>| one.is_some() && one == other;
        let one_token = self.fingerprint().is_some() && self.fingerprint() == other.fingerprint();
        let descends = one_token || same(login(self), login(other));
        (descends && !ours.is_another_user_than(&theirs)) || ours.is_same_login_as(&theirs)
    }
}
