//! Whether `config.toml` allows a login that is there.

use crate::config::{ForbiddenLogin, LoginMethod, Restrictions};
use crate::document::{AuthDocument, AuthMode};

/// Whether a login that is there would be permitted today: a rule may be younger than it, and Codex throws such a login away
/// when it starts (`codex-behaviour.md` 2.5). A personal access token says nothing of its workspace.
///
/// # Errors
/// [`ForbiddenLogin::Method`], [`ForbiddenLogin::Workspace`].
pub fn permit_document(restrictions: &Restrictions, document: &AuthDocument) -> Result<(), ForbiddenLogin> {
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
    fn a_login_that_is_there_is_held_to_the_rules_of_today() {
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
