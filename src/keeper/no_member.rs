//! What stands for the keeper's part in a fleet without the feature `fleet`: no home is a member.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch::Receiver;

use super::shared::KeeperShared;

/// A handle on nothing.
#[derive(Clone, Debug)]
pub(super) struct MemberHandle;

impl MemberHandle {
    pub(super) fn new() -> Self {
        Self
    }
}

pub(super) async fn serve(_: Arc<KeeperShared>, _: Receiver<u64>) -> Infallible {
    std::future::pending().await
}
