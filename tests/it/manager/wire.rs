//! System calls between the last byte of a response and its rescue on disk: one write and one fsync.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;
use std::{fs, io, thread};

use super::world::World;
use crate::authority::tls::Signer;
use crate::store::order::whole_calls;
use crate::support::{Machine, Run, children};

/// The system calls of the thread that writes the rescue, from the last read of the response to the fsync.
fn calls_around_the_rescue(trace: &str) -> Vec<String> {
    let lines = whole_calls(trace);
    let is_rescue = |call: &str| call.contains("/codex-auth/rescue>");
    let is_write = |call: &&str| call.starts_with("pwrite64(") && is_rescue(call);
    let (thread, _) = lines.iter().find(|(_, call)| is_write(&call.as_str())).expect(trace);
    let calls: Vec<&str> =
        lines.iter().filter(|(its, _)| its == thread).map(|(_, call)| call.as_str()).collect();
    let write = calls.iter().position(is_write).unwrap();
    let took_bytes = |call: &&str| {
        let reads = call.starts_with("recvfrom(") || call.starts_with("read(") || call.starts_with("readv(");
        let taken = call.rsplit_once("= ").and_then(|(_, taken)| taken.trim().parse::<u64>().ok());
        reads && call.contains("TCP") && taken.is_some_and(|taken| taken > 0)
    };
    let last = calls[..write].iter().rposition(took_bytes).expect(trace);
    let sync = calls[write..].iter().position(|call| call.starts_with("fsync(") && is_rescue(call)).unwrap();
    let name = |call: &&str| call.split('(').next().unwrap().to_owned();
    // The runtime polls its other sockets once, without waiting.
    let is_look = |call: &&&str| call.starts_with("epoll_wait(") && call.contains(", 0) = ");
    calls[last..=write + sync].iter().filter(|call| !is_look(call)).map(name).collect()
}

/// The calls of one refresh by `run`.
fn calls_of(world: &World<'_>, run: Run) -> Vec<String> {
    let trace = world.machine.home.path().with_file_name("trace");
    let strace = ["strace", "-f", "-yy", "-s", "8", "-o", trace.to_str().unwrap()];
    run.through(strace).run().expect(0);
    calls_around_the_rescue(&String::from_utf8_lossy(&fs::read(&trace).unwrap()))
}

/// `run` with a TLS authority at `port` whose certificate `signer` has signed.
fn over_tls(world: &World<'_>, signer: &Signer, port: u16) -> Run {
    let run = world.codex(["refresh"]).env("CODEX_CA_CERTIFICATE", signer.certificate());
    run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", format!("https://127.0.0.1:{port}/oauth/token"))
}

#[test]
fn a_response_is_saved_with_one_write_and_one_fsync() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    for requests in 1..=3 {
        assert_eq!(calls_of(&world, world.codex(["refresh"])), ["recvfrom", "pwrite64", "fsync"]);
        assert_eq!(world.requests(), requests);
    }
    let signer = Signer::new();
    let server = signer.server(&["127.0.0.1"]);
    assert_eq!(calls_of(&world, over_tls(&world, &signer, server.port())), ["recvfrom", "pwrite64", "fsync"]);
}

/// Twelve seconds are longer than the connection timeout.
#[test]
fn a_process_stopped_while_connecting_continues_to_connect() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let signer = Signer::new();
    let server = signer.server(&["127.0.0.1"]);
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let command = over_tls(&world, &signer, between.local_addr().unwrap().port()).start();
    // It is connected and waits for the TLS handshake.
    let (client, _) = between.accept().unwrap();
    let stopped = children(command.id()).first().unwrap().to_string();
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &stopped]).status().unwrap().success());
    signal("-STOP");
    thread::sleep(Duration::from_secs(12));
    let target = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    for (mut from, mut to) in [
        (client.try_clone().unwrap(), target.try_clone().unwrap()),
        (target.try_clone().unwrap(), client.try_clone().unwrap()),
    ] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    signal("-CONT");
    let ended = command.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(world.stored_token("access_token"), "at-over-a-wire");
}
