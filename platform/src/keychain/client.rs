//! The keychain of this process, with a deadline on every call.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use zeroize::Zeroizing;

use super::context::CallContext;
use super::contract::Keychain;
#[cfg(doc)]
use super::error::CallEffect;
use super::error::{Error, Operation};
use super::item::{Item, ItemName, ItemSelection, ItemSharing, ItemWrite, LastModified, WriteTarget};
use super::native;
use super::worker::CallQueue;

/// A handle to one keychain connection, shared by its clones and usable from any thread.
///
/// The first call connects. The next call after [`Error::Failed`], [`Error::Panicked`], [`Error::TimedOut`] or
/// [`Error::Unavailable`] connects again. Calls run one after another, in the order they were made. The worker ends
/// when the last clone is dropped.
///
/// # Deadlines
///
/// Every call waits for at most `within`, including the time to connect and for earlier calls, and then fails with
/// [`Error::TimedOut`]; twice as long if the service answers each step of the call within that time. A call that had
/// not begun by then is never carried out. A call that had begun cannot be taken back: the effect of a write or
/// deletion is then [`CallEffect::Unknown`]. Its implementation begins no further step ([`CallContext`]), so only
/// requests that the service already received may still take effect.
///
/// While 16 calls hang, further ones fail with [`Error::Unavailable`].
#[derive(Clone)]
pub struct Client {
    handle: Arc<ClientHandle>,
    sharing: ItemSharing,
}

impl Client {
    /// Returns a client of this operating system's keychain. All of them share the one connection of this process.
    pub fn system() -> Self {
        static SYSTEM: OnceLock<Client> = OnceLock::new();
        SYSTEM.get_or_init(|| Self::new(native::SERVICE, native::connect)).clone()
    }

    /// Creates a client of the keychain that `connect` reaches, called `service` in errors.
    ///
    /// `connect` runs on the worker, within the deadline of the call that needs it, and may block or panic as calls
    /// may. It receives the cancellation of its connection.
    pub fn new(
        service: &'static str,
        connect: impl Fn(&CallContext) -> Result<Box<dyn Keychain>, Error> + Send + Sync + 'static,
    ) -> Self {
        let queue = Arc::new(CallQueue::new(service, connect));
        Self { handle: Arc::new(ClientHandle { queue }), sharing: native::SHARING }
    }

    /// Overrides who may rewrite an item, for a keychain other than this operating system's.
    #[must_use]
    pub fn with_sharing(self, sharing: ItemSharing) -> Self {
        Self { sharing, ..self }
    }

    /// Returns whether a program may rewrite an item that another program created.
    pub fn sharing(&self) -> ItemSharing {
        self.sharing
    }

    /// Lets the service prompt its user, for 30 s at most, where it asks before it deletes an item. Forbidden at first:
    /// only a program at a terminal has a user who would see the prompt.
    pub fn allow_prompts(&self) {
        self.handle.queue.policy().allow_prompts();
    }

    /// Returns whether [`Self::allow_prompts`] was called.
    pub fn allows_prompts(&self) -> bool {
        self.handle.queue.policy().allows_prompts()
    }

    /// Returns whether a call may still start a service that is not running.
    pub fn may_start_service(&self) -> bool {
        self.handle.queue.policy().may_start_service()
    }

    /// Forbids calls to start a service that is not running. Once a service has answered, no call starts one: a keychain
    /// that its user has closed stays closed.
    pub fn forbid_service_start(&self) {
        self.handle.queue.policy().forbid_service_start();
    }

