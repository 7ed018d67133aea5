//! Who may log in here, and how: the rules that an administrator puts into `config.toml`.

use toml_edit::{DocumentMut, Item};

use super::Error;

pub(super) const METHOD_KEY: &str = "forced_login_method";
pub(super) const WORKSPACE_KEY: &str = "forced_chatgpt_workspace_id";

/// A way to log in, in the words of `forced_login_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginMethod {
    /// By API key: `api`.
    Api,
    /// By an account of ChatGPT, in whatever way its token is had: `chatgpt`.
    ChatGpt,
}

impl LoginMethod {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::ChatGpt => "chatgpt",
        }
    }
}

/// What `config.toml` allows. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restrictions {
    /// The one way that is allowed; any where there is none.
    pub method: Option<LoginMethod>,
    /// The workspaces that an account may act for; any where there are none. They do not concern API keys.
    pub workspaces: Vec<String>,
}

impl Restrictions {
    /// Whether a login in this way may be begun.
    ///
    /// # Errors
    /// [`ForbiddenLogin::Method`].
    pub fn permit_method(&self, method: LoginMethod) -> Result<(), ForbiddenLogin> {
        match self.method {
            Some(allowed) if allowed != method => Err(ForbiddenLogin::Method { allowed }),
            _ => Ok(()),
        }
    }

    /// Whether tokens for this workspace may be kept and used. What does not say what it is for may not where there is a
    /// rule.
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

/// The ids of a text or a list. A rule that names none is a mistake: it would allow either nobody or everybody.
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

/// What `config.toml` does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForbiddenLogin {
    /// This way to log in.
    #[error("config.toml allows no other login than one by {} (forced_login_method)", means(*allowed))]
    Method {
        /// The one that is allowed.
        allowed: LoginMethod,
    },
    /// This workspace.
    #[error(
        "the login is for {}, and config.toml allows {} only (forced_chatgpt_workspace_id)",
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

    fn read(text: &str) -> Result<Restrictions, Error> {
        Config::parse(text).map(|config| config.restrictions)
    }

    #[test]
    fn without_a_rule_everything_is_allowed() {
        assert_eq!(read("model = \"o\"").unwrap(), Restrictions::default());
    }

    #[test]
    fn a_workspace_is_one_text_or_a_list_of_them() {
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
    fn a_method_has_one_of_two_words() {
        for method in [LoginMethod::Api, LoginMethod::ChatGpt] {
            let text = format!("forced_login_method = \"{}\"", method.as_str());
            assert_eq!(read(&text).unwrap().method, Some(method));
        }
        for wrong in ["\"API\"", "\"\"", "true"] {
            assert!(read(&format!("forced_login_method = {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_forced_way_in_is_permitted() {
        let (api, chatgpt) = (LoginMethod::Api, LoginMethod::ChatGpt);
        assert!(Restrictions::default().permit_method(api).is_ok());
        let forced = read("forced_login_method = \"api\"").unwrap();
        assert!(forced.permit_method(api).is_ok());
        assert_eq!(forced.permit_method(chatgpt), Err(ForbiddenLogin::Method { allowed: api }));
    }

    #[test]
    fn only_a_named_workspace_is_permitted_and_none_is_not_one() {
        assert!(Restrictions::default().permit_workspace(None).is_ok());
        let forced = read("forced_chatgpt_workspace_id = [\"ws-1\", \"ws-2\"]").unwrap();
        assert!(forced.permit_workspace(Some("ws-2")).is_ok());
        for other in [None, Some(""), Some("ws-3"), Some("ws-1,ws-2")] {
            assert!(forced.permit_workspace(other).is_err(), "{other:?}");
        }
    }
}
