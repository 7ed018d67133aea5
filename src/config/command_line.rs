//! The command lines of Codex, as far as this program must understand them to decide who handles one.

use std::ffi::{OsStr, OsString};

/// How many values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a closed set, which the decision matches in full")]
pub enum OptionArity {
    /// None.
    None,
    /// One, in the same word or in the next one.
    One,
    /// Every word up to the next option.
    Many,
    /// None: Codex prints its help or its version, and exits.
    Exits,
}

/// Before which commands Codex accepts an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a closed set, which the decision matches in full")]
pub enum OptionScope {
    /// Before and after every command.
    Everywhere,
    /// Before every command. Those that start no session ignore it.
    AnyCommand,
    /// Before `app-server` and the commands that start a session.
    AppServer,
    /// Only before commands that start a session. Others fail with exit code 1.
    Session,
    /// Before the commands of this program; Codex does not have the option.
    Ours,
}

/// An option before the commands of Codex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodexOption {
    /// The long name, with its dashes.
    pub long: &'static str,
    /// The letter after one dash.
    pub short: Option<char>,
    /// How many values it takes.
    pub arity: OptionArity,
    /// Where it is accepted.
    pub scope: OptionScope,
}

const fn option(
    long: &'static str,
    short: Option<char>,
    arity: OptionArity,
    scope: OptionScope,
) -> CodexOption {
    CodexOption { long, short, arity, scope }
}

/// The options that may stand before a command of Codex (0.169 and 0.171), and those of this program.
pub const CODEX_OPTIONS: &[CodexOption] = &[
    option("--config", Some('c'), OptionArity::One, OptionScope::Everywhere),
    option("--enable", None, OptionArity::One, OptionScope::Everywhere),
    option("--disable", None, OptionArity::One, OptionScope::Everywhere),
    option("--image", Some('i'), OptionArity::Many, OptionScope::AnyCommand),
    option("--model", Some('m'), OptionArity::One, OptionScope::AnyCommand),
    option("--oss", None, OptionArity::None, OptionScope::AnyCommand),
    option("--local-provider", None, OptionArity::One, OptionScope::AnyCommand),
    option("--sandbox", Some('s'), OptionArity::One, OptionScope::AnyCommand),
    option("--approve-for-me", None, OptionArity::None, OptionScope::AnyCommand),
    option("--dangerously-bypass-approvals-and-sandbox", None, OptionArity::None, OptionScope::AnyCommand),
    option("--yolo", None, OptionArity::None, OptionScope::AnyCommand),
    option("--dangerously-bypass-hook-trust", None, OptionArity::None, OptionScope::AnyCommand),
    option("--cd", Some('C'), OptionArity::One, OptionScope::AnyCommand),
    option("--add-dir", None, OptionArity::One, OptionScope::AnyCommand),
    option("--ask-for-approval", Some('a'), OptionArity::One, OptionScope::AnyCommand),
    option("--search", None, OptionArity::None, OptionScope::AnyCommand),
    option("--no-alt-screen", None, OptionArity::None, OptionScope::AnyCommand),
    option("--no-daemon", None, OptionArity::None, OptionScope::AnyCommand),
    option("--strict-config", None, OptionArity::None, OptionScope::AppServer),
    option("--profile", Some('p'), OptionArity::One, OptionScope::Session),
    option("--remote", None, OptionArity::One, OptionScope::Session),
    option("--remote-auth-token-env", None, OptionArity::One, OptionScope::Session),
    option("--worktree", None, OptionArity::None, OptionScope::Session),
    option("--help", Some('h'), OptionArity::Exits, OptionScope::AnyCommand),
    option("--version", Some('V'), OptionArity::Exits, OptionScope::AnyCommand),
    option("--account", None, OptionArity::One, OptionScope::Ours),
    option("--json", None, OptionArity::None, OptionScope::Ours),
    option("--quiet", Some('q'), OptionArity::None, OptionScope::Ours),
    option("--verbose", Some('v'), OptionArity::None, OptionScope::Ours),
];

/// The commands of Codex (0.169 and 0.171), with their aliases and the hidden ones.
pub const CODEX_COMMANDS: &[&str] = &[
    "a",
    "agents",
    "app-server",
    "apply",
    "archive",
    "cloud",
    "cloud-tasks",
    "completion",
    "debug",
    "delete",
    "doctor",
    "e",
    "exec",
    "exec-server",
    "execpolicy",
    "features",
    "fork",
    "git-credential",
    "help",
    "login",
    "logout",
    "mcp",
    "migrate-nfs-db",
    "migrate-rollouts",
    "plugin",
    "queue",
    "remote-control",
    "responses-api-proxy",
    "resume",
    "review",
    "sandbox",
    "stdio-to-uds",
    "tcp-tunnel",
    "unarchive",
    "update",
];

