//! The credentials that a user puts into the environment, as providers.

use super::{Error, ExternalAuth, ExternalToken, ProviderContext, TokenFuture};
use crate::config::Environment;
use crate::document::AuthMode;
use crate::secret::Secret;

/// A credential of the environment: one token, which is never refreshed.
#[derive(Clone, Debug)]
pub struct EnvironmentToken {
    variable: &'static str,
    mode: AuthMode,
    token: ExternalToken,
}

/// Whether an API key of the environment counts. For Codex it does where a program runs unattended (`codex exec`), and does
/// not for its editor sessions and its app-server (`codex-behaviour.md` 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it counts or it does not")]
pub enum ApiKeys {
    /// It does, before everything else.
    Count,
    /// It does not.
    Ignored,
}

impl EnvironmentToken {
    /// The credential that stands before what is stored: `CODEX_API_KEY` where API keys count, else `CODEX_ACCESS_TOKEN`.
    #[must_use]
    pub fn of(environment: &Environment, keys: ApiKeys) -> Option<Self> {
        let key = environment.api_key.as_ref().filter(|_| keys == ApiKeys::Count);
        if let Some(key) = key {
            return Some(Self::new("CODEX_API_KEY", AuthMode::ApiKey, key));
        }
        let token = environment.access_token.as_ref()?;
        let mode = match token.expose().starts_with("at-") {
            true => AuthMode::PersonalAccessToken,
            false => AuthMode::AgentIdentity,
        };
        Some(Self::new("CODEX_ACCESS_TOKEN", mode, token))
    }

    fn new(variable: &'static str, mode: AuthMode, token: &Secret) -> Self {
        Self { variable, mode, token: ExternalToken::bearer(token.clone()) }
    }

    /// The variable.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// What kind of credential it is.
    #[must_use]
    pub fn mode(&self) -> &AuthMode {
        &self.mode
    }

    /// The credential.
    #[must_use]
    pub fn token(&self) -> &ExternalToken {
        &self.token
    }
}

impl ExternalAuth for EnvironmentToken {
    fn name(&self) -> &str {
        self.variable
    }

    fn resolve(&self) -> TokenFuture<'_, Option<ExternalToken>> {
        Box::pin(async { Ok(Some(self.token.clone())) })
    }

    fn refresh(&self, _context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async { Err(Error::NotRefreshable { provider: self.variable.to_owned() }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], keys: ApiKeys) -> Option<(&'static str, AuthMode, String)> {
        let environment = Environment::read(|name| {
            let set = variables.iter().find(|(variable, _)| *variable == name);
            set.map(|(_, value)| value.into()).or_else(|| (name == "CODEX_HOME").then(|| "/place".into()))
        });
        let token = EnvironmentToken::of(&environment.unwrap(), keys)?;
        Some((token.variable, token.mode.clone(), token.token.access_token().expose().to_owned()))
    }

    /// Upstream: `load_auth_keeps_codex_api_key_env_precedence`, `load_auth_reads_access_token_from_env`,
    /// `load_auth_reads_personal_access_token_from_env`.
    #[test]
    fn an_api_key_stands_before_an_access_token_where_it_counts() {
        let key = ("CODEX_API_KEY", " sk-1\n");
        let token = ("CODEX_ACCESS_TOKEN", "at-1");
        let api_key = Some(("CODEX_API_KEY", AuthMode::ApiKey, "sk-1".to_owned()));
        let personal = Some(("CODEX_ACCESS_TOKEN", AuthMode::PersonalAccessToken, "at-1".to_owned()));
        assert_eq!(found(&[key, token], ApiKeys::Count), api_key);
        assert_eq!(found(&[key, token], ApiKeys::Ignored), personal);
        assert_eq!(found(&[key], ApiKeys::Ignored), None);
        assert_eq!(found(&[("CODEX_API_KEY", " "), token], ApiKeys::Count), personal);
        assert_eq!(found(&[("OPENAI_API_KEY", "sk-1")], ApiKeys::Count), None);
        let agent = found(&[("CODEX_ACCESS_TOKEN", "e30.e30.c2ln")], ApiKeys::Ignored);
        assert_eq!(agent.map(|(_, mode, _)| mode), Some(AuthMode::AgentIdentity));
    }
}
