//! Addresses and proxies: tokens go to `https` or this machine only, through the configured proxy or around it.

use std::process::Command;
use std::time::Duration;

use codex_auth::authority::{Deadlines, Error, HttpClientError, RequestFailure, RetryAdvice};
use scripted_authority::TokenState;

use super::server::proxy;
use super::tls::Signer;
use super::{REFRESH_URL, TEST_DEADLINES, World, refresh_with};
use crate::support::here;

/// Time limits for addresses that do not answer.
const SHORT_DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_millis(300),
    refresh: Duration::from_secs(20),
    revoke: Duration::from_secs(20),
};
/// The variables in which programs look for a proxy; the first two are not used here.
const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// An address in a documentation network (RFC 5737), where no machine answers.
const UNREACHABLE_URL: &str = "https://192.0.2.1/oauth/token";

#[test]
fn plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let listener = proxy(None);
    let way = format!("http://127.0.0.1:{}", listener.port());
    let variables = [(REFRESH_URL, "http://auth.example.test/oauth/token"), ("HTTPS_PROXY", way.as_str())];
    let error = refresh_with(&variables, TEST_DEADLINES, "rt-marked").unwrap_err();
    assert!(matches!(&error, Error::Endpoint(_)), "{error:?}");
    assert_eq!(error.kind(), RetryAdvice::NotSent);
    assert_eq!(
        error.to_string(),
        "CODEX_REFRESH_TOKEN_URL_OVERRIDE would send tokens to auth.example.test unencrypted; \
         it must be an https address, or an http address on this machine"
    );
    assert_eq!(listener.ended(), [""; 0]);
}

#[test]
fn another_machine_is_reached_through_the_proxy_and_the_proxy_sees_no_token() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let signer = Signer::new();
        let server = signer.server(&["auth.example.test"]);
        let between = proxy(Some(server.port()));
        // The scheme is optional, and the password is sent to the proxy only.
        let way = format!("user:pass@127.0.0.1:{}", between.port());
        let certificate = signer.certificate();
        let variables = [
            (REFRESH_URL, "https://auth.example.test/oauth/token?query=1"),
            ("CODEX_CA_CERTIFICATE", certificate.as_str()),
            (variable, way.as_str()),
        ];
        let response = refresh_with(&variables, TEST_DEADLINES, "rt-marked").unwrap();
        assert_eq!(response.access_token.unwrap().expose(), "at-over-a-wire");
        let seen = between.ended().concat();
        assert!(seen.starts_with("CONNECT auth.example.test:443 "), "{seen}");
        assert!(seen.to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz"), "{seen}");
        assert!(!seen.contains("marked") && !seen.contains("query"), "{seen}");
        let request = server.ended().concat();
        assert!(request.starts_with("POST /oauth/token?query=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("rt-marked") && !request.to_lowercase().contains("proxy-"), "{request}");
    }
}

#[test]
fn a_proxy_that_refuses_means_that_nothing_was_sent() {
    let between = proxy(None);
    let way = format!("http://marked:marked@127.0.0.1:{}", between.port());
    let error =
        refresh_with(&[(REFRESH_URL, UNREACHABLE_URL), ("HTTPS_PROXY", &way)], TEST_DEADLINES, "rt-1")
            .unwrap_err();
    assert!(matches!(&error, Error::Transient { cause: RequestFailure::Proxy { .. }, .. }), "{error:?}");
    let message = format!("through the proxy 127.0.0.1:{} (HTTPS_PROXY): ", between.port());
    assert!(error.to_string().contains(&message), "{error}");
    assert!(!format!("{error} {error:?}").contains("marked"), "{error:?}");
    assert_eq!(between.ended().len(), 1);
}

#[test]
fn a_proxy_that_is_set_in_the_process_environment_only_is_not_used() {
    const INSIDE: &str = "CODEX_AUTH_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let error = refresh_with(&[(REFRESH_URL, UNREACHABLE_URL)], SHORT_DEADLINES, "rt-1").unwrap_err();
        assert!(matches!(&error, Error::Transient { cause: RequestFailure::Connection(_), .. }), "{error:?}");
        return;
    }
    let between = proxy(None);
    let way = format!("http://127.0.0.1:{}", between.port());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", here!()]).env(INSIDE, "1");
    for name in PROXIES {
        again.env(name, &way);
    }
    let output = again.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(between.ended(), [""; 0]);
}

#[test]
fn this_machine_is_never_reached_through_a_proxy() {
    let between = proxy(None);
    let way = format!("http://127.0.0.1:{}", between.port());
    let ways = PROXIES.map(|name| (name, way.as_str()));
    let world = World::new();
    let port = world.server.url().rsplit(':').next().unwrap().to_owned();
    let mut token = world.grant.tokens.refresh_token.clone();
    for host in ["127.0.0.1", "localhost", "LocalHost"] {
        let url = format!("http://{host}:{port}/oauth/token");
        let variables: Vec<_> = ways.into_iter().chain([(REFRESH_URL, url.as_str())]).collect();
        let response = refresh_with(&variables, TEST_DEADLINES, &token).unwrap();
        assert_eq!(world.server.state_of(&token), TokenState::Spent);
        token = response.refresh_token.unwrap().expose().to_owned();
    }
    let signer = Signer::new();
    let server = signer.server(&["127.0.0.1", "localhost"]);
    let certificate = signer.certificate();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}/oauth/token", server.port());
        let mine = [(REFRESH_URL, url.as_str()), ("CODEX_CA_CERTIFICATE", certificate.as_str())];
        let variables: Vec<_> = ways.into_iter().chain(mine).collect();
        refresh_with(&variables, TEST_DEADLINES, "rt-marked").unwrap();
    }
    assert_eq!(between.ended(), [""; 0]);
}

#[test]
fn hosts_that_the_user_excepts_are_reached_directly() {
    for variable in ["NO_PROXY", "no_proxy"] {
        for list in ["192.0.2.1", "example.test, 192.0.2.0/24", "*"] {
            let between = proxy(None);
            let way = format!("http://127.0.0.1:{}", between.port());
            let variables = [(REFRESH_URL, UNREACHABLE_URL), ("HTTPS_PROXY", way.as_str()), (variable, list)];
            let error = refresh_with(&variables, SHORT_DEADLINES, "rt-marked").unwrap_err();
            assert!(
                matches!(&error, Error::Transient { cause: RequestFailure::Connection(_), .. }),
                "{error:?}"
            );
            assert_eq!(between.ended(), [""; 0], "{variable} {list}");
        }
    }
}

#[test]
fn an_invalid_proxy_is_named_by_its_variable_and_not_shown() {
    let variables = [(REFRESH_URL, UNREACHABLE_URL), ("all_proxy", "ftp://marked:marked@proxy.example")];
    let error = refresh_with(&variables, SHORT_DEADLINES, "rt-marked").unwrap_err();
    assert!(
        matches!(&error, Error::Client(HttpClientError::Proxy { variable: "all_proxy", .. })),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains("marked"), "{error:?}");
}
