//! Reads the commands and options of a program from its completion script for zsh, as clap generates it.

use std::collections::HashMap;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, Command, ValueHint};

/// The `case` of the script that a block is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CaseKind {
    /// Over the state of the completion: its block belongs to the command around it.
    State,
    /// Over the words of the command line: its blocks are commands.
    Words,
}

/// A command of the script, with its subcommands.
#[derive(Debug, Default)]
struct Block {
    name: String,
    specifications: Vec<String>,
    subcommands: Vec<Self>,
    /// The function that lists its subcommands with their help.
    lists: String,
}

/// The help of subcommands, by the function that lists them and by name.
type HelpTexts = HashMap<String, HashMap<String, String>>;

/// Returns the command that `script` completes, or `None` if it has no commands or options that this can read.
pub(super) fn read(script: &str) -> Option<Command> {
    let program = blocks(script)?;
    let command = command(&program, &help_texts(script));
    let is_empty = command.get_subcommands().next().is_none();
    (!is_empty).then_some(command)
}

/// Reads the nested blocks of the script. Lines that it does not know are skipped.
fn blocks(script: &str) -> Option<Block> {
    let mut case = CaseKind::State;
    // Each open block, and whether it is a command; the first is the program.
    let mut open = vec![(Block::default(), CaseKind::Words)];
    let mut is_in_arguments = false;
    for line in script.lines() {
        let text = line.trim();
        if is_in_arguments {
            let (block, _) = open.iter_mut().rev().find(|(_, kind)| *kind == CaseKind::Words)?;
            if text.starts_with("&&") {
                is_in_arguments = false;
            } else if let Some(function) = text.strip_prefix("\":: :") {
                block.lists = function.split('"').next()?.to_owned();
            } else if line.starts_with(['\'', '"']) {
                block.specifications.push(line.to_owned());
            } else if let Some(last) = block.specifications.last_mut() {
                // The values of an option, each on a line.
                last.push('\n');
                last.push_str(line);
            }
        } else if text.starts_with("_arguments ") {
            is_in_arguments = true;
        } else if text.starts_with("case $state ") {
            case = CaseKind::State;
        } else if text.starts_with("case $line[") {
            case = CaseKind::Words;
        } else if let Some(name) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'))
            && !name.contains(['(', ' '])
        {
            open.push((Block { name: name.to_owned(), ..Block::default() }, case));
        } else if text == ";;" {
            if let (block, CaseKind::Words) = open.pop()? {
                let (around, _) = open.iter_mut().rev().find(|(_, kind)| *kind == CaseKind::Words)?;
                around.subcommands.push(block);
            }
        } else if text == "}" {
            // The function of the program has ended.
            break;
        }
    }
    open.into_iter().next().map(|(program, _)| program)
}

/// Reads the functions that list subcommands with their help.
fn help_texts(script: &str) -> HelpTexts {
    let mut texts = HelpTexts::new();
    let mut function = "";
    for line in script.lines() {
        if let Some((name, "{")) = line.split_once("() ") {
            function = name;
        } else if line.starts_with('\'')
            && let Some((name, help)) = split(&unescaped(line), ':')
        {
            texts.entry(function.to_owned()).or_default().insert(plain(name), plain(help));
        }
    }
    texts
}

fn command(block: &Block, texts: &HelpTexts) -> Command {
    let mut command = Command::new(block.name.clone())
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true);
    for (position, text) in block.specifications.iter().enumerate() {
        // A word beside subcommands, such as a prompt, keeps zsh from completing them.
        let is_offered = |argument: &Arg| !argument.is_positional() || block.subcommands.is_empty();
        if let Some(argument) = argument(&unescaped(text), position).filter(is_offered) {
            command = command.arg(argument);
        }
    }
    let helps = texts.get(&block.lists);
    for subcommand in &block.subcommands {
        let about = helps.and_then(|helps| helps.get(&subcommand.name)).cloned().unwrap_or_default();
        command = command.subcommand(self::command(subcommand, texts).about(about));
    }
    command
}

/// Reads one argument: `*--name=[help]:VALUE:action` for an option, `:name -- help:action` for a positional one.
fn argument(text: &str, position: usize) -> Option<Arg> {
    // The options that exclude it come first, and a mark that it may be repeated.
    let text = text.strip_prefix('(').map_or(text, |rest| rest.split_once(')').map_or("", |(_, rest)| rest));
    let (text, repeats) = text.strip_prefix('*').map_or((text, false), |rest| (rest, true));
    if let Some(rest) = text.strip_prefix(':') {
        let rest = rest.trim_start_matches(':');
        let (name, action) = split(rest, ':').unwrap_or((rest, ""));
        let name = name.split(" -- ").next().unwrap_or_default();
        let argument = Arg::new(format!("{position} {name}")).value_name(name.to_uppercase());
        let argument = if repeats { argument.action(ArgAction::Append).num_args(1..) } else { argument };
        return Some(with_values(argument, action));
    }
    let end = text.find(['[', ':'])?;
    let (name, rest) = text.split_at(end);
    let name = name.trim_end_matches(['=', '+']);
    let (help, values) = match rest.strip_prefix('[') {
        Some(rest) => split(rest, ']')?,
        None => ("", rest),
    };
    let argument = Arg::new(name.to_owned()).help(plain(help));
    let argument = match name.strip_prefix("--") {
        Some(long) => argument.long(long.to_owned()),
        None => argument.short(name.strip_prefix('-')?.chars().next()?),
    };
    let Some((value_name, action)) = values.strip_prefix(':').and_then(|values| split(values, ':')) else {
        return Some(argument.action(if repeats { ArgAction::Count } else { ArgAction::SetTrue }));
    };
    let action_of_option = if repeats { ArgAction::Append } else { ArgAction::Set };
    Some(with_values(argument.action(action_of_option).value_name(value_name.to_owned()), action))
}

