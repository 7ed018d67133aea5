//! The authority, as a client of the scripted one and of servers that are worse.

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

/// Long enough for a busy machine, short enough for a test that waits for the end of it.
const SOON: Deadlines = Deadlines {
    connect: Duration::from_secs(5),
    refresh: Duration::from_secs(20),
    revoke: Duration::from_secs(20),
};

/// An environment of these variables alone.
fn environment(variables: &[(&str, &str)]) -> Environment {
    let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    Environment::read(|name| if name == "CODEX_HOME" { Some("/nowhere".into()) } else { value(name) })
        .unwrap()
}

/// What `work` comes to, on a runtime that is gone afterwards.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(work);
    // A name that is still looked up is not waited for.
    runtime.shutdown_background();
    done
}

/// One refresh of `token` with these variables and deadlines.
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

/// A scripted authority with somebody signed in.
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

    /// Refreshes the token of the grant, once.
    fn refresh(&self) -> Result<TokenResponse, Error> {
        self.refresh_within(SOON)
    }

    fn refresh_within(&self, deadlines: Deadlines) -> Result<TokenResponse, Error> {
        refresh_with(&[(REFRESH_URL, &self.server.token_url())], deadlines, &self.grant.tokens.refresh_token)
    }
}
