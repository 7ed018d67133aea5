//! The facts about the accounts and the daemon of OpenAI's Codex that this program relies on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use scripted_authority::{Account, Ending, Endpoint, Outcome};
use serde_json::{Value, json};

use super::facts::{requested, run, server};
use crate::app_server::client::Client;
use crate::manager::world::World;
use crate::support::{Machine, TestHome};

/// Without another process; `refused` has what happens with several.
pub(super) fn a_model_that_refuses_the_token_makes_it_refresh_once(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let url = world.authority.url();
    world.machine.home.write(
        "config.toml",
        format!(
            "model_provider = \"here\"\n[model_providers.here]\nname = \"Here\"\nbase_url = \"{url}/v1\"\n\
             wire_api = \"responses\"\nrequires_openai_auth = true\n"
        ),
    );
    let mut server = server(codex, &world);
    world.authority.end(world.grant.id, Ending::AccessInvalidated);
    let thread = server.call("thread/start", json!({}))["thread"]["id"].take();
    let input = json!([{"type": "text", "text": "hello"}]);
    server.call("turn/start", json!({"threadId": thread, "input": input}));
    assert_eq!(server.notification("turn/completed")["turn"]["status"], "completed");
    requested(&world, 1);
    assert!(world.authority.counters().ended(Endpoint::Model, Outcome::Refused) > 0);
}

pub(super) fn a_document_with_a_dummy_refresh_token_adopts_a_newer_one_without_a_request(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let exported = |mut document: Value| {
        document["tokens"]["refresh_token"] = json!("no-refresh-token");
        world.machine.store_text(document.to_string());
        document["tokens"]["access_token"].take()
    };
    let old = exported(world.document());
    let mut server = server(codex, &world);
    assert_eq!(server.token().map(Value::from), Some(old));
    let newer = world.authority.grant(Account::numbered(1));
    let new = exported(serde_json::from_str(&newer.auth_json()).unwrap());
    assert_eq!(server.new_token(), new);
    requested(&world, 0);
}

pub(super) fn a_switch_of_workspaces_keeps_the_refresh_token(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let base = format!("chatgpt_base_url=\"{}/backend-api\"", world.authority.url());
    let arguments = ["-c", &base, "app-server"];
    let mut server = Client::from_run(run(codex, &world.machine.home, arguments));
    let before = world.document();
    // It waits for the workspace.
    server.call("account/read", json!({}));
    let switch = json!({"sessionId": "user-1", "accountId": "shared"});
    server.call("accountSession/switch", switch);
    let after = world.document();
    assert_eq!(after["tokens"]["account_id"], "shared");
    assert_ne!(after["tokens"]["access_token"], before["tokens"]["access_token"]);
    for kept in ["refresh_token", "id_token"] {
        assert_eq!(after["tokens"][kept], before["tokens"][kept]);
    }
}

// Linux: procfs.
#[cfg(target_os = "linux")]
pub(super) fn the_daemon_of_a_home_has_this_socket_and_records_its_process(codex: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    let home = TestHome::new();
    // Links to the installed package: otherwise Codex copies its 400 MB here.
    let package = codex.ancestors().nth(2).unwrap();
    let version = run(codex, &home, ["--version"]).run().expect(0).out;
    let version = version.trim_end().strip_prefix("codex-cli ").unwrap();
    let packages = home.file("packages/app-server-daemon");
    fs::create_dir_all(packages.join("releases")).unwrap();
    let release = format!("{version}-{}", package.file_name().unwrap().to_str().unwrap());
    symlink(package, packages.join("releases").join(&release)).unwrap();
    symlink(Path::new("releases").join(release), packages.join("current")).unwrap();
    let _daemon = DaemonGuard { codex, home: &home };
    run(codex, &home, ["app-server", "daemon", "start"]).run().expect(0);
    let record: Value = serde_json::from_str(&home.read("app-server-daemon/daemon.pid")).unwrap();
    let pid = record["pid"].as_u64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks = status.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().to_owned();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let identity = &record["processIdentity"];
    assert_eq!(identity["startTicks"].to_string().trim_matches('"'), ticks);
    assert_eq!(identity["bootId"], boot.trim_end());
    let link = home.file("app-server-control/app-server-control.sock");
    let target = fs::read_link(&link).unwrap();
    let name = target.file_name().unwrap().as_bytes();
    assert!(target.starts_with("/tmp") && name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit));
    assert!(std::os::unix::net::UnixStream::connect(&link).is_ok());
}

/// Ends the daemon of a home.
// Linux: procfs.
#[cfg(target_os = "linux")]
struct DaemonGuard<'a> {
    codex: &'a Path,
    home: &'a TestHome,
}

// Linux: procfs.
#[cfg(target_os = "linux")]
impl Drop for DaemonGuard<'_> {
    fn drop(&mut self) {
        let recorded = |name: &str| {
            let text = fs::read_to_string(self.home.file("app-server-daemon").join(name)).ok()?;
            serde_json::from_str::<Value>(&text).ok()?["pid"].as_u64()?.try_into().ok()
        };
        // It would start a daemon that has ended again.
        let updater: Option<u32> = recorded("daemon-updater.pid");
        updater.into_iter().for_each(|pid| super::shared_daemon::signal(pid, "KILL"));
        run(self.codex, self.home, ["app-server", "daemon", "stop"]).run();
    }
}