/// The command that is never passed on: Codex removes the login even if its tokens cannot be revoked.
const LOGOUT: &str = "logout";
/// The feature by which Codex encrypts its login.
const ENCRYPTION: &str = "secret_auth_storage";
/// The options whose values are read after a command too.
const WITH_SETTINGS: [&str; 4] = ["--config", "--enable", "--disable", "--profile"];
/// Ends the options of a command line.
const END_OF_OPTIONS: &str = "--";

/// An option of a command line, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GivenOption<'a> {
    /// The entry of [`CODEX_OPTIONS`].
    pub option: &'static CodexOption,
    /// The value, if it takes one.
    pub value: Option<&'a OsStr>,
    /// The index of its first word.
    pub at: usize,
}

/// What a command line has after its first options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a closed set, which the decision matches in full")]
pub enum LineTarget {
    /// A command of Codex or of this program, by the index of its word.
    Command(usize),
    /// A prompt, which starts a session, by the index of its word or of `--`.
    Prompt(usize),
    /// Nothing.
    Nothing,
    /// Codex prints its help or its version.
    Exits,
    /// An option that Codex does not have or that lacks its value, by the index of its word.
    Unknown(usize),
}

/// A command line of Codex, parsed up to its command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandLine<'a> {
    /// All words; the first is the name of the program.
    pub words: &'a [OsString],
    /// The options before the command.
    pub options: Vec<GivenOption<'a>>,
    /// What follows these options.
    pub target: LineTarget,
}

impl<'a> CommandLine<'a> {
    /// Parses `words` as Codex does, up to the command. `is_ours` names the commands that only this program has: after
    /// an option of a session such a word is a prompt, as it is for Codex.
    #[must_use]
    pub fn parse(words: &'a [OsString], is_ours: impl Fn(&str) -> bool) -> Self {
        let mut line = Self { words, options: Vec::new(), target: LineTarget::Nothing };
        let mut at = 1;
        line.target = loop {
            let Some(word) = words.get(at) else { break LineTarget::Nothing };
            if word == END_OF_OPTIONS {
                break LineTarget::Prompt(at);
            }
            if !is_option(word) {
                let is_command = word.to_str().is_some_and(|word| {
                    CODEX_COMMANDS.contains(&word) || (!line.is_session() && is_ours(word))
                });
                break if is_command { LineTarget::Command(at) } else { LineTarget::Prompt(at) };
            }
            match read_option(words, at) {
                None => break LineTarget::Unknown(at),
                Some((given, _)) if given.option.arity == OptionArity::Exits => break LineTarget::Exits,
                Some((given, next)) => {
                    line.options.push(given);
                    at = next;
                }
            }
        };
        line
    }

