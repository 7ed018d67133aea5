//! The shared daemon of OpenAI's Codex 0.171 in a home of a test, and a Codex in a terminal that uses it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use scripted_authority::{Account, DeviceFlow, Pacing};
use serde_json::Value;

use super::codex::codex_0171;
use super::provider::Provider;
use crate::login::world::World;
use crate::support::{Machine, Run, Screen, eventually, is_alive};

/// The time within which a turn must reach the provider after a change of the login.
pub const PROMPTLY: Duration = Duration::from_secs(20);

/// A home with a login, and the means to start Codex's daemon there. What runs in it is ended on drop.
pub struct SharedDaemon<'a> {
    pub world: World<'a>,
    pub provider: Provider,
    /// The home directory and working folder of Codex.
    user: PathBuf,
}

impl<'a> SharedDaemon<'a> {
    /// A home with a login of account 1.
    pub fn new(machine: &'a mut Machine) -> Self {
        let world = World::new(machine);
        world.authority.adjust(|policy| {
            (policy.device, policy.pacing) = (DeviceFlow::Approves, Pacing::Ignored);
        });
        world.log_in(1);
        let home = &world.machine.home;
        let user = home.beside("user");
        let provider = Provider::start();
        let trust = format!("[projects.{:?}]\ntrust_level = \"trusted\"\n", user.display().to_string());
        home.write("config.toml", provider.config() + &trust);
        // Links to the installed package: otherwise Codex copies its 400 MB here.
        let package = codex_0171().ancestors().nth(2).unwrap().to_owned();
        let packages = home.file("packages/app-server-daemon");
        fs::create_dir_all(packages.join("releases")).unwrap();
        let release = format!("0.171.0-{}", package.file_name().unwrap().to_str().unwrap());
        symlink(&package, packages.join("releases").join(&release)).unwrap();
        symlink(Path::new("releases").join(release), packages.join("current")).unwrap();
        Self { world, provider, user }
    }

    /// A run of Codex 0.171.
    pub fn theirs<'b>(&self, arguments: impl IntoIterator<Item = &'b str>) -> Run {
        Run::of(&codex_0171(), arguments)
            .envs(self.world.machine.home.variables())
            .env("HOME", &self.user)
            .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.world.authority.token_url())
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.world.authority.revoke_url())
            .env("CODEX_AUTHAPI_BASE_URL", self.world.authority.url())
    }

    /// Starts the daemon with one of Codex's commands for it.
    pub fn command(&self, word: &str) {
        self.theirs(["app-server", "daemon", word]).run().expect(0);
    }

    /// Starts Codex in a terminal, which starts the daemon if none runs.
    pub fn terminal(&self) -> Terminal {
        Terminal::start(self.theirs([]), &self.user)
    }

    /// Runs one turn with `codex exec`, which does not use the daemon. Returns the bearer token.
    pub fn exec(&self) -> String {
        let before = self.provider.bearers().len();
        let words =
            ["exec", "--skip-git-repo-check", "-s", "read-only", "-C", self.user.to_str().unwrap(), "ping"];
        let ended = self.theirs(words).run().expect(0);
        assert_eq!(ended.out, "pong\n");
        self.provider.bearers()[before].clone()
    }

    /// Runs one turn in the terminal, to its end unless the provider is held. Returns the bearer token, and how long it
    /// took to arrive.
    pub fn turn(&self, terminal: &Terminal) -> (String, Duration) {
        let (before, start) = (self.provider.bearers().len(), Instant::now());
        let is_held = self.provider.is_held();
        // Codex also asks for a title of the thread, after its first turn.
        let begins = || self.provider.bearers().len() > before;
        terminal.enter("ping", || begins() && (!is_held || terminal.screen().contains("esc to interrupt")));
        let arrived = start.elapsed();
        if !is_held {
            eventually("the turn to end", || terminal.shows_the_answer_to("ping"));
        }
        (self.provider.bearers()[before].clone(), arrived)
    }

    /// Logs in as this account by device code, with options. Returns the JSON report.
    pub fn log_in_as(&self, account: u32, options: &[&str]) -> Value {
        self.world.authority.visit_as(Account::numbered(account));
        let words = ["login", "--device-auth", "--json"].iter().chain(options).copied();
        self.world.codex(words).run().expect(0).json()
    }

    /// The process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.recorded("daemon.pid").expect("a daemon was started")
    }

    /// Returns whether the environment of the daemon has the line.
    pub fn environment(&self) -> Vec<String> {
        let environment = fs::read(format!("/proc/{}/environ", self.pid())).unwrap();
        environment.split(|byte| *byte == 0).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect()
    }

    fn recorded(&self, name: &str) -> Option<u32> {
        let text = fs::read_to_string(self.world.machine.home.file("app-server-daemon").join(name)).ok()?;
        serde_json::from_str::<Value>(&text).ok()?["pid"].as_u64()?.try_into().ok()
    }
}

impl Drop for SharedDaemon<'_> {
    fn drop(&mut self) {
        self.provider.hold(false);
        for pid in ["daemon-updater.pid", "daemon.pid"].into_iter().filter_map(|name| self.recorded(name)) {
            // It may be one that has ended, whose id another process has by now.
            let home = self.world.machine.home.path();
            let is_ours = fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                String::from_utf8_lossy(&environment).contains(home.to_str().unwrap())
            });
            if is_ours {
                signal(pid, "KILL");
                eventually("the daemon to end", || !is_alive(pid));
            }
        }
        let socket = self.world.machine.home.file("app-server-control/app-server-control.sock");
        if let Ok(target) = fs::read_link(socket) {
            let _ = fs::remove_file(target.with_extension("lock"));
            let _ = fs::remove_file(target);
        }
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(sent.success(), "{signal} to {pid}");
}

/// A terminal with Codex.
pub struct Terminal {
    screen: Screen,
}

impl Terminal {
    /// Starts Codex in `folder`, and waits for its prompt.
    pub fn start(run: Run, folder: &Path) -> Self {
        let terminal = Self { screen: Screen::start(run.at(folder), (120, 40)) };
        terminal.screen.shows("Ask Codex to do anything");
        terminal
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.screen.text()
    }

    /// Whether the last turn was this one and has ended.
    pub fn shows_the_answer_to(&self, line: &str) -> bool {
        let screen = self.screen();
        let after = screen.rsplit(&format!("› {line}")).next();
        after.is_some_and(|after| after.contains("pong")) && !screen.contains("esc to interrupt")
    }

    /// Types `line` and presses Enter until `arrived`.
    pub fn enter(&self, line: &str, arrived: impl Fn() -> bool) {
        self.screen.shows_no("esc to interrupt");
        self.screen.types(line);
        self.screen.shows(&format!("› {line}"));
        // Codex takes an Enter that follows other keys closely for a part of pasted text.
        eventually("the turn to arrive", || {
            self.screen.press("Enter");
            let start = Instant::now();
            while !arrived() && start.elapsed() < Duration::from_millis(500) {
                std::thread::yield_now();
            }
            arrived()
        });
    }
}
