//! The sentences of an explanation, and the next step.

use std::fmt;

use super::cause::{Cause, Certainty, Explanation, SignInState};

impl SignInState {
    /// Returns the condition in a sentence, without the full stop.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Working => "the login works",
            Self::LoggedOut => "there is no login",
            Self::Reused => "the authority refused the refresh token, because it was used before",
            Self::Revoked => "the authority refused the refresh token, because it was revoked",
            Self::Expired => "the authority refused the refresh token, because it has expired",
            Self::Refused => "the authority refused the refresh token",
            Self::OldCopy => {
                "the stored login is an old copy: its refresh token was used on this machine before"
            }
            Self::OtherAccount => "the login is of another account than before",
            Self::StoreUnavailable => "the store of the login cannot be used",
            Self::RescuePending => "new tokens were received and are not stored yet",
            Self::WrongClock => "the clock of this machine is wrong, or was set",
            Self::NotRefreshed => "the login works, and its token could not be refreshed the last time",
        }
    }
}

impl Cause {
    /// Returns the cause in a sentence, without the full stop.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoLogin => "no login is recorded here",
            Self::Logout => "a command of this program logged out",
            Self::RemovedByOther => "another program removed the login, as Codex does at a logout",
            Self::CopyElsewhere => {
                "a copy of this login is in use on another machine, in a container or in another folder, and was refreshed there"
            }
            Self::AnswerLost => {
                "a program on this machine sent the token and did not store the answer: it was killed, or the connection broke"
            }
            Self::TwoHomes => "another home on this machine holds the same login",
            Self::RevokedHere => {
                "a command of this program revoked it: a logout, or a new login that replaced it"
            }
            Self::LogoutElsewhere => "a logout revoked it, on another machine or by another program",
            Self::RevokedByAuthority => {
                "the authority ended the session: after a change of the password, in the security settings, or by an administrator"
            }
            Self::TokenExpired => "the login was not used for too long",
            Self::OldCopyRestored => "an old copy was restored, as from a backup or a snapshot",
            Self::WrittenBack => "a program that had read the login before wrote it back",
            Self::SwitchedAccount => "another account was activated by a command of this program",
            Self::OtherLogin => "another program logged in to another account",
            Self::StoreLocked => "the keychain is locked",
            Self::StoreFailure => "the store cannot be read or written",
            Self::RescuePending => {
                "the store could not be written when they arrived, or the process was killed"
            }
            Self::WrongClock => {
                "its time differs from that of the authority, so a token seems expired or not yet valid"
            }
            Self::AuthorityUnavailable => "the authority could not be reached, or asked to wait",
            Self::FleetUnreachable => {
                "this host cannot take part in the fleet that shares its login: etcd cannot be reached, or its key was changed"
            }
            Self::FleetLoginEnded => {
                "the authority refuses the refresh token of the fleet, or the response to its last refresh was lost"
            }
            Self::UnknownRefusal => "the authority gave no reason that is known",
        }
    }

    /// Returns what the user can do next: a command, where there is one.
    #[must_use]
    pub fn next_step(self) -> &'static str {
        match self {
            Self::NoLogin
            | Self::Logout
            | Self::RemovedByOther
            | Self::TokenExpired
            | Self::FleetLoginEnded
            | Self::UnknownRefusal => "to log in: codex login",
            Self::CopyElsewhere => {
                "log in again (codex login), and do not copy auth.json: each machine needs a login of its own, and a container an export (codex sync export DIR)"
            }
            Self::AnswerLost => "log in again: codex login",
            Self::TwoHomes => {
                "log in again (codex login), and remove the copy in the other home; to use several logins: codex account add NAME"
            }
            Self::RevokedHere | Self::LogoutElsewhere => "log in again: codex login",
            Self::RevokedByAuthority => {
                "log in again (codex login); if it happens again, ask your administrator"
            }
            Self::OldCopyRestored | Self::WrittenBack => {
                "log in again (codex login), and leave auth.json out of backups and of tools that write it"
            }
            Self::SwitchedAccount | Self::OtherLogin => {
                "to see the accounts: codex account; to switch: codex account use NAME"
            }
            Self::StoreLocked => {
                "unlock the keychain, or move the login to the file: codex migrate --to file"
            }
            Self::StoreFailure => "to find what is wrong: codex doctor",
            Self::RescuePending => "to store them: codex refresh; if that fails: codex doctor",
            Self::WrongClock => "set the clock; to compare it with the authority's: codex doctor",
            Self::FleetUnreachable => "to see why: codex fleet status",
            Self::AuthorityUnavailable => "to try now: codex refresh; to check the network: codex doctor",
        }
    }
}

impl Certainty {
    /// Returns the word for reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Inferred => "inferred",
            Self::Undecidable => "undecidable",
        }
    }
}

impl Explanation {
    /// Returns what would decide between the causes, if they cannot be decided here.
    #[must_use]
    pub fn decided_by(&self) -> Option<&'static str> {
        match self.causes.as_slice() {
            [Cause::CopyElsewhere, Cause::AnswerLost] => Some(
                "search other machines, containers and backups for a copy of auth.json; if there is none, a program here lost the answer, which its log shows (for Codex: RUST_LOG=info)",
            ),
            [Cause::LogoutElsewhere, Cause::RevokedByAuthority] => Some(
                "whether a copy of this login was logged out; the security settings of the account show sessions that were ended there",
            ),
            [Cause::OldCopyRestored, Cause::WrittenBack] => {
                Some("whether a backup was restored since, or a program that keeps auth.json was running")
            }
            _ => None,
        }
    }

    /// Returns the next step for each cause, without repetitions.
    #[must_use]
    pub fn next_steps(&self) -> Vec<&'static str> {
        let mut steps: Vec<_> = self.causes.iter().map(|cause| cause.next_step()).collect();
        steps.dedup();
        // While the login works, there is nothing to do about its last sign-out.
        if self.condition == SignInState::Working {
            steps.clear();
        }
        steps
    }
}

/// The explanation in a few sentences, one a line.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.condition.sentence())?;
        match self.explained {
            Some(explained) if explained != self.condition => {
                write!(f, "\nthe last sign-out that is recorded: {}", explained.sentence())?;
            }
            _ => {}
        }
        match (self.certainty, self.causes.as_slice()) {
            (_, []) => {}
            (Certainty::Known, causes) => {
                for cause in causes {
                    write!(f, "\nknown: {}", cause.sentence())?;
                }
            }
            (Certainty::Inferred, causes) => {
                for cause in causes {
                    write!(f, "\nprobably, but not certainly: {}", cause.sentence())?;
                }
            }
            (Certainty::Undecidable, causes) => {
                write!(f, "\nnot decidable from here; it is one of these:")?;
                for cause in causes {
                    write!(f, "\n- {}", cause.sentence())?;
                }
            }
        }
        self.observations.iter().try_for_each(|sentence| write!(f, "\n{sentence}"))?;
        self.decided_by().map_or(Ok(()), |what| write!(f, "\nto decide it: {what}"))
    }
}
