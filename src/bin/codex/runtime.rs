//! The asynchronous runtime of a command.

use tokio::runtime::Builder;

use crate::error::CommandError;

/// Runs `work` on this thread until it ends, and leaves threads behind that still block.
pub(crate) fn run<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::cannot_start("the event loop", &error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
