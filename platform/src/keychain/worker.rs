//! Runs keychain calls on a worker thread, one after another, each with a deadline.
//!
//! A keychain call can hang for good: in the handshake with a bus, in a stopped service, behind an unanswered prompt.
//! So it never runs on the caller's thread. A caller whose deadline passes returns; if its call was running, its
//! worker is abandoned with its connection (a thread does not keep a process from exiting), and a new worker serves
//! the waiting calls.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::context::{CallContext, CallPolicy};
use super::contract::Keychain;
use super::error::{CallEffect, Error, Operation};
use crate::sync::{lock, wait};

/// Maximum number of abandoned workers whose calls have not ended; beyond it, calls fail at once.
///
/// Every poll calls a hung service again, and each such call costs a thread until the service answers or goes away.
pub(super) const MAX_ABANDONED_WORKERS: usize = 16;

/// The function that [`CallQueue::new`] receives.
trait Connect: Send + Sync {
    fn connect(&self, context: &CallContext) -> Result<Box<dyn Keychain>, Error>;
}

impl<F: Fn(&CallContext) -> Result<Box<dyn Keychain>, Error> + Send + Sync> Connect for F {
    fn connect(&self, context: &CallContext) -> Result<Box<dyn Keychain>, Error> {
        self(context)
    }
}

/// The calls of one keychain, and the worker thread that runs them on a connection.
pub(super) struct CallQueue {
    service: &'static str,
    connect: Box<dyn Connect>,
    // No foreign code runs under this lock, so it is held briefly and never poisoned half-way.
    state: Mutex<QueueState>,
    changed: Condvar,
    policy: Arc<CallPolicy>,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<CallRequest>,
    /// The context of the current worker; a cancelled worker takes no further call.
    worker: Option<CallContext>,
    abandoned_workers: usize,
    last_ticket: u64,
    closed: bool,
}

struct CallRequest {
    ticket: u64,
    run: Box<dyn FnOnce(&mut WorkerSession<'_>) + Send>,
}

impl CallQueue {
    pub(super) fn new(
        service: &'static str,
        connect: impl Fn(&CallContext) -> Result<Box<dyn Keychain>, Error> + Send + Sync + 'static,
    ) -> Self {
        let (state, changed, policy) = Default::default();
        Self { service, connect: Box::new(connect), state, changed, policy }
    }

    /// Returns what calls may do, and their progress.
    pub(super) fn policy(&self) -> &CallPolicy {
        &self.policy
    }

    /// Returns the name of the keychain in errors.
    pub(super) fn service(&self) -> &'static str {
        self.service
    }