    /// Returns the command, if there is one.
    #[must_use]
    pub fn command(&self) -> Option<&'a str> {
        match self.target {
            LineTarget::Command(at) => self.words[at].to_str(),
            _ => None,
        }
    }

    /// Returns the words after the command.
    #[must_use]
    pub fn arguments(&self) -> &'a [OsString] {
        match self.target {
            LineTarget::Command(at) => &self.words[at + 1..],
            _ => &[],
        }
    }

    /// Returns whether Codex, or a later version of it, may take `logout` in this command line for its command. It does
    /// so after a prompt, and it might after an option that it does not have yet.
    #[must_use]
    pub fn may_log_out(&self) -> bool {
        let rest = match self.target {
            LineTarget::Prompt(at) | LineTarget::Unknown(at) => &self.words[at..],
            LineTarget::Command(_) => return self.command() == Some(LOGOUT),
            LineTarget::Nothing | LineTarget::Exits => return false,
        };
        rest.iter().take_while(|word| *word != END_OF_OPTIONS).any(|word| word == LOGOUT)
    }

    /// Returns the assignments before and after the command, in their order: see [`GivenOption::assignment`].
    #[must_use]
    pub fn assignments(&self) -> Vec<&'a str> {
        self.given().iter().filter_map(GivenOption::assignment).collect()
    }

    /// Returns the profile that the command line selects.
    #[must_use]
    pub fn profile(&self) -> Option<&'a str> {
        let given = self.given();
        given.iter().rfind(|given| given.option.long == "--profile")?.value?.to_str()
    }

    /// Returns whether Codex only prints something or changes itself, and does not use the login.
    #[must_use]
    pub fn needs_no_login(&self) -> bool {
        const WITHOUT_LOGIN: [&str; 4] = ["completion", "features", "help", "update"];
        let asks_for_help = |words: &[OsString]| {
            let mut options = words.iter().take_while(|word| *word != END_OF_OPTIONS);
            options.any(|word| ["--help", "-h", "--version", "-V"].iter().any(|option| word == option))
        };
        match self.target {
            LineTarget::Exits | LineTarget::Unknown(_) => true,
            LineTarget::Nothing | LineTarget::Prompt(_) => false,
            LineTarget::Command(_) => {
                let arguments = self.arguments();
                let generates = |word: &OsString| {
                    word.to_str().is_some_and(|word| word == "help" || word.starts_with("generate-"))
                };
                asks_for_help(arguments)
                    || self.command().is_some_and(|command| WITHOUT_LOGIN.contains(&command))
                    || (self.command() == Some("app-server") && arguments.first().is_some_and(generates))
            }
        }
    }

    /// Splits the words after the command into the options that Codex accepts after every command, and the others.
    #[must_use]
    pub fn settings_after(&self) -> (Vec<GivenOption<'a>>, Vec<&'a OsString>) {
        let (mut settings, mut others) = (Vec::new(), Vec::new());
        let first = self.words.len() - self.arguments().len();
        let mut at = first;
        while let Some(word) = self.words.get(at) {
            if word == END_OF_OPTIONS {
                others.extend(&self.words[at..]);
                break;
            }
            match read_option(self.words, at) {
                Some((given, next)) if given.option.scope == OptionScope::Everywhere => {
                    settings.push(given);
                    at = next;
                }
                _ => {
                    others.push(word);
                    at += 1;
                }
            }
        }
        (settings, others)
    }

    /// The options before and after the command. Options of other commands are skipped without their meaning.
    fn given(&self) -> Vec<GivenOption<'a>> {
        let mut all = self.options.clone();
        let (LineTarget::Command(mut at) | LineTarget::Prompt(mut at)) = self.target else { return all };
        while let Some(word) = self.words.get(at).filter(|word| *word != END_OF_OPTIONS) {
            match read_option(self.words, at).filter(|_| is_option(word)) {
                Some((given, next)) if WITH_SETTINGS.contains(&given.option.long) => {
                    all.push(given);
                    at = next;
                }
                _ => at += 1,
            }
        }
        all
    }

    /// Whether an option that only a session uses stands before the command.
    fn is_session(&self) -> bool {
        let scopes = [OptionScope::Everywhere, OptionScope::Ours];
        self.options.iter().any(|given| !scopes.contains(&given.option.scope))
    }
}

impl<'a> GivenOption<'a> {
    /// Returns the setting that the option overrides, as `KEY=VALUE`: the value of `-c`, or what `--enable` and
    /// `--disable` of a feature that concerns the login are short for.
    #[must_use]
    pub fn assignment(&self) -> Option<&'a str> {
        let value = self.value?.to_str()?;
        match (self.option.long, value) {
            ("--config", _) => Some(value),
            ("--enable", ENCRYPTION) => Some("features.secret_auth_storage=true"),
            ("--disable", ENCRYPTION) => Some("features.secret_auth_storage=false"),
            _ => None,
        }
    }

    /// Returns the words that give this option to another command line.
    #[must_use]
    pub fn to_words(&self) -> Vec<OsString> {
        let name = self.option.short.map_or_else(|| self.option.long.to_owned(), |short| format!("-{short}"));
        [Some(OsStr::new(&name)), self.value].into_iter().flatten().map(OsStr::to_owned).collect()
    }
}

fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes().starts_with(b"-")
}

