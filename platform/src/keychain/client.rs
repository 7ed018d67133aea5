//! The process's one connection to its keychain: a worker thread, a queue before it, and a deadline on every call.
//!
//! A keychain call can hang for good: in the handshake with a bus, in a service that is stopped, behind a dialogue that
//! nobody answers. So it never runs on a caller's thread. A caller that has waited long enough leaves; if its call was
//! running, the worker is left behind with its connection (a thread does not keep a process from exiting) and the
//! calls that wait go to a new one.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{
    CallEffect, Error, Item, ItemName, ItemSelection, ItemSharing, ItemWrite, Keychain, LastModified,
    Operation, Readiness, Slot, native,
};

/// Workers left behind in calls that never ended; more of them than this, and calls fail at once.
///
/// A hung service is asked again at every poll. Each ask costs a thread until the service answers or goes away.
const MOST_LEFT_BEHIND: usize = 16;

/// A handle on one keychain connection, shared by its clones and usable from any thread.
///
/// The connection is made by the first call and kept. It is replaced, by the next call, after an error that leaves its
/// state in doubt: [`Error::Failed`], [`Error::Panicked`], [`Error::TimedOut`], [`Error::Unavailable`]. Calls are
/// served one after another, in the order they came. When the last clone is dropped, the worker ends.
///
/// # Deadlines
///
/// Every call waits for at most `within`, connecting and waiting for earlier calls included, and then fails with
/// [`Error::TimedOut`]. A call whose turn had not come by then is never carried out. One that was under way cannot be
/// taken back: the outcome of a write or deletion is then [`CallEffect::Unknown`]. Of such a call no further step is begun
/// ([`Caller`]), so what it may still do is what the service had already been sent.
///
/// When 16 calls hang at once, further ones fail with [`Error::Unavailable`] until one of them ends.
#[derive(Clone)]
pub struct Client {
    handle: Arc<ClientHandle>,
    sharing: ItemSharing,
}

impl Client {
    /// The keychain of this operating system; every call returns the one connection of this process.
    pub fn system() -> Self {
        static SYSTEM: OnceLock<Client> = OnceLock::new();
        SYSTEM.get_or_init(|| Self::over(native::SERVICE, native::connect)).clone()
    }

    /// A keychain that `connect` reaches, called `service` in errors.
    ///
    /// `connect` is called on the worker, inside the deadline of the call that needs it; it may block or panic as the
    /// calls themselves may. It is given the caller that the connection works for.
    pub fn over(
        service: &'static str,
        connect: impl Fn(&Caller) -> Result<Box<dyn Keychain>, Error> + Send + Sync + 'static,
    ) -> Self {
        let shared = ClientShared {
            service,
            connect: Box::new(connect),
            state: Mutex::default(),
            news: Condvar::new(),
        };
        Self { handle: Arc::new(ClientHandle { shared: Arc::new(shared) }), sharing: native::SHARING }
    }

    /// The same for a keychain whose items are shared in this way, and not as those of this operating system.
    #[must_use]
    pub fn with_sharing(self, sharing: ItemSharing) -> Self {
        Self { sharing, ..self }
    }

    /// Whether a program may rewrite an item that another program made.
    pub fn sharing(&self) -> ItemSharing {
        self.sharing
    }

