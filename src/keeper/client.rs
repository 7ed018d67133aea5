//! The other end of a keeper's socket: asks for a token, and for nothing that needs the file or the keychain.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_auth_platform::peer;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::answer::{IssuedToken, KeeperRefusal, KeeperStatus};
use crate::config::Environment;
use crate::home::Home;

/// An answer is a few kilobytes.
const LARGEST_ANSWER: u64 = 256 * 1024;
/// How long a keeper that has the answer at hand may take.
const AT_HAND: Duration = Duration::from_secs(1);
/// How long any keeper may take to say how it stands.
const ALIVE: Duration = Duration::from_secs(5);
/// How long one that has to refresh may take: its own limits are shorter.
const REFRESHING: Duration = Duration::from_secs(200);

/// Who asks a keeper.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// Whether to have a token refreshed that is not good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshPolicy {
    /// Only for what the keeper has at hand: the answer comes at once.
    AtHand,
    /// Wait while it refreshes, if it must.
    Wait,
}

/// What [`Client::probe`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeResult {
    /// The socket was answered, or closed.
    Some,
    /// The socket accepts connections, and nothing came.
    Silent,
    /// There is no such socket, or it accepts no connections.
    Unreachable,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The keeper gives none out.
    #[error("{}", told(.0))]
    Refused(KeeperRefusal),
    /// Nobody answers, or not in time.
    #[error("no keeper answers at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What answers is no keeper that this version understands.
    #[error("what answers at {} is not understood: {problem}", path.display())]
    Strange {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Client {
    /// Of the keeper that answers at `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Of the keeper of `home`, if it has anywhere to answer.
    #[must_use]
    pub fn of(home: &Home, environment: &Environment) -> Option<Self> {
        path(home, environment).map(Self::at)
    }

    /// Where it asks.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How keeper and login stand. Blocks for up to a second.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<KeeperStatus, ClientError> {
        self.get("/v1/status", AT_HAND)
    }

    /// A token that lasts for `min_ttl`, if one can be had. Blocks: for up to a second, or with [`RefreshPolicy::Wait`] for as long
    /// as a refresh takes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn token(&self, min_ttl: Option<Duration>, ask: RefreshPolicy) -> Result<IssuedToken, ClientError> {
        let mut path = "/v1/token?".to_owned();
        if let Some(min) = min_ttl {
            path.push_str(&format!("min_ttl={}&", min.as_secs()));
        }
        match ask {
            RefreshPolicy::AtHand => self.get(&path, AT_HAND),
            RefreshPolicy::Wait => {
                // A keeper that has stopped accepts the connection and never answers.
                self.get::<KeeperStatus>("/v1/status", ALIVE)?;
                self.get(&format!("{path}wait=yes"), REFRESHING)
            }
        }
    }

    /// Whether anything answers within `limit`. Blocks as long.
    pub(super) fn probe(&self, limit: Duration) -> ProbeResult {
        let mut stream = match peer::connect(&self.path) {
            Ok(stream) => stream,
            // No process accepts connections from the queue.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ProbeResult::Silent,
            Err(_) => return ProbeResult::Unreachable,
        };
        let asked = stream
            .set_read_timeout(Some(limit))
            .and_then(|()| stream.set_write_timeout(Some(limit)))
            .and_then(|()| stream.write_all(b"GET /v1/status HTTP/1.0\r\nHost: keeper\r\n\r\n"))
            .and_then(|()| stream.read(&mut [0]));
        match asked {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                ProbeResult::Silent
            }
            _ => ProbeResult::Some,
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str, within: Duration) -> Result<T, ClientError> {
        let answer = self.ask(path, within).map_err(|source| self.unreachable(source))?;
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let body = match response.parse(&answer) {
            Ok(httparse::Status::Complete(head)) => answer.get(head..).unwrap_or_default(),
            _ => return Err(self.strange("it does not speak HTTP")),
        };
        if response.code == Some(200) {
            return serde_json::from_slice(body).map_err(|_| self.strange("a field is missing"));
        }
        let refusal =
            serde_json::from_slice(body).map_err(|_| self.strange("it refuses without a reason"))?;
        Err(ClientError::Refused(refusal))
    }

    fn ask(&self, path: &str, within: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut stream = peer::connect(&self.path)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        // HTTP/1.0 has the other end close when it has said everything.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: keeper\r\n\r\n").as_bytes())?;
        let mut answer = Zeroizing::new(Vec::with_capacity(16 * 1024));
        stream.take(LARGEST_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { path: self.path.clone(), source }
    }

    fn strange(&self, problem: &'static str) -> ClientError {
        ClientError::Strange { path: self.path.clone(), problem }
    }
}

/// Where the keeper of `home` answers: in the home or, where that path is too long for a socket, in the user's folder
/// for such things; nowhere if there is none.
fn path(home: &Home, environment: &Environment) -> Option<PathBuf> {
    let inside = home.keeper_socket();
    if inside.as_os_str().len() <= peer::LONGEST_PATH {
        return Some(inside);
    }
    let outside = environment.runtime_folder.as_ref()?.join("codex-auth").join(home.hash()).join("sock");
    (outside.as_os_str().len() <= peer::LONGEST_PATH).then_some(outside)
}

fn told(refusal: &KeeperRefusal) -> String {
    match refusal {
        KeeperRefusal::Failed(failure) => failure.message.clone(),
        KeeperRefusal::TooShort => "the keeper has no token that lasts so long".to_owned(),
        KeeperRefusal::Unseen(why) => format!("the keeper cannot see the login: {why}"),
        KeeperRefusal::Malformed(why) => format!("the keeper does not understand the question: {why}"),
    }
}
