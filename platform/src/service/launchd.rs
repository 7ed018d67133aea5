//! A service as an agent of launchd: started at login, and again when it fails.

#[cfg(target_os = "macos")]
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Error, ManagerCall, Service, Start, line};

/// What names of agents begin with.
const DOMAIN: &str = "io.github";

pub(super) fn file(service: &Service) -> String {
    format!("{}.plist", label(service))
}

pub(super) fn describe(service: &Service) -> Result<String, Error> {
    let mut words = String::new();
    for word in &service.command {
        words.push_str(&format!("    <string>{}</string>\n", escaped(line(word)?)));
    }
    let mut variables = String::new();
    for (name, value) in &service.environment {
        let (name, value) = (escaped(name), escaped(line(value)?));
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

/// The first argument, which is the program.
pub(super) fn program(agent: &str) -> Option<PathBuf> {
    let (_, arguments) = agent.split_once("<key>ProgramArguments</key>")?;
    let (_, first) = arguments.split_once("<string>")?;
    let (name, _) = first.split_once("</string>")?;
    Some(PathBuf::from(name.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")))
}

/// launchd names the agent of a process; processes of a terminal carry the name of that, or none.
#[cfg(target_os = "macos")]
pub(super) fn restarts_this_process(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("XPC_SERVICE_NAME").is_some_and(|name| name.as_encoded_bytes().starts_with(DOMAIN.as_bytes()))
}

pub(super) fn enabling(file: &Path, start: Start) -> Vec<ManagerCall> {
    match start {
        // It is found in its folder at the next login.
        Start::AtLogin => Vec::new(),
        Start::Now => {
            vec![ManagerCall::new(&["launchctl", "bootstrap", &session(), &file.to_string_lossy()])]
        }
    }
}

pub(super) fn disabling(service: &Service) -> Vec<ManagerCall> {
    vec![ManagerCall::new(&["launchctl", "bootout", &format!("{}/{}", session(), label(service))])]
}

/// The graphical session of this user, which has the keychain.
fn session() -> String {
    format!("gui/{}", crate::process::user())
}

fn label(service: &Service) -> String {
    format!("{DOMAIN}.{}", service.name)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
