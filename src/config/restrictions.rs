//! The restrictions on logins that an administrator can set in `config.toml`.

use toml_edit::{DocumentMut, Item};

use super::error::Error;

pub(super) const METHOD_KEY: &str = "forced_login_method";
pub(super) const WORKSPACE_KEY: &str = "forced_chatgpt_workspace_id";

/// A login method, as in `forced_login_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginMethod {
    /// An API key: `api`.
    Api,
    /// A ChatGPT account, whichever way its token is obtained: `chatgpt`.
    ChatGpt,
}

/// The restrictions on logins. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restrictions {
    /// The only method that is allowed; `None` allows all.
    pub method: Option<LoginMethod>,
    /// The workspaces that are allowed for ChatGPT accounts; empty allows all. They do not restrict API keys.
    pub workspaces: Vec<String>,
}

impl Restrictions {
    /// Checks that a login by `method` is allowed.
    ///
    /// # Errors
    /// [`ForbiddenLogin::Method`].
    pub fn permit_method(&self, method: LoginMethod) -> Result<(), ForbiddenLogin> {
        match self.method {
            Some(allowed) if allowed != method => Err(ForbiddenLogin::Method { allowed }),
            _ => Ok(()),
        }
    }

    /// Checks that tokens for this workspace may be stored and used. Tokens without a workspace are allowed only if
    /// there is no restriction.
    ///
    /// # Errors
    /// [`ForbiddenLogin::Workspace`].
    pub fn permit_workspace(&self, account_id: Option<&str>) -> Result<(), ForbiddenLogin> {
        let allowed = &self.workspaces;
        if allowed.is_empty() || account_id.is_some_and(|id| allowed.iter().any(|allowed| allowed == id)) {
            return Ok(());
        }
        Err(ForbiddenLogin::Workspace { account_id: account_id.map(str::to_owned), allowed: allowed.clone() })
    }

    pub(super) fn read(document: &DocumentMut) -> Result<Self, Error> {
        let method = match document.get(METHOD_KEY) {
            None => None,
            Some(item) => Some(
                method(item)
                    .ok_or(Error::Key { key: METHOD_KEY, expected: "one of \"chatgpt\", \"api\"" })?,
            ),
        };
        let workspaces = match document.get(WORKSPACE_KEY) {
            None => Vec::new(),
            Some(item) => workspaces(item)
                .ok_or(Error::Key { key: WORKSPACE_KEY, expected: "a workspace id, or a list of them" })?,
        };
        Ok(Self { method, workspaces })
    }
}

fn method(item: &Item) -> Option<LoginMethod> {
    match item.as_str()? {
        "api" => Some(LoginMethod::Api),
        "chatgpt" => Some(LoginMethod::ChatGpt),
        _ => None,
    }
}

/// Reads the ids of a string or a list. A rule without ids is refused, because its meaning is unclear.
fn workspaces(item: &Item) -> Option<Vec<String>> {
    let ids: Option<Vec<&str>> = match (item.as_str(), item.as_array()) {
        (Some(id), _) => Some(vec![id]),
        (None, Some(list)) => list.iter().map(toml_edit::Value::as_str).collect(),
        (None, None) => None,
    };
    let ids: Vec<_> =
        ids?.into_iter().map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect();
    (!ids.is_empty()).then_some(ids)
}

/// A login that `config.toml` does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForbiddenLogin {
    /// The login method is not allowed.
    #[error("config.toml allows logins only by {} (forced_login_method)", describe(*allowed))]
    Method {
        /// The method that is allowed.
        allowed: LoginMethod,
    },
    /// The workspace is not allowed.
    #[error(
        "the login is for {}, but config.toml allows only {} (forced_chatgpt_workspace_id)",
        account_id.as_ref().map_or_else(|| "no workspace".to_owned(), |id| format!("workspace {id}")),
        allowed.join(", ")
    )]
    Workspace {
        /// The workspace of the login.
        account_id: Option<String>,
        /// The workspaces that are allowed.
        allowed: Vec<String>,
    },
}

fn describe(method: LoginMethod) -> &'static str {
    match method {
        LoginMethod::Api => "API key",
        LoginMethod::ChatGpt => "ChatGPT account",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Restrictions, Error> {
        Restrictions::read(&text.parse().unwrap())
    }

    #[test]
    fn without_restrictions_everything_is_allowed() {
        assert_eq!(read("model = \"o\"").unwrap(), Restrictions::default());
    }

    #[test]
    fn workspaces_are_a_string_or_a_list_of_strings() {
        for (text, ids) in [
            ("forced_chatgpt_workspace_id = \" ws-1 \"", &["ws-1"][..]),
            ("forced_chatgpt_workspace_id = [\"ws-1\", \"\", \"ws-2\"]", &["ws-1", "ws-2"]),
        ] {
            assert_eq!(read(text).unwrap().workspaces, ids, "{text}");
        }
        for wrong in ["1", "[1]", "{}", "\"\"", "[]", "[\" \"]"] {
            let error = read(&format!("forced_chatgpt_workspace_id = {wrong}")).unwrap_err();
            assert!(matches!(error, Error::Key { key: WORKSPACE_KEY, .. }), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_method_is_one_of_two_words() {
        for (word, method) in [("api", LoginMethod::Api), ("chatgpt", LoginMethod::ChatGpt)] {
            let text = format!("forced_login_method = \"{word}\"");
            assert_eq!(read(&text).unwrap().method, Some(method));
        }
        for wrong in ["\"API\"", "\"\"", "true"] {
            assert!(read(&format!("forced_login_method = {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_forced_method_is_permitted() {
        let (api, chatgpt) = (LoginMethod::Api, LoginMethod::ChatGpt);
        assert!(Restrictions::default().permit_method(api).is_ok());
        let forced = read("forced_login_method = \"api\"").unwrap();
        assert!(forced.permit_method(api).is_ok());
        assert_eq!(forced.permit_method(chatgpt), Err(ForbiddenLogin::Method { allowed: api }));
    }

    #[test]
    fn only_listed_workspaces_are_permitted() {
        assert!(Restrictions::default().permit_workspace(None).is_ok());
        let forced = read("forced_chatgpt_workspace_id = [\"ws-1\", \"ws-2\"]").unwrap();
        assert!(forced.permit_workspace(Some("ws-2")).is_ok());
        for other in [None, Some(""), Some("ws-3"), Some("ws-1,ws-2")] {
            assert!(forced.permit_workspace(other).is_err(), "{other:?}");
        }
    }
}
