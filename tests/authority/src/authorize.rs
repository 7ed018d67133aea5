//! `/oauth/authorize`: the page that a browser visits, and the codes that it receives.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::faults::Endpoint;
use crate::grants::{Account, GrantId};
use crate::policy::{Consent, Redirects};
use crate::reply::Reply;
use crate::request::{Arrival, serve};
use crate::state::{self, Shared};
use crate::token_endpoint::knows_client;

/// How many seconds a code can be redeemed, and a consent page answered.
const CODE_LIFETIME: i64 = 600;
/// The length of a SHA-256 in base64url.
const CHALLENGE_LENGTH: usize = 43;

pub(crate) async fn authorize(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let query = arrival.query();
    let mut seen = arrival.sighting(None);
    seen.query = query.clone().unwrap_or_default();
    seen.client_id = seen.query.get("client_id").cloned();
    serve(shared, Endpoint::Authorize, seen, move |state| ask(state, query.as_ref())).await
}

/// The button that was pressed on the consent page.
pub(crate) async fn decide(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let form = arrival.form().unwrap_or_default();
    serve(shared, Endpoint::Authorize, arrival.sighting(None), move |state| {
        let now = state.policy.now();
        let asked = form.get("request").and_then(|name| state.codes.asked.remove(name));
        match (asked.filter(|asked| asked.until > now), form.get("decision").map(String::as_str)) {
            (Some(asked), Some("continue")) => grant_code(state, asked),
            (Some(asked), Some("cancel")) => asked.refused("access_denied", "the visitor cancelled"),
            _ => error_page("This page is no longer valid. Start the sign-in again."),
        }
    })
    .await
}

/// A code that was issued, with what its redeemer must prove.
#[derive(Debug)]
pub(crate) struct Proof<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) verifier: &'a str,
}

/// Why a code cannot be redeemed, and the grant that it was redeemed for before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) why: &'static str,
    pub(crate) bought: Option<GrantId>,
}

/// Codes that are not redeemed, and consent pages without an answer.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    codes: HashMap<String, Code>,
    asked: HashMap<String, Asked>,
}

#[derive(Debug)]
struct Code {
    account: Account,
    client_id: String,
    redirect_uri: String,
    challenge: String,
    until: i64,
    used: bool,
    bought: Option<GrantId>,
}

/// An authorize request that passed every check.
#[derive(Debug)]
struct Asked {
    client_id: String,
    redirect_uri: String,
    challenge: String,
    state: String,
    until: i64,
}

impl Codes {
    /// Issues a code that can be redeemed with the verifier of the challenge.
    pub(crate) fn add(
        &mut self,
        code: String,
        account: Account,
        client_id: &str,
        redirect_uri: &str,
        challenge: &str,
        now: i64,
    ) {
        self.codes.retain(|_, code| code.until > now);
        let made = Code {
            account,
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            challenge: challenge.to_owned(),
            until: now.saturating_add(CODE_LIFETIME),
            used: false,
            bought: None,
        };
        self.codes.insert(code, made);
    }

    /// Redeems a code. It is used up even if the proof is wrong.
    pub(crate) fn redeem(&mut self, code: &str, proof: &Proof<'_>, now: i64) -> Result<Account, Refused> {
        let refused = |why| Refused { why, bought: None };
        let Some(code) = self.codes.get_mut(code).filter(|code| code.until > now) else {
            return Err(refused("unknown or expired code"));
        };
        if code.used {
            return Err(Refused { why: "this code has already been used", bought: code.bought });
        }
        code.used = true;
        if code.client_id != proof.client_id || code.redirect_uri != proof.redirect_uri {
            return Err(refused("the code was made for another client or redirect_uri"));
        }
        if !is_verifier(proof.verifier) || challenge(proof.verifier) != code.challenge {
            return Err(refused("the code_verifier does not fit the code_challenge"));
        }
        Ok(code.account.clone())
    }

    pub(crate) fn redeemed(&mut self, code: &str, bought: GrantId) {
        if let Some(code) = self.codes.get_mut(code) {
            code.bought = Some(bought);
        }
    }
}

/// Returns the S256 challenge of a verifier.
pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// Whether it is 43 to 128 unreserved characters (RFC 7636).
fn is_verifier(text: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

/// Escapes text for HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Returns a small page that works with a screen reader.
pub(crate) fn page(title: &str, main: &str) -> Reply {
    Reply::html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title></head>\
         <body><main><h1>{title}</h1>{main}</main></body></html>"
    ))
}

impl Asked {
    fn answered(&self, parameters: &[(&str, &str)]) -> Reply {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters).append_pair("state", &self.state);
        Reply::see_other(format!("{}?{}", self.redirect_uri, query.finish()))
    }

    fn refused(&self, error: &str, description: &str) -> Reply {
        self.answered(&[("error", error), ("error_description", description)]).counted_as(303, error)
    }
}

