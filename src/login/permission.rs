//! What `config.toml` allows, asked before a person is troubled and once more when it is known whose login it is.

use crate::config::{LoginMethod, Restrictions};
use crate::document::{AuthDocument, AuthMode};

/// Whether a login in this way may be begun.
///
/// # Errors
/// [`Forbidden::Method`].
pub fn permit_method(restrictions: &Restrictions, method: LoginMethod) -> Result<(), Forbidden> {
    match restrictions.method {
        Some(allowed) if allowed != method => Err(Forbidden::Method { allowed }),
        _ => Ok(()),
    }
}

/// Whether a login for this workspace may be kept. One that does not say what it is for may not where there is a rule.
///
/// # Errors
/// [`Forbidden::Workspace`].
pub fn permit_workspace(restrictions: &Restrictions, account_id: Option<&str>) -> Result<(), Forbidden> {
    let allowed = &restrictions.workspaces;
    if allowed.is_empty() || account_id.is_some_and(|id| allowed.iter().any(|allowed| allowed == id)) {
        return Ok(());
    }
    Err(Forbidden::Workspace { account_id: account_id.map(str::to_owned), allowed: allowed.clone() })
}

/// Whether a login that is there would be permitted today: a rule may be younger than it, and Codex throws such a login away
/// when it starts (`codex-behaviour.md` 2.5). A personal access token says nothing of its workspace.
///
/// # Errors
/// [`Forbidden::Method`], [`Forbidden::Workspace`].
pub fn permit_document(restrictions: &Restrictions, document: &AuthDocument) -> Result<(), Forbidden> {
    match document.mode() {
        Some(AuthMode::ApiKey) => permit_method(restrictions, LoginMethod::Api),
        Some(mode @ (AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens | AuthMode::PersonalAccessToken)) => {
            permit_method(restrictions, LoginMethod::ChatGpt)?;
            if mode == AuthMode::PersonalAccessToken {
                return Ok(());
            }
            permit_workspace(restrictions, document.identity().account_id.as_deref())
        }
        _ => Ok(()),
    }
}

/// What `config.toml` does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// This way to log in.
    #[error("config.toml allows no other login than one by {} (forced_login_method)", means(*allowed))]
    Method {
        /// The one that is allowed.
        allowed: LoginMethod,
    },
    /// This workspace.
    #[error(
        "you signed in for {}, and config.toml allows {} only (forced_chatgpt_workspace_id)",
        account_id.as_ref().map_or_else(|| "no workspace".to_owned(), |id| format!("workspace {id}")),
        allowed.join(", ")
    )]
    Workspace {
        /// The workspace of the login.
        account_id: Option<String>,
        /// Those that are allowed.
        allowed: Vec<String>,
    },
}

fn means(method: LoginMethod) -> &'static str {
    match method {
        LoginMethod::Api => "API key",
        LoginMethod::ChatGpt => "ChatGPT account",
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
    fn only_the_forced_way_in_is_permitted() {
        let (api, chatgpt) = (LoginMethod::Api, LoginMethod::ChatGpt);
        assert!(permit_method(&Restrictions::default(), api).is_ok());
        let forced = restrictions("forced_login_method = \"api\"");
        assert!(permit_method(&forced, api).is_ok());
        assert_eq!(permit_method(&forced, chatgpt), Err(Forbidden::Method { allowed: api }));
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

    #[test]
    fn only_a_named_workspace_is_permitted_and_none_is_not_one() {
        assert!(permit_workspace(&Restrictions::default(), None).is_ok());
        let forced = restrictions("forced_chatgpt_workspace_id = [\"ws-1\", \"ws-2\"]");
        assert!(permit_workspace(&forced, Some("ws-2")).is_ok());
        for other in [None, Some(""), Some("ws-3"), Some("ws-1,ws-2")] {
            assert!(permit_workspace(&forced, other).is_err(), "{other:?}");
        }
    }
}
