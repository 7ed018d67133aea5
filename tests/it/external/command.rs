//! A command that gives tokens, however it misbehaves: bounded in time and size, and nothing of it is left behind.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use codex_auth::config::{ProviderCommand, provider_command};
use codex_auth::external::{
    BearerCommand, Error, ExternalAuth as _, Persistence, ProviderContext, RequestReason,
};

use crate::support::{TestHome, eventually, is_alive};

/// A command as `config.toml` would have it, with `more` keys of its table.
pub fn command(program: &str, arguments: &[&str], more: &str) -> ProviderCommand {
    let quoted = |text: &str| toml_text(text);
    let arguments: Vec<_> = arguments.iter().map(|argument| quoted(argument)).collect();
    let text = format!(
        "[model_providers.corp.auth]\ncommand = {}\nargs = [{}]\n{more}\n",
        quoted(program),
        arguments.join(", ")
    );
    provider_command(&text, "corp").unwrap()
}

/// JSON's quotes and escapes are TOML's too.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn ask(command: ProviderCommand) -> Result<String, Error> {
    let provider = BearerCommand::new("corp", command);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = runtime.block_on(provider.refresh(ProviderContext::new(RequestReason::Missing, None)));
    token.map(|token| token.access_token().expose().to_owned())
}

fn shell(script: &str, more: &str) -> Result<String, Error> {
    ask(command("sh", &["-c", script], more))
}

/// Whether the process whose number is in the file is there, and not merely waiting to be collected.
fn runs(file: &Path) -> bool {
    is_alive(fs::read_to_string(file).unwrap().trim().parse().unwrap())
}

#[test]
fn what_is_printed_is_trimmed_and_nothing_else_is_done_to_it() {
    assert_eq!(shell("printf ' \\n tok-1.2_3~+/= \\r\\n\\n'", "").unwrap(), "tok-1.2_3~+/=");
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let words = ["%s|%s|%s", "$(id)", "`id`;'\"", "a*"];
    assert_eq!(ask(command("printf", &words, "")).unwrap(), "$(id)|`id`;'\"|a*");
}

#[test]
fn a_relative_program_begins_at_its_folder_and_runs_there() {
    let home = TestHome::new();
    let folder = home.beside("tools");
    // Not by this process: a child of another test would have it open for writing, and then it could not be run.
    assert!(Command::new("cp").arg("/bin/pwd").arg(folder.join("tool")).status().unwrap().success());
    let cwd = format!("cwd = {}", toml_text(folder.to_str().unwrap()));
    assert_eq!(ask(command("./tool", &[], &cwd)).unwrap(), folder.to_str().unwrap());
}

#[test]
fn a_program_that_is_not_there_is_not_tried_again() {
    let error = ask(command("no-such-program-of-anybody", &[], "")).unwrap_err();
    assert!(matches!(error, Error::NotStarted { .. }), "{error}");
    assert_eq!(error.persistence(), Persistence::Permanent);
}

#[test]
fn a_command_that_hangs_is_ended_in_time_with_its_descendants() {
    let home = TestHome::new();
    let (parent, child) = (home.file("parent"), home.file("child"));
    let script = format!(
        "sleep 600 & echo $! > {}; echo $$ > {}; echo waiting for a vault >&2; wait",
        child.display(),
        parent.display()
    );
    let begun = Instant::now();
    let error = shell(&script, "timeout_ms = 1000").unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(
        error.to_string(),
        "sh printed no token within 1000 ms and was killed; stderr: waiting for a vault"
    );
    assert_eq!(error.persistence(), Persistence::Transient);
    for file in [parent, child] {
        eventually("the group to end", || !runs(&file));
    }
}

