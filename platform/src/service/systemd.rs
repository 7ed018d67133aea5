//! A service as a user unit of systemd: it says when it is ready, is watched, and can write to its own folders alone.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Error, ManagerCall, Service, Start, line};

/// Folders that are empty to a service with a `/tmp` of its own.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

pub(super) fn file(service: &Service) -> String {
    format!("{}.service", service.name)
}

/// A first request to stop goes to the service alone, which finishes what it has begun; what is left of it is ended
/// afterwards.
pub(super) fn describe(service: &Service) -> Result<String, Error> {
    let mut command = Vec::new();
    for (position, word) in service.command.iter().enumerate() {
        // Variables are replaced in arguments and not in the name of the program.
        let word = line(word)?;
        if position == 0 && word.contains(['"', '\'', '\\']) {
            // systemd takes no program of such a name, however it is quoted.
            return Err(Error::Unwritable { text: word.to_owned() });
        }
        command.push(if position == 0 { quoted(word) } else { quoted(&word.replace('$', "$$")) });
    }
    let mut text = format!(
        "[Unit]\nDescription={}\n\n[Service]\nType=notify\nExecStart={}\nExecReload=/bin/kill -HUP $MAINPID\n",
        service.purpose.replace('%', "%%"),
        command.join(" "),
    );
    for (name, value) in &service.environment {
        text.push_str(&format!("Environment={}\n", quoted(&format!("{name}={}", line(value)?))));
    }
    text.push_str(
        "Restart=on-failure\nRestartSec=5\nWatchdogSec=120\nKillMode=mixed\nTimeoutStopSec=90\nUMask=0077\n\n\
         NoNewPrivileges=yes\nProtectSystem=strict\n",
    );
    for folder in &service.writes {
        // A folder that is not there yet is no reason not to start.
        text.push_str(&format!("ReadWritePaths={}\n", quoted(&format!("-{}", line(folder.as_os_str())?))));
    }
    let in_temporary = |folder: &Path| TEMPORARY.iter().any(|temporary| folder.starts_with(temporary));
    if !service.writes.iter().any(|folder| in_temporary(folder)) {
        text.push_str("PrivateTmp=yes\n");
    }
    text.push_str(
        "LockPersonality=yes\nMemoryDenyWriteExecute=yes\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n\
         RestrictNamespaces=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nSystemCallArchitectures=native\n\n\
         [Install]\nWantedBy=default.target\n",
    );
    Ok(text)
}

/// The first word of the command, without its quotes.
pub(super) fn program(unit: &str) -> Option<PathBuf> {
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
    let quoted = command.strip_prefix('"')?;
    // `describe` lets no quote or backslash into the name.
    let (name, _) = quoted.split_once('"')?;
    Some(PathBuf::from(name.replace("%%", "%")))
}

/// What a notifying unit finds in its environment. Its children inherit the socket; newer versions name the process.
#[cfg(target_os = "linux")]
pub(super) fn restarts_this_process(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NOTIFY_SOCKET").is_some()
        && variable("SYSTEMD_EXEC_PID").is_none_or(|process| process == *std::process::id().to_string())
}

pub(super) fn enabling(service: &Service, start: Start) -> Vec<ManagerCall> {
    let unit = file(service);
    let mut calls = reloading();
    calls.push(ManagerCall::new(&["systemctl", "--user", "enable", &unit]));
    if start == Start::Now {
        // One that runs already is to run what was written just now.
        calls.push(ManagerCall::new(&["systemctl", "--user", "restart", &unit]));
    }
    calls
}

pub(super) fn disabling(service: &Service) -> Vec<ManagerCall> {
    vec![ManagerCall::new(&["systemctl", "--user", "disable", "--now", &file(service)])]
}

pub(super) fn reloading() -> Vec<ManagerCall> {
    vec![ManagerCall::new(&["systemctl", "--user", "daemon-reload"])]
}

/// In quotes, with what means something in them taken literally; `%` would begin a specifier.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}
