//! A keychain in memory, with every failure of a real one on demand.
//!
//! The contract tests compare the real keychains with it, and the tests of programs use it where a real service
//! cannot be made to fail at the right moment.

mod items;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use self::items::{Items, SERVICE};
use super::client::Client;
use super::contract::Keychain;
use super::error::{CallEffect, Error, Operation};
use super::item::{Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, LastModified, WriteTarget};

use crate::sync::{lock, wait, wait_timeout};

/// A keychain in memory; clones are handles to the same one.
///
/// Connections to it ([`client`](Self::client), [`connect`](Self::connect)) see the same items and do not keep it
/// alive: when the last handle is dropped, every call that a [`Fault`] holds back fails, so that its thread can end.
#[derive(Clone)]
pub struct Memory {
    handle: Arc<MemoryHandle>,
}

/// The lasting state of a [`Memory`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryState {
    /// Reachable and unlocked.
    Unlocked,
    /// Reachable and locked.
    Locked,
    /// Reachable, without a default collection.
    NotSetUp,
    /// Not reachable.
    Unavailable,
}

/// What happens once, to one call.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call is carried out and its reply is lost: it waits for a release, then fails.
    ReplyLost,
    /// The call fails with [`Error::Failed`] before it changes anything.
    Failed,
    /// The call waits for a release and is then carried out, whether or not its caller still waits.
    Held,
    /// The user denies access.
    Denied,
    /// The keychain is locked.
    Locked,
    /// There is no default collection.
    NotSetUp,
    /// The call panics before it changes anything.
    Panicked,
    /// The call waits for a release, then fails; nothing is changed.
    NoReply,
    /// The call is carried out after this time, or as soon as it is released.
    Slow(Duration),
    /// The keychain cannot be reached.
    Unavailable,
}

impl Memory {
    /// Creates an empty, unlocked keychain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a keychain whose items only the program that created them may read or write without a prompt.
    pub fn owner_only() -> Self {
        let memory = Self::default();
        memory.core().items = Items::new(ItemSharing::OwnerOnly);
        memory
    }

    /// Returns a client with its own connection to this keychain.
    pub fn client(&self) -> Client {
        let shared = Arc::clone(&self.handle.shared);
        let sharing = self.core().items.sharing();
        Client::new(SERVICE, move |_| Ok(Box::new(Connection::open(&shared)))).with_sharing(sharing)
    }

    /// Returns a bare connection, without a thread or deadline.
    pub fn connect(&self) -> Box<dyn Keychain> {
        Box::new(Connection::open(&self.handle.shared))
    }

    /// Returns the number of connections made so far.
    pub fn connections(&self) -> usize {
        self.handle.shared.connections.load(Ordering::SeqCst)
    }

    /// Returns how many calls of this operation have begun.
    pub fn calls(&self, operation: Operation) -> usize {
        self.core().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Sets the lasting state; calls that a fault holds back meet it when they continue.
    pub fn set_state(&self, state: MemoryState) {
        self.core().state = state;
    }

    /// Applies `fault` to the next call of this operation that has none yet.
    pub fn inject(&self, operation: Operation, fault: Fault) {
        self.core().faults.entry(operation).or_default().push_back(fault);
    }

    /// Releases every call that a fault holds back now.
    pub fn release(&self) {
        self.core().releases += 1;
        self.handle.shared.changed.notify_all();
    }

    /// Waits until faults hold back this many calls at once.
    pub fn wait_for_held(&self, calls: usize) {
        let mut core = self.core();
        while core.held < calls {
            core = wait(&self.handle.shared.changed, core);
        }
    }

    /// Adds one more item of this name, as another program would.
    pub fn add_foreign(&self, name: &ItemName, secret: &[u8]) -> ItemId {
        self.core().items.add_foreign(name, secret)
    }

    /// Returns the items of this name, newest first, whatever the state of the keychain.
    pub fn items(&self, name: &ItemName) -> Vec<Item> {
        self.core().items.matching(name)
    }

    /// Sets an item's modification time; with `None` the keychain reports none.
    pub fn set_modified(&self, id: &ItemId, modified: Option<SystemTime>) {
        self.core().items.set_modified(id, modified);
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.handle.shared.core()
    }
}

impl Default for Memory {
    fn default() -> Self {
        let core = Core {
            items: Items::new(ItemSharing::AnyProgram),
            state: MemoryState::Unlocked,
            faults: HashMap::new(),
            calls: HashMap::new(),
            held: 0,
            releases: 0,
            dropped: false,
        };
        let shared = MemoryShared {
            core: Mutex::new(core),
            changed: Condvar::new(),
            connections: AtomicUsize::new(0),
        };
        Self { handle: Arc::new(MemoryHandle { shared: Arc::new(shared) }) }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let core = self.core();
        f.debug_struct("Memory")
            .field("items", &core.items)
            .field("state", &core.state)
            .finish_non_exhaustive()
    }
}

/// State that handles share and connections do not, so that its drop marks the end.
struct MemoryHandle {
    shared: Arc<MemoryShared>,
}

impl Drop for MemoryHandle {
    fn drop(&mut self) {
        self.shared.core().dropped = true;
        self.shared.changed.notify_all();
    }
}

struct MemoryShared {
    core: Mutex<Core>,
    changed: Condvar,
    connections: AtomicUsize,
}

impl MemoryShared {
    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}

struct Core {
    items: Items,
    state: MemoryState,
    faults: HashMap<Operation, VecDeque<Fault>>,
    calls: HashMap<Operation, usize>,
    held: usize,
    releases: usize,
    dropped: bool,
}

struct Connection {
    shared: Arc<MemoryShared>,
}

impl Keychain for Connection {
    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.call(Operation::Read, |core| core.items.readable(name))
    }