#[test]
fn a_command_that_ignores_the_polite_signals_and_left_its_group_is_ended_too() {
    let home = TestHome::new();
    let file = home.file("pid");
    let script = format!("trap '' TERM INT HUP; echo $$ > {}; while :; do sleep 1; done", file.display());
    let error = ask(command("setsid", &["--wait", "sh", "-c", &script], "timeout_ms = 500")).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    // What made itself independent on purpose is beyond us; the test ends it.
    if let Ok(pid) = fs::read_to_string(&file) {
        let _ = std::process::Command::new("kill").args(["-KILL", pid.trim()]).status();
    }
}

#[test]
fn a_flood_on_standard_output_ends_at_once() {
    let begun = Instant::now();
    let error = ask(command("yes", &[], "timeout_ms = 60000")).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "the timeout was waited for");
    assert_eq!(error.to_string(), "yes did not print a token: it is longer than 64 KiB");
}

#[test]
fn a_flood_on_standard_error_is_read_and_dropped() {
    let error = shell("yes complaint | head -c 5000000 >&2; exit 1", "").unwrap_err().to_string();
    assert!(error.starts_with("sh failed with exit status: 1; stderr: complaint complaint "), "{error}");
    assert!(error.chars().count() < 400, "{error}");
    assert_eq!(shell("yes warning | head -c 5000000 >&2; echo token", "").unwrap(), "token");
}

#[test]
fn what_is_not_one_token_is_refused_with_the_reason() {
    for (script, told) in [
        ("exit 0", "sh did not print a token: it printed nothing"),
        ("printf ' \\n\\t'", "sh did not print a token: it printed nothing"),
        ("printf 'a\\nb\\n'", "sh did not print a token: there is white space inside it"),
        ("printf 'a\\033[1mb'", "sh did not print a token: there are control characters in it"),
        ("printf '\\377'", "sh did not print a token: it is not UTF-8"),
        ("echo token; exit 1", "sh failed with exit status: 1"),
        ("kill -KILL $$", "sh failed with signal: 9 (SIGKILL)"),
    ] {
        let error = shell(script, "").unwrap_err();
        assert_eq!(error.to_string(), told, "{script}");
        assert_eq!(error.persistence(), Persistence::Transient, "{script}");
    }
}

#[test]
fn a_grandchild_that_keeps_the_pipes_is_not_waited_for_and_lives_on() {
    let home = TestHome::new();
    let file = home.file("pid");
    let begun = Instant::now();
    let script = format!("sleep 600 & echo $! > {}; echo token", file.display());
    assert_eq!(shell(&script, "timeout_ms = 60000").unwrap(), "token");
    assert!(begun.elapsed() < Duration::from_secs(30), "the grandchild was waited for");
    assert!(runs(&file), "what a command leaves running is its own affair");
    let pid = fs::read_to_string(&file).unwrap();
    std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
}

#[test]
fn a_command_that_takes_exactly_its_time_is_in_time_or_too_late_and_never_both() {
    for _ in 0..20 {
        match shell("sleep 0.05; echo token", "timeout_ms = 50") {
            Ok(token) => assert_eq!(token, "token"),
            Err(error) => assert!(matches!(error, Error::TimedOut { .. }), "{error}"),
        }
    }
}

#[test]
fn whoever_stops_waiting_ends_the_command() {
    let home = TestHome::new();
    let file = home.file("pid");
    let script = format!("echo $$ > {}; sleep 600", file.display());
    let provider = BearerCommand::new("corp", command("sh", &["-c", &script], "timeout_ms = 600000"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let asked = provider.refresh(ProviderContext::new(RequestReason::Missing, None));
        let begun = async {
            while fs::read_to_string(&file).unwrap_or_default().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = asked => panic!("it does not end by itself"),
            () = begun => {}
        }
    });
    eventually("the command to end", || !runs(&file));
}

#[test]
fn it_reads_nothing_and_what_it_repeats_of_its_token_is_not_shown() {
    assert_eq!(shell("cat; echo token", "").unwrap(), "token");
    let error = shell("echo short; echo got short, then failed >&2; exit 9", "").unwrap_err();
    assert_eq!(error.to_string(), "sh failed with exit status: 9; stderr: got …, then failed");
}
