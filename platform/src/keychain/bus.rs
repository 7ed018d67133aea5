//! Connects to the D-Bus session bus.

use zbus::blocking::Connection;

/// Connects to the bus of this session.
///
/// # Panics
/// If the system has no more threads. [`std::panic::catch_unwind`] can catch this panic safely.
pub(super) fn session() -> zbus::Result<Connection> {
    // The first use of async-io, which zbus waits with, starts a thread and panics if there is none. Force that here,
    // where no value exists yet whose drop would use it again: a second panic would abort the process.
    async_io::block_on(async {});
    Connection::session()
}
