//! A private D-Bus session with a real gnome-keyring, in the state that a test needs.
//!
//! Requires `dbus-daemon`, `dbus-monitor`, `dbus-send` and `gnome-keyring-daemon`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{env, fs, thread};

use super::{Folder, Guarded};

/// More than the daemons ever need; only a failing test waits for it.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);

/// The folders that a session needs.
pub(super) const PARTS: &[&str] = &["run", "data", "home"];

/// Returns the variables that put a program into the session of a folder.
pub(super) fn variables(folder: &Path) -> Vec<(String, OsString)> {
    vec![
        ("DBUS_SESSION_BUS_ADDRESS".into(), address(&socket(folder))),
        ("XDG_RUNTIME_DIR".into(), folder.join("run").into()),
        ("XDG_DATA_HOME".into(), folder.join("data").into()),
        ("HOME".into(), folder.join("home").into()),
    ]
}

/// Returns the variables that hide every keychain from a program. `folder` must not be used otherwise.
pub(crate) fn no_keychain(folder: &Path) -> Vec<(String, OsString)> {
    vec![("DBUS_SESSION_BUS_ADDRESS".into(), address(&folder.join("no-bus")))]
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("bus")
}

fn address(socket: &Path) -> OsString {
    let mut address = OsString::from("unix:path=");
    address.push(socket);
    address
}

/// A session bus and its keyring service, which end on drop.
pub(crate) struct PrivateSession {
    // In the order in which they must end.
    service: Option<Guarded>,
    monitor: Option<Monitor>,
    bus: Option<Guarded>,
    silent: Option<UnixListener>,
    folder: Folder,
}

impl PrivateSession {
    /// Starts a bus with an unlocked, empty login keyring.
    pub(crate) fn unlocked() -> Self {
        let mut session = Self::without_service();
        session.start_unlocked();
        session
    }

    /// Starts a bus whose login keyring exists and is locked.
    pub(crate) fn locked_again() -> Self {
        let mut session = Self::unlocked();
        session.lock_again();
        session
    }

    /// Starts a keyring service without any keyring.
    pub(crate) fn never_unlocked() -> Self {
        let mut session = Self::without_service();
        session.start_service(&[], None);
        session
    }

    /// Starts a bus without a keyring service, which it cannot start either.
    pub(crate) fn without_service() -> Self {
        let mut session = Self::no_bus();
        session.start_bus();
        session
    }

    /// Uses an address without a bus.
    pub(crate) fn no_bus() -> Self {
        Self { service: None, monitor: None, bus: None, silent: None, folder: Folder::here_or_new() }
    }

    /// Uses the socket of a bus that has ended.
    pub(crate) fn dead_socket() -> Self {
        let session = Self::no_bus();
        drop(UnixListener::bind(socket(session.folder.path())).unwrap());
        session
    }

    /// Uses a socket that accepts connections and never answers.
    pub(crate) fn never_answers() -> Self {
        let mut session = Self::no_bus();
        // Without an accept, connections succeed while the kernel's queue has room.
        session.silent = Some(UnixListener::bind(socket(session.folder.path())).unwrap());
        session
    }

    /// Returns the variables that put a program into this session.
    ///
    /// Start a program that might show a window without `DISPLAY` and `WAYLAND_DISPLAY` as well.
    pub(crate) fn environment(&self) -> Vec<(String, OsString)> {
        self.folder.environment()
    }

    /// Restarts the service with the same keyrings, locked.
    pub(crate) fn lock_again(&mut self) {
        self.stop_service();
        self.start_service(&[], None);
    }

    /// Starts the service and unlocks the login keyring, which is created if necessary.
    pub(crate) fn start_unlocked(&mut self) {
        self.start_service(&["--unlock"], Some(PASSWORD));
    }

    /// Unlocks the login keyring, as the user would.
    pub(crate) fn unlock_again(&mut self) {
        self.stop_service();
        self.start_unlocked();
    }

    /// Kills the service and waits until the bus notices.
    pub(crate) fn stop_service(&mut self) {
        self.service = None;
        self.monitor().await_owner(false);
    }

    /// Kills the bus and all processes on it; the socket remains.
    pub(crate) fn stop_bus(&mut self) {
        (self.service, self.monitor, self.bus) = (None, None, None);
    }

    /// Starts a bus at the same address.
    pub(crate) fn start_bus(&mut self) {
        let _ = fs::remove_file(socket(self.folder.path()));
        let config = self.folder.path().join("bus.conf");
        fs::write(&config, bus_config(&socket(self.folder.path()))).unwrap();
        let mut bus = command(&self.folder, "dbus-daemon");
        bus.arg("--config-file").arg(&config).args(["--nofork", "--print-address"]).stdout(Stdio::piped());
        let mut bus = Guarded(bus.spawn().expect("dbus-daemon is installed"));
        let mut address = String::new();
        // The bus prints its address once it listens.
        BufReader::new(bus.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.contains("unix:path="), "dbus-daemon said {address:?}");
        self.bus = Some(bus);
        self.monitor = Some(Monitor::attach(&self.folder));
    }

