//! Until when a refresh token may be sent.

use std::sync::{Arc, Mutex, PoisonError};

use codex_auth_platform::boot_clock::BootTime;

/// Until when a refresh token may be sent; shared with the client, which asks when the connection is there.
#[derive(Clone, Default)]
pub(super) struct SpendPermit(Arc<Mutex<Option<BootTime>>>);

impl SpendPermit {
    pub(super) fn set(&self, until: Option<BootTime>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    pub(super) fn holds(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| !until.remaining().is_zero())
    }
}