fn ask(state: &mut state::State, query: Option<&BTreeMap<String, String>>) -> Reply {
    let Some(query) = query else { return error_page("A parameter is repeated.") };
    let parameter = |name: &str| query.get(name).map_or("", String::as_str);
    // Never redirect to an address that is not registered for the client.
    if !knows_client(state, parameter("client_id")) {
        return error_page("Unknown client_id.");
    }
    if !is_registered(parameter("redirect_uri"), state.policy.redirects) {
        return error_page("This redirect_uri is not registered.");
    }
    let now = state.policy.now();
    let asked = Asked {
        client_id: parameter("client_id").to_owned(),
        redirect_uri: parameter("redirect_uri").to_owned(),
        challenge: parameter("code_challenge").to_owned(),
        state: parameter("state").to_owned(),
        until: now.saturating_add(CODE_LIFETIME),
    };
    let complaint = if parameter("response_type") != "code" {
        Some(("unsupported_response_type", "response_type must be code"))
    } else if parameter("code_challenge_method") != "S256" || asked.challenge.len() != CHALLENGE_LENGTH {
        Some(("invalid_request", "a code_challenge with S256 is required"))
    } else if asked.state.is_empty() {
        Some(("invalid_request", "state is required"))
    } else if !["openid", "offline_access"]
        .iter()
        .all(|scope| parameter("scope").split(' ').any(|s| s == *scope))
    {
        Some(("invalid_scope", "openid and offline_access are required"))
    } else {
        None
    };
    if let Some((error, description)) = complaint {
        return asked.refused(error, description);
    }
    match state.policy.consent.clone() {
        Consent::Straight => grant_code(state, asked),
        Consent::Refuses { error, description } => asked.refused(&error, &description),
        Consent::Page => {
            let name = state.mint.opaque("consent-");
            let page = consent_page(&name, &state.visitor);
            state.codes.asked.retain(|_, asked| asked.until > now);
            state.codes.asked.insert(name, asked);
            page
        }
    }
}

fn grant_code(state: &mut state::State, asked: Asked) -> Reply {
    let code = state.mint.opaque("ac-");
    let reply = asked.answered(&[("code", &code)]);
    let now = state.policy.now();
    let Asked { client_id, redirect_uri, challenge, .. } = asked;
    state.codes.add(code, state.visitor.clone(), &client_id, &redirect_uri, &challenge, now);
    reply
}

/// Whether it is a loopback address with a port and Codex's callback path.
fn is_registered(redirect_uri: &str, redirects: Redirects) -> bool {
    let hosts = ["http://localhost:", "http://127.0.0.1:", "http://[::1]:"];
    let port = hosts
        .iter()
        .find_map(|host| redirect_uri.strip_prefix(host))
        .and_then(|rest| rest.strip_suffix("/auth/callback"))
        .and_then(|port| port.parse::<u16>().ok());
    match redirects {
        Redirects::AnyLoopbackPort => port.is_some_and(|port| port > 0),
        Redirects::CodexPorts => matches!(port, Some(1455 | 1457)),
    }
}

fn consent_page(name: &str, visitor: &Account) -> Reply {
    page(
        "Sign in to Codex",
        &format!(
            "<p>Continue as {}?</p><form method=\"post\" action=\"/oauth/authorize\">\
             <input type=\"hidden\" name=\"request\" value=\"{name}\">\
             <button id=\"continue\" name=\"decision\" value=\"continue\">Continue</button> \
             <button id=\"cancel\" name=\"decision\" value=\"cancel\">Cancel</button></form>",
            escape(&visitor.email)
        ),
    )
}

fn error_page(text: &str) -> Reply {
    page("Sign-in failed", &format!("<p>{}</p>", escape(text))).counted_as(400, "invalid_request")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "verifier-of-at-least-forty-three-characters";

    fn codes() -> Codes {
        let mut codes = Codes::default();
        codes.add("code".to_owned(), Account::default(), "client", "uri", &challenge(VERIFIER), 0);
        codes
    }

    fn proof() -> Proof<'static> {
        Proof { client_id: "client", redirect_uri: "uri", verifier: VERIFIER }
    }

    #[test]
    fn a_code_is_redeemed_once_with_its_verifier() {
        let mut codes = codes();
        assert_eq!(codes.redeem("code", &proof(), 1), Ok(Account::default()));
        codes.redeemed("code", GrantId(7));
        assert_eq!(codes.redeem("code", &proof(), 1).unwrap_err().bought, Some(GrantId(7)));
    }

    #[test]
    fn a_wrong_verifier_uses_the_code_up() {
        let wrong = [
            Proof { verifier: "other", ..proof() },
            Proof { client_id: "other", ..proof() },
            Proof { redirect_uri: "other", ..proof() },
        ];
        for wrong in wrong {
            let mut codes = codes();
            assert!(codes.redeem("code", &wrong, 1).is_err());
            assert!(codes.redeem("code", &proof(), 1).is_err());
        }
        assert!(codes().redeem("code", &proof(), CODE_LIFETIME).is_err());
        let mut short = Codes::default();
        short.add("code".to_owned(), Account::default(), "client", "uri", &challenge("short"), 0);
        assert!(short.redeem("code", &Proof { verifier: "short", ..proof() }, 1).is_err());
    }

    #[test]
    fn only_the_loopback_callback_is_registered() {
        let any = |uri| is_registered(uri, Redirects::AnyLoopbackPort);
        assert!(any("http://localhost:1455/auth/callback"));
        assert!(any("http://[::1]:9/auth/callback"));
        for uri in [
            "http://localhost/auth/callback",
            "http://localhost:1455/other",
            "http://localhost:1455@evil.example/auth/callback",
            "https://localhost:1455/auth/callback",
            "http://evil.example:1455/auth/callback",
        ] {
            assert!(!any(uri), "{uri}");
        }
        assert!(is_registered("http://127.0.0.1:1457/auth/callback", Redirects::CodexPorts));
        assert!(!is_registered("http://127.0.0.1:1456/auth/callback", Redirects::CodexPorts));
    }
}
