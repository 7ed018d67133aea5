//! What stands for the keeper's part in a fleet without the feature `fleet`: no home is a member.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch::Receiver;

use super::shared::KeeperShared;

pub(super) async fn serve(_: Arc<KeeperShared>, _: Receiver<u64>) -> Infallible {
    std::future::pending().await
}