    /// Calls [`Keychain::read`] within a deadline.
    ///
    /// # Errors
    /// Those of [`Keychain::read`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn read(&self, name: &ItemName, within: Duration) -> Result<Vec<Item>, Error> {
        let name = name.clone();
        self.handle.queue.call(Operation::Read, within, move |keychain| keychain.read(&name))
    }

    /// Calls [`Keychain::read_with_prompt`] within a deadline, which includes the time the user takes to answer.
    ///
    /// # Errors
    /// Those of [`Keychain::read_with_prompt`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn read_with_prompt(&self, name: &ItemName, within: Duration) -> Result<Vec<Item>, Error> {
        let name = name.clone();
        self.handle
            .queue
            .call(Operation::ReadWithPrompt, within, move |keychain| keychain.read_with_prompt(&name))
    }

    /// Calls [`Keychain::modified`] within a deadline.
    ///
    /// # Errors
    /// Those of [`Keychain::modified`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn modified(&self, name: &ItemName, within: Duration) -> Result<LastModified, Error> {
        let name = name.clone();
        self.handle.queue.call(Operation::Modified, within, move |keychain| keychain.modified(&name))
    }

    /// Calls [`Keychain::contains`] within a deadline.
    ///
    /// # Errors
    /// Those of [`Keychain::contains`], [`Error::TimedOut`] and [`Error::Panicked`].
    pub fn contains(&self, name: &ItemName, within: Duration) -> Result<bool, Error> {
        let name = name.clone();
        self.handle.queue.call(Operation::Modified, within, move |keychain| keychain.contains(&name))
    }

    /// Calls [`Keychain::write`] within a deadline.
    ///
    /// # Errors
    /// Those of [`Keychain::write`], [`Error::TimedOut`] and [`Error::Panicked`]; see [`Error::effect`].
    pub fn write(
        &self,
        name: &ItemName,
        target: &WriteTarget,
        secret: &[u8],
        within: Duration,
    ) -> Result<ItemWrite, Error> {
        let (name, target, secret) = (name.clone(), target.clone(), Zeroizing::new(secret.to_vec()));
        self.handle
            .queue
            .call(Operation::Write, within, move |keychain| keychain.write(&name, &target, &secret))
    }

    /// Calls [`Keychain::delete`] within a deadline.
    ///
    /// # Errors
    /// Those of [`Keychain::delete`], [`Error::TimedOut`] and [`Error::Panicked`]; see [`Error::effect`].
    pub fn delete(
        &self,
        name: &ItemName,
        selection: &ItemSelection,
        within: Duration,
    ) -> Result<usize, Error> {
        let (name, selection) = (name.clone(), selection.clone());
        self.handle.queue.call(Operation::Delete, within, move |keychain| keychain.delete(&name, &selection))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("service", &self.handle.queue.service()).finish_non_exhaustive()
    }
}

/// Shared by the clones of a client, but not by the worker, so that dropping the last clone ends it.
struct ClientHandle {
    queue: Arc<CallQueue>,
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Instant;

    use super::super::error::CallEffect;
    use super::super::memory::{Fault, Memory, MemoryState};
    use super::super::worker::MAX_ABANDONED_WORKERS;
    use super::*;

