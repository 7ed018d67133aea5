//! Runs the next program called `codex` on PATH for every command line that this program does not handle.
//!
//! The next program replaces this process by `exec`, with the same arguments and streams. A stale login is refreshed
//! before by a child process, so that programs that are started together do not all refresh it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use codex_auth::config::{Environment, ExecChain, Overrides};
use codex_auth::manager::{AccountPolicy, Job, ProcessFallback};
use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::{process, search_path};

use crate::child;
use crate::error::{CommandError, Exit};
use crate::name;
use crate::output::Output;

/// Options that may stand before a command.
const BEFORE_COMMANDS: [&str; 5] = ["--json", "-q", "--quiet", "-v", "--verbose"];
/// Maximum time that a refresh delays the next program.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the next program may take to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// The command line of this program, as far as the decision needs it.
pub(crate) struct Definition {
    /// Whether this program has the command, and handles it with these arguments.
    pub(crate) is_own_command: fn(&str, &[OsString]) -> bool,
    /// Formats the help.
    pub(crate) help: fn() -> String,
}

/// A command line, parsed as far as needed to decide which program handles it.
struct CommandLine<'a> {
    words: &'a [OsString],
    /// The values of `-c` before the command that concern the login.
    assignments: Vec<&'a str>,
    /// The index of the first word after these options.
    rest: usize,
}

/// What is left to do for a command line.
pub(crate) enum HandOver {
    /// This program handles it.
    Ours,
    /// Nothing: it was handled, with this exit code.
    Done(ExitCode),
}

/// Runs the next program if the command line is not one of ours; does not return then.
///
/// # Errors
/// The next program cannot be run, or a value of `-c` is invalid.
pub(crate) fn hand_over(words: &[OsString], definition: &Definition) -> Result<HandOver, CommandError> {
    let line = CommandLine::read(words);
    if line.is_ours(definition) {
        return match line.assignments.as_slice() {
            [] => Ok(HandOver::Ours),
            assignments => Err(exec_self(
                &line,
                &Overrides::from_assignments(assignments.iter().copied())
                    .map_err(|error| invalid_override(&error))?,
            )),
        };
    }
    if name::is_own(words) {
        return Ok(HandOver::Ours);
    }
    let chain = ExecChain::of_process();
    let Some(next) = next(&chain) else { return Ok(HandOver::Ours) };
    if chain.is_too_deep() {
        let message = format!("{} starts this program again and again", next.display());
        return Err(CommandError::new(Exit::Failed, message).hint("call the real codex by its path in there"));
    }
    match words {
        [_, only] if only == "--version" || only == "-V" => versions(&next, &Output::of_process()),
        [_, only] if only == "--help" || only == "-h" || only == "help" => {
            help(&next, definition, &Output::of_process())?;
            Err(exec_next(&next, words, &chain))
        }
        _ => {
            refresh_if_stale(&line);
            Err(exec_next(&next, words, &chain))
        }
    }
}

/// The path of the next program, and the version that it prints.
pub(crate) fn next_version() -> Option<(PathBuf, Option<String>)> {
    let next = next(&ExecChain::of_process())?;
    let version = version(&next);
    Some((next, version))
}

/// A command that starts the next program as a child; `None` if there is none, or under the name `codex-auth`.
pub(crate) fn next_as_child() -> Option<Command> {
    let chain = ExecChain::of_process();
    if name::of_this_run() == name::OWN || chain.is_too_deep() {
        return None;
    }
    let mut command = Command::new(next(&chain)?);
    if let Some(ours) = search_path::own_program_id() {
        command.env(ExecChain::VARIABLE, chain.variable_for_child(ours));
    }
    Some(command)
}

/// The error for an `unknown` command that cannot be passed on.
pub(crate) fn not_passed_on(unknown: String, words: &[OsString]) -> CommandError {
    if name::is_own(words) {
        return CommandError::new(Exit::Usage, unknown)
            .hint("under the name codex, other commands go to the next codex on PATH");
    }
    let message = format!("{unknown}, and no other codex was found on PATH to pass it to");
    let failed = CommandError::new(Exit::Usage, message);
    let refused = search_path::refused_programs(name::SHARED, &ExecChain::of_process().path);
    if refused.is_empty() {
        return failed.hint("install OpenAI's Codex in a folder on PATH, before or after this program");
    }
    refused.iter().fold(failed, |failed, refused| failed.hint(refused.to_string()))
}

/// Returns the first word after the options that may stand before a command.
pub(crate) fn first_word(words: &[OsString]) -> Option<&OsStr> {
    words.get(CommandLine::read(words).rest).map(OsString::as_os_str)
}

/// Returns `words` with `help` as an option: `codex help login` is `codex login --help`.
pub(crate) fn with_help_option(words: &[OsString]) -> Vec<OsString> {
    let mut words = words.to_vec();
    let rest = CommandLine::read(&words).rest;
    if words.get(rest).is_some_and(|word| word == "help") {
        words.remove(rest);
        words.push("--help".into());
    }
    words
}

impl<'a> CommandLine<'a> {
    fn read(words: &'a [OsString]) -> Self {
        let mut line = Self { words, assignments: Vec::new(), rest: words.len().min(1) };
        while let Some((assignment, used)) = line.next_option() {
            line.assignments.extend(assignment);
            line.rest += used;
        }
        line
    }

    /// The option at `rest`, if it is one of ours: the value of `-c`, and the number of words.
    fn next_option(&self) -> Option<(Option<&'a str>, usize)> {
        let word = self.words.get(self.rest)?.to_str()?;
        if BEFORE_COMMANDS.contains(&word) {
            return Some((None, 1));
        }
        let (assignment, used) = match word {
            "-c" | "--config" => (self.words.get(self.rest + 1)?.to_str()?, 2),
            _ => (word.strip_prefix("--config=").or_else(|| word.strip_prefix("-c"))?, 1),
        };
        Overrides::is_override(assignment).then_some((Some(assignment), used))
    }

