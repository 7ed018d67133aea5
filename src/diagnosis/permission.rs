//! Checks a stored login against the restrictions in `config.toml`.

use crate::config::{ForbiddenLogin, LoginMethod, Restrictions};
use crate::document::{AuthDocument, AuthMode};

/// Checks whether `restrictions` permit a stored login: a rule may be newer than the login, and Codex 0.169 removes a
/// forbidden login when it starts. A personal access token has no workspace to check.
pub(super) fn permit_document(
    restrictions: &Restrictions,
    document: &AuthDocument,
) -> Result<(), ForbiddenLogin> {
    match document.mode() {
        Some(AuthMode::ApiKey) => restrictions.permit_method(LoginMethod::Api),
        Some(mode @ (AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens | AuthMode::PersonalAccessToken)) => {
            restrictions.permit_method(LoginMethod::ChatGpt)?;
            if mode == AuthMode::PersonalAccessToken {
                return Ok(());
            }
            restrictions.permit_workspace(document.workspace().as_deref())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn restrictions(text: &str) -> Restrictions {
        Config::parse(text).unwrap().restrictions
    }

    #[test]
    fn a_stored_login_is_checked_against_the_current_restrictions() {
        let document = |text: &str| AuthDocument::parse(text.as_bytes()).unwrap();
        let key = document(r#"{"OPENAI_API_KEY":"sk-1"}"#);
        let account = document(
            r#"{"auth_mode":"chatgpt","tokens":{"id_token":"","access_token":"a","refresh_token":"r","account_id":"ws-1"}}"#,
        );
        let pat = document(r#"{"personal_access_token":"at-1"}"#);
        for (rule, permitted) in [
            ("", [true, true, true]),
            ("forced_login_method = \"api\"", [true, false, false]),
            ("forced_login_method = \"chatgpt\"", [false, true, true]),
            ("forced_chatgpt_workspace_id = \"ws-1\"", [true, true, true]),
            ("forced_chatgpt_workspace_id = \"ws-2\"", [true, false, true]),
        ] {
            let permits =
                [&key, &account, &pat].map(|document| permit_document(&restrictions(rule), document).is_ok());
            assert_eq!(permits, permitted, "{rule}");
        }
    }
}
