//! Where the next token of a login comes from.

use crate::config::Environment;
use crate::home::Home;
use crate::store::StoredDocument;

/// Where the next token comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller handles both")]
pub enum Renewal {
    /// From the refresh token of the document, if it has one.
    #[default]
    Document,
    /// From the fleet that the home is a member of, which has the refresh token.
    Fleet,
}

impl Renewal {
    /// Returns that of what is stored in `home`.
    pub(super) fn of(stored: Option<&StoredDocument>, home: &Home) -> Self {
        let is_handed_in = stored.is_some_and(|stored| stored.document.is_handed_in());
        if is_handed_in && is_member(home) { Self::Fleet } else { Self::Document }
    }
}

/// Returns whether a fleet serves `home`. A membership that cannot be read counts as one.
#[cfg(feature = "fleet")]
pub(crate) fn is_member(home: &Home) -> bool {
    crate::fleet::membership::Membership::served(home).map_or(true, |membership| membership.is_some())
}

/// Returns whether the login of the fleet of `home` does not work any more, by the newest record that this host has seen.
#[cfg(feature = "fleet")]
pub(crate) fn fleet_login_has_ended(home: &Home, environment: &Environment) -> bool {
    let membership = crate::fleet::membership::Membership::served(home).ok().flatten();
    let record = membership.and_then(|membership| membership.seen_record(home, environment));
    record.is_some_and(|record| record.poison().is_some())
}

#[cfg(not(feature = "fleet"))]
pub(crate) fn fleet_login_has_ended(_: &Home, _: &Environment) -> bool {
    false
}

#[cfg(not(feature = "fleet"))]
pub(crate) fn is_member(_: &Home) -> bool {
    false
}
