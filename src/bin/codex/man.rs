//! `codex man`: writes the manual pages, generated from the definition of the arguments and the tables of the program.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use codex_auth::Clock;
use codex_auth::config::VARIABLES;
use codex_auth_platform::hardening::with_inherited_umask;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::error::{CommandError, CommandOutcome, Exit};
use crate::help;
use crate::name;
use crate::name::OWN;
use crate::output::Output;

/// The section of the pages in the system's manual.
const SECTION: &str = "1";

#[derive(Args, Debug)]
#[command(after_help = crate::help::MAN)]
pub(crate) struct ManArguments {
    /// Where to write the pages; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Date on the pages, for reproducible packages (default: today)
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<Date>,
}

fn date(word: &str) -> Result<Date, String> {
    word.parse().map_err(|_| "a date such as 2026-11-21".to_owned())
}

/// The pages describe the name by which the program was called, so that a package can install the program as
/// `codex-auth` alone.
pub(crate) fn run(arguments: &ManArguments, definition: Command, output: &Output) -> CommandOutcome {
    let mut definition = definition.name(name::of_this_run());
    definition.build();
    let today = || Clock::system().now().to_zoned(TimeZone::UTC).date();
    let date = arguments.date.unwrap_or_else(today);
    let pages =
        with_inherited_umask(|| write_pages(&definition, date, &arguments.folder)).map_err(|error| {
            let message = format!("cannot write manual pages into {}: {error}", arguments.folder.display());
            CommandError::new(Exit::Failed, message).hint("name a folder that this user can write to")
        })?;
    output.inform(&format!("wrote {pages} manual pages into {}", arguments.folder.display()));
    Ok(())
}

/// Writes a page for `command` and for each of its subcommands. Returns the number of pages.
#[expect(clippy::disallowed_methods, reason = "manual pages are public files, in any folder")]
fn write_pages(command: &Command, date: Date, folder: &Path) -> io::Result<usize> {
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

/// The subcommands that are not hidden.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// Whether this is the program itself and not a subcommand.
fn is_program(command: &Command) -> bool {
    page_name(command) == command.get_name()
}

/// The name of a command's page, for example `codex-sync-run`.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command, date: Date) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone())
        .section(SECTION)
        .date(date.to_string())
        .source(format!("{OWN} {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut own = Roff::new();
    let end = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // Examples, exit codes and the link have separate sections.
    let is_prose = |paragraph: &&str| {
        ![help::EXAMPLES, help::FRONT, help::EXIT_CODES, help::MORE]
            .iter()
            .any(|heading| paragraph.starts_with(heading))
    };
    for paragraph in end.split("\n\n").filter(is_prose).filter(|paragraph| !paragraph.is_empty()) {
        own.control("PP", []).text([roman(name::in_commands(paragraph))]);
    }
    if is_program(command) {
        own.control("PP", []).text([roman(format!(
            "Under the name codex, any other command goes unchanged to the next program called codex on PATH. Under \
             the name {OWN}, the program passes no command on."
        ))]);
    }
    own.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    if is_program(command) {
        program_sections().to_writer(&mut page)?;
    }
    examples(&end).to_writer(&mut page)?;
    let mut own = Roff::new();
    own.control("SH", ["SEE ALSO"]);
    if !is_program(command) {
        own.text([
            bold(name::of_this_run()),
            roman(format!("({SECTION}), for the environment, the files and the exit codes")),
        ]);
        own.control("PP", []);
    }
    own.text([roman(help::LINK)]);
    own.to_writer(&mut page)?;
    Ok(page)
}

/// Returns the section of the examples at the `end` of a help page.
fn examples(end: &str) -> Roff {
    let mut own = Roff::new();
    if let Some(examples) = end.split("\n\n").find_map(|paragraph| paragraph.strip_prefix(help::EXAMPLES)) {
        own.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.trim_matches('\n').lines() {
            own.text([roman(name::in_commands(line.trim()))]);
        }
        own.control("fi", []);
    }
    own
}

/// The sections that are only on the page of the program.
fn program_sections() -> Roff {
    let mut own = Roff::new();
    own.control("SH", ["ENVIRONMENT"]);
    for variable in VARIABLES {
        item(&mut own, variable.name, variable.purpose);
    }
    own.control("SH", ["FILES"]);
    own.text([roman("In the folder that CODEX_HOME names (default: ~/.codex):")]);
    for (path, purpose) in [
        ("auth.json", "the login, if it is stored in a file; shared with Codex"),
        (
            "config.toml",
            "the store, permitted ways to log in, and token commands of model providers; shared with Codex",
        ),
        ("accounts", "the folders of the accounts, one for each; auth.json may be a link into one"),
        ("codex-auth/accounts.toml", "the names of the accounts and the pinned folders; contains no secret"),
        ("codex-auth/state.json", "state of the login that all processes share; contains no secret"),
        ("codex-auth/rescue", "new tokens, from their arrival until they are stored"),
        ("codex-auth/refresh.lock", "locked by the process that changes the login"),
        ("codex-auth/keeper/sock", "socket of the keeper, for processes of this user"),
        ("codex-auth/exports.json", "the folders into which the keeper exports the login"),
    ] {
        item(&mut own, path, purpose);
    }
    own.control("SH", ["IN FRONT OF CODEX"]);
    own.text([roman("Where this program comes before OpenAI's Codex on PATH, under the name codex:")]);
    for (name, who) in help::SHARED {
        item(&mut own, name, who);
    }
    for (names, who) in help::others() {
        item(&mut own, &names, who);
    }
    own.control("SH", ["EXIT STATUS"]);
    item(&mut own, "0", "done");
    for (exit, meaning) in Exit::MEANINGS {
        item(&mut own, &(exit as u8).to_string(), meaning);
    }
    own
}

/// Adds a term and its description.
fn item(page: &mut Roff, word: &str, meaning: &str) {
    page.control("TP", []).text([bold(word)]).text([roman(meaning)]);
}
