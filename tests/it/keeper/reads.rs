//! Read your own writes: keeper and app server show the effect of every command that has exited.

use codex_auth::config::StoreSelection;
use codex_auth::{AuthDocument, Lease, login};
use scripted_authority::{Account, Grant};
use serde_json::Value;

use super::process::Process;
use super::socket::{get, response_to, socket, status};
use crate::app_server::client::Client;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, eventually, over_both_stores};

over_both_stores!(socket_and_app_server_show_the_effect_of_every_command);

fn socket_and_app_server_show_the_effect_of_every_command(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut readers = Readers::of(&world);
    for number in 0..5 {
        readers.play(number, &mut |command, by, token, expected| {
            assert_eq!(token, expected, "{by} after {command}");
        });
    }
}

/// Called after a command with the command, the process that responded, its token and the expected token.
pub type Compare<'a> = dyn FnMut(&'static str, &'static str, Option<&str>, Option<&str>) + 'a;

/// A keeper, an app server and their clients, in one home.
pub struct Readers<'a> {
    world: &'a World<'a>,
    _keeper: Process,
    app_server: Client,
}

impl<'a> Readers<'a> {
    pub fn of(world: &'a World<'a>) -> Self {
        let app_server = Client::from_run(world.codex(["app-server"]));
        Self { world, _keeper: Process::of(world), app_server }
    }

    /// Runs one round of commands, each followed by a read from every process.
    pub fn play(&mut self, number: u32, compare: &mut Compare<'_>) {
        let key = format!("sk-{number}");
        self.until_done(&["login", "--with-api-key"], &key);
        self.compare(number, "login", Some(&key), compare);
        self.until_done(&["logout"], "");
        self.compare(number, "logout", None, compare);
        self.sign_in(&self.world.authority.grant(Account::numbered(number + 1)));
        self.compare(number, "another login", Some(&self.world.stored_token("access_token")), compare);
        self.until_done(&["refresh"], "");
        self.compare(number, "refresh", Some(&self.world.stored_token("access_token")), compare);
    }

    /// Runs a command, and repeats it while a busy keychain times out.
    fn until_done(&self, words: &[&str], input: &str) {
        eventually("the keychain to answer", || {
            let ended = self.world.codex(words.iter().copied()).input(input).run();
            ended.code == Some(0) || {
                ended.expect(5);
                false
            }
        });
    }

    fn sign_in(&self, grant: &Grant) {
        let document = AuthDocument::parse(grant.auth_json().as_bytes()).unwrap();
        eventually("the keychain to answer", || {
            let stores = self.world.machine.home.stores();
            let choice = stores.choose(StoreSelection::from_name(self.world.machine.store())).unwrap();
            let lease = Lease::acquire(stores.home(), TEST_TIMEOUT, |_| {}).unwrap();
            login::commit_login(&mut stores.writer(&lease).unwrap(), &choice, &document).is_ok()
        });
    }

    fn compare(
        &mut self,
        number: u32,
        command: &'static str,
        expected: Option<&str>,
        compare: &mut Compare<'_>,
    ) {
        let answer = response_to(&socket(self.world), &get("/v1/token"));
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let token = || Some(serde_json::from_str::<Value>(body).ok()?["token"].as_str()?.to_owned());
        let by_socket = if status(&answer) == "200" { token() } else { None };
        compare(command, "the socket", by_socket.as_deref(), expected);
        compare(command, "the app server", self.app_server.token().as_deref(), expected);
        // It uses the same socket and takes long to start.
        if number.is_multiple_of(10) {
            let ended = self.world.codex(["token"]).run();
            let by_command = (ended.code == Some(0)).then(|| ended.out.trim_end().to_owned());
            compare(command, "codex token", by_command.as_deref(), expected);
        }
    }
}