    /// Whether the first word is exactly one of our commands, or `help` for one of them.
    fn is_ours(&self, definition: &Definition) -> bool {
        let word = |at: usize| self.words.get(at).and_then(|word| word.to_str());
        match word(self.rest) {
            Some("help") => word(self.rest + 1).is_some_and(|word| (definition.is_own_command)(word, &[])),
            first => {
                first.is_some_and(|first| (definition.is_own_command)(first, &self.words[self.rest + 1..]))
            }
        }
    }

    /// The words without the options `-c`.
    fn without_assignments(&self) -> impl Iterator<Item = &'a OsString> {
        let option = |word: &&OsString| BEFORE_COMMANDS.iter().any(|option| *word == option);
        let rest = self.rest.min(self.words.len());
        self.words[..rest].iter().filter(option).chain(&self.words[rest..])
    }
}

/// The path by which this program was called, which an upgrade keeps, else the path of its file; `None` if the file was
/// replaced or removed.
pub(crate) fn own_path(environment: &Environment) -> Option<PathBuf> {
    search_path::invoked_path(name::SHARED, &environment.path).or_else(|| {
        let file = process::own_executable().ok()?;
        (filesystem::identity(&file)? == search_path::own_program_id()?).then_some(file)
    })
}

fn next(chain: &ExecChain) -> Option<PathBuf> {
    let visited: Vec<FileId> = chain.visited.iter().filter_map(|text| text.parse().ok()).collect();
    search_path::find_programs(name::SHARED, &chain.path)
        .into_iter()
        // A link to `codex-auth` leads back to this program.
        .filter(|path| search_path::resolved_file_name(path).is_none_or(|file| file != name::OWN))
        .find(|path| filesystem::identity(path).is_none_or(|identity| !visited.contains(&identity)))
}

/// Replaces this process by `next`; returns only on an error.
fn exec_next(next: &Path, words: &[OsString], chain: &ExecChain) -> CommandError {
    let mut command = Command::new(next);
    command.args(words.iter().skip(1));
    if let Some(ours) = search_path::own_program_id() {
        command.env(ExecChain::VARIABLE, chain.variable_for_exec(ours));
    }
    let error = command.exec();
    CommandError::new(Exit::Failed, format!("cannot run {}: {error}", next.display()))
        .hint("repair or remove that program")
}

/// Replaces this process by the same program with the values of `-c` in the environment, which child processes inherit.
fn exec_self(line: &CommandLine<'_>, overrides: &Overrides) -> CommandError {
    let error = process::own_command().map_or_else(
        |error| error,
        |mut command| {
            command.args(line.without_assignments()).env(Overrides::VARIABLE, overrides.to_string()).exec()
        },
    );
    CommandError::new(Exit::Failed, format!("cannot restart this program with the values of -c: {error}"))
}

fn invalid_override(error: &codex_auth::config::Error) -> CommandError {
    CommandError::new(Exit::Usage, format!("-c: {error}"))
}

/// Refreshes a stale login, waiting for [`REFRESH_TIMEOUT`] at most.
fn refresh_if_stale(line: &CommandLine<'_>) {
    let overrides = Overrides::from_assignments(line.assignments.iter().copied()).unwrap_or_default();
    // Of capacity 0, so that `RunsHere` is sent only to a receiver that still waits.
    let (send, progress) = mpsc::sync_channel(0);
    let started = thread::Builder::new().spawn(move || {
        let may_run_here = || match send.send(RefreshProgress::RunsHere) {
            Ok(()) => ProcessFallback::Allowed,
            Err(_) => ProcessFallback::Refused,
        };
        let job = Job::freshen(AccountPolicy::Follow);
        let _ = child::run_with(&job, overrides, may_run_here);
        let _ = send.send(RefreshProgress::Done);
    });
    if started.is_ok() && matches!(progress.recv_timeout(REFRESH_TIMEOUT), Ok(RefreshProgress::RunsHere)) {
        // The `exec` that follows would kill the thread and lose a token response.
        let _ = progress.recv();
    }
}

/// The progress of the refresh before the next program is run.
enum RefreshProgress {
    /// It runs in this process, because no child process could be started.
    RunsHere,
    Done,
}

/// Prints the help of this program, which the next program's help follows.
fn help(next: &Path, definition: &Definition, output: &Output) -> Result<(), CommandError> {
    let ours = (definition.help)();
    output.data(&format!("{ours}\nAny other command goes to {}, whose help follows.\n", next.display()))?;
    Ok(())
}

fn versions(next: &Path, output: &Output) -> Result<HandOver, CommandError> {
    if let Some(version) = version(next) {
        output.data(&version)?;
    }
    output.data(&format!("{} {}", name::OWN, env!("CARGO_PKG_VERSION")))?;
    Ok(HandOver::Done(ExitCode::SUCCESS))
}

/// The first line that `program --version` prints within [`VERSION_TIMEOUT`].
fn version(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = process::remove_loader_variables(&mut command).spawn().ok()?;
    let (send, output) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || send.send(child.wait_with_output()));
    let output = started.ok().and_then(|_| output.recv_timeout(VERSION_TIMEOUT).ok()?.ok())?;
    let line = String::from_utf8_lossy(&output.stdout);
    let line = line.lines().next().unwrap_or_default();
    Some(crate::output::plain(line.trim())).filter(|line| !line.is_empty())
}
