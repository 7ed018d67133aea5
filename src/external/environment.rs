//! A credential in an environment variable, as a provider.

use super::error::Error;
use super::provider::{ExternalAuth, ProviderContext, TokenFuture};
use super::token::ExternalToken;
use crate::config::Environment;
use crate::document::AuthMode;
use crate::secret::Secret;

/// A credential in an environment variable, which cannot be refreshed.
#[derive(Clone, Debug)]
pub struct EnvironmentToken {
    variable: &'static str,
    mode: AuthMode,
    token: ExternalToken,
}

/// Whether `CODEX_API_KEY` is used. Codex uses it in unattended runs (`codex exec`), and ignores it in interactive
/// sessions and in its app-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are only two cases")]
pub enum ApiKeyPolicy {
    /// The API key takes precedence over everything else.
    Use,
    /// The API key is ignored.
    Ignore,
}

impl EnvironmentToken {
    /// Returns the credential that takes precedence over the stored one: `CODEX_API_KEY` if API keys are used, else
    /// `CODEX_ACCESS_TOKEN`.
    #[must_use]
    pub fn from_environment(environment: &Environment, keys: ApiKeyPolicy) -> Option<Self> {
        let key = environment.api_key.as_ref().filter(|_| keys == ApiKeyPolicy::Use);
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

    /// Returns the name of the variable.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// Returns the kind of the credential.
    #[must_use]
    pub fn mode(&self) -> &AuthMode {
        &self.mode
    }

    /// Returns the credential.
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

    fn found(variables: &[(&str, &str)], keys: ApiKeyPolicy) -> Option<(&'static str, AuthMode, String)> {
        let environment = Environment::read(|name| {
            let set = variables.iter().find(|(variable, _)| *variable == name);
            set.map(|(_, value)| value.into()).or_else(|| (name == "CODEX_HOME").then(|| "/place".into()))
        });
        let token = EnvironmentToken::from_environment(&environment.unwrap(), keys)?;
        Some((token.variable, token.mode.clone(), token.token.access_token().expose().to_owned()))
    }

    /// Upstream: `load_auth_keeps_codex_api_key_env_precedence`, `load_auth_reads_access_token_from_env`,
    /// `load_auth_reads_personal_access_token_from_env`.
    #[test]
    fn an_api_key_takes_precedence_over_an_access_token_if_it_is_used() {
        let key = ("CODEX_API_KEY", " sk-1\n");
        let token = ("CODEX_ACCESS_TOKEN", "at-1");
        let api_key = Some(("CODEX_API_KEY", AuthMode::ApiKey, "sk-1".to_owned()));
        let personal = Some(("CODEX_ACCESS_TOKEN", AuthMode::PersonalAccessToken, "at-1".to_owned()));
        assert_eq!(found(&[key, token], ApiKeyPolicy::Use), api_key);
        assert_eq!(found(&[key, token], ApiKeyPolicy::Ignore), personal);
        assert_eq!(found(&[key], ApiKeyPolicy::Ignore), None);
        assert_eq!(found(&[("CODEX_API_KEY", " "), token], ApiKeyPolicy::Use), personal);
        assert_eq!(found(&[("OPENAI_API_KEY", "sk-1")], ApiKeyPolicy::Use), None);
        let agent = found(&[("CODEX_ACCESS_TOKEN", "e30.e30.c2ln")], ApiKeyPolicy::Ignore);
        assert_eq!(agent.map(|(_, mode, _)| mode), Some(AuthMode::AgentIdentity));
    }
}
