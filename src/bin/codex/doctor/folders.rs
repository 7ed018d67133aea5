//! The checks of a home's folders: file system, owners, modes, locks, and leftovers of killed processes.

use std::path::Path;

use codex_auth::store::LockState;
use codex_auth::store::inspection::{self, EntryRole, FolderAccess, HomeEntry, HomeInspection, Leftover};
use codex_auth_platform::filesystem::{self, FileSystem, FileSystemKind, MountPoint, WatchSupport};
use codex_auth_platform::process;

use super::examination::Examination;
use super::finding::Finding;

pub(super) fn findings(subject: &Examination) -> Vec<Finding> {
    let inspection = match inspection::inspect(&subject.home) {
        Ok(inspection) => inspection,
        Err(error) => return vec![Finding::failed("place", &error.into())],
    };
    let mut findings = vec![home(subject, inspection.home)];
    if inspection.home == FolderAccess::Missing {
        return findings;
    }
    findings.extend(file_system(subject));
    findings.extend(owners(&inspection.entries));
    findings.extend(modes(&inspection.entries));
    findings.extend(locks(&inspection));
    findings.extend(leftovers(&inspection));
    findings
}

fn home(subject: &Examination, access: FolderAccess) -> Finding {
    let home = subject.home.path().display();
    let named = if subject.environment.is_default_home() { "the default" } else { "CODEX_HOME" };
    match access {
        FolderAccess::Writable => Finding::ok("place", format!("{home} ({named})")),
        FolderAccess::Missing => Finding::ok("place", format!("{home} ({named}) does not exist yet")),
        FolderAccess::ReadOnly => Finding::warning(
            "place",
            format!("{home} ({named}) is not writable: a login in it is read and never refreshed"),
        )
        .remedy("make the folder writable for this user"),
    }
}

fn file_system(subject: &Examination) -> Vec<Finding> {
    let home = subject.home.path();
    let mut findings = match filesystem::describe(home) {
        Ok(FileSystem { kind: FileSystemKind::Memory, name, .. }) => vec![
            Finding::warning("filesystem", format!("{name}: a login here is lost at the next restart"))
                .remedy("set CODEX_HOME to a folder on a disk"),
        ],
        Ok(FileSystem { name, .. }) => match filesystem::watch_support(home) {
            WatchSupport::Native => {
                vec![Finding::ok("filesystem", format!("{name}; changes are noticed at once"))]
            }
            WatchSupport::Poll { reason } => vec![
                Finding::warning(
                    "filesystem",
                    format!("{reason}; changes are noticed late, and locks may not exclude other machines"),
                )
                .remedy("set CODEX_HOME to a folder on a disk of this machine"),
            ],
            _ => Vec::new(),
        },
        Err(error) => vec![Finding::warning("filesystem", error.to_string())],
    };
    if matches!(filesystem::is_mount_point(&subject.home.document()), Ok(MountPoint::Yes)) {
        let document = subject.home.document();
        findings.push(
            Finding::problem(
                "filesystem",
                format!(
                    "{} is mounted by itself: it shares no lock with its source and is never refreshed",
                    document.display()
                ),
            )
            .remedy("mount the folder that contains it into the container, not the file"),
        );
    }
    findings
}

fn owners(entries: &[HomeEntry]) -> Vec<Finding> {
    let us = process::effective_uid();
    let home = entries.iter().find(|entry| entry.role == EntryRole::Home).map_or(us, |home| home.owner);
    // As root, the files of another user's home must belong to that user.
    let owner = if us == 0 { home } else { us };
    let foreign = |entry: &&HomeEntry| entry.owner != owner;
    let finding = |entry: &HomeEntry| {
        let path = entry.path.display();
        Finding::problem(
            "owners",
            format!("{path} belongs to user {}, so user {owner} may not be able to use it", entry.owner),
        )
        .remedy(format!("sudo chown {owner} {}", quoted(&entry.path)))
    };
    let found: Vec<_> = entries.iter().filter(foreign).map(finding).collect();
    if found.is_empty() {
        vec![Finding::ok("owners", format!("every file belongs to user {owner}"))]
    } else {
        found
    }
}

