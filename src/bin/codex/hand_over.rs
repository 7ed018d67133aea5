//! Handing over: a command line that is not ours goes, whole, to the next program called `codex` on the search path.
//!
//! As `git` does with commands that are not its own. The next program takes the place of this process, with its streams and
//! arguments untouched; only a stale login is refreshed before, by a child, so that programs that are started together
//! find one that none of them has to refresh.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{CommandFactory as _, Subcommand as _};
use codex_auth::config::{Environment, ExecChain, Overrides};
use codex_auth::manager::{AccountPolicy, Job};
use codex_auth_platform::process;
use codex_auth_platform::search_path::{self, ProgramId};

use crate::app_server;
use crate::child::{self, ProcessFallback, WaitNotice};
use crate::error::{CommandError, Exit};
use crate::output::Output;

/// What every program of this kind is called.
const NAME: &str = "codex";
/// Our second name, under which nothing is handed over.
pub(crate) const OWN_NAME: &str = "codex-auth";
/// How long a refresh may keep a person from the program they called.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long another program may take to tell its version.
const VERSION_PATIENCE: Duration = Duration::from_secs(5);

/// A command line as far as it has to be understood to know whose it is.
struct CommandLine<'a> {
    words: &'a [OsString],
    /// What `-c` sets for a login, before the first word.
    assignments: Vec<&'a str>,
    /// Where the words after those begin.
    rest: usize,
}

/// What becomes of a command line.
pub(crate) enum HandOver {
    /// It is ours, and nothing is done yet.
    NotYet,
    /// All of it is done.
    Whole(ExitCode),
}

/// Hands the command line on if it is not ours.
///
/// # Errors
/// It is another program's, and that cannot be run; or `-c` sets what means nothing.
pub(crate) fn hand_over(words: &[OsString]) -> Result<HandOver, CommandError> {
    let line = CommandLine::read(words);
    if line.is_ours() {
        return match line.assignments.as_slice() {
            [] => Ok(HandOver::NotYet),
            assignments => Err(again(
                &line,
                &Overrides::read(assignments.iter().copied()).map_err(|error| misused(&error))?,
            )),
        };
    }
    if is_own_name(words) {
        return Ok(HandOver::NotYet);
    }
    let passage = ExecChain::of_process();
    let Some(next) = next(&passage) else { return Ok(HandOver::NotYet) };
    if passage.goes_in_circles() {
        let message = format!("{} starts this program again and again", next.display());
        return Err(CommandError::new(Exit::Failed, message).hint("call the real codex by its path in there"));
    }
    match words {
        [_, only] if only == "--version" || only == "-V" => versions(&next, &crate::early_output()),
        [_, only] if only == "--help" || only == "-h" => {
            help(&next, &crate::early_output())?;
            Err(become_it(&next, words, &passage))
        }
        _ => {
            freshen(&line);
            Err(become_it(&next, words, &passage))
        }
    }
}

/// The next program of our name, and what it says its version is.
pub(crate) fn next_version() -> Option<(PathBuf, Option<String>)> {
    let next = next(&ExecChain::of_process())?;
    let version = version(&next);
    Some((next, version))
}

/// The next program of our name, to be started as a child; none under our second name, or where there is none.
pub(crate) fn next_as_child() -> Option<Command> {
    let passage = ExecChain::of_process();
    if name_of_this_run() == OWN_NAME || passage.goes_in_circles() {
        return None;
    }
    let mut command = Command::new(next(&passage)?);
    if let Some(ours) = ProgramId::of_this_program() {
        command.env(ExecChain::VARIABLE, passage.downward(ours));
    }
    Some(command)
}

/// Why a word that is no command of ours ends here.
pub(crate) fn nobody(words: &[OsString]) -> CommandError {
    if is_own_name(words) {
        let failed = CommandError::new(Exit::Usage, format!("this is no command of {OWN_NAME}"));
        return failed.hint("under the name codex, other commands go to the next codex on PATH");
    }
    let message = "this is no command of codex-auth, and no other codex is on PATH that it could go to";
    CommandError::new(Exit::Usage, message)
        .hint("OpenAI's Codex is found when it is installed and its folder is on PATH, before or behind ours")
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

    /// An option of ours at this home, what it sets, and how many words it takes.
    fn next_option(&self) -> Option<(Option<&'a str>, usize)> {
        let word = self.words.get(self.rest)?.to_str()?;
        if word == "-v" || word == "--verbose" {
            return Some((None, 1));
        }
        let (assignment, used) = match word {
            "-c" | "--config" => (self.words.get(self.rest + 1)?.to_str()?, 2),
            _ => (word.strip_prefix("--config=").or_else(|| word.strip_prefix("-c"))?, 1),
        };
        Overrides::concern(assignment).then_some((Some(assignment), used))
    }

    /// Whether the first word is one of our commands, exactly.
    fn is_ours(&self) -> bool {
        let first = self.words.get(self.rest).and_then(|word| word.to_str());
        first.is_some_and(|first| {
            let known = crate::Command::has_subcommand(first);
            known && (first != "app-server" || app_server::is_ours(&self.words[self.rest + 1..]))
        })
    }

    /// The words without what `-c` sets.
    fn without_assignments(&self) -> impl Iterator<Item = &'a OsString> {
        let verbose = |word: &&OsString| *word == "-v" || *word == "--verbose";
        let rest = self.rest.min(self.words.len());
        self.words[..rest].iter().filter(verbose).chain(&self.words[rest..])
    }
}

