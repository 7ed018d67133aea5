//! Members that are killed at every step, and those that go on.

use codex_auth::Secret;
use codex_auth::fleet::{FleetKey, FleetKeys, FleetPoison, Member, MemberError};
use serde::{Deserialize, Serialize};

use super::hosts::{Fleet, LIMIT, generation, parts};
use super::{block_on, with_network};
use crate::support::{HelperProcess, TestHome, here, report, role};

/// What happens after a kill.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next process of the same host, or another host, has a new token at once.
    Soon,
    /// It is unknown whether the token was sent, so the hosts wait until the access token has ended.
    TokenEnd,
    /// The response was lost: the second attempt poisons the token.
    Lost,
}

/// The steps of a refresh.
const STEPS: [(&str, After); 11] = [
    ("fleet-adopted", After::Soon),
    ("fleet-writing", After::Soon),
    ("fleet-announced", After::Soon),
    ("fleet-claimed", After::Soon),
    ("fleet-journaled", After::TokenEnd),
    ("fleet-posting", After::TokenEnd),
    ("fleet-answered", After::Lost),
    ("fleet-kept", After::Soon),
    ("fleet-committing", After::Soon),
    ("fleet-settled", After::Soon),
    ("fleet-cleared", After::Soon),
];

/// The role of a helper process: it refreshes once.
#[derive(Serialize, Deserialize)]
struct Host {
    folder: std::path::PathBuf,
    name: String,
    key: String,
    token_url: String,
    seen: u64,
}

impl Host {
    fn of(fleet: &Fleet, name: &str, seen: u64) -> Self {
        Self {
            folder: fleet.folder.path().to_owned(),
            name: name.to_owned(),
            key: fleet.key.expose().to_owned(),
            token_url: fleet.authority.token_url(),
            seen,
        }
    }

    /// Starts a process that refreshes, and is killed at `step`.
    fn start(&self, test: &str, step: &str) -> HelperProcess {
        let role = serde_json::to_string(self).unwrap();
        let failpoint = format!("CODEX_AUTH_FAILPOINT={step}=kill");
        HelperProcess::start_through(&["env", &failpoint], test, &role, &TestHome::new())
    }

    fn perform(&self) {
        let key = FleetKey::from_secret(&Secret::from(self.key.as_str())).unwrap();
        let parts = parts(&self.folder, &self.name, FleetKeys::new("team", key), &self.token_url);
        block_on(async {
            let member = Member::open(parts, LIMIT).await.unwrap();
            let refreshed = member.refresh(self.seen, LIMIT).await;
            report(&refreshed.map_or_else(|error| error.to_string(), |state| generation(&state).to_string()));
        });
    }
}

/// Performs the role of a helper process, if this is one.
fn performed() -> bool {
    let Some(role) = role() else { return false };
    serde_json::from_str::<Host>(&role).unwrap().perform();
    true
}

fn killed_at_every_step(test: &str, successor: &str) {
    with_network(test, async || {
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| policy.access_lifetime = 4);
        let mut grant = fleet.log_in(&fleet.open("a").await).await;
        let mut seen = 1;
        for (step, after) in STEPS {
            let host = Host::of(&fleet, "a", seen);
            assert_eq!(host.start(test, step).next_word_or_end(), None, "it is killed at {step}");
            let member = fleet.open(successor).await;
            let refreshed = member.refresh(seen, LIMIT).await;
            match after {
                After::Lost => {
                    let error = refreshed.unwrap_err();
                    assert!(matches!(error, MemberError::Poisoned(FleetPoison::Refused)), "{step}: {error}");
                    grant = fleet.log_in(&member).await;
                    seen = generation(&member.state());
                }
                After::Soon | After::TokenEnd => {
                    let state = refreshed.unwrap_or_else(|error| panic!("{step}: {error}"));
                    seen = generation(&state);
                    fleet.assert_live(&grant, &state);
                }
            }
            let lost = usize::from(STEPS.iter().position(|(name, _)| *name == step) >= Some(6));
            assert_eq!(fleet.reuses(), lost, "{step}");
            assert!(member.state().record.unwrap().intent().is_none(), "{step}");
        }
        fleet.assert_sealed();
    });
}

#[test]
fn the_next_process_of_a_host_completes_what_a_killed_one_has_begun() {
    if !performed() {
        killed_at_every_step(here!(), "a");
    }
}
