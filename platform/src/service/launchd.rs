//! Services as launchd agents: started at login, and restarted when they fail.

#[cfg(target_os = "macos")]
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::description::{Error, ManagerCall, Service, Start, single_line};

/// The prefix of agent labels.
const DOMAIN: &str = "io.github";

pub(super) fn file_name(service: &Service) -> String {
    format!("{}.plist", label(service))
}

pub(super) fn describe(service: &Service) -> Result<String, Error> {
    let mut words = String::new();
    for word in &service.command {
        words.push_str(&format!("    <string>{}</string>\n", escaped(single_line(word)?)));
    }
    let mut variables = String::new();
    for (name, value) in &service.environment {
        let (name, value) = (escaped(name), escaped(single_line(value)?));
        variables.push_str(&format!("    <key>{name}</key>\n    <string>{value}</string>\n"));
    }
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <plist version=\"1.0\">\n<dict>\n  \
         <key>Label</key>\n  <string>{}</string>\n  \
         <key>ProgramArguments</key>\n  <array>\n{words}  </array>\n  \
         <key>EnvironmentVariables</key>\n  <dict>\n{variables}  </dict>\n  \
         <key>RunAtLoad</key>\n  <true/>\n  \
         <key>KeepAlive</key>\n  <dict>\n    <key>SuccessfulExit</key>\n    <false/>\n  </dict>\n  \
         <key>ThrottleInterval</key>\n  <integer>5</integer>\n  \
         <key>ProcessType</key>\n  <string>Background</string>\n  \
         <key>Umask</key>\n  <integer>63</integer>\n\
         </dict>\n</plist>\n",
        escaped(&label(service)),
    ))
}

/// Returns the first argument, which is the program.
pub(super) fn program(agent: &str) -> Option<PathBuf> {
    let (_, arguments) = agent.split_once("<key>ProgramArguments</key>")?;
    let (_, first) = arguments.split_once("<string>")?;
    let (name, _) = first.split_once("</string>")?;
    Some(PathBuf::from(name.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")))
}

/// launchd sets the agent's label; processes of a terminal have the terminal's label, or none.
#[cfg(target_os = "macos")]
pub(super) fn restarts_this_process(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("XPC_SERVICE_NAME").is_some_and(|name| name.as_encoded_bytes().starts_with(DOMAIN.as_bytes()))
}

pub(super) fn enable_calls(file_name: &Path, start: Start) -> Vec<ManagerCall> {
    match start {
        // launchd finds the file in its folder at the next login.
        Start::AtLogin => Vec::new(),
        Start::Now => {
            vec![ManagerCall::new(&["launchctl", "bootstrap", &gui_domain(), &file_name.to_string_lossy()])]
        }
    }
}

pub(super) fn disable_calls(service: &Service) -> Vec<ManagerCall> {
    vec![ManagerCall::new(&["launchctl", "bootout", &format!("{}/{}", gui_domain(), label(service))])]
}

/// Returns the launchd domain of this user's graphical session, which has access to the keychain.
fn gui_domain() -> String {
    format!("gui/{}", crate::process::effective_uid())
}

fn label(service: &Service) -> String {
    format!("{DOMAIN}.{}", service.name)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
