//! The port that a browser comes back to: one of two, and one that an earlier login of this home gives up if asked.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use codex_auth_platform::port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Error, OccupiedPort};
use crate::home::Home;
use crate::store::{LoginNote, RunningLogin};

/// Both are registered with the authority, and no others are.
const PORTS: [u16; 2] = [1455, 1457];
/// How long an earlier login has to give up its port.
const COURTESY: Duration = Duration::from_secs(2);
/// What it answers is a line and some headers.
const ANSWER_LIMIT: u64 = 4096;

/// Sockets that listen on one port of this machine.
#[derive(Debug)]
pub(super) struct BoundPort {
    pub(super) port: u16,
    pub(super) sockets: Vec<TcpListener>,
}

/// Listens on the first port that is free, or that an earlier login of `home` gives up. What another home or program
/// listens on is left alone.
pub(super) async fn bind(home: &Home) -> Result<BoundPort, Error> {
    let running = LoginNote::read(home);
    let mut taken = Vec::new();
    for port in PORTS {
        let mut bound = on_both(port).await;
        if let (Err(_), Some(running)) = (&bound, running.as_ref().filter(|running| running.port == port))
            && matches!(timeout(COURTESY, ask_to_yield(running)).await, Ok(Ok(PortYield::Done)))
        {
            bound = on_both(port).await;
        }
        match bound {
            Ok(bound) => return Ok(bound),
            Err(reason) => taken.push((port, reason)),
        }
    }
    let name = |(port, reason)| {
        let holder = port::listener(port).map(|holder| (holder.pid, holder.program));
        OccupiedPort { port, holder, reason }
    };
    Err(Error::PortsTaken(taken.into_iter().map(name).collect()))
}

/// Listens on 127.0.0.1 and on `::1`. A port that somebody else has of the one is not used of the other: a browser might
/// bring the code there.
async fn on_both(port: u16) -> io::Result<BoundPort> {
    let mut sockets = vec![TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?];
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
        Ok(socket) => sockets.push(socket),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // A machine without IPv6 has nobody on it either.
        Err(_) => {}
    }
    Ok(BoundPort { port, sockets })
}

enum PortYield {
    Done,
    Refused,
}

/// The word stands in a header, since addresses end up in records.
async fn ask_to_yield(running: &RunningLogin) -> io::Result<PortYield> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, running.port)).await?;
    let request = format!(
        "GET /cancel HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        running.port,
        running.token.expose()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut answer).await?;
    Ok(if answer.starts_with(b"HTTP/1.1 200 ") { PortYield::Done } else { PortYield::Refused })
}
