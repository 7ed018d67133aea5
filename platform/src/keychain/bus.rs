//! The connection to the bus of this session, made so that a machine at its limits is an answer and not the end.

use zbus::blocking::Connection;

/// Connects to the bus of this session.
///
/// # Panics
/// Where the system gives no more threads. Unwinding from here is safe for the process: [`std::panic::catch_unwind`] has
/// the panic.
pub(super) fn session() -> zbus::Result<Connection> {
    // The first use of async-io, by which zbus waits, starts a thread and panics where there is none to be had. Here
    // nothing is held yet that would use it again while it is dropped: a second panic would abort the process.
    async_io::block_on(async {});
    Connection::session()
}
