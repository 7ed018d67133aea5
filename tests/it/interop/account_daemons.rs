//! The shared daemon of OpenAI's Codex 0.171 in the folder of each account.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::codex::codex_0171;
use super::provider::Provider;
use super::shared_daemon::signal;
use crate::accounts::world::World;
use crate::support::{eventually, is_alive};

/// Ends the daemons of the folders.
struct DaemonGuard(Vec<PathBuf>);

impl DaemonGuard {
    fn pid(folder: &Path, name: &str) -> Option<u32> {
        let record = fs::read(folder.join("app-server-daemon").join(name)).ok()?;
        serde_json::from_slice::<Value>(&record).ok()?["pid"].as_u64()?.try_into().ok()
    }
}

impl Drop for DaemonGuard {
    fn drop(&mut self) {
        for folder in &self.0 {
            // The updater would start a daemon that has ended again.
            let names = ["daemon-updater.pid", "daemon.pid"];
            for pid in names.into_iter().filter_map(|name| Self::pid(folder, name)) {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                // It may be one that has ended, whose id another process has by now.
                if String::from_utf8_lossy(&environment).contains(folder.to_str().unwrap()) {
                    signal(pid, "KILL");
                    eventually("the daemon to end", || !is_alive(pid));
                }
            }
            if let Ok(target) = fs::read_link(folder.join("app-server-control/app-server-control.sock")) {
                let _ = fs::remove_file(target.with_extension("lock"));
                let _ = fs::remove_file(target);
            }
        }
    }
}

#[test]
fn the_daemon_in_the_folder_of_an_account_serves_that_account() {
    let world = World::with(&["work", "private"]);
    let provider = Provider::start();
    world.home.write("config.toml", provider.config());
    let user = world.home.beside("user");
    let codex = codex_0171();
    // Links to the installed package: otherwise Codex copies its 400 MB here.
    let package = codex.ancestors().nth(2).unwrap();
    let packages = world.home.file("packages/app-server-daemon");
    fs::create_dir_all(packages.join("releases")).unwrap();
    let release = format!("0.171.0-{}", package.file_name().unwrap().to_str().unwrap());
    symlink(package, packages.join("releases").join(&release)).unwrap();
    symlink(Path::new("releases").join(release), packages.join("current")).unwrap();

    let folders = ["work", "private"].map(|name| world.document(name).parent().unwrap().to_owned());
    let _guard = DaemonGuard(folders.to_vec());
    let program = codex.to_str().unwrap();
    for name in ["work", "private"] {
        let words = ["account", "run", name, "--", program, "app-server", "daemon", "start"];
        let run = world.run(words).env("HOME", &user).env("CODEX_AUTHAPI_BASE_URL", world.authority.url());
        run.run().expect(0);
    }
    let mut pids = Vec::new();
    for (name, folder) in ["work", "private"].iter().zip(&folders) {
        for own in ["app-server-daemon", "app-server-control"] {
            assert!(!folder.join(own).is_symlink() && folder.join(own).is_dir(), "{own} of {name}");
            assert!(!world.home.file(own).exists(), "{own}");
        }
        let report = world.run(["--account", name, "status", "--json"]).run().expect(0).json();
        let daemon = &report["codex_daemon"];
        assert_eq!(daemon["serves"], "stored-login", "{name}: {daemon}");
        assert_eq!(daemon["pid"].as_u64(), DaemonGuard::pid(folder, "daemon.pid").map(u64::from));
        pids.push(daemon["pid"].clone());
    }
    assert_ne!(pids[0], pids[1]);
    world.assert_whole();
}
