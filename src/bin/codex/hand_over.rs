//! Runs the next program called `codex` on PATH for every command line that this program does not handle.
//!
//! The next program replaces this process by `exec`, with the same arguments and streams. A stale login is refreshed
//! before by a child process, so that programs that are started together do not all refresh it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use codex_auth::config::{
    CommandLine, Environment, ExecChain, GivenOption, LineTarget, OptionScope, Overrides,
};
use codex_auth::manager::{AccountPolicy, AuthManager, ClientRefresh, LoginStatus, OwnerLookup};
use codex_auth::{Stores, store};
use codex_auth_platform::{filesystem, hardening, process, search_path};

use crate::child;
use crate::choice;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::located;
use crate::name;
use crate::next_codex;
use crate::next_version;
use crate::output::Output;
use crate::runtime;

/// Maximum time that the refresh before the next program waits for other processes. Once it has sent its request, it is
/// waited for: the next program would spend the same token.
pub(crate) const REFRESH_LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// The commands that run without a user.
const UNATTENDED: [&str; 3] = ["exec", "e", "review"];
/// How long that refresh may take before a line says so.
const SILENCE: Duration = Duration::from_secs(1);

/// The command line of this program, as far as the decision needs it.
pub(crate) struct Definition {
    /// Whether this program has the command.
    pub(crate) is_own_command: fn(&str) -> bool,
    /// Whether this program handles the command with these arguments, of which those before it are not among them.
    pub(crate) accepts: fn(&str, &[&OsString]) -> bool,
    /// Formats the help.
    pub(crate) help: fn() -> String,
}

/// What is left to do for a command line.
pub(crate) enum HandOver {
    /// This program handles these words.
    Ours(Vec<OsString>),
    /// Nothing: it was handled, with this exit code.
    Done(ExitCode),
}

/// A command line that this program handles.
struct OwnLine<'a> {
    /// Its words without the settings of Codex.
    words: Vec<OsString>,
    /// The values of `-c` that concern the login.
    assignments: Vec<&'a str>,
}

/// Runs the next program if the command line is not one of ours; does not return then.
///
/// # Errors
/// The next program cannot be run, the command line is one of `logout` that Codex would not accept, or a value of `-c`
/// is invalid.
pub(crate) fn hand_over(words: &[OsString], definition: &Definition) -> Result<HandOver, CommandError> {
    let chain = ExecChain::of_process();
    let is_own_name = name::is_own(words);
    if chain.pass_on && !is_own_name {
        let next = next_codex::path(&chain).ok_or_else(|| {
            no_next(&format!("{} is set", ExecChain::PASS_VARIABLE), "no other codex was found on PATH")
        })?;
        return Err(next_codex::exec(&next, words, &chain));
    }
    let words = &*choice::take_account(words)?;
    let line = CommandLine::parse(words, definition.is_own_command);
    if let Some(ours) = own_line(&line, definition, is_own_name)? {
        if ours.assignments.is_empty() {
            return Ok(HandOver::Ours(ours.words));
        }
        let overrides =
            Overrides::from_assignments(ours.assignments).map_err(|error| invalid_override(&error))?;
        return Err(exec_self(&ours.words, &overrides));
    }
    if is_own_name {
        return Ok(HandOver::Ours(words.to_vec()));
    }
    if line.may_log_out() {
        return Err(unclear_logout(&line));
    }
    let Some(next) = next_codex::path(&chain) else {
        if chain.is_too_deep() {
            let message = "the programs called codex on PATH start one another again and again";
            return Err(CommandError::new(Exit::Failed, message)
                .hint("call the real codex by its path in the script"));
        }
        return match line.command() {
            Some("app-server") if !asks_for_help(line.arguments()) => Err(no_next(
                "these arguments of `codex app-server` are Codex's",
                "no other codex was found on PATH",
            )),
            _ => Ok(HandOver::Ours(words.to_vec())),
        };
    };
    match words {
        [_, only] if only == "--version" || only == "-V" => versions(&next, &Output::of_process()),
        [_, only] if only == "--help" || only == "-h" || only == "help" => {
            help(&next, definition, &Output::of_process())?;
            Err(next_codex::exec(&next, words, &chain))
        }
        _ => {
            if !line.needs_no_login() {
                prepare_account()?;
                refresh_if_stale(&line);
            }
            Err(next_codex::exec(&next, words, &chain))
        }
    }
}

