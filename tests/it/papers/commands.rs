//! Every command of ours that a paper names, put to the real program, which must understand it.

use std::collections::HashMap;
use std::sync::Mutex;

use super::paper::{Paper, Paragraph};
use super::scene::{Scene, scene};
use super::transcript::exchanges;
use crate::support::{Run, TestHome};

/// First words that are not ours, and what the papers name them for.
const HANDED_OVER: &[&str] = &["exec", "a prompt"];
/// Options of other programs that papers set as code.
const OF_OTHERS: &[&str] = &["--all-features", "--test", "--exact", "--nocapture"];

/// What is wrong with the commands of a paper.
pub fn faults(paper: &Paper) -> Vec<String> {
    let program = Program::new();
    let mut faults = Vec::new();
    for paragraph in &paper.prose {
        let found = of_paragraph(&program, paragraph);
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", paper.at(paragraph.line))));
    }
    for block in paper.blocks.iter().filter(|block| ["console", "sh"].contains(&&*block.language)) {
        let at = paper.at(block.line);
        if scene(&paper.name, &block.heading).is_none() {
            faults.push(format!("{at}: no scene for the commands under {:?}", block.heading));
        }
        for exchange in exchanges(block) {
            let read = Run::of("bash".as_ref(), ["-n", "-c", &exchange.command]).run();
            if read.code != Some(0) {
                faults.push(format!("{at}: bash cannot read it: {}", read.err));
            }
            for words in ours(&exchange.command) {
                faults.extend(program.refusal(&words).map(|fault| format!("{at}: {fault}")));
            }
        }
    }
    faults
}

/// The commands and options that are set as code in prose. An option belongs to the command before it.
fn of_paragraph(program: &Program, paragraph: &Paragraph) -> Vec<String> {
    let mut faults = Vec::new();
    let mut command: Option<Vec<String>> = None;
    for code in paragraph.code() {
        let found = ours(&code);
        faults.extend(found.iter().filter_map(|words| program.refusal(words)));
        if let Some(words) = found.last() {
            command = Some(words.iter().take_while(|word| !word.starts_with('-')).cloned().collect());
        } else if code.starts_with("--") && !OF_OTHERS.contains(&&*code) {
            faults.extend(program.unknown(command.as_deref(), &code));
        }
    }
    faults
}

