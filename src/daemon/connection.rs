//! A JSON-RPC connection over WebSocket to a socket of this user, with a deadline for all that is read and written.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use codex_auth_platform::peer::{self, OtherListeners, Peer};
use serde_json::{Value, json};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, Message, WebSocket};

use super::error::Error;
use crate::redaction::{printable, redact};

/// Maximum size of a message; those that are awaited have a few kilobytes.
const MAX_MESSAGE_SIZE: usize = 1024 * 1024;
/// The path of the request does not matter to the daemon.
const ADDRESS: &str = "ws://localhost/";
/// Maximum length of text of the daemon in an error.
const MAX_QUOTE: usize = 120;

/// A connection to a socket.
pub(super) struct DaemonConnection {
    socket: PathBuf,
    messages: WebSocket<TimedStream>,
    last_id: u64,
}

/// What the other end sends.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The response to a request.
    Response(Response),
    /// A notification, or a request to which no response is given.
    Notification { method: String, params: Value },
}

/// The response to a request.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: u64,
    /// An error is its message.
    pub(super) result: Result<Value, String>,
}

/// A stream whose reads and writes end at a deadline, however slowly the other end sends.
#[derive(Debug)]
struct TimedStream {
    stream: UnixStream,
    until: Instant,
}

impl TimedStream {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

/// A read or write that a timeout of the socket ended.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl DaemonConnection {
    /// Connects to `socket` if a process of this user listens there; `None` if none listens.
    pub(super) fn open(socket: &Path, until: Instant) -> Result<Option<OpenSocket>, Error> {
        let stream = match peer::connect(socket, OtherListeners::Refused) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            // The queue of connections is full because the process accepts none.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::NoAnswer { socket: socket.to_owned() });
            }
            Err(source) => return Err(Error::Unreachable { socket: socket.to_owned(), source }),
        };
        let peer = peer::credentials(&stream).map_err(|error| Error::Unreachable {
            socket: socket.to_owned(),
            source: io::Error::other(error),
        })?;
        Ok(Some(OpenSocket { socket: socket.to_owned(), peer, stream, until }))
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Replaces the deadline.
    pub(super) fn set_deadline(&mut self, until: Instant) {
        self.messages.get_mut().until = until;
    }

    /// Returns a handle that ends the connection from another thread.
    pub(super) fn ender(&self) -> io::Result<ConnectionEnder> {
        self.messages.get_ref().stream.try_clone().map(ConnectionEnder)
    }

    /// Sends a request, and returns its id.
    pub(super) fn request(&mut self, method: &str, params: &Value) -> Result<u64, Error> {
        self.last_id += 1;
        self.send(&json!({"id": self.last_id, "method": method, "params": params}))?;
        Ok(self.last_id)
    }

    /// Sends a notification.
    pub(super) fn notify(&mut self, method: &str) -> Result<(), Error> {
        self.send(&json!({"method": method}))
    }

    /// Waits for the next message.
    pub(super) fn receive(&mut self) -> Result<Incoming, Error> {
        loop {
            let message = self.messages.read().map_err(|error| self.failed(error))?;
            if let Message::Text(text) = message {
                return incoming(&text).ok_or_else(|| self.invalid("a message that is not JSON-RPC"));
            }
        }
    }

    pub(super) fn invalid(&self, problem: &str) -> Error {
        Error::InvalidAnswer { socket: self.socket.clone(), problem: printable(problem, MAX_QUOTE) }
    }

    fn send(&mut self, message: &Value) -> Result<(), Error> {
        self.messages.send(Message::text(message.to_string())).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: tungstenite::Error) -> Error {
        failure(&self.socket, error)
    }
}

/// A connected socket whose other end is known, before anything is sent.
pub(super) struct OpenSocket {
    socket: PathBuf,
    pub(super) peer: Peer,
    stream: UnixStream,
    until: Instant,
}

impl OpenSocket {
    /// Makes the WebSocket handshake.
    pub(super) fn shake_hands(self) -> Result<DaemonConnection, Error> {
        let Self { socket, stream, until, .. } = self;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_SIZE))
            .max_frame_size(Some(MAX_MESSAGE_SIZE));
        let stream = TimedStream { stream, until };
        match tungstenite::client::client_with_config(ADDRESS, stream, Some(config)) {
            Ok((messages, _)) => Ok(DaemonConnection { socket, messages, last_id: 0 }),
            Err(HandshakeError::Failure(error)) => Err(failure(&socket, error)),
            Err(HandshakeError::Interrupted(_)) => Err(Error::NoAnswer { socket }),
        }
    }
}

/// Ends a connection.
#[derive(Debug)]
pub(super) struct ConnectionEnder(UnixStream);

impl ConnectionEnder {
    pub(super) fn end(&self) {
        // It fails if the other end has closed the connection.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

fn failure(socket: &Path, error: tungstenite::Error) -> Error {
    let socket = socket.to_owned();
    match error {
        tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            Error::NoAnswer { socket }
        }
        tungstenite::Error::Io(source) => Error::Unreachable { socket, source },
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Error::Unreachable { socket, source: io::ErrorKind::ConnectionReset.into() }
        }
        other => Error::InvalidAnswer { socket, problem: printable(&other.to_string(), MAX_QUOTE) },
    }
}

fn incoming(text: &str) -> Option<Incoming> {
    let Value::Object(mut message) = serde_json::from_str(text).ok()? else { return None };
    if let Some(method) = message.get("method").and_then(Value::as_str).map(str::to_owned) {
        let params = message.remove("params").unwrap_or_default();
        return Some(Incoming::Notification { method, params });
    }
    let id = message.get("id").and_then(Value::as_u64)?;
    let result = match (message.remove("result"), message.get("error")) {
        (Some(result), _) => Ok(result),
        (None, error) => {
            let text = error.and_then(|error| error.get("message")?.as_str()).unwrap_or("no reason is given");
            Err(redact(text, MAX_QUOTE))
        }
    };
    Some(Incoming::Response(Response { id, result }))
}
