//! What the login keychain of macOS needs beside its items: its status, and the dialogues of this process.

use std::sync::Mutex;

use crate::sync::lock;

/// An error of a system call or of the crate around it.
pub(super) type Source = Box<dyn std::error::Error + Send + Sync>;

/// What macOS does beside storing items.
pub(super) trait Security: Send {
    /// Returns the status of the default keychain, as `SecKeychainGetStatus`.
    ///
    /// # Errors
    ///
    /// The status code of the call.
    fn status(&self) -> Result<u32, i32>;

    /// Returns whether this process may show dialogues.
    ///
    /// # Errors
    ///
    /// The error of the call.
    fn dialogues_allowed(&self) -> Result<bool, Source>;

    /// Permits or forbids the dialogues of this process.
    ///
    /// # Errors
    ///
    /// The error of the call.
    fn allow_dialogues(&self, allowed: bool) -> Result<(), Source>;

    /// Returns the error of a status code.
    fn error(&self, code: i32) -> Source;

    /// Returns the status code of an error from the store; `None` if it is no error of macOS.
    fn code_of(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<i32>;
}

/// The calls that run with dialogues disabled. The switch is process-wide, and an abandoned call may outlive the next
/// one, so the calls are counted and the last one restores the former setting.
pub(super) struct Dialogues {
    calls: usize,
    /// `false` also if the host program had already disabled dialogues; then they stay disabled.
    restore: bool,
}

impl Dialogues {
    /// No call runs.
    pub(super) const NONE: Self = Self { calls: 0, restore: false };
}

/// Keeps the dialogues of this process disabled until it is dropped.
pub(super) struct DialogueGuard<'a, S: Security> {
    dialogues: &'static Mutex<Dialogues>,
    security: &'a S,
}

impl<'a, S: Security> DialogueGuard<'a, S> {
    /// Disables the dialogues.
    ///
    /// # Errors
    ///
    /// Those of [`Security::dialogues_allowed`] and [`Security::allow_dialogues`].
    pub(super) fn disable(dialogues: &'static Mutex<Dialogues>, security: &'a S) -> Result<Self, Source> {
        let mut now = lock(dialogues);
        if now.calls == 0 && security.dialogues_allowed()? {
            security.allow_dialogues(false)?;
            now.restore = true;
        }
        now.calls += 1;
        drop(now);
        Ok(Self { dialogues, security })
    }
}

impl<S: Security> Drop for DialogueGuard<'_, S> {
    fn drop(&mut self) {
        let mut now = lock(self.dialogues);
        now.calls -= 1;
        if now.calls == 0 && std::mem::take(&mut now.restore) {
            // Without a way to report it; the next call finds them disabled and leaves them so.
            let _ = self.security.allow_dialogues(true);
        }
    }
}
