//! KeePassXC and KWallet on a bus of their own, without a screen.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use scripted_authority::{Account, Authority};

use crate::support::session::PrivateSession;
use crate::support::{Run, TestHome, eventually};

/// A process that ends with its owner.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service on a bus that starts none by itself.
pub struct Service {
    process: Option<Guarded>,
    session: PrivateSession,
    folder: tempfile::TempDir,
}

impl Service {
    fn on_a_bus() -> Self {
        Self {
            process: None,
            session: PrivateSession::without_service(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A KeePassXC whose database is open. `settings` are lines of its section `FdoSecrets`.
    pub fn keepassxc(settings: &str) -> Self {
        let mut service = Self::on_a_bus();
        let folder = service.folder.path();
        // The service offers a group only that the database names.
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><KeePassFile><Meta><Generator>tests</Generator><CustomData>\
             <Item><Key>FDO_SECRETS_EXPOSED_GROUP</Key><Value>{00112233-4455-6677-8899-aabbccddeeff}</Value></Item>\
             </CustomData></Meta><Root><Group><UUID>ABEiM0RVZneImaq7zN3u/w==</UUID><Name>Root</Name>\
             <IsExpanded>True</IsExpanded></Group></Root></KeePassFile>";
        fs::write(folder.join("database.xml"), xml).unwrap();
        let mut import = service.command("keepassxc-cli");
        import.args(["import", "-q", "-p"]).args([folder.join("database.xml"), folder.join("database.kdbx")]);
        feed(&mut import, "pw\npw\n");
        let ini = format!(
            "[General]\nConfigVersion=2\n[FdoSecrets]\nEnabled=true\n{settings}\n[GUI]\nCheckForUpdates=false\n\
             [Security]\nLockDatabaseIdle=false\n"
        );
        fs::write(folder.join("keepassxc.ini"), ini).unwrap();
        service.start_keepassxc();
        service
    }

    fn start_keepassxc(&mut self) {
        let folder = self.folder.path().to_owned();
        let mut keepassxc = self.command("keepassxc");
        keepassxc.arg("--config").arg(folder.join("keepassxc.ini"));
        keepassxc.arg("--localconfig").arg(folder.join("local.ini"));
        keepassxc.arg("--pw-stdin").arg(folder.join("database.kdbx"));
        self.start(keepassxc, "pw\n");
        eventually("KeePassXC offers its database, unlocked", || self.is_unlocked());
    }

    /// Ends KeePassXC once it has saved a login with `token`, and starts it again. It is not asked to end: with unsaved
    /// changes it would ask in turn, on a screen that no one sees.
    pub fn restart_keepassxc(&mut self, token: &str) {
        eventually("KeePassXC has saved the login", || {
            let titles = self.titles();
            let entry = titles.lines().find(|title| title.starts_with("Codex Auth")).expect("the login");
            self.database("attachment-export", &[entry, "FDO_SECRETS_DATA", "--stdout"]).contains(token)
        });
        self.process = None;
        self.start_keepassxc();
    }

    /// The titles in the database.
    pub fn titles(&self) -> String {
        self.database("ls", &["-R"])
    }

    /// What a command of KeePassXC's own program says of the saved database.
    fn database(&self, command: &str, arguments: &[&str]) -> String {
        let mut program = self.command("keepassxc-cli");
        program.args([command, "-q"]).arg(self.folder.path().join("database.kdbx")).args(arguments);
        feed(&mut program, "pw\n")
    }

    /// A KWallet whose wallet is open.
    pub fn kwallet() -> Self {
        let mut service = Self::on_a_bus();
        let config = service.home().join(".config");
        fs::create_dir_all(&config).unwrap();
        let settings = "[Wallet]\nEnabled=true\nFirst Use=false\nDefault Wallet=kdewallet\nUse One Wallet=true\n\
                        Prompt on Open=false\nClose When Idle=false\n[org.freedesktop.secrets]\napiEnabled=true\n";
        fs::write(config.join("kwalletrc"), settings).unwrap();
        service.start_kwallet();
        service.open_wallet();
        // A wallet that was made just now is a collection from the next start on.
        service.restart_kwallet();
        service.open_wallet();
        service
    }

    fn start_kwallet(&mut self) {
        let kwalletd = self.command("kwalletd5");
        self.start(kwalletd, "");
        eventually("KWallet is on the bus", || self.dbus(&["/", "org.freedesktop.DBus.Peer.Ping"]).is_some());
    }

    /// Closes the wallet, which saves it, and starts KWallet again.
    pub fn restart_kwallet(&mut self) {
        let close = ["/modules/kwalletd5", "org.kde.KWallet.close", "string:kdewallet", "boolean:true"];
        self.dbus(&close).expect("it can be closed");
        self.stop();
        self.start_kwallet();
    }

    /// Opens the wallet as the login of a desktop does, with the hash of a password.
    pub fn open_wallet(&self) {
        let hash = format!("[{}]", ["byte 0x07"].into_iter().chain([", 0x07"; 55]).collect::<String>());
        let mut open = self.command("gdbus");
        open.args(["call", "--session", "-d", "org.kde.kwalletd5", "-o", "/modules/kwalletd5"]);
        open.args(["-m", "org.kde.KWallet.pamOpen", "kdewallet", &hash, "0"]);
        assert!(open.stdout(Stdio::null()).status().unwrap().success());
        let is_open = ["/modules/kwalletd5", "org.kde.KWallet.isOpen", "string:kdewallet"];
        eventually("the wallet is open", || self.dbus(&is_open).is_some_and(|reply| reply.contains("true")));
    }

    fn start(&mut self, mut command: Command, input: &str) {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it is installed");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        self.process = Some(Guarded(child));
    }

    fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let terminated = Command::new("kill").arg(process.0.id().to_string()).status().unwrap();
        assert!(terminated.success());
        process.0.wait().unwrap();
    }

    fn is_unlocked(&self) -> bool {
        let locked = [
            "org.freedesktop.DBus.Properties.Get",
            "string:org.freedesktop.Secret.Collection",
            "string:Locked",
        ];
        let reply = self.dbus(&[&["/org/freedesktop/secrets/collection/database"], &locked[..]].concat());
        reply.is_some_and(|reply| reply.contains("false"))
    }

    fn dbus(&self, call: &[&str]) -> Option<String> {
        let mut send = self.command("dbus-send");
        send.args(["--session", "--print-reply", "--dest=org.freedesktop.secrets"]).args(call);
        let output = send.stdout(Stdio::piped()).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn home(&self) -> PathBuf {
        self.session.environment().into_iter().find(|(name, _)| name == "HOME").unwrap().1.into()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(self.session.environment());
        // KeePassXC runs once for each folder of temporary files.
        command.env("TMPDIR", self.folder.path());
        command.env("QT_QPA_PLATFORM", "offscreen").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        command
    }

    /// An empty home in the session of this service.
    pub fn test_home(&self) -> TestHome {
        TestHome::within(&self.session)
    }
}

/// Runs a command to its end with this input and returns what it printed.
fn feed(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is installed");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// A ChatGPT login at an authority of the test's own, in a home with a service.
pub struct Login {
    pub home: TestHome,
    pub authority: Authority,
}

impl Login {
    /// In the file; its access token has ended.
    pub fn expired_in(home: TestHome) -> Self {
        let authority = Authority::start().unwrap();
        authority.adjust(|policy| policy.clock_offset = -4_000);
        let grant = authority.grant(Account::numbered(1));
        authority.adjust(|policy| policy.clock_offset = 0);
        home.write("auth.json", grant.auth_json());
        Self { home, authority }
    }

    pub fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let urls = (self.authority.token_url(), self.authority.revoke_url());
        let run = self.home.codex(arguments).env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", urls.0);
        run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", urls.1)
    }

    /// The access token that `codex token` prints.
    pub fn token(&self) -> String {
        self.codex(["token"]).run().expect(0).out.trim_end().to_owned()
    }
}
