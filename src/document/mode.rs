//! What kind of credential a document holds, in the words of its `auth_mode`.

use std::fmt;

/// A kind of credential. The names are those that Codex writes (`codex-behaviour.md` 1.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMode {
    /// A JWT that names an agent, or the key it signs with.
    AgentIdentity,
    /// A platform API key.
    ApiKey,
    /// AWS access keys for Bedrock.
    BedrockAccessKeys,
    /// An API key for Bedrock.
    BedrockApiKey,
    /// A ChatGPT login with a refresh token of its own.
    ChatGpt,
    /// ChatGPT tokens that a host program hands in and renews.
    ChatGptAuthTokens,
    /// Ready-made request headers; never found in a store.
    Headers,
    /// A personal access token, `at-…`.
    PersonalAccessToken,
    /// A word of a newer build. The document still loads.
    Unknown(String),
}

impl AuthMode {
    /// The mode that Codex spells `word`.
    #[must_use]
    pub fn named(word: &str) -> Self {
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

    /// Codex's word for it.
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
    fn every_word_comes_back_as_it_was() {
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
            assert_eq!(AuthMode::named(word).as_str(), word);
        }
        assert_eq!(AuthMode::named("APIKEY"), AuthMode::Unknown("APIKEY".to_owned()));
    }
}
