//! The owner of a login, and whether two documents are the same login.

use super::auth_document::AuthDocument;
use super::tokens::Tokens;

/// The account id and user id of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The workspace.
    pub account_id: Option<String>,
    /// The user.
    pub user_id: Option<String>,
}

impl Identity {
    /// Creates an identity from the ids that are known.
    #[must_use]
    pub fn new(account_id: Option<String>, user_id: Option<String>) -> Self {
        Self { account_id, user_id }
    }

    /// Returns whether both users are known and differ.
    ///
    /// The answer to a refresh belongs to the same login unless this is so: the account, which is a workspace, may
    /// change, and ids may be missing.
    #[must_use]
    pub fn is_different_user(&self, other: &Self) -> bool {
        differ(self.user_id.as_ref(), other.user_id.as_ref())
    }

    /// Returns whether the user ids or the account ids are both known and differ.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        self.is_different_user(other) || differ(self.account_id.as_ref(), other.account_id.as_ref())
    }

    /// Returns whether both are the same user in the same account. A missing id is not the same.
    #[must_use]
    pub fn is_same_login_as(&self, other: &Self) -> bool {
        self.account_id.is_some() && self.user_id.is_some() && self == other
    }
}

fn differ(one: Option<&String>, other: Option<&String>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

impl AuthDocument {
    /// Returns the owner of the login.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let stored = self.tokens().and_then(|tokens| tokens.account_id.clone());
        let (id, access) = (self.claims(), self.access_claims());
        Identity {
            account_id: stored.or_else(|| id.account_id.clone()),
            user_id: id.user_id.clone().or_else(|| access.user_id.clone()),
        }
    }

    /// Returns the workspace that the access token is for or, if it has no such claim, the one that the document names.
    ///
    /// The two differ after Codex switched to another workspace and the next refresh switched back.
    #[must_use]
    pub fn workspace(&self) -> Option<String> {
        self.access_claims().account_id.clone().or_else(|| self.identity().account_id)
    }

    /// Returns whether `new` is known to be of the same user, or both are credentials of one kind that names none.
    #[must_use]
    pub fn may_be_replaced_by(&self, new: &Self) -> bool {
        match (self.identity().user_id, new.identity().user_id) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, None) => self.mode() == new.mode() && !self.identity().contradicts(&new.identity()),
            _ => self.is_same_login_as(new),
        }
    }

    /// Returns whether both are known to be the same login: they have the same credential, refresh token or login id,
    /// or belong to the same user in the same account. Logins of different users are never the same.
    #[must_use]
    pub fn is_same_login_as(&self, other: &Self) -> bool {
        if self.revision() == other.revision() {
            return true;
        }
        let (ours, theirs) = (self.identity(), other.identity());
        let login = |document: &Self| document.tokens().and_then(|tokens: &Tokens| tokens.login_id.clone());
        let same = |one: Option<String>, other: Option<String>| one.is_some() && one == other;
        let one_token = self.fingerprint().is_some() && self.fingerprint() == other.fingerprint();
        let descends = one_token || same(login(self), login(other));
        (descends && !ours.is_different_user(&theirs)) || ours.is_same_login_as(&theirs)
    }
}
