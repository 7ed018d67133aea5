//! What a keychain connection knows of its caller: whether the caller still waits, and what it allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The caller of a connection, as its implementation sees it.
///
/// A caller that times out cancels the connection for good. An implementation checks this before each step that
/// changes something, so that a call that hung for an hour does not overwrite what was written since.
#[derive(Clone, Debug)]
pub struct CallContext {
    cancelled: Arc<AtomicBool>,
    policy: Arc<CallPolicy>,
}

/// What the callers of one client allow, and the progress of their calls.
#[derive(Debug, Default)]
pub(super) struct CallPolicy {
    allows_prompts: AtomicBool,
    forbids_start: AtomicBool,
    is_prompting: AtomicBool,
    steps: AtomicU64,
}

impl CallContext {
    pub(super) fn new(policy: Arc<CallPolicy>) -> Self {
        Self { cancelled: Arc::default(), policy }
    }

    /// Returns whether the connection was cancelled, which is final.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Returns whether the service may show a dialogue.
    pub fn may_prompt(&self) -> bool {
        self.policy.allows_prompts()
    }

    /// Returns whether a call may start a service that is not running.
    pub fn may_start_service(&self) -> bool {
        self.policy.may_start_service()
    }

    /// Reports that the service answered a step of a call. From then on no call starts a service.
    pub fn report_progress(&self) {
        self.policy.steps.fetch_add(1, Ordering::SeqCst);
        self.policy.forbid_service_start();
    }

    /// Runs `prompt`. Until it returns, the call does not time out.
    pub fn prompt<T>(&self, prompt: impl FnOnce() -> T) -> T {
        let _prompting = Prompting::begin(&self.policy.is_prompting);
        prompt()
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }
}

/// Sets a flag until it is dropped, also by a panic.
struct Prompting<'a>(&'a AtomicBool);

impl<'a> Prompting<'a> {
    fn begin(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::SeqCst);
        Self(flag)
    }
}

impl Drop for Prompting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl CallPolicy {
    pub(super) fn allows_prompts(&self) -> bool {
        self.allows_prompts.load(Ordering::SeqCst)
    }

    pub(super) fn may_start_service(&self) -> bool {
        !self.forbids_start.load(Ordering::SeqCst)
    }

    pub(super) fn allow_prompts(&self) {
        self.allows_prompts.store(true, Ordering::SeqCst);
    }

    pub(super) fn forbid_service_start(&self) {
        self.forbids_start.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_prompting(&self) -> bool {
        self.is_prompting.load(Ordering::SeqCst)
    }

    /// Returns the number of steps that the service has answered.
    pub(super) fn progress(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }
}
