//! Revokes the login that a new one replaced.

use super::commit::StoreReport;
use super::setup::LoginSetup;
use crate::authority::{self, Revocation, RevocationOutcome};
use crate::document::{AuthDocument, Identity};
use crate::history::{History, HistoryEvent, RevocationCause};

/// Whether to revoke the tokens of the replaced login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OldLoginPolicy {
    /// Revoke them if they are of the same account.
    #[default]
    RevokeSameAccount,
    /// Never revoke them.
    Keep,
    /// Revoke them, whatever account they are of.
    RevokeAlways,
}

/// What happened to the tokens of the replaced login.
#[derive(Debug)]
#[non_exhaustive]
pub enum SupersedeOutcome {
    /// There was no login, or none with tokens to revoke, or it had the same tokens as the new one.
    NothingToRevoke,
    /// They were not revoked and stay valid.
    Skipped(RevocationSkipped),
    /// They are invalid.
    Revoked(RevocationOutcome),
    /// The revocation failed; the next holder of the lease tries again.
    Failed(authority::Error),
}

/// Why the tokens of the replaced login were not revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationSkipped {
    /// [`OldLoginPolicy::Keep`] was requested.
    ByPolicy,
    /// They are of another account.
    OtherAccount,
    /// Their account is unknown.
    UnknownAccount,
}

/// What is done with the tokens of a replaced login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SupersedePlan {
    /// It has none that could be revoked, or those of the new login.
    Nothing,
    Skip(RevocationSkipped),
    Revoke,
}

/// Decides by `policy` what is done with the tokens of `old`, which `new` replaces.
pub(super) fn plan(
    setup: &LoginSetup,
    policy: OldLoginPolicy,
    old: &AuthDocument,
    new: &AuthDocument,
) -> SupersedePlan {
    if old.logout_fingerprint() == new.logout_fingerprint()
        || matches!(Revocation::of_document(&setup.environment, old), Ok(None))
    {
        return SupersedePlan::Nothing;
    }
    match (policy, relation(&old.identity(), &new.identity())) {
        (OldLoginPolicy::Keep, _) => SupersedePlan::Skip(RevocationSkipped::ByPolicy),
        (OldLoginPolicy::RevokeAlways, _) | (_, LoginRelation::Same) => SupersedePlan::Revoke,
        (_, LoginRelation::Other) => SupersedePlan::Skip(RevocationSkipped::OtherAccount),
        (_, LoginRelation::Unknown) => SupersedePlan::Skip(RevocationSkipped::UnknownAccount),
    }
}

/// The outcomes of [`supersede`].
pub(super) struct SupersedeReport {
    /// The first failure, else the outcome for the login that was in use.
    pub(super) outcome: SupersedeOutcome,
    /// Whether a revocation failed.
    pub(super) has_failed: bool,
}

/// Revokes the tokens of the logins that `new` has replaced, according to `policy`. Call it after `new` is committed; a
/// failure does not affect the new login. `history` gets the revocations.
///
/// An authority may revoke the whole grant with the refresh token, which also ends the old access token. A program that
/// uses it gets a 401, reads the store again and finds the new one.
pub(super) async fn supersede(
    setup: &LoginSetup,
    policy: OldLoginPolicy,
    report: &StoreReport,
    new: &AuthDocument,
    history: Option<&History>,
) -> SupersedeReport {
    let (mut outcome, mut has_failed) = (SupersedeOutcome::NothingToRevoke, false);
    for old in report.superseded.iter().chain(&report.also_superseded) {
        let next = supersede_one(setup, policy, old, new, history).await;
        has_failed |= matches!(next, SupersedeOutcome::Failed(_));
        let counts = matches!(
            (&outcome, &next),
            (SupersedeOutcome::NothingToRevoke, _)
                | (SupersedeOutcome::Revoked(_), SupersedeOutcome::Failed(_))
        );
        if counts {
            outcome = next;
        }
    }
    SupersedeReport { outcome, has_failed }
}

async fn supersede_one(
    setup: &LoginSetup,
    policy: OldLoginPolicy,
    old: &AuthDocument,
    new: &AuthDocument,
    history: Option<&History>,
) -> SupersedeOutcome {
    match plan(setup, policy, old, new) {
        SupersedePlan::Nothing => SupersedeOutcome::NothingToRevoke,
        SupersedePlan::Skip(why) => SupersedeOutcome::Skipped(why),
        SupersedePlan::Revoke => match revoke(setup, old).await {
            Ok(None) => SupersedeOutcome::NothingToRevoke,
            Ok(Some(revoked)) => {
                let (token, why) = (old.logout_fingerprint(), RevocationCause::Replaced);
                if let Some(history) = history {
                    history.record(HistoryEvent::Revoked { token, why });
                }
                SupersedeOutcome::Revoked(revoked)
            }
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

/// Tokens whose account or user is unknown do not count as the same account: revoking another user's login is worse
/// than leaving an own one valid.
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
    fn only_a_known_account_and_user_count_as_the_same_login() {
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