/// The name that this run was called by, as far as it matters.
pub(crate) fn name_of_this_run() -> &'static str {
    let words: Vec<_> = std::env::args_os().take(1).collect();
    if is_own_name(&words) { OWN_NAME } else { NAME }
}

/// The path by which this program was called, which a package manager keeps through upgrades, else that of its file; none
/// where the file was replaced or removed.
pub(crate) fn own_path(environment: &Environment) -> Option<PathBuf> {
    search_path::called_as(NAME, &environment.path).or_else(|| {
        let file = process::own_file().ok()?;
        (ProgramId::of(&file)? == ProgramId::of_this_program()?).then_some(file)
    })
}

fn is_own_name(words: &[OsString]) -> bool {
    let name = words.first().map(Path::new).and_then(Path::file_name);
    name == Some(OsStr::new(OWN_NAME))
}

fn next(passage: &ExecChain) -> Option<PathBuf> {
    let visited: Vec<ProgramId> = passage.visited.iter().filter_map(|text| text.parse().ok()).collect();
    search_path::programs(NAME, &passage.path)
        .into_iter()
        // A link to our second name leads back to us.
        .filter(|path| search_path::own_name(path).is_none_or(|name| name != OWN_NAME))
        .find(|path| ProgramId::of(path).is_none_or(|identity| !visited.contains(&identity)))
}

/// Takes this process's place by `next`; returns only when that failed.
fn become_it(next: &Path, words: &[OsString], passage: &ExecChain) -> CommandError {
    let mut command = Command::new(next);
    command.args(words.iter().skip(1));
    if let Some(ours) = ProgramId::of_this_program() {
        command.env(ExecChain::VARIABLE, passage.onward(ours));
    }
    let error = command.exec();
    CommandError::new(Exit::Failed, format!("cannot run {}: {error}", next.display()))
        .hint("repair or remove that program")
}

/// Takes this process's place by ourselves, with what `-c` sets in the environment, where our children find it too.
fn again(line: &CommandLine<'_>, overrides: &Overrides) -> CommandError {
    let error = process::own_program().map_or_else(
        |error| error,
        |mut command| {
            command.args(line.without_assignments()).env(Overrides::VARIABLE, overrides.to_string()).exec()
        },
    );
    CommandError::new(Exit::Failed, format!("cannot run this program again with what -c sets: {error}"))
}

fn misused(error: &codex_auth::config::Error) -> CommandError {
    CommandError::new(Exit::Usage, error.to_string())
}

/// Refreshes a stale login, waiting for at most [`PATIENCE`]. The next program uses what is stored then.
fn freshen(line: &CommandLine<'_>) {
    let overrides = Overrides::read(line.assignments.iter().copied()).unwrap_or_default();
    // Without a queue, so that what was sent is known to have been heard.
    let (send, progress) = mpsc::sync_channel(0);
    let started = thread::Builder::new().spawn(move || {
        let may_run_here = || match send.send(RefreshProgress::RunsHere) {
            Ok(()) => ProcessFallback::Allowed,
            Err(_) => ProcessFallback::Refused,
        };
        let job = Job::freshen(AccountPolicy::Follow);
        let _ = child::run_with(&job, WaitNotice::None, &overrides, may_run_here);
        let _ = send.send(RefreshProgress::Done);
    });
    if started.is_ok() && matches!(progress.recv_timeout(PATIENCE), Ok(RefreshProgress::RunsHere)) {
        // The exec that follows would kill the thread, and lose a token that is under way.
        let _ = progress.recv();
    }
}

/// How far a refresh before a hand-over is.
enum RefreshProgress {
    /// It runs in this process, because no child could be had.
    RunsHere,
    Done,
}

/// Our help, with word that the next program's follows.
fn help(next: &Path, output: &Output) -> Result<(), CommandError> {
    let ours = crate::TopArguments::command().render_help();
    output.data(&format!("{ours}\nEvery other command goes to {}, whose help follows.\n", next.display()))?;
    Ok(())
}

fn versions(next: &Path, output: &Output) -> Result<HandOver, CommandError> {
    if let Some(version) = version(next) {
        output.data(&version)?;
    }
    output.data(&format!("{OWN_NAME} {}", env!("CARGO_PKG_VERSION")))?;
    Ok(HandOver::Whole(ExitCode::SUCCESS))
}

/// The first line that `program` answers to `--version`, if it does in time.
fn version(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = process::without_loader_variables(&mut command).spawn().ok()?;
    let (tell, told) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || tell.send(child.wait_with_output()));
    let said = started.ok().and_then(|_| told.recv_timeout(VERSION_PATIENCE).ok()?.ok())?;
    let line = String::from_utf8_lossy(&said.stdout);
    let line = line.lines().next().unwrap_or_default();
    Some(crate::output::plain(line.trim())).filter(|line| !line.is_empty())
}