    /// [`Keychain::readiness`] within a deadline.
    ///
    /// # Errors
    ///
    /// Those of [`Keychain::readiness`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn readiness(&self, within: Duration) -> Result<Readiness, Error> {
        self.call(Operation::Readiness, within, |keychain| keychain.readiness())
    }

    /// [`Keychain::read`] within a deadline.
    ///
    /// # Errors
    ///
    /// Those of [`Keychain::read`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn read(&self, name: &ItemName, within: Duration) -> Result<Vec<Item>, Error> {
        let name = name.clone();
        self.call(Operation::Read, within, move |keychain| keychain.read(&name))
    }

    /// [`Keychain::read_asking`] within a deadline, which is the time that the user has to answer.
    ///
    /// # Errors
    ///
    /// Those of [`Keychain::read_asking`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn read_asking(&self, name: &ItemName, within: Duration) -> Result<Vec<Item>, Error> {
        let name = name.clone();
        self.call(Operation::ReadAsking, within, move |keychain| keychain.read_asking(&name))
    }

    /// [`Keychain::modified`] within a deadline.
    ///
    /// # Errors
    ///
    /// Those of [`Keychain::modified`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn modified(&self, name: &ItemName, within: Duration) -> Result<LastModified, Error> {
        let name = name.clone();
        self.call(Operation::Modified, within, move |keychain| keychain.modified(&name))
    }

    /// [`Keychain::holds`] within a deadline.
    ///
    /// # Errors
    /// Those of [`Keychain::holds`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn holds(&self, name: &ItemName, within: Duration) -> Result<bool, Error> {
        let name = name.clone();
        self.call(Operation::Modified, within, move |keychain| keychain.holds(&name))
    }

    /// [`Keychain::write`] within a deadline.
    ///
    /// # Errors
    ///
    /// Those of [`Keychain::write`], [`Error::TimedOut`] and [`Error::Panicked`]; see [`Error::outcome`].
    pub fn write(
        &self,
        name: &ItemName,
        slot: &Slot,
        secret: &[u8],
        within: Duration,
    ) -> Result<ItemWrite, Error> {
        let (name, slot, secret) = (name.clone(), slot.clone(), Zeroizing::new(secret.to_vec()));
        self.call(Operation::Write, within, move |keychain| keychain.write(&name, &slot, &secret))
    }

    /// [`Keychain::delete`] within a deadline.
    ///
    /// # Errors
    ///
    /// Those of [`Keychain::delete`], [`Error::TimedOut`] and [`Error::Panicked`]; see [`Error::outcome`].
    pub fn delete(
        &self,
        name: &ItemName,
        selection: &ItemSelection,
        within: Duration,
    ) -> Result<usize, Error> {
        let (name, selection) = (name.clone(), selection.clone());
        self.call(Operation::Delete, within, move |keychain| keychain.delete(&name, &selection))
    }

    fn call<T: Send + 'static>(
        &self,
        operation: Operation,
        within: Duration,
        work: impl FnOnce(&mut dyn Keychain) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = &self.handle.shared;
        let (reply, answer) = mpsc::channel();
        let run = move |session: &mut WorkerSession<'_>| {
            // A caller that left does not want the answer; the secret in it is wiped as it is dropped.
            let _ = reply.send(session.attempt(operation, work));
        };
        let ticket = shared.enqueue(operation, Box::new(run))?;
        match answer.recv_timeout(within) {
            Ok(answer) => answer,
            Err(_) => shared.give_up(ticket, operation, within, &answer),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("service", &self.handle.shared.service).finish_non_exhaustive()
    }
}

/// Whoever waits for the calls of one connection.
///
/// A caller that gives up leaves the connection for good. An implementation asks before each step that changes
/// something: a call that hung for an hour must not write over what was written since.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    left: Arc<AtomicBool>,
}

impl Caller {
    /// Whether nobody waits for this connection any more, or ever will.
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
    }
}

/// What the clones of a client share; the worker holds only the inner part, so that dropping the last clone ends it.
struct ClientHandle {
    shared: Arc<ClientShared>,
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.news.notify_all();
    }
}

/// What [`Client::over`] is given.
trait Connect: Send + Sync {
    fn connect(&self, caller: &Caller) -> Result<Box<dyn Keychain>, Error>;
}

impl<F: Fn(&Caller) -> Result<Box<dyn Keychain>, Error> + Send + Sync> Connect for F {
    fn connect(&self, caller: &Caller) -> Result<Box<dyn Keychain>, Error> {
        self(caller)
    }
}

struct ClientShared {
    service: &'static str,
    connect: Box<dyn Connect>,
    // No foreign code runs while this is held, so it is held for moments and cannot be poisoned half-way.
    state: Mutex<ClientState>,
    news: Condvar,
}

#[derive(Default)]
struct ClientState {
    waiting: VecDeque<CallRequest>,
    /// Whom the present worker works for; one whose caller has left takes no further job.
    worker: Option<Caller>,
    left_behind: usize,
    last_ticket: u64,
    closed: bool,
}