fn asks_for_help(arguments: &[OsString]) -> bool {
    matches!(arguments, [only] if only == "--help" || only == "-h")
}

/// Returns the command line as this program parses it, if this program handles it.
fn own_line<'a>(
    line: &CommandLine<'a>,
    definition: &Definition,
    is_own_name: bool,
) -> Result<Option<OwnLine<'a>>, CommandError> {
    let Some(command) =
        line.command().filter(|command| *command == "help" || (definition.is_own_command)(command))
    else {
        return Ok(None);
    };
    let (settings, arguments) = line.settings_after();
    if let Some(("login", [help, rest @ ..])) = Some((command, arguments.as_slice()))
        && *help == "help"
    {
        let words = line.words.iter().take(1).cloned().chain([command.into()]);
        let words = words.chain(rest.iter().map(|word| (*word).clone())).chain([OsString::from("--help")]);
        return Ok(Some(OwnLine { words: words.collect(), assignments: Vec::new() }));
    }
    if command == "help" {
        let [topic, ..] = arguments.as_slice() else { return Ok(None) };
        let is_ours = topic.to_str().is_some_and(definition.is_own_command);
        let options = line.options.iter().filter(|given| given.option.scope == OptionScope::Ours);
        let words = line.words.iter().take(1).cloned().chain(options.flat_map(GivenOption::to_words));
        let words = words.chain(arguments.into_iter().cloned()).chain([OsString::from("--help")]).collect();
        return Ok(is_ours.then_some(OwnLine { words, assignments: Vec::new() }));
    }
    let is_refused = |given: &&GivenOption<'_>| match given.option.scope {
        OptionScope::Session => true,
        OptionScope::AppServer => command == "login" || command == "logout",
        OptionScope::Everywhere | OptionScope::AnyCommand | OptionScope::Ours => false,
    };
    match line.options.iter().find(is_refused) {
        Some(given) if command == "logout" => {
            let message = format!("{} does not apply to `codex logout`", given.option.long);
            return Err(CommandError::new(Exit::Failed, message).hint("codex logout"));
        }
        Some(_) => return Ok(None),
        None => {}
    }
    let all =
        || line.options.iter().chain(&settings).filter(|given| given.option.scope != OptionScope::AnyCommand);
    let is_accepted = command == "logout" || is_own_name || (definition.accepts)(command, &arguments);
    if !is_accepted {
        return Ok(None);
    }
    let mut words: Vec<_> = line.words.iter().take(1).cloned().collect();
    let (mut assignments, mut forwarded) = (Vec::new(), Vec::new());
    for given in all() {
        let assignment = given.assignment();
        match given.option.scope {
            OptionScope::Ours => words.extend(given.to_words()),
            _ if assignment.is_some_and(|text| !text.contains('=')) => {
                return Err(CommandError::new(Exit::Usage, "-c needs KEY=VALUE"));
            }
            _ if assignment.is_some_and(Overrides::is_override) => assignments.extend(assignment),
            // Codex's part of these commands uses what is not about the login; other commands ignore it, as Codex does.
            _ if command == "app-server" || command == "doctor" => forwarded.extend(given.to_words()),
            _ => {}
        }
    }
    words.push(command.into());
    words.extend(forwarded);
    words.extend(arguments.into_iter().cloned());
    Ok(Some(OwnLine { words, assignments }))
}

