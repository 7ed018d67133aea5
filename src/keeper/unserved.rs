//! Why an export is not served.

use std::path::PathBuf;

use codex_auth_platform::lock::Holder;
use jiff::Timestamp;

use super::export::Export;
use super::singleton::RunningKeeper;
use crate::home::Home;
use crate::manager::{Divergence, Snapshot};

/// Why an export is not served, with the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unserved {
    /// The folder, or one above it, was replaced by a link, which is not followed.
    #[error("{} is a link by now, which is not followed; remove it, or export the folder that it leads to", link.display())]
    Link {
        /// The link.
        link: PathBuf,
    },
    /// No keeper runs.
    #[error(
        "no keeper runs, so no new token is handed in; start one: codex sync install --now, or codex sync run"
    )]
    NoKeeper,
    /// The keeper is of a version without exports.
    #[error("{keeper} is of an older version, which serves no exports; restart it")]
    OldKeeper {
        /// The keeper.
        keeper: Holder,
    },
    /// There is no login.
    #[error("not logged in; log in: codex login")]
    NotLoggedIn,
    /// Another account is logged in than the one that is exported.
    #[error(
        "another account is logged in; to hand in whatever account is logged in, export the folder again with --follow"
    )]
    OtherAccount,
    /// The login is an API key or another credential that does not expire by itself.
    #[error("the login is not one of a ChatGPT account, and other logins do not expire by themselves")]
    NotExportable,
    /// The login has no usable token.
    #[error("{reason}")]
    Unusable {
        /// Why, with the next step.
        reason: String,
    },
    /// The keeper has not written the document, or does not answer at the socket.
    #[error(
        "{keeper} has not written the export; see its log, and if it is a service: codex sync install --now"
    )]
    NotWritten {
        /// The keeper.
        keeper: Holder,
    },
}

impl Export {
    /// Returns why no keeper of `home` hands in the login of `snapshot` here; `None` if one does. Blocks for up to a
    /// second.
    #[must_use]
    pub fn unserved(&self, home: &Home, snapshot: &Snapshot, now: Timestamp) -> Option<Unserved> {
        if let Some(link) = self.link() {
            return Some(Unserved::Link { link });
        }
        let Some(keeper) = RunningKeeper::of(home) else { return Some(Unserved::NoKeeper) };
        if keeper.is_older() {
            return Some(Unserved::OldKeeper { keeper: keeper.holder });
        }
        let usability = snapshot.usability(now);
        let reason = usability.reason().map(|error| Unserved::Unusable { reason: error.to_string() });
        let Some(document) = snapshot.document() else {
            return match snapshot.divergence() {
                Some(Divergence::Unreadable(_)) => reason,
                _ => Some(Unserved::NotLoggedIn),
            };
        };
        if !self.is_of(document) {
            return Some(Unserved::OtherAccount);
        }
        if document.exported(now).is_none() {
            return Some(Unserved::NotExportable);
        }
        reason.or_else(|| (!self.is_served()).then_some(Unserved::NotWritten { keeper: keeper.holder }))
    }
}
