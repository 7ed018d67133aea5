//! A blocking client of the keeper's socket, which needs neither file nor keychain.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use codex_auth_platform::peer::{self, OtherListeners};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

#[cfg(feature = "fleet")]
use super::member_task::MemberTask;
use super::response::{IssuedToken, KeeperRefusal, KeeperStatus};
use crate::config::Environment;
use crate::home::Home;
use crate::watch::Watch;

/// Maximum response size; a response is a few kilobytes.
const MAX_RESPONSE_SIZE: u64 = 256 * 1024;
/// Maximum duration of a request that needs no refresh.
const CACHED_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum duration of the status request before a refresh.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a keeper to listen: a standby takes over within a second.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum duration of a request that may refresh; the keeper's own limits are shorter.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(200);

/// A client of one keeper.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    others: OtherListeners,
}

/// Whether the keeper may refresh for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshPolicy {
    /// Requests only the cached token.
    CachedOnly,
    /// Waits for a refresh if necessary.
    Wait,
}

/// The result of [`Client::probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeResult {
    /// The keeper responded or closed the connection.
    Answered,
    /// The socket accepted the connection but sent nothing.
    Silent,
    /// There is no socket, or it refuses connections.
    Unreachable,
}

/// An error of a request to a keeper.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The keeper issued no token.
    #[error("{}", refusal_message(.0))]
    Refused(KeeperRefusal),
    /// There was no response in time.
    #[error("cannot reach the keeper at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The response is not one of a keeper that this version understands.
    #[error("invalid response from the keeper at {}: {problem}", path.display())]
    InvalidResponse {
        /// The socket.
        path: PathBuf,
        /// What is invalid.
        problem: &'static str,
    },
}

impl ClientError {
    /// Returns whether the keeper has accepted the connection but not responded.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. }
            if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

impl Client {
    /// Returns a client of the socket at `path`, whose keeper may run as this user, as root, or as the owner of the
    /// socket's folder if no other user can write there.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), others: OtherListeners::OwnerOfFolder }
    }

    /// Returns a client of the keeper of `home`, which must run as this user, or `None` if its socket path would be too
    /// long.
    #[must_use]
    pub fn of(home: &Home, environment: &Environment) -> Option<Self> {
        path(home, environment).map(|path| Self { path, others: OtherListeners::Refused })
    }

