//! Unexpected requests to the listener: the login still completes for the right one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use scripted_authority::{Endpoint, Moment};

use super::world::{Login, TEST_TIMEOUT, World};
use crate::support::{Machine, here, in_private_network, web};

const LISTENER: &str = "127.0.0.1:1455";

/// Runs `hostile` against a waiting login, then completes it.
fn completes_in_spite_of(hostile: impl FnOnce(&World<'_>, &str)) {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let mut login = world.browser_login(&[]);
    let url = login.url();
    hostile(&world, &url);
    completes(&world, login, &url);
}

fn completes(world: &World<'_>, login: Login, url: &str) {
    let pages = web::follow(url);
    assert_eq!(pages.last().unwrap().url, "http://127.0.0.1:1455/success", "{pages:#?}");
    let ended = login.finish().expect(0);
    world.assert_no_secret_in(&ended.to_string());
    assert!(world.machine.stored_text().is_some());
    assert_eq!(world.requests(Endpoint::Exchange), 1, "one code was exchanged, once");
    world.assert_nothing_left();
}

/// Returns the state in the URL of a login.
fn state_of(url: &str) -> &str {
    url.split_once("&state=").unwrap().1.split('&').next().unwrap()
}

fn status_of(request: &str) -> u16 {
    let answer = web::send(LISTENER, request).unwrap();
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{request} was answered {answer:?}")).parse().unwrap()
}

#[test]
fn a_callback_with_a_wrong_state_is_refused() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, url| {
            let state = state_of(url);
            for query in [
                "code=stolen&state=wrong".to_owned(),
                "code=stolen".to_owned(),
                "code=stolen&state=".to_owned(),
                format!("code=stolen&state={}", &state[1..]),
                format!("code=stolen&state={}", state.to_lowercase()),
                format!("code=stolen&state={state}&state={state}"),
                format!("code=stolen&code=other&state={state}"),
                "error=access_denied&state=wrong".to_owned(),
                "error=access_denied".to_owned(),
                String::new(),
            ] {
                let page = web::get(&format!("http://{LISTENER}/auth/callback?{query}"));
                assert_eq!(page.status, 400, "{query}");
                assert!(page.body.contains("is still waiting"), "{}", page.body);
            }
        });
    });
}

#[test]
fn a_code_is_accepted_once_and_a_second_tab_says_so() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let mut login = world.browser_login(&[]);
        let url = login.url();
        // Two tabs: two codes for one state.
        let (first, second) = (web::get(&url).location().unwrap(), web::get(&url).location().unwrap());
        let hold = world.authority.hold(Endpoint::Exchange, Moment::Before);
        let tab = {
            let first = first.clone();
            std::thread::spawn(move || web::follow(&first))
        };
        hold.arrived(TEST_TIMEOUT).unwrap();
        let late = web::get(&second);
        assert_eq!(late.status, 409);
        assert!(late.body.contains("Another tab was first"), "{}", late.body);
        // The first tab, reloaded, waits for the result.
        let (authority, path) = web::parts(&first);
        let mut again = TcpStream::connect(authority).unwrap();
        again.write_all(format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).unwrap();
        hold.release();
        let mut answer = String::new();
        again.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 303 ") && answer.contains("location: /success\r\n"), "{answer}");
        assert_eq!(tab.join().unwrap().last().unwrap().url, "http://127.0.0.1:1455/success");
        login.finish().expect(0);
        assert_eq!(world.requests(Endpoint::Exchange), 1);
    });
}

#[test]
fn a_request_with_another_host_is_refused() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, url| {
            let path = format!("/auth/callback?code=stolen&state={}", state_of(url));
            for host in [
                "Host: evil.example:1455",
                "Host: evil.example",
                "Host: evil.example@localhost:1455",
                "Host: 127.0.0.1.evil.example:1455",
                "Host: 127.0.0.1:1455\r\nHost: evil.example:1455",
                "X: y",
            ] {
                let request = format!("GET {path} HTTP/1.1\r\n{host}\r\n\r\n");
                assert!(matches!(status_of(&request), 400 | 421), "{host}");
            }
            // A port that was forwarded is another one.
            for host in
                ["localhost:1455", "127.0.0.1", "[::1]:80", "LOCALHOST:1455", "localhost:8080", "localhost"]
            {
                let request = format!("GET /nothing HTTP/1.1\r\nHost: {host}\r\n\r\n");
                assert_eq!(status_of(&request), 404, "{host}");
            }
        });
    });
}

