//! The parameters of a token request to the keeper's socket.

use jiff::SignedDuration;

use crate::document::AuthDocument;
use crate::manager::Snapshot;

/// The parameters of a token request.
#[derive(Debug)]
pub(super) struct TokenQuery {
    pub(super) min_ttl: Option<SignedDuration>,
    pub(super) permission: RefreshPermission,
}

/// Whether a request waits for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefreshPermission {
    None,
    Wait,
}

impl TokenQuery {
    pub(super) fn read(query: Option<&str>) -> Result<Self, &'static str> {
        let mut parsed = Self { min_ttl: None, permission: RefreshPermission::None };
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("min_ttl", seconds)) => {
                    let seconds =
                        seconds.parse::<u32>().map_err(|_| "min_ttl must be a number of seconds")?;
                    parsed.min_ttl = Some(SignedDuration::from_secs(seconds.into()));
                }
                Some(("wait", "yes")) => parsed.permission = RefreshPermission::Wait,
                _ => return Err("the parameters are min_ttl=SECONDS and wait=yes"),
            }
        }
        Ok(parsed)
    }
}

impl TokenQuery {
    /// Limits the requested lifetime to half of what the authority issues, so that no caller in a container can have
    /// tokens refreshed faster than that.
    pub(super) fn cap(&mut self, snapshot: &Snapshot) {
        let lifetime = snapshot.document().and_then(AuthDocument::lifetime);
        let half = lifetime.map_or(SignedDuration::ZERO, |lifetime| lifetime / 2);
        self.min_ttl = self.min_ttl.map(|min| min.min(half));
    }
}
