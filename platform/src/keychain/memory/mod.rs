//! The reference keychain: items in memory, with every failure of a real one on demand.
//!
//! It is what the contract tests hold the real keychains to, and what the tests of programs use where a real service
//! could not be made to fail at the right moment.

mod items;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use self::items::Items;
use super::{
    CallEffect, Client, Error, Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, Keychain,
    LastModified, Operation, Readiness, Slot,
};

const SERVICE: &str = "memory keychain";

/// A keychain in memory; clones are handles on the same one.
///
/// Connections to it ([`client`](Self::client), [`connect`](Self::connect)) see the same items and do not keep it
/// alive: when the last handle is dropped, every call that a [`Fault`] holds back fails and its thread can end.
#[derive(Clone)]
pub struct Memory {
    handle: Arc<MemoryHandle>,
}

/// The lasting condition of a [`Memory`], as its user would find it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryState {
    /// There, and open.
    Unlocked,
    /// There, and locked.
    Locked,
    /// There, without a default collection.
    NeverUnlocked,
    /// Not there.
    Unavailable,
}

/// What happens to one call, once.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out, and its answer is lost: it waits to be released, then fails.
    AnswerLost,
    /// It fails with [`Error::Failed`] before anything was done.
    Fails,
    /// It waits to be released and is carried out then, whether or not its caller still waits.
    Held,
    /// Its user is asked, and says no.
    Declined,
    /// It finds the keychain locked.
    Locked,
    /// It finds no default collection.
    NeverUnlocked,
    /// It panics before anything was done.
    Panics,
    /// It waits to be released, then fails; nothing is done.
    Silent,
    /// It is carried out after this long, or as soon as it is released.
    Slow(Duration),
    /// It finds no keychain.
    Unavailable,
}

impl Memory {
    /// An empty, unlocked keychain.
    pub fn new() -> Self {
        Self::default()
    }

    /// One whose items are for the program that made them: whoever else reads or writes one needs its user's leave.
    pub fn owner_only() -> Self {
        let memory = Self::default();
        memory.core().items = Items::new(ItemSharing::OwnerOnly);
        memory
    }

    /// A client of its own connection to this keychain.
    pub fn client(&self) -> Client {
        let shared = Arc::clone(&self.handle.shared);
        let sharing = self.core().items.sharing();
        Client::over(SERVICE, move |_| Ok(Box::new(Connection::open(&shared)))).with_sharing(sharing)
    }

    /// A bare connection, without a thread or deadline.
    pub fn connect(&self) -> Box<dyn Keychain> {
        Box::new(Connection::open(&self.handle.shared))
    }

    /// How many connections were ever made.
    pub fn connections(&self) -> usize {
        self.handle.shared.connections.load(Ordering::SeqCst)
    }