struct CallRequest {
    ticket: u64,
    run: Box<dyn FnOnce(&mut WorkerSession<'_>) + Send>,
}

impl ClientShared {
    fn state(&self) -> MutexGuard<'_, ClientState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(
        self: &Arc<Self>,
        operation: Operation,
        run: Box<dyn FnOnce(&mut WorkerSession<'_>) + Send>,
    ) -> Result<u64, Error> {
        let mut state = self.state();
        if state.left_behind >= MOST_LEFT_BEHIND {
            let source = format!("{MOST_LEFT_BEHIND} earlier calls are still waiting for an answer").into();
            return Err(Error::Unavailable { service: self.service, source });
        }
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        state.waiting.push_back(CallRequest { ticket, run });
        if let Err(error) = self.staff(&mut state) {
            state.waiting.pop_back();
            let (service, outcome) = (self.service, CallEffect::Unchanged);
            return Err(Error::Failed { service, operation, outcome, source: error.into() });
        }
        drop(state);
        self.news.notify_one();
        Ok(ticket)
    }

    /// Makes sure that there is a worker.
    fn staff(self: &Arc<Self>, state: &mut ClientState) -> std::io::Result<()> {
        if state.worker.is_none() {
            let (shared, caller) = (Arc::clone(self), Caller::default());
            state.worker = Some(caller.clone());
            let thread = thread::Builder::new().name("keychain".into());
            thread.spawn(move || shared.work(caller)).inspect_err(|_| state.worker = None)?;
        }
        Ok(())
    }

    /// Ends the wait for a call: its answer if it came in the last moment, else what became of it.
    fn give_up<T>(
        self: &Arc<Self>,
        ticket: u64,
        operation: Operation,
        after: Duration,
        answer: &Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut state = self.state();
        // A worker takes a job under this lock, so it is in the queue, answered, or running.
        let place = state.waiting.iter().position(|job| job.ticket == ticket);
        let withdrawn = place.and_then(|place| state.waiting.remove(place));
        let outcome = if withdrawn.is_some() {
            CallEffect::Unchanged
        } else if let Ok(answer) = answer.try_recv() {
            return answer;
        } else {
            if let Some(caller) = state.worker.take() {
                caller.leave();
                state.left_behind += 1;
            }
            if !state.waiting.is_empty() {
                // Without a thread for them, the calls that wait run into their own deadlines.
                let _ = self.staff(&mut state);
            }
            operation.broken_off()
        };
        drop(state);
        Err(Error::TimedOut { service: self.service, operation, after, outcome })
    }

    /// The life of a worker: one connection, one job after another, until it is left behind or the client is gone.
    fn work(&self, caller: Caller) {
        let mut session = WorkerSession { shared: self, caller, connection: None };
        let mut state = self.state();
        while !session.caller.has_left() && !state.closed {
            let Some(job) = state.waiting.pop_front() else {
                state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            (job.run)(&mut session);
            state = self.state();
        }
        if session.caller.has_left() {
            state.left_behind -= 1;
        }
        drop(state);
        session.disconnect();
    }
}

/// A worker's connection.
struct WorkerSession<'a> {
    shared: &'a ClientShared,
    caller: Caller,
    connection: Option<Box<dyn Keychain>>,
}

impl WorkerSession<'_> {
    /// One call, connecting first if need be; whatever happens in it comes out as an answer.
    fn attempt<T>(
        &mut self,
        operation: Operation,
        work: impl FnOnce(&mut dyn Keychain) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let service = self.shared.service;
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                none => none.insert(self.shared.connect.connect(&self.caller)?),
            };
            work(connection.as_mut())
        }))
        .unwrap_or_else(|payload| {
            discard(payload);
            Err(Error::Panicked { service, operation, outcome: operation.broken_off() })
        });
        if answer.as_ref().is_err_and(doubts_connection) {
            // Before the answer is given: should this hang, the caller's deadline still sees it.
            self.disconnect();
        }
        answer
    }

    fn disconnect(&mut self) {
        let connection = self.connection.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(connection))) {
            discard(payload);
        }
    }
}

