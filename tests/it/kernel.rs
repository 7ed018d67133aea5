//! The kernel shows no secret in the arguments and environments of our processes.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use codex_auth::Lease;

use crate::manager::redaction::{self, traces};
use crate::manager::world::World;
use crate::redaction::{MARK, api_key, assert_hidden, assert_no_secret_beside_the_login};
use crate::support::{Ended, Machine, TestHome, over_both_stores};

over_both_stores!(no_process_is_started_with_a_secret);

#[test]
fn a_waiting_process_shows_no_secret() {
    let home = TestHome::new();
    let lease = Lease::acquire(&home.home(), Duration::from_secs(5), |_| ()).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    // Accepts a connection and never answers, so that the command waits as long as the one that waits for the lease.
    std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let personal = home
        .codex(["login", "--with-access-token"])
        .env("CODEX_AUTHAPI_BASE_URL", address)
        .input(format!("at-{MARK}"));
    for (run, exit) in [(home.codex(["login", "--with-api-key"]).input(api_key()), 6), (personal, 4)] {
        let run = run.env("CODEX_AUTH_LOCK_TIMEOUT", "700ms");
        let begun = Instant::now();
        let mut child = run.start();
        let process = Path::new("/proc").join(child.id().to_string());
        let mut looks = 0;
        while child.try_wait().unwrap().is_none() {
            for file in ["cmdline", "environ", "comm", "status"] {
                // A hardened process cannot be read even by its own user, and an exited one has no files.
                if let Ok(shown) = fs::read(process.join(file)) {
                    assert_hidden(file, &String::from_utf8_lossy(&shown));
                    looks += usize::from(file == "cmdline" && !shown.is_empty());
                }
            }
            assert_no_secret_beside_the_login(&home);
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "it did not wait");
        assert!(begun.elapsed() >= Duration::from_millis(700) && looks > 0);
        let ended = Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert_hidden("a login that waited in vain", &ended.to_string());
    }
    drop(lease);
    assert!(!home.document().exists());
}

/// Checks the arguments and environment of every process that a command starts, as seen by strace.
fn no_process_is_started_with_a_secret(machine: &mut Machine) {
    let world = World::fresh(machine);
    let journal = world.machine.home.beside("strace").join("journal");
    let way = ["strace", "-f", "-v", "-s", "65536", "-e", "trace=execve", "-o", journal.to_str().unwrap()];
    for arguments in [&["refresh"][..], &["token", "--min-ttl", "2h"], &["logout"]] {
        let traces = traces(&world);
        world.codex(arguments.iter().copied()).through(way).run().expect(0);
        let seen = fs::read_to_string(&journal).unwrap();
        assert!(
            seen.contains("\"transaction\"") && seen.contains("CODEX_HOME="),
            "the witness saw no child: {seen}"
        );
        let issued = world.authority.issued_secrets();
        redaction::assert_hidden(
            &format!("the start of {arguments:?}"),
            &seen,
            &[&traces[..], &issued].concat(),
        );
    }
}
