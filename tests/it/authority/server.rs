//! Servers for cases that the scripted authority does not cover: raw bytes, TLS with any certificate, and a proxy.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The response of a TLS server to any request.
pub const GRANTED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"access_token\":\"at-over-a-wire\"}";

/// A server on 127.0.0.1 that serves one connection after another until it is dropped.
pub struct Server {
    address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves each connection with `serve`, and records what it returns.
    fn start(serve: impl Fn(TcpStream) -> io::Result<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (notes, stop) = (Arc::clone(&received), Arc::clone(&stopped));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let record = serve(stream).unwrap_or_else(|error| format!("failed: {error}"));
                notes.lock().unwrap().push(record);
            }
        });
        Self { address, received, stopped, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the token endpoint of this server.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/oauth/token", self.address)
    }

    /// Waits for the end of the current connection, and returns what was received on all of them.
    pub fn ended(mut self) -> Vec<String> {
        self.stop();
        self.received.lock().unwrap().clone()
    }

    fn stop(&mut self) {
        // Only once: another process may have the port by then.
        let Some(thread) = self.thread.take() else { return };
        self.stopped.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.address);
        let _ended = thread.join();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends these bytes after the request, and closes when the client does.
pub fn answering(bytes: &'static [u8]) -> Server {
    Server::start(move |mut stream| {
        let request = request(&mut stream)?;
        stream.write_all(bytes)?;
        let _rest = io::copy(&mut stream, &mut io::sink());
        Ok(request)
    })
}

/// Sends these bytes before any request.
pub fn speaking(bytes: &'static [u8]) -> Server {
    Server::start(move |mut stream| {
        stream.write_all(bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        Ok(String::from_utf8_lossy(&received).into_owned())
    })
}

/// Sends [`GRANTED`] to clients that accept this certificate.
pub fn over_tls(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    Server::start(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, stream);
        let request = request(&mut stream)?;
        stream.write_all(GRANTED)?;
        stream.flush()?;
        // As with a real authority, the client closes first.
        let _rest = io::copy(&mut stream, &mut io::sink());
        Ok(request)
    })
}

/// A proxy that records the requested address and connects to `port` on this machine instead, or refuses.
pub fn proxy(port: Option<u16>) -> Server {
    Server::start(move |mut client| {
        let head = request(&mut client)?;
        let Some(port) = port else {
            client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(head);
        };
        let mut target = TcpStream::connect(("127.0.0.1", port))?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (mut from, mut to) = (client.try_clone()?, target.try_clone()?);
        let onward = thread::spawn(move || {
            let _ended = io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Write)
        });
        let _ended = io::copy(&mut target, &mut client);
        let _closed = client.shutdown(Shutdown::Both);
        let _joined = onward.join();
        Ok(head)
    })
}

/// Reads a request to the end of its body.
fn request(stream: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
            let length = head.lines().find_map(length);
            if body.len() >= length.unwrap_or(0) {
                return Ok(text);
            }
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