/// Reads the option at `at`. Returns it with the index of the word after it; `None` if Codex would refuse it.
fn read_option(words: &[OsString], at: usize) -> Option<(GivenOption<'_>, usize)> {
    let word = words.get(at)?.to_str()?;
    let (option, joined) = match word.strip_prefix("--") {
        Some(_) => {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            (CODEX_OPTIONS.iter().find(|option| option.long == name)?, value)
        }
        None => {
            let mut letters = word.strip_prefix('-')?.chars();
            let letter = letters.next()?;
            let rest = letters.as_str();
            let option = CODEX_OPTIONS.iter().find(|option| option.short == Some(letter))?;
            (option, (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest)))
        }
    };
    let given = |value| GivenOption { option, value, at };
    match (option.arity, joined) {
        // `-hx` prints the help too.
        (OptionArity::Exits, _) | (OptionArity::None, None) => Some((given(None), at + 1)),
        (OptionArity::None, Some(_)) => None,
        (OptionArity::One | OptionArity::Many, Some(value)) => Some((given(Some(OsStr::new(value))), at + 1)),
        (OptionArity::One, None) => {
            let value = words.get(at + 1).filter(|value| !is_option(value))?;
            Some((given(Some(value)), at + 2))
        }
        (OptionArity::Many, None) => {
            let values = words[at + 1..].iter().take_while(|value| !is_option(value)).count();
            (values > 0).then(|| (given(Some(&words[at + 1])), at + 1 + values))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        ["codex"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect()
    }

    fn target(line: &str) -> LineTarget {
        CommandLine::parse(&words(line), |word| word == "token").target
    }

    #[test]
    fn the_command_is_found_where_codex_finds_it() {
        for (line, at) in [
            ("logout", 1),
            ("-m x logout", 3),
            ("-mx logout", 2),
            ("-m=x logout", 2),
            ("--model= logout", 2),
            ("-m logout logout", 3),
            ("-i=a.png logout", 2),
            ("-iam logout", 2),
            ("-i a b --no-daemon logout", 5),
            ("-c=a=b -ca=b --config=a=b --config a=b logout", 6),
            ("--enable f token", 3),
            ("-v --json token", 3),
            ("--search -s read-only -a never -C / login status", 8),
        ] {
            assert_eq!(target(line), LineTarget::Command(at), "{line}");
        }
        for (line, expected) in [
            ("", LineTarget::Nothing),
            ("-m logout", LineTarget::Nothing),
            ("-i a.png logout", LineTarget::Nothing),
            ("-- logout", LineTarget::Prompt(1)),
            ("-i a.png -- logout", LineTarget::Prompt(3)),
            ("-m x token", LineTarget::Prompt(3)),
            ("- logout", LineTarget::Prompt(1)),
            ("logou", LineTarget::Prompt(1)),
            ("--mod x logout", LineTarget::Unknown(1)),
            ("-z logout", LineTarget::Unknown(1)),
            ("-m -- logout", LineTarget::Unknown(1)),
            ("-c --search logout", LineTarget::Unknown(1)),
            ("--search=x logout", LineTarget::Unknown(1)),
            ("-hc logout", LineTarget::Exits),
            ("-V logout", LineTarget::Exits),
        ] {
            assert_eq!(target(line), expected, "{line}");
        }
    }

    #[test]
    fn every_line_that_codex_may_take_for_a_logout_is_recognised() {
        for (line, expected) in [
            ("logout", true),
            ("-m x logout", true),
            ("hi logout", true),
            ("- -m x logout", true),
            ("-m x token logout", true),
            ("--later logout", true),
            ("--later value logout", true),
            ("-- logout", false),
            ("hi -- logout", false),
            ("-i a.png logout", false),
            ("-m logout", false),
            ("exec logout", false),
            ("mcp logout name", false),
            ("help logout", false),
            ("-h logout", false),
        ] {
            let words = words(line);
            assert_eq!(CommandLine::parse(&words, |_| false).may_log_out(), expected, "{line}");
        }
    }

    #[test]
    fn settings_are_found_on_both_sides_of_the_command() {
        let words = words("-c a=1 -m x exec -p work --skip -ca=2 --config a=3 hi -- -c a=4");
        let line = CommandLine::parse(&words, |_| false);
        assert_eq!((line.assignments(), line.profile()), (vec!["a=1", "a=2", "a=3"], Some("work")));
        let words = self::words("login --store file -c=a=b --enable f status -- -c x");
        let line = CommandLine::parse(&words, |_| false);
        let (settings, others) = line.settings_after();
        assert_eq!(
            settings.iter().flat_map(GivenOption::to_words).collect::<Vec<_>>(),
            ["-c", "a=b", "--enable", "f"]
        );
        assert_eq!(others, ["--store", "file", "status", "--", "-c", "x"]);
    }

    #[test]
    fn lines_that_use_no_login_are_recognised() {
        for (line, expected) in [
            ("exec hi", false),
            ("", false),
            ("hi", false),
            ("exec --help", true),
            ("exec -- --help", false),
            ("completion bash", true),
            ("-m x features list", true),
            ("update", true),
            ("help exec", true),
            ("--version", true),
            ("app-server generate-ts --out x", true),
            ("app-server daemon start", false),
            ("--later", true),
        ] {
            let words = words(line);
            assert_eq!(CommandLine::parse(&words, |_| false).needs_no_login(), expected, "{line}");
        }
    }
}
