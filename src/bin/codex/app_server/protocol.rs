//! The account part of Codex's app-server protocol, as `codex app-server generate-json-schema` of Codex 0.171 describes
//! it.

use codex_auth::Secret;
use codex_auth::claims::PlanType;
use codex_auth::document::AuthMode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::message::RpcError;

/// The version of Codex that the protocol is of.
pub(crate) const CODEX_VERSION: &str = "0.171.0";

/// The plans of the protocol; any other is reported as `unknown`.
const PLANS: [&str; 19] = [
    "free",
    "go",
    "plus",
    "pro",
    "prolite",
    "promax",
    "team",
    "self_serve_business_prolite",
    "self_serve_business_usage_based",
    "business",
    "ent26",
    "enterprise_cbp_automation",
    "enterprise_cbp_usage_based",
    "enterprise",
    "edu",
    "edu_plus",
    "edu_pro",
    "sci",
    "sci_plus",
];

pub(crate) const INITIALIZE: &str = "initialize";
pub(crate) const INITIALIZED: &str = "initialized";
pub(crate) const ACCOUNT_READ: &str = "account/read";
pub(crate) const LOGIN_START: &str = "account/login/start";
pub(crate) const LOGIN_CANCEL: &str = "account/login/cancel";
pub(crate) const LOGOUT: &str = "account/logout";
pub(crate) const SESSION_SWITCH: &str = "accountSession/switch";
pub(crate) const TURN_START: &str = "turn/start";
pub(crate) const AUTH_STATUS: &str = "getAuthStatus";
pub(crate) const ACCOUNT_UPDATED: &str = "account/updated";
pub(crate) const LOGIN_COMPLETED: &str = "account/login/completed";
pub(crate) const REFRESH_TOKENS: &str = "account/chatgptAuthTokens/refresh";

/// Parses the parameters of a request.
///
/// # Errors The parameters are missing or invalid. The message names a missing field, as Codex's does, and repeats no
/// value: one may be a secret.
pub(crate) fn parameters<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, RpcError> {
    let Some(params) = params else {
        return Err(RpcError::invalid("Invalid request: missing field `params`"));
    };
    serde_json::from_str(params.get()).map_err(|error| {
        let text = error.to_string();
        let reason =
            if text.starts_with("missing field") { without_position(&text) } else { "wrong parameters" };
        RpcError::invalid(format!("Invalid request: {reason}"))
    })
}

fn without_position(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Initialize {
    pub(crate) client_info: ClientInfo,
    pub(crate) capabilities: Option<Capabilities>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ClientInfo {
    pub(crate) name: String,
    pub(crate) version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Capabilities {
    pub(crate) experimental_api: bool,
    pub(crate) opt_out_notification_methods: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Initialized {
    pub(crate) user_agent: String,
    pub(crate) codex_home: String,
    pub(crate) platform_family: &'static str,
    pub(crate) platform_os: &'static str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AccountRead {
    pub(crate) refresh_token: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AuthStatus {
    #[serde(deserialize_with = "null_is_false")]
    pub(crate) include_token: bool,
    #[serde(deserialize_with = "null_is_false")]
    pub(crate) refresh_token: bool,
}

fn null_is_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The parameters of [`LOGIN_START`]. A type of login that only the next Codex knows is `Other`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum LoginStart {
    #[serde(rename_all = "camelCase")]
    ApiKey {
        #[serde(deserialize_with = "secret")]
        api_key: Secret,
    },
    #[serde(rename_all = "camelCase")]
    Chatgpt {
        /// Whether a page of the authority's shows the success.
        #[serde(default)]
        use_hosted_login_success_page: bool,
        #[serde(default)]
        app_brand: Option<AppBrand>,
    },
    ChatgptDeviceCode,
    ChatgptAuthTokens(HandedInTokens),
    #[serde(other)]
    Other,
}

/// The app that a hosted page leads back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AppBrand {
    #[default]
    Codex,
    Chatgpt,
}

impl AppBrand {
    /// The hosted page that shows the success of a login.
    pub(crate) fn success_page(self) -> &'static str {
        match self {
            Self::Codex => "https://chatgpt.com/codex/open-app?source=login&app_brand=codex",
            Self::Chatgpt => "https://chatgpt.com/codex/open-app?source=login&app_brand=chatgpt",
        }
    }
}

/// ChatGPT tokens that the client hands in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HandedInTokens {
    #[serde(deserialize_with = "secret")]
    pub(crate) access_token: Secret,
    pub(crate) chatgpt_account_id: String,
    pub(crate) chatgpt_plan_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginCancel {
    pub(crate) login_id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginCompleted<'a> {
    pub(crate) login_id: Option<&'a str>,
    pub(crate) success: bool,
    pub(crate) error: Option<&'a str>,
    pub(crate) onboarding_entrypoint: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefreshTokens {
    pub(crate) reason: &'static str,
    pub(crate) previous_account_id: Option<String>,
}

/// The protocol's name of a credential type; `None` if it has none.
pub(crate) fn auth_mode(mode: &AuthMode) -> Option<&str> {
    match mode {
        AuthMode::AgentIdentity
        | AuthMode::ApiKey
        | AuthMode::ChatGpt
        | AuthMode::ChatGptAuthTokens
        | AuthMode::PersonalAccessToken => Some(mode.as_str()),
        _ => None,
    }
}

/// The protocol's name of a plan.
pub(crate) fn plan_type(plan: Option<&PlanType>) -> &'static str {
    let known = plan.and_then(|plan| PLANS.into_iter().find(|known| *known == plan.as_str()));
    known.unwrap_or("unknown")
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_is_named_and_a_wrong_value_is_not_repeated() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let refused = |params: &str| parameters::<LoginStart>(Some(&raw(params))).unwrap_err().message;
        assert_eq!(refused(r#"{"type":"apiKey"}"#), "Invalid request: missing field `apiKey`");
        assert_eq!(refused(r#"{"type":"apiKey","apiKey":["marked"]}"#), "Invalid request: wrong parameters");
        assert_eq!(
            parameters::<AccountRead>(None).unwrap_err().message,
            "Invalid request: missing field `params`"
        );
        assert!(parameters::<AccountRead>(Some(&raw("[]"))).is_ok(), "Codex takes an empty list");
        let status: AuthStatus = parameters(Some(&raw(r#"{"includeToken":null}"#))).unwrap();
        assert!(!status.include_token && !status.refresh_token);
    }

    #[test]
    fn plans_and_modes_have_the_names_of_the_protocol() {
        assert_eq!(plan_type(Some(&PlanType::from_name("hc"))), "enterprise");
        assert_eq!((plan_type(Some(&PlanType::from_name("next"))), plan_type(None)), ("unknown", "unknown"));
        assert_eq!(auth_mode(&AuthMode::ApiKey), Some("apikey"));
        assert_eq!(auth_mode(&AuthMode::BedrockApiKey), None);
    }
}