    fn read_with_prompt(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.call(Operation::ReadWithPrompt, |core| Ok(core.items.matching(name)))
    }

    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error> {
        self.call(Operation::Modified, |core| {
            Ok(match core.items.matching(name).first() {
                None => LastModified::NoItem,
                Some(Item { modified: None, .. }) => LastModified::Unknown,
                Some(Item { modified: Some(time), .. }) => LastModified::At(*time),
            })
        })
    }

    fn write(&mut self, name: &ItemName, target: &WriteTarget, secret: &[u8]) -> Result<ItemWrite, Error> {
        self.call(Operation::Write, |core| core.items.write(name, target, secret))
    }

    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error> {
        self.call(Operation::Delete, |core| Ok(core.items.delete(name, selection)))
    }
}

impl Connection {
    fn open(shared: &Arc<MemoryShared>) -> Self {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        Self { shared: Arc::clone(shared) }
    }

    /// Runs one call: its fault, then the lasting state, then the work.
    #[expect(clippy::panic, reason = "this fault is a panic")]
    fn call<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut Core) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut core = self.shared.core();
        *core.calls.entry(operation).or_default() += 1;
        let fault = core.faults.get_mut(&operation).and_then(VecDeque::pop_front);
        match fault {
            Some(Fault::Failed) => {
                return Err(failed(operation, CallEffect::Unchanged, "injected failure"));
            }
            Some(Fault::Denied) => return Err(Error::Denied { service: SERVICE }),
            Some(Fault::Locked) => return Err(Error::Locked { service: SERVICE }),
            Some(Fault::NotSetUp) => return Err(Error::NotSetUp { service: SERVICE }),
            Some(Fault::Unavailable) => return Err(unavailable()),
            Some(Fault::Panicked) => {
                drop(core);
                panic!("injected panic");
            }
            Some(Fault::Held) => core = self.hold(core, None),
            Some(Fault::Slow(time)) => core = self.hold(core, Some(time)),
            Some(Fault::NoReply) => {
                drop(self.hold(core, None));
                return Err(failed(operation, CallEffect::Unchanged, "no reply"));
            }
            Some(Fault::ReplyLost) | None => {}
        }
        if core.dropped {
            return Err(unavailable());
        }
        let answer = match core.state {
            MemoryState::Unlocked => work(&mut core),
            MemoryState::Locked => Err(Error::Locked { service: SERVICE }),
            MemoryState::NotSetUp => Err(Error::NotSetUp { service: SERVICE }),
            MemoryState::Unavailable => Err(unavailable()),
        };
        if fault == Some(Fault::ReplyLost) {
            drop(self.hold(core, None));
            return Err(failed(operation, operation.effect_if_interrupted(), "the reply was lost"));
        }
        answer
    }

    /// Waits for the next release, for the end of the keychain, or for `time` to pass.
    fn hold<'a>(&'a self, mut core: MutexGuard<'a, Core>, time: Option<Duration>) -> MutexGuard<'a, Core> {
        let (release, deadline) = (core.releases, time.and_then(|time| Instant::now().checked_add(time)));
        core.held += 1;
        self.shared.changed.notify_all();
        while core.releases == release && !core.dropped {
            core = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => wait(&self.shared.changed, core),
                Some(Duration::ZERO) => break,
                Some(left) => wait_timeout(&self.shared.changed, core, left),
            };
        }
        core.held -= 1;
        core
    }
}

fn failed(operation: Operation, effect: CallEffect, why: &'static str) -> Error {
    Error::Failed { service: SERVICE, operation, effect, source: why.into() }
}

fn unavailable() -> Error {
    Error::Unavailable { service: SERVICE, source: "the memory keychain is set to unavailable".into() }
}
