//! Asks the process of a home that takes part in its fleet, or takes part.

use super::error::FleetError;
use super::host::{MemberHost, OPEN_LIMIT};
use crate::clock::Clock;
use crate::config::Environment;
use crate::fleet::MemberError;
use crate::home::Home;
use crate::keeper::client::{Client, ClientError};
use crate::keeper::member_task::MemberTask;
use crate::keeper::response::KeeperRefusal;
use crate::manager;
use crate::store::LockError;

/// How often another process is asked before this one gives up.
const MAX_ATTEMPTS: usize = 3;

/// Carries out `task` for `home`, which its fleet serves: by its keeper, or by this process if none runs. Blocks.
///
/// # Errors
/// [`FleetError`].
pub fn perform(home: &Home, environment: &Environment, task: MemberTask) -> Result<(), FleetError> {
    let mut attempt = 1;
    loop {
        if let Some(outcome) = by_keeper(home, environment, task) {
            return outcome;
        }
        tracing::debug!(?task, "no keeper runs; this process takes part in the fleet");
        let work = async {
            let host = MemberHost::open(home, environment, &Clock::system(), OPEN_LIMIT).await?;
            let outcome = host.perform(task).await;
            host.report().await;
            outcome
        };
        match manager::block_on(work)? {
            // A keeper has started meanwhile.
            Err(FleetError::Member(error)) if is_held(&error) && attempt < MAX_ATTEMPTS => {}
            outcome => return outcome,
        }
        attempt += 1;
    }
}

/// Asks the keeper of `home`; `None` if there is none.
fn by_keeper(home: &Home, environment: &Environment, task: MemberTask) -> Option<Result<(), FleetError>> {
    let outcome = Client::of(home, environment)?.take_part(task);
    Some(match outcome {
        Ok(()) => Ok(()),
        Err(ClientError::Unreachable { source, .. }) if is_without_keeper(&source) => return None,
        Err(ClientError::Refused(KeeperRefusal::Failed(failure))) => {
            Err(FleetError::Keeper(Box::new(failure)))
        }
        Err(error) => Err(FleetError::NoAnswer(error.to_string())),
    })
}

/// Whether another process takes part.
fn is_held(error: &MemberError) -> bool {
    matches!(error, MemberError::Lock(LockError::Held { .. }))
}

/// Whether no process listens at the socket.
fn is_without_keeper(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
}