    /// How many calls of this kind have begun.
    pub fn calls(&self, operation: Operation) -> usize {
        self.core().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Sets the lasting condition; calls that a fault holds back meet it when they go on.
    pub fn set_state(&self, state: MemoryState) {
        self.core().state = state;
    }

    /// Lets `fault` happen to the next call of this kind that has none yet.
    pub fn inject(&self, operation: Operation, fault: Fault) {
        self.core().faults.entry(operation).or_default().push_back(fault);
    }

    /// Lets every call go on that a fault holds back at this moment.
    pub fn release(&self) {
        self.core().releases += 1;
        self.handle.shared.changed.notify_all();
    }

    /// Waits until faults hold back this many calls at once.
    pub fn await_held(&self, calls: usize) {
        let mut core = self.core();
        while core.held < calls {
            core = self.handle.shared.changed.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds one more item of this name, as another program would.
    pub fn plant(&self, name: &ItemName, secret: &[u8]) -> ItemId {
        self.core().items.plant(name, secret)
    }

    /// The items of this name, newest first, whatever the condition of the keychain.
    pub fn items(&self, name: &ItemName) -> Vec<Item> {
        self.core().items.matching(name)
    }

    /// Rewrites an item's time; `None` makes the keychain one that does not tell.
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
            gone: false,
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

/// What handles share and connections do not, so that its drop marks the end.
struct MemoryHandle {
    shared: Arc<MemoryShared>,
}

impl Drop for MemoryHandle {
    fn drop(&mut self) {
        self.shared.core().gone = true;
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
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Core {
    items: Items,
    state: MemoryState,
    faults: HashMap<Operation, VecDeque<Fault>>,
    calls: HashMap<Operation, usize>,
    held: usize,
    releases: usize,
    gone: bool,
}

struct Connection {
    shared: Arc<MemoryShared>,
}

impl Keychain for Connection {
    fn readiness(&mut self) -> Result<Readiness, Error> {
        let answer = self.call(Operation::Readiness, |_| Ok(Readiness::Unlocked));
        match answer {
            Err(Error::Locked { .. }) => Ok(Readiness::Locked),
            Err(Error::NeverUnlocked { .. }) => Ok(Readiness::NeverUnlocked),
            answer => answer,
        }
    }

    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.call(Operation::Read, |core| core.items.readable(name))
    }

    fn read_asking(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.call(Operation::ReadAsking, |core| Ok(core.items.matching(name)))
    }

    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error> {
        self.call(Operation::Modified, |core| {
            Ok(match core.items.matching(name).first() {
                None => LastModified::NoEntry,
                Some(Item { modified: None, .. }) => LastModified::NotTold,
                Some(Item { modified: Some(time), .. }) => LastModified::At(*time),
            })
        })
    }

    fn write(&mut self, name: &ItemName, slot: &Slot, secret: &[u8]) -> Result<ItemWrite, Error> {
        self.call(Operation::Write, |core| core.items.write(name, slot, secret))
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

    /// One call: its fault, then the lasting condition, then the work.
    #[expect(clippy::panic, reason = "a panic is what was ordered")]
    fn call<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut Core) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut core = self.shared.core();
        *core.calls.entry(operation).or_default() += 1;
        let fault = core.faults.get_mut(&operation).and_then(VecDeque::pop_front);
        match fault {
            Some(Fault::Fails) => {
                return Err(failed(operation, CallEffect::Unchanged, "it was told to fail"));
            }
            Some(Fault::Declined) => return Err(Error::Declined { service: SERVICE }),
            Some(Fault::Locked) => return Err(Error::Locked { service: SERVICE }),
            Some(Fault::NeverUnlocked) => return Err(Error::NeverUnlocked { service: SERVICE }),
            Some(Fault::Unavailable) => return Err(unavailable()),
            Some(Fault::Panics) => {
                drop(core);
                panic!("the keychain was told to panic");
            }
            Some(Fault::Held) => core = self.hold(core, None),
            Some(Fault::Slow(time)) => core = self.hold(core, Some(time)),
            Some(Fault::Silent) => {
                drop(self.hold(core, None));
                return Err(failed(operation, CallEffect::Unchanged, "it never answered"));
            }
            Some(Fault::AnswerLost) | None => {}
        }
        if core.gone {
            return Err(unavailable());
        }
        let answer = match core.state {
            MemoryState::Unlocked => work(&mut core),
            MemoryState::Locked => Err(Error::Locked { service: SERVICE }),
            MemoryState::NeverUnlocked => Err(Error::NeverUnlocked { service: SERVICE }),
            MemoryState::Unavailable => Err(unavailable()),
        };
        if fault == Some(Fault::AnswerLost) {
            drop(self.hold(core, None));
            return Err(failed(operation, operation.broken_off(), "its answer was lost"));
        }
        answer
    }

    /// Waits for the next release, for the end of the keychain, or for `time` to pass.
    fn hold<'a>(&'a self, mut core: MutexGuard<'a, Core>, time: Option<Duration>) -> MutexGuard<'a, Core> {
        let (release, deadline) = (core.releases, time.and_then(|time| Instant::now().checked_add(time)));
        core.held += 1;
        self.shared.changed.notify_all();
        while core.releases == release && !core.gone {
            core = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.shared.changed.wait(core).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.shared.changed.wait_timeout(core, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        core.held -= 1;
        core
    }
}

fn failed(operation: Operation, outcome: CallEffect, why: &'static str) -> Error {
    Error::Failed { service: SERVICE, operation, outcome, source: why.into() }
}

fn unavailable() -> Error {
    Error::Unavailable { service: SERVICE, source: "it was told to be away".into() }
}