#[test]
fn the_cookies_of_every_program_on_localhost_are_no_obstacle() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, _| {
            let cookies = "a".repeat(4_000);
            let cookies: String = (0..20).map(|number| format!("cookie{number}={cookies}; ")).collect();
            let request = format!("GET /nothing HTTP/1.1\r\nHost: {LISTENER}\r\nCookie: {cookies}\r\n\r\n");
            assert_eq!(status_of(&request), 404);
        });
    });
}

#[test]
fn another_user_of_the_machine_cannot_complete_a_login() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, url| {
            let url = format!("http://{LISTENER}/auth/callback?code=stolen&state={}", state_of(url));
            let mut other = Command::new("setpriv");
            other.args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "curl",
                "--silent",
                "--show-error",
            ]);
            let answer = other.args(["--write-out", "%{http_code}", &url]).output().unwrap();
            let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
            assert!(answer.contains("another user of this machine") && answer.ends_with("403"), "{answer}");
        });
    });
}

#[test]
fn anything_but_a_visit_is_turned_away() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, url| {
            let path = format!("/auth/callback?code=stolen&state={}", state_of(url));
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
                let request =
                    format!("{method} {path} HTTP/1.1\r\nHost: {LISTENER}\r\nContent-Length: 3\r\n\r\na=b");
                let answer = web::send(LISTENER, &request).unwrap();
                assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
                assert!(answer.to_lowercase().contains("\r\nallow: get\r\n"), "{answer}");
            }
        });
    });
}

#[test]
fn a_query_of_a_megabyte_is_refused() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, url| {
            let state = state_of(url);
            let long = "a".repeat(1_048_576);
            let request =
                format!("GET /auth/callback?state={state}&code={long} HTTP/1.1\r\nHost: {LISTENER}\r\n\r\n");
            let mut stream = TcpStream::connect(LISTENER).unwrap();
            // The listener may close the connection before all of it is sent.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            let status = answer.split(' ').nth(1).unwrap_or("none");
            assert!(["414", "431", "none"].contains(&status), "{answer}");
        });
    });
}

#[test]
fn idle_and_slow_connections_do_not_block_the_callback() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, _| {
            let mut slow = TcpStream::connect(LISTENER).unwrap();
            slow.write_all(b"GET /auth/callback?co").unwrap();
            let idle: Vec<_> = (0..1_000).map(|_| TcpStream::connect(LISTENER).unwrap()).collect();
            let begun = Instant::now();
            assert_eq!(web::get(&format!("http://{LISTENER}/nothing")).status, 404);
            assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
            assert_eq!(idle.len(), 1_000);
        });
    });
}

#[test]
fn a_thousand_visits_at_once_are_answered() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, _| {
            let visitors: Vec<_> = (0..20)
                .map(|_| {
                    std::thread::spawn(|| {
                        let visit =
                            |_| web::get(&format!("http://{LISTENER}/auth/callback?code=c&state=wrong"));
                        (0..50).map(visit).filter(|page| page.status == 400).count()
                    })
                })
                .collect();
            let answered: usize = visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum();
            assert_eq!(answered, 1_000);
        });
    });
}

#[test]
fn bytes_that_are_not_http_are_ignored() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, _| {
            for bytes in [
                &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"GET\r\n\r\n",
                b"\r\n\r\n\r\n\r\n",
                b"\0\0\0\0",
            ] {
                let mut stream = TcpStream::connect(LISTENER).unwrap();
                let _ = stream.write_all(bytes);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
    });
}

#[test]
fn a_browser_without_a_code_ends_the_login_with_a_page_that_says_so() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let mut login = world.browser_login(&[]);
        let url = login.url();
        let pages = web::follow(&format!("http://{LISTENER}/auth/callback?state={}", state_of(&url)));
        assert!(pages.last().unwrap().body.contains("The browser came back without a code"), "{pages:?}");
        login.finish().expect(1);
    });
}

#[test]
fn neither_the_success_page_nor_the_way_to_end_it_is_there_for_strangers() {
    in_private_network(here!(), || {
        completes_in_spite_of(|_, _| {
            for path in ["/success", "/failed", "/cancel", "/", "/auth/callback/", "/favicon.ico"] {
                assert_eq!(web::get(&format!("http://{LISTENER}{path}")).status, 404, "{path}");
            }
            let header = "Authorization: Bearer guessed";
            let request = format!("GET /cancel HTTP/1.1\r\nHost: {LISTENER}\r\n{header}\r\n\r\n");
            assert_eq!(status_of(&request), 404);
        });
    });
}
