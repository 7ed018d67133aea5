//! `codex doctor` about the network: addresses, proxies, certificates and the server's clock.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use codex_auth::Timestamp;
use jiff::SignedDuration;

use super::{Patient, Report};
use crate::support::{TestHome, chatgpt, now};

/// A server whose clock is `ahead`, for the requests of one run.
fn authority_ahead_by(ahead: SignedDuration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/oauth/token", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: io::Result<Vec<_>> =
                lines.take_while(|line| !matches!(line.as_deref(), Ok(""))).collect();
            assert!(head.unwrap()[0].starts_with("HEAD /oauth/token "));
            let date = Timestamp::from_second(now()).unwrap() + ahead;
            let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date);
            let date = date.unwrap();
            write!(stream, "HTTP/1.1 405 No\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    url
}

#[test]
fn a_wrong_clock_is_detected_by_the_server_or_the_token() {
    let patient = Patient::healthy();
    for (seconds, standing, message, remedy) in [
        (86_430, "problem", "is 1 d behind the authority's", "set the clock"),
        (-7_270, "problem", "is 2 h 1 min ahead of the authority's", "set the clock"),
        (90, "warning", "is 1 min behind the authority's", "set the clock"),
        (3, "ok", "within 30 s of the authority's", ""),
    ] {
        let url = authority_ahead_by(SignedDuration::from_secs(seconds));
        let report = Report::of(|arguments| {
            patient.codex(arguments.iter().copied()).env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", &url)
        });
        report.says(standing, "clock", message, remedy).says("ok", "reachable", "HTTP 405", "");
    }
    let nowhere = TestHome::new();
    nowhere.write("auth.json", chatgpt("acct-1", "rt-1", now() + 3_600, now() + 7_200));
    let report = Report::of(|arguments| nowhere.codex(arguments.iter().copied()));
    report.says("problem", "clock", "behind the clock that dated the access token", "set the clock");
    report.says("warning", "reachable", "cannot be reached: Connection refused", "");
}

#[test]
fn network_problems_are_reported_with_their_variable() {
    let patient = Patient::healthy();
    let look = |pairs: &[(&str, &str)]| {
        Report::of(|arguments| {
            let run = patient.codex(arguments.iter().copied());
            pairs.iter().fold(run, |run, (name, value)| run.env(name, value))
        })
    };
    const REFRESH: &str = "CODEX_REFRESH_TOKEN_URL_OVERRIDE";
    // No server listens on the port, so nothing leaves this machine.
    let secure = (REFRESH, "https://authority.example/token");
    let proxy = ("HTTPS_PROXY", "http://ada:sesame@127.0.0.1:9");
    look(&[(REFRESH, "http://authority.example/")]).says(
        "problem",
        "authority",
        "would send tokens to authority.example unencrypted",
        "unset CODEX_REFRESH",
    );
    look(&[secure, proxy, ("NO_PROXY", "elsewhere.example")])
        .says(
            "ok",
            "authority",
            "refreshed at authority.example/token (CODEX_REFRESH_TOKEN_URL_OVERRIDE)",
            "",
        )
        .says(
            "ok",
            "route",
            "through the proxy 127.0.0.1:9 (HTTPS_PROXY), except for the hosts in NO_PROXY",
            "",
        )
        .says("ok", "certificates", "the system's", "")
        .says("warning", "reachable", "cannot be reached", "");
    look(&[secure, ("HTTPS_PROXY", "gopher://somewhere")]).says("problem", "route", "HTTPS_PROXY is not", "");
    look(&[secure, ("CODEX_CA_CERTIFICATE", "/nowhere.pem")]).says(
        "problem",
        "route",
        "CODEX_CA_CERTIFICATE names /nowhere.pem, which does not exist",
        "",
    );
    look(&[]).says("ok", "certificates", "not needed: the authority runs on this machine", "");
}
