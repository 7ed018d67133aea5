//! The checks of the machine: versions, the keeper, the next codex on PATH, and other programs that use this login.

use std::env::consts;
use std::path::PathBuf;

use codex_auth::config::{TESTED_CODEX_VERSIONS, is_tested_codex};
use codex_auth::diagnosis::{CodexProcess, programs_using};
use codex_auth::keeper::{Client, KeeperState};
use codex_auth_platform::filesystem;
use codex_auth_platform::{search_path, service};

use super::examination::Examination;
use super::finding::Finding;
use crate::daemon::DaemonState;
use crate::name;
use crate::next_codex;
use crate::output::relative;
use crate::sync::{Installation, continue_or_end};

/// Version and platform.
pub(super) fn version() -> Finding {
    Finding::ok(
        "version",
        format!("codex-auth {} on {} {}", env!("CARGO_PKG_VERSION"), consts::OS, consts::ARCH),
    )
}

pub(super) fn findings(subject: &Examination) -> Vec<Finding> {
    let running = programs_using(&subject.home);
    let keeper = [keeper(subject)].into_iter().chain(service(subject)).chain(daemon(subject));
    keeper.chain(next()).chain(before_own(subject)).chain([programs(&running)]).collect()
}

/// Whether a keeper runs.
fn keeper(subject: &Examination) -> Finding {
    if Client::of(&subject.home, &subject.environment).is_none() {
        return Finding::warning("keeper", "it has no socket: the path of the home is too long for one")
            .remedy("set XDG_RUNTIME_DIR");
    }
    match KeeperState::of(&subject.home, &subject.environment) {
        Ok(KeeperState::Responding(status)) => {
            let next = status.next_refresh_at.map(|moment| relative(moment, subject.clock.now()));
            let next =
                next.map_or_else(|| "no refresh is planned".to_owned(), |next| format!("refreshes {next}"));
            Finding::ok("keeper", format!("pid {}, {next}", status.pid))
        }
        Ok(silent @ KeeperState::Silent { .. }) => {
            let pid = silent.pid().map(|pid| format!("pid {pid} ")).unwrap_or_default();
            Finding::warning("keeper", format!("{pid}does not respond")).remedy(match is_installed(subject) {
                true => "restart it: codex sync install --now".to_owned(),
                false => continue_or_end(silent.pid()),
            })
        }
        Ok(_) if is_installed(subject) => {
            Finding::warning("keeper", "it is installed but not running").remedy("codex sync install --now")
        }
        Ok(_) => Finding::ok("keeper", "not running"),
        Err(error) => {
            Finding::warning("keeper", error.to_string()).remedy("restart it: codex sync install --now")
        }
    }
}

/// A service that names a program which an upgrade has removed since, so that it cannot start.
fn service(subject: &Examination) -> Option<Finding> {
    let installation = Installation::of(&subject.home, &subject.environment).ok()?;
    let program = installation.program().filter(|program| filesystem::identity(program).is_none())?;
    let message = format!("{} runs {}, which does not exist", installation.file.display(), program.display());
    Some(Finding::problem("service", message).remedy("codex sync install --now"))
}

fn is_installed(subject: &Examination) -> bool {
    Installation::of(&subject.home, &subject.environment)
        .is_ok_and(|found| service::read(&found.file).is_some())
}

/// Which login Codex's daemon serves. The report names no account.
fn daemon(subject: &Examination) -> Option<Finding> {
    let state = DaemonState::look(&subject.home, || {
        let login = subject.diagnosis.login.as_ref().map_err(drop)?;
        let status = login.status.as_ref().map_err(drop)?;
        Ok::<_, ()>(status.find_report().stored.as_ref().map(|stored| stored.document.clone()))
    })?;
    let Some(warning) = state.anonymous_warning() else {
        return state.good().map(|good| Finding::ok("daemon", good));
    };
    let finding = if state.is_wrong() { Finding::problem } else { Finding::warning };
    let finding = finding("daemon", warning);
    Some(match state.remedy() {
        Some(command) => finding.remedy(command),
        None => finding,
    })
}

/// Another program that the name `codex` leads to.
fn before_own(subject: &Examination) -> Option<Finding> {
    let first = search_path::program_before_own(name::SHARED, &subject.environment.path)?;
    let message = format!("codex is {}; this program is not first on PATH", first.display());
    Some(Finding::ok("PATH", message))
}

/// The program that other commands go to, and those that are skipped.
fn next() -> Vec<Finding> {
    let next = next_codex::with_version();
    let skipped = next_codex::refused().into_iter().map(|refused| match next {
        Some(_) => Finding::ok("next codex", refused),
        None => Finding::warning("next codex", refused),
    });
    let skipped: Vec<_> = skipped.collect();
    [next_program(next)].into_iter().chain(skipped).collect()
}

fn next_program(next: Option<(PathBuf, Option<String>)>) -> Finding {
    match next {
        None => Finding::ok("next codex", "none on PATH"),
        Some((path, Some(version))) if is_tested_codex(&version) => {
            Finding::ok("next codex", format!("{version}, a tested version ({})", path.display()))
        }
        Some((path, Some(version))) => {
            let tested = TESTED_CODEX_VERSIONS.join(" and ");
            let message =
                format!("{version} ({}) is not a tested version; tested are {tested}", path.display());
            Finding::warning("next codex", message).remedy("upgrade codex-auth if there is a newer version")
        }
        Some((path, None)) => {
            let message = format!("{} does not print its version", path.display());
            Finding::warning("next codex", message).remedy(format!("{} --version", path.display()))
        }
    }
}

fn programs(running: &[CodexProcess]) -> Finding {
    if running.is_empty() {
        return Finding::ok("programs", "no other codex uses this login");
    }
    let each = running.iter().map(|other| format!("{} (pid {})", other.executable.display(), other.pid));
    Finding::ok("programs", format!("using this login: {}", each.collect::<Vec<_>>().join(", ")))
}
