//! The client of the authority, against the scripted authority and against raw servers.

mod network;
mod redaction;
mod refresh;
mod refusals;
mod revoke;
pub mod server;
pub mod tls;

use std::time::Duration;

use codex_auth::authority::{
    Authority, Deadlines, Endpoint, Error, Refresh, StaleTokenReason, TokenResponse, client_id,
};
use codex_auth::{AuthDocument, Environment, Secret};
use scripted_authority::{Account, Authority as Scripted, Grant};

const REFRESH_URL: &str = "CODEX_REFRESH_TOKEN_URL_OVERRIDE";

/// Timeouts that suffice on a busy machine and are short enough for tests that wait for their end.
const TEST_DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(5),
    refresh: Duration::from_secs(20),
    revoke: Duration::from_secs(20),
};

/// Returns an environment of these variables only.
fn environment(variables: &[(&str, &str)]) -> Environment {
    let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    Environment::read(|name| if name == "CODEX_HOME" { Some("/nowhere".into()) } else { value(name) })
        .unwrap()
}

/// Runs `work` on a new runtime.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(work);
    // Do not wait for a name lookup that is under way.
    runtime.shutdown_background();
    done
}

/// Refreshes `token` once with these variables and time limits.
fn refresh_with(
    variables: &[(&str, &str)],
    deadlines: Deadlines,
    token: &str,
) -> Result<TokenResponse, Error> {
    let environment = environment(variables);
    let request = request(&environment, token)?;
    run(Authority::with_deadlines(&environment, deadlines).refresh(&request))
}

fn request(environment: &Environment, token: &str) -> Result<Refresh, Error> {
    let document = AuthDocument::parse(br#"{"tokens":{}}"#).unwrap();
    let provenance = &document.tokens().unwrap().provenance;
    Ok(Refresh {
        endpoint: Endpoint::refresh(environment, provenance)?,
        client_id: client_id(provenance).to_owned(),
        refresh_token: Secret::from(token),
        reason: StaleTokenReason::Forced,
    })
}

/// A scripted authority with one grant.
struct World {
    server: Scripted,
    grant: Grant,
}

impl World {
    fn new() -> Self {
        let server = Scripted::start().unwrap();
        let grant = server.grant(Account::numbered(1));
        Self { server, grant }
    }

    /// Refreshes the token of the grant once.
    fn refresh(&self) -> Result<TokenResponse, Error> {
        self.refresh_within(TEST_DEADLINES)
    }

    fn refresh_within(&self, deadlines: Deadlines) -> Result<TokenResponse, Error> {
        refresh_with(&[(REFRESH_URL, &self.server.token_url())], deadlines, &self.grant.tokens.refresh_token)
    }
}