fn modes(entries: &[HomeEntry]) -> Vec<Finding> {
    let finding = |entry: &HomeEntry| {
        let (path, mode) = (entry.path.display(), entry.mode);
        let quoted = quoted(&entry.path);
        let found = match entry.role {
            EntryRole::Document => Finding::problem(
                "modes",
                format!("{path} has mode {mode:03o}, so other users can use the login"),
            )
            .remedy(format!("chmod 600 {quoted}")),
            EntryRole::CommitLock => Finding::warning(
                "modes",
                format!(
                    "{path} has mode {mode:03o}, so other users can lock it and stop logins and refreshes"
                ),
            )
            .remedy(format!("chmod 600 {quoted}")),
            EntryRole::Ours => {
                Finding::warning("modes", format!("{path} has mode {mode:03o}; other users need no access"))
                    .remedy(format!("chmod go= {quoted}"))
            }
            _ => Finding::problem(
                "modes",
                format!("{path} has mode {mode:03o}, so other users can change which login is used and how"),
            )
            .remedy(format!("chmod go-w {quoted}")),
        };
        if entry.is_fixable() { found.fixable() } else { found }
    };
    let loose: Vec<_> = entries.iter().filter(|entry| entry.is_loose()).map(finding).collect();
    if loose.is_empty() {
        vec![Finding::ok("modes", "no other user can read or change the login")]
    } else {
        loose
    }
}

fn locks(inspection: &HomeInspection) -> Vec<Finding> {
    let held = inspection.locks.iter().filter_map(|lock| match &lock.state {
        LockState::Held { holder } => {
            let path = lock.path.display();
            let who = holder.as_ref().map_or_else(|| "another program".to_owned(), ToString::to_string);
            let finding =
                Finding::warning("locks", format!("{who} holds {path}; other processes wait for it"));
            Some(match holder {
                Some(holder) if holder.user.is_some() => finding.remedy(format!("rm {}", quoted(&lock.path))),
                Some(holder) => {
                    finding.remedy(format!("if this persists, look at that process: ps -fp {}", holder.pid))
                }
                None => finding.remedy("if this persists, find that program"),
            })
        }
        _ => None,
    });
    let held: Vec<_> = held.collect();
    if held.is_empty() { vec![Finding::ok("locks", "none is held")] } else { held }
}

fn leftovers(inspection: &HomeInspection) -> Vec<Finding> {
    // While a lock is held, the files may belong to work in progress.
    let in_progress = inspection.locks.iter().any(|lock| matches!(lock.state, LockState::Held { .. }));
    let finding = |leftover: &Leftover| {
        let found = match leftover {
            Leftover::Backup(path) => {
                Finding::warning("leftovers", format!("{} contains the previous login", path.display()))
                    .remedy(format!("rm {}", quoted(path)))
            }
            Leftover::StaleHolder { path, holder } => Finding::warning(
                "leftovers",
                format!("{} names {holder}, which was killed; it blocks nothing", path.display()),
            ),
            Leftover::Rescue(_) if in_progress => return None,
            Leftover::Rescue(path) => Finding::warning(
                "leftovers",
                format!("{} contains new tokens that are not stored yet; nothing is lost", path.display()),
            )
            .remedy("codex refresh"),
            Leftover::Temporary(path) => Finding::warning(
                "leftovers",
                format!(
                    "{} was being written by a process that was killed; it may contain tokens",
                    path.display()
                ),
            ),
            _ => return None,
        };
        Some(if leftover.is_removable() { found.fixable() } else { found })
    };
    let left: Vec<_> = inspection.leftovers.iter().filter_map(finding).collect();
    if left.is_empty() { vec![Finding::ok("leftovers", "none")] } else { left }
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+@,:".contains(letter);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
