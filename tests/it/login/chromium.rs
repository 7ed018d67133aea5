//! Logins with a real Chromium: the final pages in light and dark mode, and their accessibility tree.
//!
//! Screenshots are stored in `target/tmp/pages`.

use std::path::PathBuf;

use scripted_authority::Consent;
use serde_json::json;

use super::devtools::Chromium;
use super::world::World;
use crate::support::{Machine, here, in_private_network};

/// Installed by `tests/run`.
fn axe() -> String {
    let folder = std::env::var_os("AXE_CORE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers/node_modules/axe-core"),
        PathBuf::from,
    );
    let path = folder.join("axe.min.js");
    std::fs::read_to_string(&path).unwrap_or_else(|_| {
        panic!("axe-core is not at {}; tests/run installs it: run tests/run", path.display())
    })
}

/// Checks the open page in both modes and several widths, and takes screenshots.
fn looks_good(browser: &mut Chromium, name: &str, heading: &str) {
    browser.evaluate(&axe());
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        for width in [1_024, 320] {
            browser.show(scheme, width);
            let found =
                browser.evaluate("axe.run({resultTypes: ['violations']}).then(found => found.violations)");
            assert_eq!(found, json!([]), "{name} in {scheme}, {width} wide");
            let overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
            assert_eq!(browser.evaluate(overflow), false, "{name} does not fit {width}");
            browser.picture(&format!("{name}-{scheme}-{width}"));
        }
        grounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(grounds[0], grounds[1], "{name} is the same in light and dark");

    let nodes = browser.accessibility_nodes();
    let has_node = |role: &str, name: &str| nodes.iter().any(|(r, n)| r == role && n == name);
    assert!(has_node("heading", heading) && nodes.iter().any(|(role, _)| role == "main"), "{nodes:#?}");
    assert!(!nodes.iter().any(|(role, _)| role == "image"), "the sign is decorative: {nodes:#?}");
    let title = browser.evaluate("document.title");
    assert_eq!(title, format!("{heading} · Codex"));

    assert_eq!(browser.evaluate("document.referrer"), "", "no referrer");
    assert_eq!(browser.evaluate("performance.getEntriesByType('resource').length"), 0, "nothing was fetched");
    assert_eq!(browser.evaluate("document.scripts.length"), 0);
    let policy = browser.complaints.iter().find(|complaint| complaint.contains("Content Security Policy"));
    assert_eq!(policy, None);
}

#[test]
fn a_real_browser_shows_the_success_page() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        world.authority.adjust(|policy| policy.consent = Consent::Page);
        let mut browser = Chromium::start();
        let mut login = world.browser_login(&[]);
        browser.visit(&login.url());
        browser.click("#continue");
        assert_eq!(browser.evaluate("location.href"), "http://127.0.0.1:1455/success");
        login.finish().expect(0);
        assert!(world.machine.stored_text().is_some());
        looks_good(&mut browser, "success", "You are signed in");
        for secret in world.authority.issued_secrets() {
            assert!(
                !browser.evaluate("document.documentElement.outerHTML").as_str().unwrap().contains(&secret)
            );
        }
    });
}

#[test]
fn a_real_browser_shows_the_failure_and_what_to_do() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        world.authority.adjust(|policy| policy.consent = Consent::Page);
        let mut browser = Chromium::start();
        let mut login = world.browser_login(&[]);
        browser.visit(&login.url());
        browser.click("#cancel");
        assert_eq!(browser.evaluate("location.href"), "http://127.0.0.1:1455/failed");
        login.finish().expect(1);
        looks_good(&mut browser, "failed", "The sign-in did not succeed");
        let text = browser.evaluate("document.querySelector('main').innerText");
        assert!(text.as_str().unwrap().contains("refused the login: the visitor cancelled."), "{text}");
    });
}

#[test]
fn a_real_browser_shows_that_a_callback_belongs_to_another_login() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let mut browser = Chromium::start();
        let mut login = world.browser_login(&[]);
        let url = login.url();
        browser.visit("http://localhost:1455/auth/callback?code=stolen&state=wrong");
        looks_good(&mut browser, "other-login", "Another sign-in");
        // The login continues in the same browser.
        browser.visit(&url);
        assert_eq!(browser.evaluate("location.pathname"), "/success");
        login.finish().expect(0);
    });
}
