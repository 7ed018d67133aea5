//! Load: 64 clients with 64 connections each, simulated by one process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;

use scripted_authority::{Account, Authority, Endpoint, Outcome};

use crate::client::{LONG, refresh_body};

const PROCESSES: usize = 64;
const CONNECTIONS: usize = 64;

#[test]
fn four_thousand_connections_at_once_are_all_answered_and_one_token_is_spent_once() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let host = authority.url().strip_prefix("http://").unwrap();
    let body = refresh_body(&grant.tokens.refresh_token).to_string();
    let length = body.len();
    let request = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let all_connected = Barrier::new(PROCESSES);
    let granted: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..PROCESSES)
            .map(|_| {
                scope.spawn(|| {
                    let mut streams: Vec<_> =
                        (0..CONNECTIONS).map(|_| TcpStream::connect(host).unwrap()).collect();
                    all_connected.wait();
                    for stream in &mut streams {
                        stream.set_read_timeout(Some(LONG)).unwrap();
                        stream.write_all(request.as_bytes()).unwrap();
                    }
                    let statuses = streams.iter().map(status);
                    statuses.filter(|&status| status == 200).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(granted, 1);
    let counters = authority.counters();
    assert_eq!(counters.ended(Endpoint::Refresh, Outcome::Granted), 1);
    assert_eq!(counters.ended(Endpoint::Refresh, Outcome::Refused), (PROCESSES * CONNECTIONS - 1) as u64);
}

/// Reads one complete response and leaves the connection open.
fn status(stream: &TcpStream) -> u16 {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    status
}
