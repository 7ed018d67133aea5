//! Services as systemd user units: they notify when ready, have a watchdog, and can write only to their own folders.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::description::{Error, ManagerCall, Service, Start, single_line};

/// Folders that are empty for a service with a private `/tmp`.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

pub(super) fn file_name(service: &Service) -> String {
    format!("{}.service", service.name)
}

/// Returns the unit. The stop signal goes to the main process first, which finishes its work; systemd then ends the
/// rest.
pub(super) fn describe(service: &Service) -> Result<String, Error> {
    let mut command = Vec::new();
    for (position, word) in service.command.iter().enumerate() {
        // systemd expands variables in arguments, but not in the program's name.
        let word = single_line(word)?;
        if position == 0 && word.contains(['"', '\'', '\\']) {
            // systemd accepts no program with such a name, however it is quoted.
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
        text.push_str(&format!("Environment={}\n", quoted(&format!("{name}={}", single_line(value)?))));
    }
    text.push_str(
        "Restart=on-failure\nRestartSec=5\nWatchdogSec=120\nKillMode=mixed\nTimeoutStopSec=90\nUMask=0077\n\n\
         NoNewPrivileges=yes\nProtectSystem=strict\n",
    );
    for folder in &service.writable_folders {
        // The service must start even if the folder does not exist yet.
        text.push_str(&format!(
            "ReadWritePaths={}\n",
            quoted(&format!("-{}", single_line(folder.as_os_str())?))
        ));
    }
    let in_temporary = |folder: &Path| TEMPORARY.iter().any(|temporary| folder.starts_with(temporary));
    if !service.writable_folders.iter().any(|folder| in_temporary(folder)) {
        text.push_str("PrivateTmp=yes\n");
    }
    text.push_str(
        "LockPersonality=yes\nMemoryDenyWriteExecute=yes\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n\
         RestrictNamespaces=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nSystemCallArchitectures=native\n\n\
         [Install]\nWantedBy=default.target\n",
    );
    Ok(text)
}

/// Returns the first word of the command, without its quotes.
pub(super) fn program(unit: &str) -> Option<PathBuf> {
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
    let quoted = command.strip_prefix('"')?;
    // `describe` allows no quote or backslash in the name.
    let (name, _) = quoted.split_once('"')?;
    Some(PathBuf::from(name.replace("%%", "%")))
}

/// Returns whether this process is the main process of a unit. `NOTIFY_SOCKET` alone is not enough, because child
/// processes inherit it; `SYSTEMD_EXEC_PID` is missing in older versions of systemd.
#[cfg(target_os = "linux")]
pub(super) fn restarts_this_process(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NOTIFY_SOCKET").is_some()
        && variable("SYSTEMD_EXEC_PID").is_none_or(|process| process == *std::process::id().to_string())
}

pub(super) fn enable_calls(service: &Service, start: Start) -> Vec<ManagerCall> {
    let unit = file_name(service);
    let mut calls = reload_calls();
    calls.push(ManagerCall::new(&["systemctl", "--user", "enable", &unit]));
    if start == Start::Now {
        // A running service must run the new description.
        calls.push(ManagerCall::new(&["systemctl", "--user", "restart", &unit]));
    }
    calls
}

pub(super) fn disable_calls(service: &Service) -> Vec<ManagerCall> {
    vec![ManagerCall::new(&["systemctl", "--user", "disable", "--now", &file_name(service)])]
}

pub(super) fn reload_calls() -> Vec<ManagerCall> {
    vec![ManagerCall::new(&["systemctl", "--user", "daemon-reload"])]
}

/// Quotes a word, with special characters taken literally; `%` would begin a specifier.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}
