//! The newest state of etcd that a member has seen, on its disk.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::MemberError;
use super::sealed_file::{read, replace};
use crate::fleet::shared_store::ClusterState;

/// The newest state of etcd that this member has seen.
#[derive(Debug)]
pub(super) struct SeenCluster {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    cluster_id: u64,
    revision: i64,
    /// Whether etcd was restored from a backup, and no process of this host has waited for the other members since.
    #[serde(default)]
    must_wait: bool,
}

impl SeenCluster {
    pub(super) fn load(path: PathBuf) -> Result<Self, MemberError> {
        // A file that is damaged says nothing; the copy of the record still shows an older one.
        let content = read(&path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Ok(Self { path, content })
    }

    /// Whether `state` is older than the one that was seen, as after a restore from a backup.
    pub(super) fn is_ahead_of(&self, state: ClusterState) -> bool {
        state.cluster_id == self.content.cluster_id && state.revision < self.content.revision
    }

    /// Replaces the state, in memory only.
    pub(super) fn meet(&mut self, state: ClusterState) {
        (self.content.cluster_id, self.content.revision) = (state.cluster_id, state.revision);
    }

    pub(super) fn must_wait(&self) -> bool {
        self.content.must_wait
    }

    /// Records whether a process that follows this one waits for the other members.
    pub(super) fn set_must_wait(&mut self, must_wait: bool) -> Result<(), MemberError> {
        self.content.must_wait = must_wait;
        self.save()
    }

    pub(super) fn save(&self) -> Result<(), MemberError> {
        Ok(replace(&self.path, &serde_json::to_vec(&self.content).unwrap_or_default())?)
    }
}
