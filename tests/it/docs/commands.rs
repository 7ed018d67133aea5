//! Checks the commands and options that a document names against the real program.

use super::markdown::{Document, Paragraph};
use super::transcript::exchanges;
use crate::support::TestHome;

/// Commands that are passed on to Codex.
const HANDED_OVER: &[&str] = &["exec", "a prompt"];
/// Options of other programs and of this repository's scripts.
const OF_OTHERS: &[&str] =
    &["--all-features", "--enable", "--test", "--exact", "--nocapture", "--quick", "--minutes", "--seed"];

/// The real program, with the commands and options of its help.
pub struct Program {
    home: TestHome,
    commands: Vec<String>,
    options: Vec<String>,
}

impl Program {
    pub fn new() -> Self {
        let mut program = Self { home: TestHome::new(), commands: Vec::new(), options: Vec::new() };
        let mut rest = program.read_help(&[]);
        while let Some(command) = rest.pop() {
            let below = program.read_help(&command.split(' ').collect::<Vec<_>>());
            rest.extend(below.iter().map(|name| format!("{command} {name}")));
            program.commands.push(command);
        }
        program
    }

    /// Adds the options in a command's help, and returns its subcommands.
    fn read_help(&mut self, command: &[&str]) -> Vec<String> {
        let help = self.home.codex(command.iter().copied().chain(["--help"])).run().expect(0).out;
        let words = help.split_whitespace().map(|word| word.trim_end_matches(','));
        self.options.extend(words.filter(|word| word.starts_with("--")).map(str::to_owned));
        let commands = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        let lines = commands.lines().take_while(|line| !line.is_empty());
        let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }

    /// The commands and options of a document that the program does not know.
    pub fn faults(&self, document: &Document) -> Vec<String> {
        let in_prose = document
            .prose
            .iter()
            .flat_map(|paragraph| paragraph.code().into_iter().map(|code| (paragraph.line, code)));
        let in_blocks = document
            .commands()
            .flat_map(|block| exchanges(block).into_iter().map(|exchange| (block.line, exchange.command)));
        let mut faults = Vec::new();
        for (line, code) in in_prose.chain(in_blocks) {
            let option = code.split(' ').next().filter(|word| word.starts_with("--"));
            if let Some(option) = option.filter(|option| !OF_OTHERS.contains(option))
                && !self.options.iter().any(|known| known == option)
            {
                faults.push(format!("{}: no command has the option {option}", document.at(line)));
            }
            let refusals = calls(&code).into_iter().filter_map(|call| self.refusal(&call));
            faults.extend(refusals.map(|refusal| format!("{}: {refusal}", document.at(line))));
        }
        faults
    }

    /// The usage error for these arguments; `--help` is added, so that the program does nothing.
    fn refusal(&self, words: &[String]) -> Option<String> {
        let foreign = words.first().is_none_or(|word| HANDED_OVER.contains(&&**word) || word == "-c");
        if foreign {
            return None;
        }
        // Before the arguments of another program.
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let (before, behind) = words.split_at(end);
        let words =
            || before.iter().map(String::as_str).chain(["--help"]).chain(behind.iter().map(String::as_str));
        let ended = self.home.codex(words()).run();
        (ended.code != Some(0))
            .then(|| format!("`codex {}`: {}", words().collect::<Vec<_>>().join(" "), ended.err.trim()))
    }

    /// The commands that a document does not mention in its text.
    pub fn not_mentioned(&self, document: &Document) -> Vec<String> {
        let named: Vec<String> = document.prose.iter().flat_map(Paragraph::code).collect();
        let is_named = |command: &String| {
            let command = format!("codex {command}");
            named.iter().any(|code| *code == command || code.starts_with(&format!("{command} ")))
        };
        // A subcommand's mention includes the command.
        let commands =
            self.commands.iter().filter(|command| !["sync", "login status"].contains(&&***command));
        commands.filter(|command| !is_named(command)).cloned().collect()
    }
}

/// The arguments of every call of `codex` in a line of shell.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut calling = false;
    let mut begins = true;
    for word in words(line) {
        let variable = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
        });
        match &*word {
            "|" | "&" | "&&" | ";" | "do" | "$(" => (calling, begins) = (false, true),
            ")" | ">" | "<" => (calling, begins) = (false, false),
            "codex" | "codex-auth" if begins => {
                found.push(Vec::new());
                (calling, begins) = (true, false);
            }
            _ if calling => found.last_mut().unwrap().push(word),
            _ => begins = begins && variable,
        }
    }
    found
}

/// Splits a line of shell into words and operators, as far as the documents need it.
fn words(line: &str) -> Vec<String> {
    let (mut found, mut word, mut quote, mut quoted) = (Vec::new(), String::new(), None, false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some('"'), '$') | (None, '$') if letters.peek() == Some(&'(') => {
                letters.next();
                // Commands within quotes count too.
                quote = None;
                found.push("$(".to_owned());
            }
            (Some(mark), letter) if letter == mark => quote = None,
            (None, '"' | '\'') => (quote, quoted) = (Some(letter), true),
            (None, ' ' | '\n' | '\\' | '|' | '&' | ';' | ')' | '>' | '<') => {
                if quoted || !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
                quoted = false;
                if !matches!(letter, ' ' | '\n' | '\\') {
                    found.push(letter.to_string());
                }
            }
            _ => word.push(letter),
        }
    }
    if quoted || !word.is_empty() {
        found.push(word);
    }
    found
}

#[test]
fn all_calls_of_the_program_in_a_line_are_found() {
    for (line, expected) in [
        ("codex status --json", vec![vec!["status", "--json"]]),
        ("curl -H \"$(codex token --header)\" url codex", vec![vec!["token", "--header"]]),
        ("A=b codex token | codex-auth login > file", vec![vec!["token"], vec!["login"]]),
        ("for n in 1 2; do codex token > t & done; codex status", vec![vec!["token"], vec!["status"]]),
        ("cargo uninstall codex", vec![]),
    ] {
        assert_eq!(calls(line), expected, "{line}");
    }
}
