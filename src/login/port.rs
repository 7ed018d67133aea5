//! Binds the port of the redirect URI, and asks an earlier login of the same home to release it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use codex_auth_platform::port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::error::{Error, OccupiedPort};
use crate::home::Home;
use crate::store::{LoginNote, RunningLogin};

/// The ports that are registered with the authority for Codex's client id.
const PORTS: [u16; 2] = [1455, 1457];
/// How long an earlier login has to release its port.
const YIELD_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum length of its response: a line and some headers.
const MAX_RESPONSE: u64 = 4096;

/// The listening sockets of one port.
#[derive(Debug)]
pub(super) struct BoundPort {
    pub(super) port: u16,
    pub(super) sockets: Vec<TcpListener>,
}

/// Listens on the first port that is free or that an earlier login of `home` releases. Ports in use by another home or
/// program are skipped.
pub(super) async fn bind(home: &Home) -> Result<BoundPort, Error> {
    let running = LoginNote::read(home);
    let mut taken = Vec::new();
    for port in PORTS {
        let mut bound = listen(port).await;
        if let (Err(_), Some(running)) = (&bound, running.as_ref().filter(|running| running.port == port))
            && matches!(timeout(YIELD_TIMEOUT, ask_to_yield(running)).await, Ok(Ok(PortYield::Done)))
        {
            bound = listen(port).await;
        }
        match bound {
            Ok(bound) => return Ok(bound),
            Err(reason) => taken.push((port, reason)),
        }
    }
    let name = |(port, reason)| {
        let holder = port::find_listener(port).map(|holder| (holder.pid, holder.program));
        OccupiedPort { port, holder, reason }
    };
    Err(Error::PortsTaken(taken.into_iter().map(name).collect()))
}

/// Listens on 127.0.0.1 and `::1`. If another program has the port on either, it is not used: a browser might deliver
/// the code there.
async fn listen(port: u16) -> io::Result<BoundPort> {
    let mut sockets = vec![TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?];
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
        Ok(socket) => sockets.push(socket),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // This machine has no IPv6.
        Err(_) => {}
    }
    Ok(BoundPort { port, sockets })
}

enum PortYield {
    Done,
    Refused,
}

/// Sends the token in a header, since URLs end up in logs.
async fn ask_to_yield(running: &RunningLogin) -> io::Result<PortYield> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, running.port)).await?;
    let request = format!(
        "GET /cancel HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        running.port,
        running.token.expose()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_RESPONSE).read_to_end(&mut answer).await?;
    Ok(if answer.starts_with(b"HTTP/1.1 200 ") { PortYield::Done } else { PortYield::Refused })
}
