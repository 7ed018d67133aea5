//! A real etcd on the loopback of a private network.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use codex_auth::Secret;
use codex_auth::config::Network;
use codex_auth::fleet::{EtcdLimits, EtcdSettings, EtcdUser, SharedStore};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::{Guarded, Lines};

pub const URL: &str = "http://127.0.0.1:2379";
/// The address at which the same etcd listens with TLS.
pub const TLS_URL: &str = "https://localhost:2377";
/// Far longer than a call takes on a loaded machine.
pub const PATIENT: EtcdLimits =
    EtcdLimits { attempt: Duration::from_secs(20), call: Duration::from_secs(60) };
const PEER: &str = "http://127.0.0.1:2380";

/// A cluster of one member. Only one may run in a network.
pub struct Etcd {
    folder: TempDir,
    /// The number of restores, each of which has a data folder of its own.
    restores: u32,
    asks_for_passwords: bool,
    running: Option<(Guarded, Lines)>,
}

impl Etcd {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = issuer();
        let key = KeyPair::generate().unwrap();
        let server =
            CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        for (name, text) in
            [("ca.pem", issuer.pem()), ("server.pem", server.pem()), ("server.key", key.serialize_pem())]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut etcd = Self { folder, restores: 0, asks_for_passwords: false, running: None };
        etcd.start_again();
        etcd
    }

    pub fn start_again(&mut self) {
        let file = |name: &str| self.folder.path().join(name);
        let mut process = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen-client-urls", &format!("{URL},{TLS_URL}").replace("localhost", "127.0.0.1")])
            .args(["--advertise-client-urls", URL, "--listen-peer-urls", PEER])
            .args(["--initial-advertise-peer-urls", PEER, "--initial-cluster", &format!("default={PEER}")])
            .arg("--cert-file")
            .arg(file("server.pem"))
            .arg("--key-file")
            .arg(file("server.key"))
            .args(["--logger", "zap", "--log-outputs", "stderr"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcd(1) is installed");
        let log = Lines::of(process.stderr.take().unwrap());
        // One line for each address.
        log.until(|line| line.contains("serving client traffic insecurely"));
        self.running = Some((Guarded(process), log));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join(format!("data{}", self.restores))
    }

    /// Returns the files in which it keeps its data.
    pub fn files(&self) -> Vec<PathBuf> {
        let (mut folders, mut files) = (vec![self.data()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// Kills it, as a power failure does.
    pub fn kill(&mut self) {
        self.running = None;
    }

    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    fn process(&self) -> &Child {
        &self.running.as_ref().unwrap().0.0
    }

    /// Stops it, as a debugger does: its connections stay open and silent.
    pub fn suspend(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process().id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Runs a command of `etcdctl`.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", URL]).args(arguments);
        if self.asks_for_passwords {
            command.args(["--user", "root:root-password"]);
        }
        let output = command.output();
        let output = output.expect("etcdctl(1) is installed");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "etcdctl {arguments:?}: {out}{err}");
        out.into_owned()
    }

    /// Writes a backup and returns its path.
    pub fn back_up(&self) -> String {
        let path = self.folder.path().join("backup").into_os_string().into_string().unwrap();
        self.ctl(&["snapshot", "save", &path]);
        path
    }

    /// Replaces the data with those of a backup.
    pub fn restore(&mut self, backup: &str) {
        self.kill();
        self.restores += 1;
        let data = self.data().into_os_string().into_string().unwrap();
        let cluster = format!("default={PEER}");
        self.ctl(&[
            "snapshot",
            "restore",
            backup,
            "--data-dir",
            &data,
            "--name",
            "default",
            "--initial-cluster",
            &cluster,
            "--initial-advertise-peer-urls",
            PEER,
        ]);
        self.start_again();
    }

    /// Creates the user `member`, who may access the keys below `fleet/` only, and asks for passwords from now on.
    pub fn ask_for_passwords(&mut self) {
        for command in [
            "user add root:root-password",
            "user grant-role root root",
            "user add member:marked-password",
            "role add member",
            "role grant-permission member --prefix=true readwrite fleet/",
            "user grant-role member member",
            "auth enable",
        ] {
            self.ctl(&command.split(' ').collect::<Vec<_>>());
        }
        self.asks_for_passwords = true;
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

pub fn settings(endpoints: &[&str]) -> EtcdSettings {
    let endpoints = endpoints.iter().map(|url| url.parse().unwrap()).collect();
    EtcdSettings { endpoints, ca: None, user: None, limits: PATIENT }
}

pub fn user(name: &str, password: &str) -> Option<EtcdUser> {
    Some(EtcdUser { name: name.to_owned(), password: Secret::from(password) })
}

pub fn open(settings: EtcdSettings) -> SharedStore {
    SharedStore::open(settings, &Network::default()).unwrap()
}

pub fn store() -> SharedStore {
    open(settings(&[URL]))
}

/// Returns a certificate authority that no system trusts.
pub fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