    /// Longer than any call takes that is answered at all.
    const LONG: Duration = Duration::from_secs(20);
    /// The deadline of calls that are never answered.
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
        client.write(&name(), &WriteTarget::OnlyItem, b"one", LONG).unwrap();
        client.clone().read(&name(), LONG).unwrap();
        assert!(matches!(client.modified(&name(), LONG).unwrap(), LastModified::At(_)));
        assert_eq!(memory.connections(), 1);
    }

    /// A client of a keychain in memory, and the context that its connection receives.
    fn client_with_context() -> (Client, Arc<Mutex<Option<CallContext>>>) {
        let (memory, context) = (Memory::new(), Arc::new(Mutex::new(None)));
        let received = Arc::clone(&context);
        let client = Client::new("memory", move |context| {
            *received.lock().unwrap() = Some(context.clone());
            Ok(memory.connect())
        });
        client.read(&name(), LONG).unwrap();
        (client, context)
    }

    #[test]
    fn a_service_that_answers_step_by_step_has_twice_the_deadline_and_no_more() {
        let within = Duration::from_secs(1);
        for (steps, in_time) in [(3, true), (6, false)] {
            let (client, context) = client_with_context();
            let outcome = client.handle.queue.call(Operation::Read, within, move |_| {
                for _ in 0..steps {
                    thread::sleep(within / 2);
                    context.lock().unwrap().as_ref().unwrap().report_progress();
                }
                Ok(())
            });
            assert_eq!(outcome.is_ok(), in_time, "{outcome:?}");
        }
    }

    #[test]
    fn a_prompt_does_not_count_against_the_deadline_and_a_panic_ends_it() {
        let (client, context) = client_with_context();
        let prompted = Arc::clone(&context);
        let outcome = client.handle.queue.call(Operation::Delete, SHORT, move |_| {
            let context = prompted.lock().unwrap().clone().unwrap();
            context.prompt(|| thread::sleep(SHORT * 6));
            Ok(())
        });
        assert!(outcome.is_ok(), "{outcome:?}");
        let panicking = Arc::clone(&context);
        let outcome = client.handle.queue.call::<()>(Operation::Delete, LONG, move |_| {
            let context = panicking.lock().unwrap().clone().unwrap();
            context.prompt(|| panic!("on purpose"))
        });
        assert!(matches!(outcome, Err(Error::Panicked { .. })), "{outcome:?}");
        assert!(!client.handle.queue.policy().is_prompting());
    }

    #[test]
    fn no_call_starts_a_service_once_one_has_answered() {
        let (client, context) = client_with_context();
        assert!(client.may_start_service());
        context.lock().unwrap().as_ref().unwrap().report_progress();
        assert!(!client.may_start_service());
    }

    #[test]
    fn each_state_of_a_keychain_has_its_own_result() {
        let memory = Memory::new();
        let client = memory.client();
        let answers =
            || (client.modified(&name(), LONG), client.read(&name(), LONG).map(|items| items.len()));
        assert!(matches!(answers(), (Ok(LastModified::NoItem), Ok(0))));
        memory.set_state(MemoryState::Locked);
        assert!(matches!(answers(), (Err(Error::Locked { .. }), Err(Error::Locked { .. }))));
        memory.set_state(MemoryState::NotSetUp);
        assert!(matches!(answers(), (Err(Error::NotSetUp { .. }), Err(Error::NotSetUp { .. }))));
        memory.set_state(MemoryState::Unavailable);
        assert!(matches!(answers(), (Err(Error::Unavailable { .. }), Err(Error::Unavailable { .. }))));
    }

    #[test]
    fn a_lock_keeps_the_connection_and_a_failure_replaces_it() {
        let memory = Memory::new();
        let client = memory.client();
        for (fault, connections) in [
            (Fault::Locked, 1),
            (Fault::NotSetUp, 1),
            (Fault::Failed, 2),
            (Fault::Unavailable, 3),
            (Fault::Panicked, 4),
        ] {
            memory.inject(Operation::Read, fault);
            assert!(client.read(&name(), LONG).is_err(), "{fault:?}");
            client.read(&name(), LONG).unwrap();
            assert_eq!(memory.connections(), connections, "{fault:?}");
        }
    }

    #[test]
    fn a_hung_call_times_out_and_does_not_delay_the_next_one() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Read, Fault::NoReply);
        let refusal = client.read(&name(), SHORT).unwrap_err();
        assert!(
            matches!(refusal, Error::TimedOut { after: SHORT, effect: CallEffect::Unchanged, .. }),
            "{refusal}"
        );
        client.read(&name(), LONG).unwrap();
        assert_eq!(memory.connections(), 2);
    }

    #[test]
    fn a_slow_call_is_waited_for() {
        let memory = Memory::new();
        memory.inject(Operation::Write, Fault::Slow(SHORT));
        assert_eq!(
            memory.client().write(&name(), &WriteTarget::OnlyItem, b"one", LONG).unwrap(),
            ItemWrite::Created
        );
    }

    #[test]
    fn the_effect_of_a_write_without_a_reply_is_unknown() {
        for (fault, left) in [(Fault::ReplyLost, vec![b"one".to_vec()]), (Fault::NoReply, Vec::new())] {
            let memory = Memory::new();
            memory.inject(Operation::Write, fault);
            let refusal = memory.client().write(&name(), &WriteTarget::OnlyItem, b"one", SHORT).unwrap_err();
            assert!(matches!(refusal, Error::TimedOut { .. }), "{refusal}");
            assert_eq!((refusal.effect(), secrets(&memory)), (CallEffect::Unknown, left));
        }
    }

    #[test]
    fn a_write_that_timed_out_while_running_may_still_be_done() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Write, Fault::Held);
        let refusal = client.write(&name(), &WriteTarget::OnlyItem, b"late", SHORT).unwrap_err();
        assert_eq!((refusal.effect(), secrets(&memory).len()), (CallEffect::Unknown, 0));
        memory.release();
        // The abandoned worker continues now, and no later call waits for it.
        let begun = Instant::now();
        while secrets(&memory).is_empty() {
            client.contains(&name(), LONG).unwrap();
            assert!(begun.elapsed() < LONG, "the write that was under way was not done");
        }
    }

    #[test]
    fn a_call_that_timed_out_in_the_queue_is_never_run() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Read, Fault::Held);
        thread::scope(|scope| {
            let reader = scope.spawn(|| client.read(&name(), LONG));
            memory.wait_for_held(1);
            let refusal = client.write(&name(), &WriteTarget::OnlyItem, b"late", SHORT).unwrap_err();
            assert!(matches!(refusal, Error::TimedOut { effect: CallEffect::Unchanged, .. }), "{refusal}");
            memory.release();
            reader.join().unwrap().unwrap();
        });
        // Runs after every call that was queued before it.
        assert!(client.read(&name(), LONG).unwrap().is_empty());
        assert_eq!((memory.calls(Operation::Write), memory.connections()), (0, 1));
    }

    #[test]
    fn calls_queued_behind_a_hung_one_continue() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Read, Fault::NoReply);
        thread::scope(|scope| {
            scope.spawn(|| client.read(&name(), SHORT).unwrap_err());
            memory.wait_for_held(1);
            assert_eq!(
                client.write(&name(), &WriteTarget::OnlyItem, b"one", LONG).unwrap(),
                ItemWrite::Created
            );
        });
        assert_eq!(memory.connections(), 2);
    }

    #[test]
    fn a_panic_is_an_error_with_its_effect_and_without_its_message() {
        let memory = Memory::new();
        let client = memory.client();
        memory.inject(Operation::Write, Fault::Panicked);
        memory.inject(Operation::Read, Fault::Panicked);
        let write = client.write(&name(), &WriteTarget::OnlyItem, b"one", LONG).unwrap_err();
        let read = client.read(&name(), LONG).unwrap_err();
        assert!(matches!(write, Error::Panicked { effect: CallEffect::Unknown, .. }), "{write}");
        assert!(matches!(read, Error::Panicked { effect: CallEffect::Unchanged, .. }), "{read}");
        assert!(!format!("{write} {write:?}").contains("injected panic"));
    }

    #[test]
    fn connecting_is_inside_the_deadline_and_may_panic_or_fail() {
        let (started, hang) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
        let held = hang.lock().unwrap();
        let (first, hung) = (Arc::clone(&started), Arc::clone(&hang));
        let client = Client::new("test keychain", move |_| {
            if !first.swap(true, Ordering::SeqCst) {
                drop(hung.lock());
            }
            panic!("no connection today");
        });
        assert!(matches!(client.contains(&name(), SHORT), Err(Error::TimedOut { .. })));
        assert!(matches!(client.contains(&name(), LONG), Err(Error::Panicked { .. })));
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
            fn read(&mut self, _: &ItemName) -> Result<Vec<Item>, Error> {
                Ok(Vec::new())
            }
            fn read_with_prompt(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
                self.read(name)
            }
            fn modified(&mut self, _: &ItemName) -> Result<LastModified, Error> {
                Ok(LastModified::NoItem)
            }
            fn write(&mut self, _: &ItemName, _: &WriteTarget, _: &[u8]) -> Result<ItemWrite, Error> {
                Ok(ItemWrite::Created)
            }
            fn delete(&mut self, _: &ItemName, _: &ItemSelection) -> Result<usize, Error> {
                Ok(0)
            }
        }
        let (closing, closed) = mpsc::channel();
        let client = Client::new("test keychain", move |_| Ok(Box::new(Closing(closing.clone()))));
        client.contains(&name(), LONG).unwrap();
        drop(client.clone());
        assert!(closed.try_recv().is_err());
        drop(client);
        closed.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn calls_to_a_hung_keychain_fail_at_once_after_a_limit() {
        let memory = Memory::new();
        let client = memory.client();
        for _ in 0..MAX_ABANDONED_WORKERS {
            memory.inject(Operation::Modified, Fault::NoReply);
            // Long enough for its turn on a busy machine: a call that never began abandons no worker.
            assert!(matches!(client.contains(&name(), 5 * SHORT), Err(Error::TimedOut { .. })));
        }
        assert!(matches!(client.contains(&name(), LONG), Err(Error::Unavailable { .. })));
        memory.release();
        let begun = Instant::now();
        while client.contains(&name(), LONG).is_err() {
            assert!(begun.elapsed() < LONG, "calls that have ended still count");
        }
    }
}
