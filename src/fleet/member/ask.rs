//! What a member writes into etcd when it wants the refresher to refresh.

use serde::{Deserialize, Serialize};

use crate::fleet::intent::MemberName;

/// The wish for another token than that of a generation. One of an older generation is fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) generation: u64,
    pub(super) member: MemberName,
}

impl Ask {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
