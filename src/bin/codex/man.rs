//! `codex man`: the manual pages, from the one definition of the arguments and the tables that the program itself goes by.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use codex_auth::Clock;
use codex_auth::config::VARIABLES;
use codex_auth_platform::hardening::with_found_umask;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::CommandOutcome;
use crate::error::{CommandError, Exit};
use crate::hand_over::OWN_NAME;
use crate::output::Output;

/// Of the pages, in the manual of a system.
const SECTION: &str = "1";

#[derive(Args, Debug)]
pub(crate) struct ManArguments {
    /// The folder; it is made where there is none
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The date of the pages, for packages that are the same whenever they are made (default: today)
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<Date>,
}

fn date(word: &str) -> Result<Date, String> {
    word.parse().map_err(|_| "a date is written as 2026-11-21".to_owned())
}

pub(crate) fn run(arguments: &ManArguments, output: &mut Output) -> CommandOutcome {
    let mut command = crate::TopArguments::command();
    command.build();
    let today = || Clock::system().now().to_zoned(TimeZone::UTC).date();
    let date = arguments.date.unwrap_or_else(today);
    let pages = with_found_umask(|| written(&command, date, &arguments.folder)).map_err(|error| {
        let message = format!("cannot write manual pages into {}: {error}", arguments.folder.display());
        CommandError::new(Exit::Failed, message).hint("name a folder that you can write to")
    })?;
    output.say(&format!("wrote {pages} manual pages into {}", arguments.folder.display()));
    Ok(())
}

/// Writes a page for `command` and for each command of it, and says how many that were.
#[expect(clippy::disallowed_methods, reason = "manual pages are for everybody, and any folder may take them")]
fn written(command: &Command, date: Date, folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut pages = 0;
    let mut rest = vec![command];
    while let Some(command) = rest.pop() {
        let path = folder.join(format!("{}.{SECTION}", page_name(command)));
        std::fs::write(path, page(command, date)?)?;
        pages += 1;
        rest.extend(shown(command));
    }
    Ok(pages)
}

/// The commands that are meant for people.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// Whether this is the program, and none of its commands.
fn is_whole(command: &Command) -> bool {
    page_name(command) == command.get_name()
}

/// As `codex-sync-run`.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command, date: Date) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone())
        .section(SECTION)
        .date(date.to_string())
        .source(format!("{OWN_NAME} {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut own = Roff::new();
    if let Some(more) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        for paragraph in more.to_string().split("\n\n") {
            own.control("PP", []).text([roman(paragraph)]);
        }
    }
    if is_whole(command) {
        own.control("PP", []).text([roman(format!(
            "What is no command of this program goes, whole, to the next program of its name on PATH. Under its second \
             name, {OWN_NAME}, it keeps everything to itself."
        ))]);
    }
    own.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    if is_whole(command) {
        whole_program().to_writer(&mut page)?;
    } else {
        let mut own = Roff::new();
        own.control("SH", ["SEE ALSO"]).text([bold("codex"), roman(format!("({SECTION})"))]);
        own.to_writer(&mut page)?;
    }
    Ok(page)
}

/// What holds for every command, and is on the page of the program.
fn whole_program() -> Roff {
    let mut own = Roff::new();
    own.control("SH", ["ENVIRONMENT"]);
    for variable in VARIABLES {
        item(&mut own, variable.name, variable.purpose);
    }
    own.control("SH", ["FILES"]);
    own.text([roman("In the folder that CODEX_HOME names:")]);
    for (path, purpose) in [
        ("auth.json", "the login, where it is kept in a file; shared with Codex"),
        (
            "config.toml",
            "which store, which ways to log in, and commands of model providers; shared with Codex",
        ),
        ("codex-auth/state.json", "what all processes know of the login; no secret in it"),
        ("codex-auth/rescue", "new tokens, from the moment they arrive until they are kept"),
        ("codex-auth/refresh.lock", "held by the process that changes the login"),
        ("codex-auth/keeper/sock", "where a keeper answers; its folder can be mounted into a container"),
    ] {
        item(&mut own, path, purpose);
    }
    own.control("SH", ["EXIT STATUS"]);
    item(&mut own, "0", "done");
    for (exit, meaning) in Exit::MEANINGS {
        item(&mut own, &(exit as u8).to_string(), meaning);
    }
    own
}

/// A word and what it means.
fn item(page: &mut Roff, word: &str, meaning: &str) {
    page.control("TP", []).text([bold(word)]).text([roman(meaning)]);
}