/// The arguments of every call of our program in a line of shell.
fn ours(line: &str) -> Vec<Vec<String>> {
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

/// The words and operators of a line of shell, as far as the papers go.
fn words(line: &str) -> Vec<String> {
    let (mut found, mut word, mut quote, mut quoted) = (Vec::new(), String::new(), None, false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some('"'), '$') | (None, '$') if letters.peek() == Some(&'(') => {
                letters.next();
                // What is called within quotes is called all the same.
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

/// The real program, asked whether it understands; each question once.
struct Program {
    home: TestHome,
    answers: Mutex<HashMap<Vec<String>, Option<String>>>,
}

impl Program {
    fn new() -> Self {
        Self { home: TestHome::new(), answers: Mutex::default() }
    }

    /// What it has against these arguments. It is asked for help with them, so that it does nothing.
    fn refusal(&self, words: &[String]) -> Option<String> {
        let foreign = words.first().is_none_or(|word| HANDED_OVER.contains(&&**word));
        // What stands behind `-c KEY=VALUE` is what the key is set for.
        if foreign || words[0] == "-c" {
            return None;
        }
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.entry(words.to_vec()).or_insert_with(|| {
            let ended = self.home.codex(words.iter().map(String::as_str).chain(["--help"])).run();
            (ended.code != Some(0)).then(|| format!("`codex {}`: {}", words.join(" "), ended.err.trim()))
        });
        answer.clone()
    }

    /// That a command, or none at all where none is named, has an option; a value goes with it to the program.
    fn unknown(&self, command: Option<&[String]>, code: &str) -> Option<String> {
        let mut words = code.split(' ').map(str::to_owned);
        let option = words.next()?;
        let value: Vec<_> = words.collect();
        let known = match command {
            Some(command) => self.lists(command, &option),
            None => subcommands(&self.home).iter().any(|command| {
                self.lists(&command.split(' ').map(str::to_owned).collect::<Vec<_>>(), &option)
            }),
        };
        match command {
            _ if !known => {
                Some(format!("no option `{option}` of `codex {}`", command.unwrap_or_default().join(" ")))
            }
            Some(command) if !value.is_empty() => self.refusal(&[command, &[option], &value].concat()),
            _ => None,
        }
    }

    /// Whether the help of a command has an option.
    fn lists(&self, command: &[String], option: &str) -> bool {
        let words = command.iter().map(String::as_str).chain(["--help"]);
        let help = self.home.codex(words).run().expect(0).out;
        help.split_whitespace().any(|word| word.trim_end_matches(',') == option)
    }
}

/// Every command of the program, as its help lists them, and those below.
pub fn subcommands(home: &TestHome) -> Vec<String> {
    let listed = |words: &[&str]| {
        let help = home.codex(words.iter().copied().chain(["--help"])).run().expect(0).out;
        let commands = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        let lines = commands.lines().take_while(|line| !line.is_empty());
        let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for command in listed(&[]) {
        found.extend(listed(&[&command]).iter().map(|below| format!("{command} {below}")));
        found.push(command);
    }
    found
}

/// That a paper leaves none of these out, where `codex` goes before each.
pub fn left_out(paper: &Paper, commands: &[String]) -> Vec<String> {
    let named: Vec<String> = paper.prose.iter().flat_map(Paragraph::code).collect();
    let is_named = |command: &&String| {
        named.iter().any(|code| {
            code.strip_prefix("codex ")
                .and_then(|rest| rest.strip_prefix(command.as_str()))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
    };
    commands.iter().filter(|command| !is_named(command)).cloned().collect()
}

/// The steps of a block that `tests/run`, whose text is `script`, does not take word by word.
pub fn not_in_tests_run(paper: &Paper, script: &str) -> Vec<String> {
    let plain = |text: &str| text.replace(" --quiet", "").replace(" --no-fail-fast", "");
    let script = plain(script);
    let taken: Vec<_> = script.lines().flat_map(|line| line.split(" && ")).collect();
    let blocks = paper.blocks.iter();
    let everything = blocks.filter(|block| scene(&paper.name, &block.heading) == Some(Scene::Everything));
    let steps = everything.flat_map(exchanges).map(|exchange| plain(&exchange.command));
    steps.filter(|step| !taken.iter().any(|taken| taken.ends_with(step.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_calling_the_program_is_seen() {
        for (line, calls) in [
            ("codex status --json", vec![vec!["status", "--json"]]),
            ("curl -H \"$(codex token --header)\" url codex", vec![vec!["token", "--header"]]),
            ("A=b codex token | codex-auth login > file", vec![vec!["token"], vec!["login"]]),
            ("for n in 1 2; do codex token > t & done; codex status", vec![vec!["token"], vec!["status"]]),
            ("codex \"a prompt\" ''", vec![vec!["a prompt", ""]]),
            ("cargo uninstall codex", vec![]),
            ("ls codex", vec![]),
            ("Codex status", vec![]),
        ] {
            assert_eq!(ours(line), calls, "{line}");
        }
    }

    #[test]
    fn what_the_program_does_not_know_is_found() {
        let planted = "# Benchmarks\n`codex stauts`, `codex token --headr` and `codex token`, `--heder`.\n\n\
            `--no-such-option`\n\n`codex login --store disk`\n\n```sh\ncodex logout --now\nif\n```\n# New\n```sh\ntrue\n```\n";
        let found = faults(&Paper::parse("tests/bench/README.md", planted)).join("\n");
        for fault in [
            "stauts",
            "--headr",
            "--heder",
            "no option `--no-such-option` of `codex `",
            "disk",
            "--now",
            "bash cannot",
            "\"New\"",
        ] {
            assert!(found.contains(fault), "{fault} in\n{found}");
        }
        assert_eq!(found.matches("README.md:").count(), 8, "{found}");
    }

    #[test]
    fn what_a_paper_leaves_out_is_found() {
        let paper = Paper::parse("p.md", "`codex login --json`, `codex sync run`, `codex tokens`\n");
        let commands = ["login", "sync run", "token", "sync"].map(str::to_owned);
        assert_eq!(left_out(&paper, &commands), ["token"]);
        let text = "# Contributing\n```sh\ncargo fmt --all\ncargo fmt\n```\n";
        let paper = Paper::parse(".github/CONTRIBUTING.md", text);
        assert_eq!(not_in_tests_run(&paper, "check 'format' cargo fmt --quiet --all"), ["cargo fmt"]);
    }
}
