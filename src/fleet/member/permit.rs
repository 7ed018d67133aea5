//! Until when a refresh token may be sent, and whether it was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codex_auth_platform::boot_clock::BootTime;

/// Until when a refresh token may be sent; shared with the client, which asks when the connection is there.
#[derive(Clone, Default)]
pub(super) struct SpendPermit(Arc<Mutex<PermitState>>);

#[derive(Default)]
struct PermitState {
    until: Option<BootTime>,
    is_used: bool,
}

impl SpendPermit {
    pub(super) fn grant(&self, until: BootTime) {
        *self.state() = PermitState { until: Some(until), is_used: false };
    }

    /// Ends the permit, and returns whether it was used.
    pub(super) fn end(&self) -> bool {
        std::mem::take(&mut *self.state()).is_used
    }

    /// Uses the permit; returns false if there is none.
    pub(super) fn take(&self) -> bool {
        let mut state = self.state();
        let holds = state.until.is_some_and(|until| !until.remaining().is_zero());
        state.is_used |= holds;
        holds
    }

    fn state(&self) -> MutexGuard<'_, PermitState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
