//! The two ports of the redirect URI.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::world::{Login, World};
use crate::support::{Machine, TestHome, here, in_private_network, web};

#[test]
fn falls_back_to_registered_fallback_port_when_default_port_is_in_use() {
    in_private_network(here!(), || {
        for address in ["127.0.0.1:1455", "[::1]:1455", "0.0.0.0:1455"] {
            let mut machine = Machine::with_file();
            let world = World::new(&mut machine);
            world.authority.adjust(|policy| policy.redirects = scripted_authority::Redirects::CodexPorts);
            let other = TcpListener::bind(address).unwrap();
            let mut login = world.browser_login(&[]);
            let url = login.url();
            assert!(url.contains("redirect_uri=http%3A%2F%2F127.0.0.1%3A1457%2Fauth%2Fcallback&"), "{url}");
            let pages = web::follow(&url);
            assert_eq!(pages.last().unwrap().url, "http://127.0.0.1:1457/success");
            login.finish().expect(0);
            other.set_nonblocking(true).unwrap();
            assert!(other.accept().is_err(), "the other program got no connection");
        }
    });
}

#[test]
fn cancels_previous_login_server_when_port_is_in_use() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let old = world.log_in(1);
        let mut first = world.browser_login(&[]);
        let first_url = first.url();
        let mut second = world.browser_login(&[]);
        let url = second.url();
        assert!(url.contains("127.0.0.1%3A1455"), "it has the port of the first: {url}");
        let ended = first.finish().expect(1);
        assert!(ended.err.ends_with("error: another login for this home was started and has taken over\n"));
        assert_ne!(first_url, url);
        assert_eq!(world.stored_token("refresh_token"), old.tokens.refresh_token);
        // The URL of the first login does not work any more.
        assert_eq!(web::follow(&first_url).last().unwrap().status, 400);
        web::follow(&url);
        second.finish().expect(0);
        world.assert_nothing_left();
    });
}

#[test]
fn a_login_of_another_home_keeps_its_port_and_both_complete() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let other = TestHome::new();
        let mut first = world.browser_login(&[]);
        let first_url = first.url();
        let run = world.codex(["login", "--no-browser"]).env("CODEX_HOME", other.path());
        let mut second = Login::start(run);
        let url = second.url();
        assert!(first_url.contains("127.0.0.1%3A1455") && url.contains("127.0.0.1%3A1457"), "{url}");
        for (login, url) in [(second, url), (first, first_url)] {
            web::follow(&url);
            login.finish().expect(0);
        }
        assert!(other.document().exists() && world.machine.stored_text().is_some());
        world.assert_nothing_left();
    });
}

#[test]
fn two_occupied_ports_are_an_error_that_names_the_process_and_the_fix() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let old = world.log_in(1);
        let others = [1455, 1457].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let ended = world.browser_login(&[]).finish().refused(1);
        let us = format!("{} (pid {})", std::env::current_exe().unwrap().display(), std::process::id());
        assert_eq!(
            ended_lines(&ended),
            [
                format!(
                    "error: both ports for the browser's redirect are in use: 1455 by {us}, 1457 by {us}"
                ),
                "hint: end one of them, or log in with a device code: codex login --device-auth".to_owned(),
            ]
        );
        drop(others);
        world.assert_nothing_left();
        world.assert_still_works(&old);
    });
}

fn ended_lines(ended: &crate::support::Ended) -> Vec<String> {
    ended.err.lines().map(str::to_owned).collect()
}

#[test]
fn the_note_of_a_login_is_private_and_removed_with_it() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let mut login = world.browser_login(&[]);
        let url = login.url();
        let path = world.machine.home.file("codex-auth/login");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let note: Value = serde_json::from_str(&world.machine.home.read("codex-auth/login")).unwrap();
        assert_eq!(note["port"], 1455);
        assert_eq!(note["token"].as_str().unwrap().len(), 43);
        assert!(!url.contains(note["token"].as_str().unwrap()));
        web::follow(&url);
        login.finish().expect(0);
        assert!(!path.exists());
    });
}

#[test]
fn the_note_of_a_killed_login_does_not_block_the_next() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let mut killed = world.browser_login(&[]);
        killed.url();
        killed.signal("KILL");
        assert_eq!(killed.finish().code, None);
        assert!(world.machine.home.file("codex-auth/login").exists());
        // Another program has the port by now and does not know the token.
        let other = TcpListener::bind("127.0.0.1:1455").unwrap();
        let mut login = world.browser_login(&[]);
        let url = login.url();
        assert!(url.contains("127.0.0.1%3A1457"), "{url}");
        web::follow(&url);
        login.finish().expect(0);
        drop(other);
        world.assert_nothing_left();
    });
}
