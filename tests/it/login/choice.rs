//! The choice between browser and device code, and the fallback if the first is unavailable.

use scripted_authority::{Decision, DeviceFlow, Endpoint};

use super::world::{Login, World};
use crate::support::{Machine, here, in_private_network, web};

const SSH: (&str, &str) = ("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");

#[test]
fn an_ssh_session_without_a_display_uses_a_device_code_and_says_why() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let mut login = Login::start(world.codex(["login"]).env(SSH.0, SSH.1));
    login.line_with("this is an SSH session without a display, so a device code is used");
    login.line_with("to use a browser: codex login --no-browser");
    let code = login.code();
    assert!(world.authority.decide_device(&code, Decision::Approved));
    login.finish().expect(0);
    assert!(world.machine.stored_text().is_some());
}

#[test]
fn a_display_or_an_option_selects_the_browser() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        for (line, variable) in [
            (&["login"][..], ("DISPLAY", "localhost:10.0")),
            (&["login"], ("WAYLAND_DISPLAY", "wayland-0")),
            (&["login", "--no-browser"], ("LANG", "C")),
        ] {
            let run = world.codex(line.iter().copied()).env(SSH.0, SSH.1).env("BROWSER", "true");
            let mut login = Login::start(run.env(variable.0, variable.1));
            web::follow(&login.url());
            login.finish().expect(0);
        }
        assert_eq!(world.requests(Endpoint::DeviceCode), 0);
    });
}

#[test]
fn a_device_login_that_is_not_enabled_goes_on_with_a_pasted_address() {
    in_private_network(here!(), || {
        for line in [&["login"][..], &["login", "--device-auth"]] {
            let mut machine = Machine::with_file();
            let world = World::new(&mut machine);
            world.authority.adjust(|policy| policy.device = DeviceFlow::NotEnabled);
            let mut login = Login::on_a_terminal(world.codex(line.iter().copied()).env(SSH.0, SSH.1));
            login.line_with("device code logins are not enabled at 127.0.0.1:");
            let url = login.url();
            login.line_with("paste it here, and press Enter:");
            // The browser is on another machine: it gets the code and cannot reach the listener.
            let address = web::get(&url).location().unwrap();
            login.type_in("nothing of the kind");
            login.line_with("not the address at which the browser ended");
            login.type_in(&address.replace("state=", "state=x"));
            login.line_with("this address belongs to another login");
            login.type_in(&format!("  {}  ", address.replace("127.0.0.1", "localhost")));
            let ended = login.finish();
            assert_eq!(ended.code, Some(0), "{ended}");
            assert!(ended.err.contains("logged in as person1@example.com"), "{ended}");
            assert!(world.machine.stored_text().is_some());
            world.assert_nothing_left();
        }
    });
}

#[test]
fn where_no_browser_opens_the_address_can_be_pasted_too() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let no_browser = ["sh", "-c", "PATH=/nowhere; export PATH; exec \"$@\"", "sh"];
        let mut login = Login::on_a_terminal(world.codex(["login"]).through(no_browser));
        let url = login.url();
        login.line_with("no browser could be opened here");
        login.line_with("paste it here, and press Enter:");
        login.type_in(&web::get(&url).location().unwrap());
        let ended = login.finish();
        assert!(ended.code == Some(0) && world.machine.stored_text().is_some(), "{ended}");
    });
}

#[test]
fn a_device_login_that_is_not_enabled_fails_without_a_terminal() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let old = world.log_in(1);
    world.authority.adjust(|policy| policy.device = DeviceFlow::NotEnabled);
    let ended = world.codex(["login", "--device-auth"]).run().refused(1);
    assert!(ended.err.ends_with("hint: log in with a browser: codex login --no-browser\n"), "{ended}");
    world.assert_still_works(&old);
}

#[test]
fn the_signed_in_user_is_named_without_a_question() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        world.log_in(2);
        let mut login = world.browser_login(&["--json"]);
        login.line_with("person2@example.com (plus) is logged in here until the new login is stored");
        web::follow(&login.url());
        let report = login.finish().expect(0).json();
        assert_eq!((&report["replaced"], &report["old_tokens"]), (&true.into(), &"left-alive".into()));
        assert_eq!(report["account"]["email"], "person1@example.com");
    });
}

#[test]
fn the_issuer_option_overrides_the_environment() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let elsewhere = scripted_authority::Authority::start().unwrap();
        for option in ["--issuer", "--experimental_issuer"] {
            let mut login = world.browser_login(&[option, elsewhere.url()]);
            let url = login.url();
            assert!(url.starts_with(elsewhere.url()), "{url}");
            web::follow(&url);
            login.finish().expect(0);
            assert_eq!(world.document()["tokens"]["oauth_provenance"]["issuer"], elsewhere.url());
        }
        assert!(world.authority.counters().of(Endpoint::Exchange) == 0);
    });
}