/// The error for a command line that Codex, or a later version of it, may take for a logout.
fn unclear_logout(line: &CommandLine<'_>) -> CommandError {
    let what = match line.target {
        LineTarget::Unknown(_) => "an unknown option",
        _ => "a prompt",
    };
    CommandError::new(Exit::Usage, format!("'logout' after {what} is not passed on to another codex"))
        .hint("to log out: codex logout")
        .hint(format!("to pass it on nevertheless: {}=1 codex …", ExecChain::PASS_VARIABLE))
}

/// The error for an `unknown` command that cannot be passed on.
pub(crate) fn not_passed_on(unknown: String, words: &[OsString]) -> CommandError {
    if name::is_own(words) {
        return CommandError::new(Exit::Usage, unknown)
            .hint("under the name codex, other commands go to the next codex on PATH");
    }
    no_next(&unknown, "no other codex was found on PATH to pass it to")
}

/// The error where there is no next program, with the programs that were skipped.
fn no_next(what: &str, why: &str) -> CommandError {
    let failed = CommandError::new(Exit::Usage, format!("{what}, and {why}"));
    let refused = next_codex::refused();
    if refused.is_empty() {
        return failed.hint("install OpenAI's Codex in a folder on PATH, before or after this program");
    }
    refused.into_iter().fold(failed, CommandError::hint)
}

/// Returns the first word after the options that may stand before a command.
pub(crate) fn first_word(words: &[OsString]) -> Option<&OsStr> {
    match CommandLine::parse(words, |_| false).target {
        LineTarget::Command(at) | LineTarget::Prompt(at) | LineTarget::Unknown(at) => {
            words.get(at).map(OsString::as_os_str)
        }
        LineTarget::Nothing | LineTarget::Exits => None,
    }
}

/// Returns `words` with `help` as an option: `codex help login` is `codex login --help`.
pub(crate) fn with_help_option(words: &[OsString]) -> Vec<OsString> {
    let mut words = words.to_vec();
    let target = CommandLine::parse(&words, |_| false).target;
    if let LineTarget::Command(at) = target
        && words.get(at).is_some_and(|word| word == "help")
    {
        words.remove(at);
        words.push("--help".into());
    }
    words
}

/// The path by which this program was called, which an upgrade keeps, else the path of its file; `None` if the file was
/// replaced or removed.
pub(crate) fn own_path(environment: &Environment) -> Option<PathBuf> {
    search_path::invoked_path(name::SHARED, &environment.path).or_else(|| {
        let file = process::own_executable().ok()?;
        (filesystem::identity(&file)? == search_path::own_program_id()?).then_some(file)
    })
}

/// Replaces this process by the same program with the values of `-c` in the environment, which child processes inherit.
fn exec_self(words: &[OsString], overrides: &Overrides) -> CommandError {
    let error = process::own_command().map_or_else(
        |error| error,
        |mut command| {
            command
                .args(choice::words())
                .args(words.iter().skip(1))
                .env(Overrides::VARIABLE, overrides.to_string())
                .exec()
        },
    );
    CommandError::new(Exit::Failed, format!("cannot restart this program with the values of -c: {error}"))
}

fn invalid_override(error: &codex_auth::config::Error) -> CommandError {
    CommandError::new(Exit::Usage, format!("-c: {error}"))
}

/// Refreshes a stale login with the settings of the command line, and says so if it takes long.
fn refresh_if_stale(line: &CommandLine<'_>) {
    let assignments = line.assignments().into_iter().filter(|assignment| Overrides::is_override(assignment));
    let overrides = Overrides::from_assignments(assignments).unwrap_or_default();
    let overrides = match line.profile() {
        Some(profile) => with_profile(overrides, profile),
        None => overrides,
    };
    let is_unattended = line.command().is_some_and(|command| UNATTENDED.contains(&command));
    let is_due = is_due(&overrides);
    if is_due || is_unattended {
        with_notice(|| {
            if is_due {
                let _ = child::freshen(overrides.clone(), REFRESH_LOCK_TIMEOUT);
            }
            if is_unattended {
                let _ = runtime::run(refresh_if_refused(overrides));
            }
        });
    }
}

