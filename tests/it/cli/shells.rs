//! Completion scripts in real shells.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// The shells whose completions can be listed.
pub const SHELLS: [&str; 2] = ["bash", "fish"];

/// Calls the completion function as bash does for the Tab key.
const IN_BASH: &str = r#"source "$0"; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _codex codex "${@: -1}" "${@: -2:1}"
printf '%s\n' "${COMPREPLY[@]}""#;

/// Types a line and Tab into an interactive zsh, which then prints the line.
const IN_ZSH: &str = r#"
zmodload zsh/zpty
TERM=vt100 zpty shell zsh -f -i
zpty -w shell "PS1=; unsetopt beep; autoload -Uz compinit; compinit -u -D; source $1; print READ''Y"
zpty -r shell text '*READY*'
zpty -w -n shell "$2"$'\t\x01'"print -r -- 'IS '\"'"$'\x05'"'\" 'EN''D'"$'\n'
zpty -r shell text '*IS *EN[D]*'
print -r -- "$text"
"#;

/// The output of a program that reports no error.
pub fn accepted(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{command:?}\n{out}{err}");
    out.into_owned()
}

/// What `shell`, one of [`SHELLS`], offers at the end of `line`, sorted.
pub fn completed(shell: &str, script: &Path, line: &str) -> Vec<String> {
    completed_with(&[], shell, script, line)
}

/// As [`completed`], with environment variables.
pub fn completed_with(variables: &[(&str, &OsStr)], shell: &str, script: &Path, line: &str) -> Vec<String> {
    let variables = variables.iter().copied();
    let printed = match shell {
        "bash" => {
            let mut bash = Command::new("bash");
            accepted(bash.args(["-c", IN_BASH]).arg(script).args(line.split(' ')).envs(variables))
        }
        _ => {
            let complete = "source $argv[1]; complete -C \"$argv[2]\"";
            let mut fish = Command::new("fish");
            fish.args(["--no-config", "-c", complete]).arg(script).arg(line);
            accepted(fish.env("HOME", script.parent().unwrap()).envs(variables))
        }
    };
    let words = printed.lines().map(|line| line.split('\t').next().unwrap().trim().to_owned());
    let mut words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.sort();
    words
}

/// The line that zsh makes of `line` at the Tab key.
pub fn in_zsh(script: &Path, line: &str) -> String {
    in_zsh_with(&[], script, line)
}

/// As [`in_zsh`], with environment variables.
pub fn in_zsh_with(variables: &[(&str, &OsStr)], script: &Path, line: &str) -> String {
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-c", IN_ZSH, "zsh"]).arg(script).arg(line).env("HOME", script.parent().unwrap());
    zsh.envs(variables.iter().copied());
    let screen = accepted(&mut zsh);
    let (_, shown) = screen.rsplit_once("IS '").unwrap_or_else(|| panic!("{line}\n{screen}"));
    shown.split_once("' END").unwrap_or_else(|| panic!("{line}\n{screen}")).0.to_owned()
}