/// Adds the values that `action` completes.
fn with_values(argument: Arg, action: &str) -> Arg {
    if let Some(values) = action.strip_prefix("((").and_then(|values| values.strip_suffix("))")) {
        let values = values.lines().filter_map(|line| line.split_once("\\:\""));
        let values = values
            .map(|(name, help)| PossibleValue::new(plain(name)).help(plain(help.trim_end_matches('"'))));
        return argument.value_parser(PossibleValuesParser::new(values));
    }
    if let Some(values) = action.strip_prefix('(').and_then(|values| values.strip_suffix(')')) {
        return argument.value_parser(PossibleValuesParser::new(values.split(' ').map(plain)));
    }
    match action {
        "_files" => argument.value_hint(ValueHint::FilePath),
        "_files -/" => argument.value_hint(ValueHint::DirPath),
        _ => argument,
    }
}

/// Splits `text` at the first `end` that no backslash precedes.
fn split(text: &str, end: char) -> Option<(&str, &str)> {
    let mut escaped = false;
    let at = text.char_indices().find(|(_, letter)| {
        let is_end = *letter == end && !escaped;
        escaped = *letter == '\\' && !escaped;
        is_end
    });
    at.map(|(at, _)| (&text[..at], &text[at + end.len_utf8()..]))
}

/// Returns the word in single quotes at the beginning of a line of the script.
fn unescaped(line: &str) -> String {
    let line = line.trim_end_matches('\\').trim();
    let line = line.strip_prefix('\'').unwrap_or(line);
    line.strip_suffix('\'').unwrap_or(line).replace("'\\''", "'")
}

/// Returns a help text without the backslashes of the script.
fn plain(help: &str) -> String {
    let mut plain = String::with_capacity(help.len());
    let mut letters = help.chars();
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = r#"
_codex() {
    _arguments "${_arguments_options[@]}" : \
'*-c+[Set \`a.b\` \[again\]]:key=value:_default' \
'(-a --ask)--sandbox=[It'\''s the sandbox\: one of]:MODE:(read-only full)' \
'--ask=[When to ask]:POLICY:((always\:"Every time"
never\:"Not at all"))' \
'--cd=[Folder]:DIR:_files -/' \
'--oss[Open source]' \
'::prompt -- The prompt:' \
":: :_codex_commands" \
"*::: :->codex-cli" \
&& ret=0
    case $state in
    (codex-cli)
        words=($line[2] "${words[@]}")
        (( CURRENT += 1 ))
        case $line[2] in
            (mcp)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
":: :_codex__mcp_commands" \
"*::: :->mcp" \
&& ret=0

    case $state in
    (mcp)
        case $line[1] in
            (list)
_arguments "${_arguments_options[@]}" : \
'--json[As JSON]' \
&& ret=0
;;
        esac
    ;;
esac
;;
(apply)
_arguments "${_arguments_options[@]}" : \
':task -- The task:_default' \
&& ret=0
;;
        esac
    ;;
esac
}

_codex_commands() {
    local commands; commands=(
'mcp:Servers\: all of them' \
'apply:Apply a task' \
    )
}
_codex__mcp_commands() {
    local commands; commands=(
'list:List servers' \
    )
}
"#;

    fn help(command: &Command, argument: &str) -> String {
        let argument = command.get_arguments().find(|known| known.get_id() == argument).unwrap();
        argument.get_help().unwrap().to_string()
    }

    #[test]
    fn commands_options_and_values_are_read() {
        let program = read(SCRIPT).unwrap();
        let names: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
        assert_eq!(names, ["mcp", "apply"]);
        let mcp = program.find_subcommand("mcp").unwrap();
        assert_eq!(mcp.get_about().unwrap().to_string(), "Servers: all of them");
        let list = mcp.find_subcommand("list").unwrap();
        assert_eq!(
            (list.get_about().unwrap().to_string(), help(list, "--json")),
            ("List servers".to_owned(), "As JSON".to_owned())
        );
        assert_eq!(help(&program, "-c"), "Set `a.b` [again]");
        assert_eq!(help(&program, "--sandbox"), "It's the sandbox: one of");
        let values = |name: &str| {
            let argument = program.get_arguments().find(|known| known.get_id() == name).unwrap();
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (values("--sandbox"), values("--ask")),
            (vec!["read-only".to_owned(), "full".to_owned()], vec!["always".to_owned(), "never".to_owned()])
        );
        let apply = program.find_subcommand("apply").unwrap();
        assert_eq!((program.get_positionals().count(), apply.get_positionals().count()), (0, 1));
        program.debug_assert();
    }

    #[test]
    fn a_text_that_is_no_such_script_has_no_command() {
        for text in
            ["", "error: unknown command", ";;\n;;\n}", "(a)\n(b)\n", "_codex() {\n_arguments : \\\n'-["]
        {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
