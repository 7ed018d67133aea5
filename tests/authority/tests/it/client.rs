//! A small HTTP client that distinguishes a closed connection, a partial response and a complete one.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use scripted_authority::{CODEX_CLIENT_ID, Grant};
use serde_json::{Value, json};

/// The timeout of every step.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// What was received before the connection closed.
#[derive(Debug)]
pub(crate) enum Heard {
    Nothing,
    CutOff,
    Whole(Answer),
}

impl Heard {
    pub(crate) fn whole(self) -> Answer {
        match self {
            Self::Whole(answer) => answer,
            other => panic!("no whole answer: {other:?}"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap().to_owned()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// Sends one request on a new connection.
pub(crate) fn send(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Heard> {
    let mut stream = request(url, method, path, headers, body)?;
    let mut bytes = Vec::new();
    // Keep the bytes that arrived before a reset.
    let ended = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        return Ok(Heard::Nothing);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
    let length = answer.header("content-length").map(|length| length.parse::<usize>().unwrap());
    let complete = length.is_none_or(|length| length == answer.body.len());
    Ok(if ended.is_ok() && complete { Heard::Whole(answer) } else { Heard::CutOff })
}

/// Sends a request and does not wait for the response.
pub(crate) fn request(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<TcpStream> {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(LONG))?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes())?;
    Ok(stream)
}

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

pub(crate) fn post(url: &str, path: &str, body: &Value) -> Answer {
    send(url, "POST", path, &[JSON], &body.to_string()).unwrap().whole()
}

pub(crate) fn post_form(url: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    send(url, "POST", path, &headers, &body).unwrap().whole()
}

pub(crate) fn fetch(url: &str, path: &str, bearer: &str) -> Answer {
    let bearer = format!("Bearer {bearer}");
    send(url, "GET", path, &[("Authorization", &bearer)], "").unwrap().whole()
}

/// Returns the body of a refresh as Codex sends it.
pub(crate) fn refresh_body(refresh_token: &str) -> Value {
    json!({
        "client_id": CODEX_CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_reason": "forced",
        "refresh_token": refresh_token,
    })
}

pub(crate) fn refresh(url: &str, refresh_token: &str) -> Answer {
    post(url, "/oauth/token", &refresh_body(refresh_token))
}

/// Sends a refresh and returns whatever comes back.
pub(crate) fn try_refresh(url: &str, grant: &Grant) -> Heard {
    let body = refresh_body(&grant.tokens.refresh_token).to_string();
    send(url, "POST", "/oauth/token", &[JSON], &body).unwrap()
}
