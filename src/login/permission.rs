//! What `config.toml` allows, asked before a person is troubled and once more when it is known whose login it is.

use crate::config::{LoginMethod, Restrictions};

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
    fn only_a_named_workspace_is_permitted_and_none_is_not_one() {
        assert!(permit_workspace(&Restrictions::default(), None).is_ok());
        let forced = restrictions("forced_chatgpt_workspace_id = [\"ws-1\", \"ws-2\"]");
        assert!(permit_workspace(&forced, Some("ws-2")).is_ok());
        for other in [None, Some(""), Some("ws-3"), Some("ws-1,ws-2")] {
            assert!(permit_workspace(&forced, other).is_err(), "{other:?}");
        }
    }
}