/// Refreshes a stale login before the next program is started as a child.
pub(crate) fn refresh_before_child() {
    if is_due(&Overrides::default()) {
        with_notice(|| {
            let _ = child::freshen(Overrides::default(), REFRESH_LOCK_TIMEOUT);
        });
    }
}

/// Says what it waits for if `refresh` takes long.
fn with_notice(refresh: impl FnOnce()) {
    let (done, waiting) = mpsc::channel::<()>();
    let notice = move || {
        if waiting.recv_timeout(SILENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            Output::of_process().say("refreshing the login before codex starts");
        }
    };
    let notice = thread::Builder::new().spawn(notice);
    refresh();
    drop(done);
    let _ = notice.map(thread::JoinHandle::join);
}

/// Whether the next use of the login refreshes it. What cannot be read, the next program reports.
fn is_due(overrides: &Overrides) -> bool {
    let read = || -> Result<bool, CommandError> {
        let mut environment = Environment::of_process()?;
        if !overrides.is_empty() {
            environment.overrides = overrides.clone();
        }
        let home = located::locate(&mut environment, &Output::of_process())?.home;
        // This process is about to run another program, which must find its own limits.
        let _ = hardening::forbid_inspection_until_exec();
        let stores = Stores::open(home, &environment)?;
        Ok(LoginStatus::read(&stores, &environment)?.is_due())
    };
    read().unwrap_or(false)
}

/// Refreshes the login if the service refuses its token. Unattended runs are often started many at a time, and each would
/// refresh the token that it finds refused.
async fn refresh_if_refused(overrides: Overrides) -> Result<(), CommandError> {
    let mut environment = Environment::of_process()?;
    // Codex uses these instead of the stored login.
    if environment.api_key.is_some() || environment.access_token.is_some() {
        return Ok(());
    }
    if !overrides.is_empty() {
        environment.overrides = overrides.clone();
    }
    let home = located::locate(&mut environment, &Output::of_process())?.home;
    let stores = Stores::open(home, &environment)?;
    let owners = OwnerLookup::new(&environment, &stores.settings().config);
    let manager = AuthManager::builder(stores.home().clone(), environment);
    let manager = manager.policy(AccountPolicy::Follow).open_anyway();
    let run = |job| child::run_before_hand_over(job, overrides, REFRESH_LOCK_TIMEOUT);
    ClientRefresh::new(manager).refresh_if_refused(&owners, run).await;
    Ok(())
}

/// Finds the account that the next program is to use, and makes its folder a home for it.
fn prepare_account() -> CommandOutcome {
    let environment = Environment::of_process().map_err(CommandError::from);
    let output = Output::of_process();
    choice::prepare(environment.and_then(|mut environment| located::locate(&mut environment, &output)))
}

/// Adds the settings of a profile. If it cannot be read, the next program reports that.
fn with_profile(overrides: Overrides, profile: &str) -> Overrides {
    let environment = Environment::of_process().map_err(CommandError::from);
    let output = Output::of_process();
    let home = environment.and_then(|mut environment| located::locate(&mut environment, &output)).ok();
    let home = home.map(|chosen| chosen.home);
    let layered = home.and_then(|home| store::over_profile(&overrides, profile, &home).ok());
    layered.unwrap_or(overrides)
}

/// Prints the help of this program, which the next program's help follows.
fn help(next: &Path, definition: &Definition, output: &Output) -> Result<(), CommandError> {
    let ours = (definition.help)();
    output.data(&format!("{ours}\nAny other command goes to {}, whose help follows.\n", next.display()))?;
    Ok(())
}

fn versions(next: &Path, output: &Output) -> Result<HandOver, CommandError> {
    if let Some(version) = next_version::printed(next) {
        output.data(&version)?;
    }
    output.data(&format!("{} {}", name::OWN, env!("CARGO_PKG_VERSION")))?;
    Ok(HandOver::Done(ExitCode::SUCCESS))
}