    /// Starts an unlocked service like [`Self::unlocked`], and starts it again whenever it crashes: gnome-keyring 42 aborts
    /// when a property is read of an item that was deleted meanwhile.
    pub(crate) fn unlocked_and_restarted() -> Self {
        let mut session = Self::without_service();
        let daemon =
            "setpriv --pdeathsig KILL gnome-keyring-daemon --foreground --components=secrets --unlock";
        let mut service = command(&session.folder, "sh");
        service.args(["-c", &format!("while :; do printf %s '{PASSWORD}' | {daemon}; done")]);
        service.stdout(Stdio::null()).stderr(Stdio::null());
        session.service = Some(Guarded(service.spawn().unwrap()));
        session.monitor().await_owner(true);
        session
    }

    /// Makes the service crash, and waits until it is gone.
    pub(crate) fn crash(&mut self) {
        self.signal("-ABRT");
        self.monitor().await_owner(false);
    }

    /// Stops the service process: it stays on the bus and does not answer.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Continues a frozen service, which then handles the requests it received meanwhile.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Returns the calls so far that would have shown a dialogue: `Unlock`, `Prompt`, `CreateCollection`.
    pub(crate) fn dialogues(&mut self) -> Vec<String> {
        let mut mark = command(&self.folder, "dbus-send");
        mark.args(["--session", "--type=signal", "/", &format!("{MARK_INTERFACE}.Mark")]);
        assert!(mark.status().unwrap().success());
        self.monitor().calls_until_mark()
    }

    fn start_service(&mut self, arguments: &[&str], password: Option<&str>) {
        let mut service = command(&self.folder, "gnome-keyring-daemon");
        service.args(["--foreground", "--components=secrets"]).args(arguments).stdin(Stdio::piped());
        service.stdout(Stdio::null()).stderr(Stdio::null());
        let mut service = Guarded(service.spawn().expect("gnome-keyring is installed"));
        let mut input = service.0.stdin.take().unwrap();
        input.write_all(password.unwrap_or_default().as_bytes()).unwrap();
        drop(input);
        self.service = Some(service);
        self.monitor().await_owner(true);
    }

    fn monitor(&mut self) -> &mut Monitor {
        self.monitor.as_mut().expect("a session with a bus")
    }

    fn signal(&self, signal: &str) {
        let pid = self.service.as_ref().expect("a session with a service").0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for PrivateSession {
    fn drop(&mut self) {
        let status = self.service.as_mut().and_then(|service| service.0.try_wait().unwrap());
        if status.is_some_and(|status| status.signal().is_some()) {
            // A second panic would end the process.
            let _ = fs::write(self.folder.crash_mark(), "");
        }
    }
}

/// Returns a command with the environment of this session and nothing of the user's.
fn command(folder: &Folder, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).envs(folder.environment());
    command.stdin(Stdio::null());
    command
}

/// The password of the login keyring.
const PASSWORD: &str = "correct horse\n";

const MARK_INTERFACE: &str = "private.session";

/// Watches the bus for the owner of the service's name, and for calls that would show a dialogue.
struct Monitor {
    seen: Receiver<Seen>,
    calls: Vec<String>,
    _process: Guarded,
}

enum Seen {
    Attached,
    Owned(bool),
    Call(String),
    Mark,
}

impl Monitor {
    fn attach(folder: &Folder) -> Self {
        let mut process = command(folder, "dbus-monitor");
        process.arg("--session").args([
            "type='signal',member='NameOwnerChanged',arg0='org.freedesktop.secrets'",
            "type='method_call',member='Unlock'",
            "type='method_call',member='CreateCollection'",
            "type='method_call',member='Prompt'",
            &format!("type='signal',interface='{MARK_INTERFACE}'"),
        ]);
        let mut process = Guarded(
            process.stdout(Stdio::piped()).spawn().expect("dbus-monitor is installed with dbus-daemon"),
        );
        let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let (sender, seen) = channel();
        // Ends with the process, when its output ends.
        thread::spawn(move || {
            let mut lines = lines.map_while(Result::ok);
            while let Some(line) = lines.next() {
                let Some((_, member)) = line.split_once("member=") else { continue };
                let event = match member {
                    // dbus-monitor prints nothing before its rules are set; its first line is the loss of its own
                    // name.
                    "NameLost" => Seen::Attached,
                    "NameOwnerChanged" => {
                        Seen::Owned(lines.by_ref().nth(2).is_some_and(|owner| owner.contains(':')))
                    }
                    "Mark" => Seen::Mark,
                    "NameAcquired" => continue,
                    call => Seen::Call(call.to_owned()),
                };
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let mut monitor = Self { seen, calls: Vec::new(), _process: process };
        monitor.until(|seen| matches!(seen, Seen::Attached), "dbus-monitor to attach");
        monitor
    }

    fn await_owner(&mut self, owned: bool) {
        self.until(|seen| matches!(seen, Seen::Owned(now) if *now == owned), "the service to come or go");
    }

    fn calls_until_mark(&mut self) -> Vec<String> {
        self.until(|seen| matches!(seen, Seen::Mark), "the mark");
        self.calls.clone()
    }

    fn until(&mut self, is_it: impl Fn(&Seen) -> bool, what: &str) {
        loop {
            let seen =
                self.seen.recv_timeout(STARTUP_TIMEOUT).unwrap_or_else(|e| panic!("waited for {what}: {e}"));
            let found = is_it(&seen);
            if let Seen::Call(member) = seen {
                self.calls.push(member);
            }
            if found {
                return;
            }
        }
    }
}

/// Returns the configuration of a bus for this user alone, which starts only services that a test describes in the folder `services`.
fn bus_config(socket: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}</listen>
  <servicedir>{}</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#,
        socket.display(),
        socket.with_file_name("services").display()
    )
}