/// Drops what a panic carried without looking at it: it may quote a secret, and its own drop may panic.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Whether a new connection could do better than the one that gave this answer.
fn doubts_connection(error: &Error) -> bool {
    match error {
        Error::Failed { .. }
        | Error::Panicked { .. }
        | Error::TimedOut { .. }
        | Error::Unavailable { .. } => true,
        Error::Ambiguous { .. }
        | Error::Declined { .. }
        | Error::Locked { .. }
        | Error::NeverUnlocked { .. }
        | Error::Vanished { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Fault, Memory, MemoryState};
    use super::*;

    /// Longer than any call here takes that is answered at all.
    const LONG: Duration = Duration::from_secs(20);
    /// For calls that are not answered.
    const SHORT: Duration = Duration::from_millis(50);

    fn name() -> ItemName {
        ItemName::new("service", "account")
    }

    fn secrets(memory: &Memory) -> Vec<Vec<u8>> {
        memory.items(&name()).iter().map(|item| item.secret.to_vec()).collect()
    }

    #[test]
    fn one_connection_serves_every_clone_and_call() {
        let memory = Memory::new();
        let client = memory.client();
        client.write(&name(), &Slot::Only, b"one", LONG).unwrap();
        client.clone().read(&name(), LONG).unwrap();
        assert!(matches!(client.modified(&name(), LONG).unwrap(), LastModified::At(_)));
        assert_eq!(memory.connections(), 1);
    }

    #[test]
    fn each_condition_of_a_keychain_is_its_own_answer() {
        let memory = Memory::new();
        let client = memory.client();
        let ask = || (client.readiness(LONG), client.read(&name(), LONG).map(|items| items.len()));
        assert!(matches!(ask(), (Ok(Readiness::Unlocked), Ok(0))));
        memory.set_state(MemoryState::Locked);
        assert!(matches!(ask(), (Ok(Readiness::Locked), Err(Error::Locked { .. }))));
        memory.set_state(MemoryState::NeverUnlocked);
        assert!(matches!(ask(), (Ok(Readiness::NeverUnlocked), Err(Error::NeverUnlocked { .. }))));
        memory.set_state(MemoryState::Unavailable);
        assert!(matches!(ask(), (Err(Error::Unavailable { .. }), Err(Error::Unavailable { .. }))));
    }

    #[test]
    fn a_lock_keeps_the_connection_and_a_failure_replaces_it() {
        let memory = Memory::new();
        let client = memory.client();
        for (fault, connections) in [
            (Fault::Locked, 1),
            (Fault::NeverUnlocked, 1),
            (Fault::Fails, 2),
            (Fault::Unavailable, 3),
            (Fault::Panics, 4),
        ] {
            memory.inject(Operation::Read, fault);
            assert!(client.read(&name(), LONG).is_err(), "{fault:?}");
            client.read(&name(), LONG).unwrap();
            assert_eq!(memory.connections(), connections, "{fault:?}");
        }
    }

    #[test]
    fn a_call_that_hangs_costs_its_deadline_and_the_next_one_nothing() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Read, Fault::Silent);
        let refusal = client.read(&name(), SHORT).unwrap_err();
        assert!(
            matches!(refusal, Error::TimedOut { after: SHORT, outcome: CallEffect::Unchanged, .. }),
            "{refusal}"
        );
        client.read(&name(), LONG).unwrap();
        assert_eq!(memory.connections(), 2);
    }

    #[test]
    fn a_slow_call_is_waited_for() {
        let memory = Memory::new();
        memory.inject(Operation::Write, Fault::Slow(SHORT));
        assert_eq!(memory.client().write(&name(), &Slot::Only, b"one", LONG).unwrap(), ItemWrite::Created);
    }

    #[test]
    fn the_outcome_of_a_write_whose_answer_never_came_is_unknown() {
        for (fault, left) in [(Fault::AnswerLost, vec![b"one".to_vec()]), (Fault::Silent, Vec::new())] {
            let memory = Memory::new();
            memory.inject(Operation::Write, fault);
            let refusal = memory.client().write(&name(), &Slot::Only, b"one", SHORT).unwrap_err();
            assert!(matches!(refusal, Error::TimedOut { .. }), "{refusal}");
            assert_eq!((refusal.outcome(), secrets(&memory)), (CallEffect::Unknown, left));
        }
    }

    #[test]
    fn a_write_that_was_given_up_under_way_may_still_be_done() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Write, Fault::Held);
        let refusal = client.write(&name(), &Slot::Only, b"late", SHORT).unwrap_err();
        assert_eq!((refusal.outcome(), secrets(&memory).len()), (CallEffect::Unknown, 0));
        memory.release();
        // The worker that was left behind is on its way now, and no later call waits for it.
        let begun = Instant::now();
        while secrets(&memory).is_empty() {
            client.readiness(LONG).unwrap();
            assert!(begun.elapsed() < LONG, "the write that was under way was not done");
        }
    }

    #[test]
    fn a_call_given_up_in_the_queue_changes_nothing_now_or_later() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Read, Fault::Held);
        thread::scope(|scope| {
            let reader = scope.spawn(|| client.read(&name(), LONG));
            memory.await_held(1);
            let refusal = client.write(&name(), &Slot::Only, b"late", SHORT).unwrap_err();
            assert!(matches!(refusal, Error::TimedOut { outcome: CallEffect::Unchanged, .. }), "{refusal}");
            memory.release();
            reader.join().unwrap().unwrap();
        });
        // Served after everything that was ever queued before it.
        assert!(client.read(&name(), LONG).unwrap().is_empty());
        assert_eq!((memory.calls(Operation::Write), memory.connections()), (0, 1));
    }

    #[test]
    fn calls_queued_behind_one_that_hangs_go_on_without_it() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Read, Fault::Silent);
        thread::scope(|scope| {
            scope.spawn(|| client.read(&name(), SHORT).unwrap_err());
            memory.await_held(1);
            assert_eq!(client.write(&name(), &Slot::Only, b"one", LONG).unwrap(), ItemWrite::Created);
        });
        assert_eq!(memory.connections(), 2);
    }

    #[test]
    fn a_panic_is_an_error_with_an_honest_outcome_and_no_words_of_its_own() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Write, Fault::Panics);
        memory.inject(Operation::Read, Fault::Panics);
        let write = client.write(&name(), &Slot::Only, b"one", LONG).unwrap_err();
        let read = client.read(&name(), LONG).unwrap_err();
        assert!(matches!(write, Error::Panicked { outcome: CallEffect::Unknown, .. }), "{write}");
        assert!(matches!(read, Error::Panicked { outcome: CallEffect::Unchanged, .. }), "{read}");
        assert!(!format!("{write} {write:?}").contains("told to panic"));
    }

    #[test]
    fn connecting_is_inside_the_deadline_and_may_panic_or_fail() {
        let (started, hang) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
        let held = hang.lock().unwrap();
        let (first, hung) = (Arc::clone(&started), Arc::clone(&hang));
        let client = Client::over("test keychain", move |_| {
            if !first.swap(true, Ordering::SeqCst) {
                drop(hung.lock());
            }
            panic!("no connection today");
        });
        assert!(matches!(client.readiness(SHORT), Err(Error::TimedOut { .. })));
        assert!(matches!(client.readiness(LONG), Err(Error::Panicked { .. })));
        drop(held);
    }

    #[test]
    fn a_client_that_is_dropped_ends_its_worker_and_closes_the_connection() {
        struct Closing(mpsc::Sender<()>);
        impl Drop for Closing {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        impl Keychain for Closing {
            fn readiness(&mut self) -> Result<Readiness, Error> {
                Ok(Readiness::Unlocked)
            }
            fn read(&mut self, _: &ItemName) -> Result<Vec<Item>, Error> {
                Ok(Vec::new())
            }
            fn read_asking(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
                self.read(name)
            }
            fn modified(&mut self, _: &ItemName) -> Result<LastModified, Error> {
                Ok(LastModified::NoEntry)
            }
            fn write(&mut self, _: &ItemName, _: &Slot, _: &[u8]) -> Result<ItemWrite, Error> {
                Ok(ItemWrite::Created)
            }
            fn delete(&mut self, _: &ItemName, _: &ItemSelection) -> Result<usize, Error> {
                Ok(0)
            }
        }
        let (closing, closed) = mpsc::channel();
        let client = Client::over("test keychain", move |_| Ok(Box::new(Closing(closing.clone()))));
        client.readiness(LONG).unwrap();
        drop(client.clone());
        assert!(closed.try_recv().is_err());
        drop(client);
        closed.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn a_keychain_that_hangs_for_good_is_not_asked_for_ever() {
        let memory = Memory::new();
        let client = memory.client();
        for _ in 0..MOST_LEFT_BEHIND {
            memory.inject(Operation::Readiness, Fault::Silent);
            // Long enough for its turn to come on a busy machine: a call that was never begun leaves nobody behind.
            assert!(matches!(client.readiness(5 * SHORT), Err(Error::TimedOut { .. })));
        }
        assert!(matches!(client.readiness(LONG), Err(Error::Unavailable { .. })));
        memory.release();
        let begun = Instant::now();
        while client.readiness(LONG).is_err() {
            assert!(begun.elapsed() < LONG, "calls that have ended still count");
        }
    }
}
