//! The kinds of credential that a document can hold, as `auth_mode` names them.

use std::fmt;

/// A kind of credential, named as Codex writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMode {
    /// A JWT that identifies an agent, or the agent's signing key.
    AgentIdentity,
    /// A platform API key.
    ApiKey,
    /// AWS access keys for Bedrock.
    BedrockAccessKeys,
    /// An API key for Bedrock.
    BedrockApiKey,
    /// A ChatGPT login with a refresh token.
    ChatGpt,
    /// ChatGPT tokens that a host application provides and renews.
    ChatGptAuthTokens,
    /// Ready-made request headers; never found in a store.
    Headers,
    /// A personal access token, `at-…`.
    PersonalAccessToken,
    /// A mode of a newer Codex. The document still loads.
    Unknown(String),
}

impl AuthMode {
    /// Returns the mode that Codex writes as `word`.
    #[must_use]
    pub fn from_name(word: &str) -> Self {
        match word {
            "agentIdentity" => Self::AgentIdentity,
            "apikey" => Self::ApiKey,
            "bedrockAccessKeys" => Self::BedrockAccessKeys,
            "bedrockApiKey" => Self::BedrockApiKey,
            "chatgpt" => Self::ChatGpt,
            "chatgptAuthTokens" => Self::ChatGptAuthTokens,
            "headers" => Self::Headers,
            "personalAccessToken" => Self::PersonalAccessToken,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Returns Codex's name of the mode.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::AgentIdentity => "agentIdentity",
            Self::ApiKey => "apikey",
            Self::BedrockAccessKeys => "bedrockAccessKeys",
            Self::BedrockApiKey => "bedrockApiKey",
            Self::ChatGpt => "chatgpt",
            Self::ChatGptAuthTokens => "chatgptAuthTokens",
            Self::Headers => "headers",
            Self::PersonalAccessToken => "personalAccessToken",
            Self::Unknown(word) => word,
        }
    }
}

impl fmt::Display for AuthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_written_as_it_was_read() {
        for word in [
            "agentIdentity",
            "apikey",
            "bedrockAccessKeys",
            "bedrockApiKey",
            "chatgpt",
            "chatgptAuthTokens",
            "headers",
            "personalAccessToken",
            "fromTheFuture",
            "APIKEY",
        ] {
            assert_eq!(AuthMode::from_name(word).as_str(), word);
        }
        assert_eq!(AuthMode::from_name("APIKEY"), AuthMode::Unknown("APIKEY".to_owned()));
    }
}
