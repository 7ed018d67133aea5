//! A container: a root folder with only the system's programs, read-only, in private namespaces.
//!
//! Its mount, process and network namespaces end with the test, and its files are in memory. So nothing has to be
//! removed, and nothing that is mounted into it can be removed by mistake.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use codex_auth_platform::process::effective_uid;

use super::terminal::Terminal;
use crate::support::session::PrivateSession;

/// Set in a process that runs in the private namespaces.
const INSIDE: &str = "PRIVATE_MACHINE";
/// The root folder of the container; any folder that every system has.
const ROOT: &str = "/mnt";
/// The home directory of the container's user.
pub const HOME: &str = "/home/ada";

/// Runs `body` in a copy of this test process that can make containers. `test` is the full name of the calling test.
pub fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--net"]);
    if effective_uid() != 0 {
        unshare.args(["--user", "--map-root-user"]);
    }
    // The shell stays as the first process of the namespace, which has to reap orphaned processes.
    let script = "mount -t proc proc /proc; ip link set lo up; \"$@\"; exit $?";
    unshare.args(["sh", "-euc", script, "sh"]).arg(std::env::current_exe().unwrap());
    let copy = unshare.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output();
    let copy = copy.expect("unshare(1) is installed");
    let (out, err) = (String::from_utf8_lossy(&copy.stdout), String::from_utf8_lossy(&copy.stderr));
    assert!(copy.status.success() && out.contains("1 passed"), "{test} in its namespaces:\n{out}\n{err}");
    print!("{out}");
}

/// A new container. Only one exists at a time, and only [`inside`].
pub struct Container {
    environment: Vec<(String, OsString)>,
    session: Option<PrivateSession>,
}

/// The access to a mount.
#[derive(Clone, Copy)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

impl Container {
    /// A container without a login, with the keychain of `session` if there is one.
    pub fn new(session: Option<PrivateSession>) -> Self {
        // A program of the previous container may still run.
        run("sh", &["-c", &format!("! mountpoint -q {ROOT} || umount --recursive --lazy {ROOT}")]);
        run("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", ROOT]);
        let environment = vec![
            ("HOME".to_owned(), HOME.into()),
            ("LANG".to_owned(), "C.UTF-8".into()),
            ("PATH".to_owned(), format!("{HOME}/.cargo/bin:/opt/bin:/usr/local/bin:/usr/bin:/bin").into()),
            ("DBUS_SESSION_BUS_ADDRESS".to_owned(), "unix:path=/run/no-bus".into()),
            // A browser that follows all redirects.
            ("BROWSER".to_owned(), "/opt/bin/browser".into()),
        ];
        let mut container = Self { environment, session: None };
        container.build();
        if let Some(session) = session {
            for (name, value) in session.environment() {
                if name == "DBUS_SESSION_BUS_ADDRESS" {
                    let socket = value.to_str().unwrap().strip_prefix("unix:path=").unwrap();
                    let folder = Path::new(socket).parent().unwrap();
                    container.mount(folder, folder.to_str().unwrap(), Access::ReadWrite);
                    container.set(&name, value);
                }
            }
            container.session = Some(session);
        }
        container
    }

    fn build(&self) {
        for folder in ["dev", "etc", "opt/bin", "proc", "root", "run", "tmp", "home/ada"] {
            fs::create_dir_all(self.path(folder)).unwrap();
        }
        for top in ["bin", "sbin", "lib", "lib32", "lib64"] {
            let here = Path::new("/").join(top);
            match fs::read_link(&here) {
                Ok(target) => symlink(target, self.path(top)).unwrap(),
                Err(_) if here.exists() => self.mount(&here, top, Access::ReadOnly),
                Err(_) => {}
            }
        }
        for shared in ["/usr", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl", "/etc/ca-certificates"] {
            if Path::new(shared).exists() {
                self.mount(Path::new(shared), shared, Access::ReadOnly);
            }
        }
        for device in ["null", "zero", "full", "random", "urandom"] {
            self.mount(&Path::new("/dev").join(device), &format!("dev/{device}"), Access::ReadWrite);
        }
        self.mount(Path::new("/proc"), "proc", Access::ReadWrite);
        self.write("etc/passwd", &format!("root:x:0:0:Ada:{HOME}:/bin/bash\n"));
        self.write("etc/group", "root:x:0:\n");
        self.install("browser", "exec curl --silent --show-error --location --output /dev/null \"$1\"");
    }

    /// The path of a file in the container, as seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(ROOT).join(path.trim_start_matches('/'))
    }

    /// The path of a file in the home directory, as seen from outside.
    pub fn home(&self, path: &str) -> PathBuf {
        self.path(HOME).join(path)
    }

    /// Writes an owner-only file, and creates its folder.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Installs a shell script as a program on PATH.
    pub fn install(&self, program: &str, script: &str) {
        let path = format!("opt/bin/{program}");
        self.write(&path, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(&path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Mounts a file or folder of the host into the container.
    pub fn mount(&self, what: &Path, at: &str, access: Access) {
        let at = self.path(at);
        if what.is_dir() {
            fs::create_dir_all(&at).unwrap();
        } else {
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(&at, "").unwrap();
        }
        run("mount", &["--rbind".as_ref(), what.as_os_str(), at.as_os_str()]);
        // In a user namespace, a mount that the tester cannot write to cannot be made read-only.
        if matches!(access, Access::ReadOnly) && effective_uid() == 0 {
            run("mount", &["-o".as_ref(), "remount,bind,ro".as_ref(), at.as_os_str()]);
        }
    }

    /// Sets an environment variable for all later terminals.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Locks the keychain, as after a start of the machine.
    pub fn lock_keychain(&mut self) {
        self.session.as_mut().expect("a container with a keychain").lock_again();
    }

    /// Opens a terminal in the home directory.
    pub fn terminal(&self) -> Terminal {
        let mut bash = Command::new("chroot");
        bash.args([ROOT, "env", "-C", HOME, "-i"]);
        for (name, value) in &self.environment {
            let mut pair = OsString::from(name);
            pair.push("=");
            pair.push(value);
            bash.arg(pair);
        }
        bash.args(["bash", "--noprofile", "--norc"]);
        Terminal::open(bash)
    }
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) {
    let ended = Command::new(program).args(arguments).output().unwrap();
    assert!(ended.status.success(), "{program}: {}", String::from_utf8_lossy(&ended.stderr));
}