    /// Returns the path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the status of keeper and login. Blocks for up to a second.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<KeeperStatus, ClientError> {
        self.get("/v1/status", CACHED_TIMEOUT)
    }

    /// Returns a token that lasts for at least `min_ttl`. Blocks for up to a second, or with [`RefreshPolicy::Wait`]
    /// for as long as a refresh takes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn token(&self, min_ttl: Option<Duration>, ask: RefreshPolicy) -> Result<IssuedToken, ClientError> {
        let mut path = "/v1/token?".to_owned();
        if let Some(min) = min_ttl {
            path.push_str(&format!("min_ttl={}&", min.as_secs()));
        }
        match ask {
            RefreshPolicy::CachedOnly => self.get(&path, CACHED_TIMEOUT),
            RefreshPolicy::Wait => {
                // A stopped process still accepts connections but never responds.
                self.await_status()?;
                self.get(&format!("{path}wait=yes"), REFRESH_TIMEOUT)
            }
        }
    }

    /// Carries out `task` in the fleet of the keeper's home. Blocks for as long as a refresh takes.
    ///
    /// # Errors
    /// [`ClientError`].
    #[cfg(feature = "fleet")]
    pub(super) fn take_part(&self, task: MemberTask) -> Result<(), ClientError> {
        self.await_status()?;
        let task = serde_json::to_string(&task).unwrap_or_default();
        let task: String = form_urlencoded::byte_serialize(task.as_bytes()).collect();
        self.get::<serde_json::Value>(&format!("/v1/fleet?task={task}"), REFRESH_TIMEOUT).map(drop)
    }

    /// Returns the status, also of a keeper that takes over from one that has just exited.
    fn await_status(&self) -> Result<KeeperStatus, ClientError> {
        let ends = Instant::now() + TAKE_OVER_TIMEOUT;
        let mut watch: Option<Watch> = None;
        loop {
            let outcome = self.get("/v1/status", STATUS_TIMEOUT);
            let left = ends.saturating_duration_since(Instant::now());
            match &outcome {
                Err(ClientError::Unreachable { source, .. })
                    if is_without_listener(source) && !left.is_zero() =>
                {
                    let files = || vec![self.path.clone()];
                    let watch = watch.get_or_insert_with(|| Watch::new(files()));
                    let _ = watch.wait(left);
                    watch.update(files());
                }
                _ => return outcome,
            }
        }
    }

    /// Checks whether the keeper responds within `limit`. Blocks as long.
    pub(super) fn probe(&self, limit: Duration) -> ProbeResult {
        let mut stream = match peer::connect(&self.path, self.others) {
            Ok(stream) => stream,
            // The queue of connections is full because the process accepts none.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ProbeResult::Silent,
            Err(_) => return ProbeResult::Unreachable,
        };
        let result = stream
            .set_read_timeout(Some(limit))
            .and_then(|()| stream.set_write_timeout(Some(limit)))
            .and_then(|()| stream.write_all(b"GET /v1/status HTTP/1.0\r\nHost: keeper\r\n\r\n"))
            .and_then(|()| stream.read(&mut [0]));
        match result {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                ProbeResult::Silent
            }
            _ => ProbeResult::Answered,
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str, within: Duration) -> Result<T, ClientError> {
        let answer = self.ask(path, within).map_err(|source| self.unreachable(source))?;
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let body = match response.parse(&answer) {
            Ok(httparse::Status::Complete(head)) => answer.get(head..).unwrap_or_default(),
            _ => return Err(self.invalid_response("not an HTTP response")),
        };
        if response.code == Some(200) {
            return serde_json::from_slice(body)
                .map_err(|_| self.invalid_response("missing or invalid field"));
        }
        let refusal = serde_json::from_slice(body)
            .map_err(|_| self.invalid_response("an error status without a reason"))?;
        Err(ClientError::Refused(refusal))
    }

    fn ask(&self, path: &str, within: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
        let closed = |error: io::Error| match error.kind() {
            kind @ (io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                io::Error::new(kind, "it closed the connection; it may not serve this user")
            }
            _ => error,
        };
        match self.exchange(path, within) {
            Ok(answer) if answer.is_empty() => Err(closed(io::ErrorKind::ConnectionReset.into())),
            outcome => outcome.map_err(closed),
        }
    }

    fn exchange(&self, path: &str, within: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut stream = peer::connect(&self.path, self.others)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        // With HTTP/1.0 the keeper closes the connection after the response.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: keeper\r\n\r\n").as_bytes())?;
        let mut answer = Zeroizing::new(Vec::with_capacity(16 * 1024));
        stream.take(MAX_RESPONSE_SIZE).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { path: self.path.clone(), source }
    }

    fn invalid_response(&self, problem: &'static str) -> ClientError {
        ClientError::InvalidResponse { path: self.path.clone(), problem }
    }
}

/// Whether no process listens at the socket now.
fn is_without_listener(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// Returns the socket path of the keeper of `home`: in the home or, if that path is too long for a socket, in the
/// user's runtime directory.
fn path(home: &Home, environment: &Environment) -> Option<PathBuf> {
    let inside = home.keeper_socket();
    if inside.as_os_str().len() <= peer::MAX_PATH_BYTES {
        return Some(inside);
    }
    let outside = environment.runtime_folder.as_ref()?.join("codex-auth").join(home.hash()).join("sock");
    (outside.as_os_str().len() <= peer::MAX_PATH_BYTES).then_some(outside)
}

fn refusal_message(refusal: &KeeperRefusal) -> String {
    match refusal {
        KeeperRefusal::Failed(failure) => failure.message.clone(),
        KeeperRefusal::TooShort => "the keeper has no token that lasts as long as requested".to_owned(),
        KeeperRefusal::Unreadable(why) => format!("the keeper cannot read the login: {why}"),
        KeeperRefusal::Malformed(why) => format!("the keeper rejected the request: {why}"),
    }
}
