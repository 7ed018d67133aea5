//! The conditions of a login, the causes of a sign-out, and how certain a cause is.

use serde::Serialize;

use crate::accounts::HomeRecord;

/// The condition of a login at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignInState {
    /// There is a login, and nothing is known to be wrong with it.
    Working,
    /// There is no login.
    LoggedOut,
    /// The authority refused its refresh token because that was spent before.
    Reused,
    /// The authority refused its refresh token because that was revoked.
    Revoked,
    /// The authority refused its refresh token because that has expired.
    Expired,
    /// The authority refused its refresh token for a reason that is not known.
    Refused,
    /// The stored refresh token was spent by this machine before.
    OldCopy,
    /// Another account is logged in than before.
    OtherAccount,
    /// The store cannot be used.
    StoreUnavailable,
    /// New tokens were received and are not stored yet.
    RescuePending,
    /// The clock of this machine is wrong.
    WrongClock,
    /// The authority did not refresh the token, for a reason that may pass.
    NotRefreshed,
}

/// Why a login was lost or does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// No login is stored, and none is recorded.
    NoLogin,
    /// A command of this library logged out.
    Logout,
    /// Another program removed the login, such as Codex by a logout.
    RemovedByOther,
    /// A copy of the login is used on another machine or in another folder, and spent the token there.
    CopyElsewhere,
    /// A program on this machine sent the token and did not store the answer.
    AnswerLost,
    /// Another home on this machine holds the same login, and spent the token.
    TwoHomes,
    /// A command of this library revoked the token.
    RevokedHere,
    /// A logout on another machine or by another program revoked it.
    LogoutElsewhere,
    /// The authority revoked it: a changed password, an ended session, a decision of an administrator.
    RevokedByAuthority,
    /// The refresh token was not used for too long.
    TokenExpired,
    /// An old copy of the login was restored, as from a backup.
    OldCopyRestored,
    /// A program that runs wrote an old copy of the login back.
    WrittenBack,
    /// Another account was activated by a command of this library.
    SwitchedAccount,
    /// Another program logged in to another account.
    OtherLogin,
    /// The keychain is locked.
    StoreLocked,
    /// The store cannot be read or written.
    StoreFailure,
    /// The store could not be written when new tokens arrived.
    RescuePending,
    /// The clock of this machine differs from that of the authority, or was set.
    WrongClock,
    /// The authority cannot be reached, or asks to wait.
    AuthorityUnavailable,
    /// The host cannot take part in the fleet that shares its login.
    FleetUnreachable,
    /// The authority refuses the refresh token of the fleet, or the response to its last refresh was lost.
    FleetLoginEnded,
    /// The authority gave no reason that is known.
    UnknownRefusal,
}

/// How certain a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the three are all there is")]
pub enum Certainty {
    /// An event of this library, or the present state, says so.
    Known,
    /// It looks like this, and something else would look alike.
    Inferred,
    /// Each of the causes looks the same from here.
    Undecidable,
}

/// Why a login does not work, or why it was lost the last time.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The condition at present.
    pub condition: SignInState,
    /// The condition that the causes are for: that at present, or that of the last sign-out if the login works; `None`
    /// if there was none.
    pub explained: Option<SignInState>,
    /// How certain the causes are.
    pub certainty: Certainty,
    /// The cause; all that are possible if that cannot be decided; none for a login that works.
    pub causes: Vec<Cause>,
    /// The events that say so, the latest last.
    pub evidence: Vec<HomeRecord>,
    /// What is seen at present, in sentences.
    pub observations: Vec<String>,
}

impl Explanation {
    pub(super) fn new(condition: SignInState, certainty: Certainty, causes: &[Cause]) -> Self {
        let explained = (!causes.is_empty()).then_some(condition);
        let (evidence, observations) = (Vec::new(), Vec::new());
        Self { condition, explained, certainty, causes: causes.to_vec(), evidence, observations }
    }

    pub(super) fn with_evidence<'a>(mut self, records: impl IntoIterator<Item = &'a HomeRecord>) -> Self {
        self.evidence.extend(records.into_iter().cloned());
        self
    }

    pub(super) fn observing(mut self, sentence: impl Into<String>) -> Self {
        self.observations.push(sentence.into());
        self
    }
}