    /// Ends the worker once it is idle.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Runs one call on the worker, within a deadline: twice that for a service that is slow and answers each step of the
    /// call within it.
    pub(super) fn call<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        within: Duration,
        work: impl FnOnce(&mut dyn Keychain) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = mpsc::channel();
        let run = move |session: &mut WorkerSession<'_>| {
            // A caller that timed out no longer receives; the secret in the result is wiped when it is dropped.
            let _ = reply.send(session.attempt(operation, work));
        };
        let ticket = self.enqueue(operation, Box::new(run))?;
        let (mut begin, mut progress) = (Instant::now(), self.policy.progress());
        let (mut wait, mut after) = (within, Duration::ZERO);
        loop {
            if let Ok(answer) = answer.recv_timeout(wait) {
                return answer;
            }
            after += wait;
            let (now, is_prompting) = (self.policy.progress(), self.policy.is_prompting());
            if is_prompting {
                // The prompt has a separate limit, and the time for the rest of the call begins after it.
                begin = Instant::now();
            }
            wait = (within * 2).saturating_sub(begin.elapsed()).min(within);
            if wait.is_zero() || (now == progress && !is_prompting) {
                return self.abandon_call(ticket, operation, after, &answer);
            }
            progress = now;
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.state)
    }

    fn enqueue(
        self: &Arc<Self>,
        operation: Operation,
        run: Box<dyn FnOnce(&mut WorkerSession<'_>) + Send>,
    ) -> Result<u64, Error> {
        let mut state = self.state();
        if state.abandoned_workers >= MAX_ABANDONED_WORKERS {
            let source =
                format!("{MAX_ABANDONED_WORKERS} earlier calls are still waiting for an answer").into();
            return Err(Error::Unavailable { service: self.service, source });
        }
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        state.waiting.push_back(CallRequest { ticket, run });
        if let Err(error) = self.ensure_worker(&mut state) {
            state.waiting.pop_back();
            let (service, effect) = (self.service, CallEffect::Unchanged);
            return Err(Error::Failed { service, operation, effect, source: error.into() });
        }
        drop(state);
        self.changed.notify_one();
        Ok(ticket)
    }

    /// Starts a worker if there is none.
    fn ensure_worker(self: &Arc<Self>, state: &mut QueueState) -> std::io::Result<()> {
        if state.worker.is_none() {
            let (queue, context) = (Arc::clone(self), CallContext::new(Arc::clone(&self.policy)));
            state.worker = Some(context.clone());
            let thread = thread::Builder::new().name("keychain".into());
            thread.spawn(move || queue.run_worker(context)).inspect_err(|_| state.worker = None)?;
        }
        Ok(())
    }

    /// Ends the wait for a call: returns its result if that arrived just now, or else the timeout and its effect.
    fn abandon_call<T>(
        self: &Arc<Self>,
        ticket: u64,
        operation: Operation,
        after: Duration,
        answer: &Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut state = self.state();
        // A worker takes a call under this lock, so the call is queued, answered or running.
        let place = state.waiting.iter().position(|job| job.ticket == ticket);
        let withdrawn = place.and_then(|place| state.waiting.remove(place));
        let effect = if withdrawn.is_some() {
            CallEffect::Unchanged
        } else if let Ok(answer) = answer.try_recv() {
            return answer;
        } else {
            if let Some(context) = state.worker.take() {
                context.cancel();
                state.abandoned_workers += 1;
            }
            if !state.waiting.is_empty() {
                // Without a thread, the waiting calls reach their own deadlines.
                let _ = self.ensure_worker(&mut state);
            }
            operation.effect_if_interrupted()
        };
        drop(state);
        Err(Error::TimedOut { service: self.service, operation, after, effect })
    }

    /// Runs calls on one connection until the worker is cancelled or the client is dropped.
    fn run_worker(&self, context: CallContext) {
        let mut session = WorkerSession { queue: self, context, connection: None };
        let mut state = self.state();
        while !session.context.is_cancelled() && !state.closed {
            let Some(job) = state.waiting.pop_front() else {
                state = wait(&self.changed, state);
                continue;
            };
            drop(state);
            (job.run)(&mut session);
            state = self.state();
        }
        if session.context.is_cancelled() {
            state.abandoned_workers -= 1;
        }
        drop(state);
        session.disconnect();
    }
}

/// The connection of a worker.
struct WorkerSession<'a> {
    queue: &'a CallQueue,
    context: CallContext,
    connection: Option<Box<dyn Keychain>>,
}

impl WorkerSession<'_> {
    /// Runs one call, connecting first if necessary; a panic becomes an error.
    fn attempt<T>(
        &mut self,
        operation: Operation,
        work: impl FnOnce(&mut dyn Keychain) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let service = self.queue.service;
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                none => none.insert(self.queue.connect.connect(&self.context)?),
            };
            work(connection.as_mut())
        }))
        .unwrap_or_else(|payload| {
            drop_payload(payload);
            Err(Error::Panicked { service, operation, effect: operation.effect_if_interrupted() })
        });
        if answer.as_ref().is_err_and(needs_new_connection) {
            // Before the result is sent, so that the caller's deadline covers a disconnect that hangs.
            self.disconnect();
        }
        answer
    }

    fn disconnect(&mut self) {
        let connection = self.connection.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(connection))) {
            drop_payload(payload);
        }
    }
}

/// Drops a panic's payload unseen: it may quote a secret, and its own drop may panic.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Returns whether a new connection could do better after this error.
fn needs_new_connection(error: &Error) -> bool {
    match error {
        Error::Failed { .. }
        | Error::Panicked { .. }
        | Error::TimedOut { .. }
        | Error::Unavailable { .. } => true,
        Error::PromptRequired { .. }
        | Error::Ambiguous { .. }
        | Error::Denied { .. }
        | Error::Locked { .. }
        | Error::NotSetUp { .. }
        | Error::ItemMissing { .. } => false,
    }
}
