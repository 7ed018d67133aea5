//! A host as a process of its own, which can be killed and stopped.

use std::path::PathBuf;

use codex_auth::fleet::{FleetKey, FleetKeys, Member, MemberError};
use codex_auth::{AuthDocument, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use super::block_on;
use super::hosts::{Fleet, LIMIT, Running, generation, parts};
use crate::support::{HelperProcess, TestHome, report, role};

/// What a host does in its process.
#[derive(Serialize, Deserialize)]
pub enum Task {
    /// It refreshes, and reports the generation or the error.
    Refresh { seen: u64 },
    /// It logs in.
    LogIn { document: String },
    /// It takes part, and reports each generation with the time in milliseconds.
    Follow,
}

/// The role of a helper process.
#[derive(Serialize, Deserialize)]
pub struct HostProcess {
    folder: PathBuf,
    name: String,
    key: String,
    token_url: String,
    task: Task,
}

impl HostProcess {
    pub fn of(fleet: &Fleet, name: &str, task: Task) -> Self {
        Self {
            folder: fleet.folder.path().to_owned(),
            name: name.to_owned(),
            key: fleet.key.expose().to_owned(),
            token_url: fleet.authority.token_url(),
            task,
        }
    }

    /// Starts it; it is killed at `step`.
    pub fn killed_at(&self, test: &str, step: &str) -> HelperProcess {
        self.started(test, &format!("CODEX_AUTH_FAILPOINT={step}=kill"))
    }

    /// Starts it with a variable.
    pub fn started(&self, test: &str, variable: &str) -> HelperProcess {
        let role = serde_json::to_string(self).unwrap();
        HelperProcess::start_through(&["env", variable], test, &role, &TestHome::new())
    }

    fn perform(self) {
        let key = FleetKey::from_secret(&Secret::new(self.key)).unwrap();
        let parts = parts(&self.folder, &self.name, FleetKeys::new("team", key), &self.token_url);
        block_on(async {
            let done = async {
                let member = Member::open(parts, LIMIT).await?;
                let state = match self.task {
                    Task::Refresh { seen } => member.refresh(seen, LIMIT).await?,
                    Task::LogIn { document } => {
                        member.save_login(AuthDocument::parse(document.as_bytes()).unwrap()).await?;
                        member.complete_login().await?
                    }
                    Task::Follow => {
                        let running = Running::start(member);
                        let mut states = running.member.subscribe();
                        let mut newest = 0;
                        loop {
                            let order = states.borrow_and_update().order();
                            if let Some(order) = order.filter(|order| order.generation > newest) {
                                newest = order.generation;
                                report(&format!("{newest} {}", Timestamp::now().as_millisecond()));
                            }
                            states.changed().await.unwrap();
                        }
                    }
                };
                Ok::<_, MemberError>(generation(&state).to_string())
            };
            report(&done.await.unwrap_or_else(|error| error.to_string()));
        });
    }
}

/// Performs the role of a helper process, if this is one.
pub fn performed() -> bool {
    let Some(role) = role() else { return false };
    serde_json::from_str::<HostProcess>(&role).unwrap().perform();
    true
}
