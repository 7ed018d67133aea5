//! Findings about a home's folders: file system, owners, modes, locks, and leftovers of killed processes.

use codex_auth::diagnosis::{
    EntryRole, FileSystemCondition, FolderAccess, FolderDiagnosis, HeldLock, HomeEntry, Leftover,
};
use codex_auth_platform::text::shell_word;

use super::examination::Examination;
use super::finding::Finding;

pub(super) fn findings(subject: &Examination) -> Vec<Finding> {
    let folders = match &subject.diagnosis.folders {
        Ok(folders) => folders,
        Err(error) => return vec![Finding::failed("place", error.clone())],
    };
    let mut findings = vec![home(subject, folders.access)];
    if folders.access == FolderAccess::Missing {
        return findings;
    }
    findings.extend(file_system(folders));
    findings.extend(owners(folders));
    findings.extend(modes(&folders.loose));
    findings.extend(locks(&folders.held_locks));
    findings.extend(leftovers(&folders.leftovers));
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

fn file_system(folders: &FolderDiagnosis) -> Vec<Finding> {
    let finding = match &folders.file_system {
        FileSystemCondition::Memory { name } => {
            Finding::warning("filesystem", format!("{name}: a login here is lost at the next restart"))
                .remedy("set CODEX_HOME to a folder on a disk")
        }
        FileSystemCondition::Native { name } => {
            Finding::ok("filesystem", format!("{name}; changes are noticed at once"))
        }
        FileSystemCondition::Shared { reason } => Finding::warning(
            "filesystem",
            format!("{reason}; changes are noticed late, and locks may not exclude other machines"),
        )
        .remedy("set CODEX_HOME to a folder on a disk of this machine"),
        FileSystemCondition::Unknown { reason } => Finding::warning("filesystem", reason),
        _ => return Vec::new(),
    };
    let mounted = folders.mounted_document.as_ref().map(|document| {
        let document = document.display();
        let message = format!(
            "{document} is mounted by itself: it shares no lock with its source and is never refreshed"
        );
        Finding::problem("filesystem", message)
            .remedy("mount the folder that contains it into the container, not the file")
    });
    [finding].into_iter().chain(mounted).collect()
}

fn owners(folders: &FolderDiagnosis) -> Vec<Finding> {
    let owner = folders.owner;
    let finding = |entry: &HomeEntry| {
        let path = entry.path.display();
        Finding::problem(
            "owners",
            format!("{path} belongs to user {}, so user {owner} may not be able to use it", entry.owner),
        )
        .remedy(format!("sudo chown {owner} {}", shell_word(&entry.path)))
    };
    let ok = || Finding::ok("owners", format!("every file belongs to user {owner}"));
    each(&folders.foreign, finding, ok)
}

fn modes(loose: &[HomeEntry]) -> Vec<Finding> {
    let finding = |entry: &HomeEntry| {
        let (path, mode) = (entry.path.display(), entry.mode);
        let quoted = shell_word(&entry.path);
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
    each(loose, finding, || Finding::ok("modes", "no other user can read or change the login"))
}

fn locks(held: &[HeldLock]) -> Vec<Finding> {
    let finding = |HeldLock { path, holder, .. }: &HeldLock| {
        let who = holder.as_ref().map_or_else(|| "another program".to_owned(), ToString::to_string);
        let message = format!("{who} holds {}; other processes wait for it", path.display());
        Finding::warning("locks", message).remedy(match holder {
            Some(holder) if holder.user.is_some() => format!("rm {}", shell_word(path)),
            Some(holder) => format!("if this persists, look at that process: ps -fp {}", holder.pid),
            None => "if this persists, find that program".to_owned(),
        })
    };
    each(held, finding, || Finding::ok("locks", "none is held"))
}

fn leftovers(left: &[Leftover]) -> Vec<Finding> {
    let finding = |leftover: &Leftover| {
        let found = match leftover {
            Leftover::Backup(path) => {
                Finding::warning("leftovers", format!("{} contains the previous login", path.display()))
                    .remedy(format!("rm {}", shell_word(path)))
            }
            Leftover::StaleHolder { path, holder } => Finding::warning(
                "leftovers",
                format!("{} names {holder}, which was killed; it blocks nothing", path.display()),
            ),
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
            other => Finding::warning("leftovers", format!("{other:?}")),
        };
        if leftover.is_removable() { found.fixable() } else { found }
    };
    each(left, finding, || Finding::ok("leftovers", "none"))
}

/// Returns the finding of each of `found`, or `ok` if there are none.
fn each<T>(found: &[T], finding: impl Fn(&T) -> Finding, ok: impl FnOnce() -> Finding) -> Vec<Finding> {
    if found.is_empty() { vec![ok()] } else { found.iter().map(finding).collect() }
}
