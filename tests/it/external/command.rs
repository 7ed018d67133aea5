//! A command that prints tokens is limited in time and output, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use codex_auth::config::{ProviderCommand, provider_command};
use codex_auth::external::{
    BearerCommand, Error, ExternalAuth as _, Persistence, ProviderContext, RequestReason,
};

use crate::support::{TestHome, eventually, is_alive};

/// Reads a command from a `config.toml` with `more` keys in its table.
pub fn command(program: &str, arguments: &[&str], more: &str) -> ProviderCommand {
    let quoted = |text: &str| toml_string(text);
    let arguments: Vec<_> = arguments.iter().map(|argument| quoted(argument)).collect();
    let text = format!(
        "[model_providers.corp.auth]\ncommand = {}\nargs = [{}]\n{more}\n",
        quoted(program),
        arguments.join(", ")
    );
    provider_command(&text, "corp").unwrap()
}

/// Quotes a string. TOML has the quotes and escapes of JSON.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn run_provider(command: ProviderCommand) -> Result<String, Error> {
    let provider = BearerCommand::new("corp", command);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = runtime.block_on(provider.refresh(ProviderContext::new(RequestReason::Missing, None)));
    token.map(|token| token.access_token().expose().to_owned())
}

fn run_shell(script: &str, more: &str) -> Result<String, Error> {
    run_provider(command("sh", &["-c", script], more))
}

/// Returns whether the process whose id is in the file is running, and not a zombie.
fn is_running(file: &Path) -> bool {
    is_alive(fs::read_to_string(file).unwrap().trim().parse().unwrap())
}

#[test]
fn the_output_is_trimmed_and_not_changed_otherwise() {
    assert_eq!(run_shell("printf ' \\n tok-1.2_3~+/= \\r\\n\\n'", "").unwrap(), "tok-1.2_3~+/=");
}

#[test]
fn arguments_are_passed_unchanged() {
    let words = ["%s|%s|%s", "$(id)", "`id`;'\"", "a*"];
    assert_eq!(run_provider(command("printf", &words, "")).unwrap(), "$(id)|`id`;'\"|a*");
}

#[test]
fn a_relative_program_is_relative_to_its_folder_and_runs_there() {
    let home = TestHome::new();
    let folder = home.beside("tools");
    // Not copied by this process: a child of another test could inherit the open file, which then cannot be executed.
    assert!(Command::new("cp").arg("/bin/pwd").arg(folder.join("tool")).status().unwrap().success());
    let cwd = format!("cwd = {}", toml_string(folder.to_str().unwrap()));
    assert_eq!(run_provider(command("./tool", &[], &cwd)).unwrap(), folder.to_str().unwrap());
}

#[test]
fn a_missing_program_is_a_permanent_error() {
    let error = run_provider(command("no-such-program", &[], "")).unwrap_err();
    assert!(matches!(error, Error::NotStarted { .. }), "{error}");
    assert_eq!(error.persistence(), Persistence::Permanent);
}

#[test]
fn a_hanging_command_is_killed_with_its_group() {
    let home = TestHome::new();
    let (parent, child) = (home.file("parent"), home.file("child"));
    let script = format!(
        "sleep 600 & echo $! > {}; echo $$ > {}; echo waiting for a vault >&2; wait",
        child.display(),
        parent.display()
    );
    let begun = Instant::now();
    let error = run_shell(&script, "timeout_ms = 1000").unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(
        error.to_string(),
        "sh printed no token within 1000 ms and was killed; stderr: waiting for a vault"
    );
    assert_eq!(error.persistence(), Persistence::Transient);
    for file in [parent, child] {
        eventually("the group to end", || !is_running(&file));
    }
}

#[test]
fn a_command_that_ignores_signals_and_left_its_group_is_killed() {
    let home = TestHome::new();
    let file = home.file("pid");
    let script = format!("trap '' TERM INT HUP; echo $$ > {}; while :; do sleep 1; done", file.display());
    let error =
        run_provider(command("setsid", &["--wait", "sh", "-c", &script], "timeout_ms = 500")).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    // A child that left the group is not killed with it; the test kills it.
    if let Ok(pid) = fs::read_to_string(&file) {
        let _ = std::process::Command::new("kill").args(["-KILL", pid.trim()]).status();
    }
}

#[test]
fn too_much_standard_output_is_an_error_at_once() {
    let begun = Instant::now();
    let error = run_provider(command("yes", &[], "timeout_ms = 60000")).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "it did not wait for the time limit");
    assert_eq!(error.to_string(), "yes did not print a token: it is longer than 64 KiB");
}

#[test]
fn too_much_standard_error_is_discarded() {
    let error = run_shell("yes complaint | head -c 5000000 >&2; exit 1", "").unwrap_err().to_string();
    assert!(error.starts_with("sh failed with exit status: 1; stderr: complaint complaint "), "{error}");
    assert!(error.chars().count() < 400, "{error}");
    assert_eq!(run_shell("yes warning | head -c 5000000 >&2; echo token", "").unwrap(), "token");
}

#[test]
fn output_that_is_not_a_token_is_refused_with_the_reason() {
    for (script, message) in [
        ("exit 0", "sh did not print a token: it is empty"),
        ("printf ' \\n\\t'", "sh did not print a token: it is empty"),
        ("printf 'a\\nb\\n'", "sh did not print a token: it contains white space"),
        ("printf 'a\\033[1mb'", "sh did not print a token: it contains control characters"),
        ("printf '\\377'", "sh did not print a token: it is not UTF-8"),
        ("echo token; exit 1", "sh failed with exit status: 1"),
        ("kill -KILL $$", "sh failed with signal: 9 (SIGKILL)"),
    ] {
        let error = run_shell(script, "").unwrap_err();
        assert_eq!(error.to_string(), message, "{script}");
        assert_eq!(error.persistence(), Persistence::Transient, "{script}");
    }
}

#[test]
fn a_grandchild_that_keeps_the_pipes_open_is_neither_waited_for_nor_killed() {
    let home = TestHome::new();
    let file = home.file("pid");
    let begun = Instant::now();
    let script = format!("sleep 600 & echo $! > {}; echo token", file.display());
    assert_eq!(run_shell(&script, "timeout_ms = 60000").unwrap(), "token");
    assert!(begun.elapsed() < Duration::from_secs(30), "it did not wait for the grandchild");
    assert!(is_running(&file), "the grandchild is not killed");
    let pid = fs::read_to_string(&file).unwrap();
    std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
}

#[test]
fn a_command_that_exits_at_its_time_limit_succeeds_or_times_out() {
    for _ in 0..20 {
        match run_shell("sleep 0.05; echo token", "timeout_ms = 50") {
            Ok(token) => assert_eq!(token, "token"),
            Err(error) => assert!(matches!(error, Error::TimedOut { .. }), "{error}"),
        }
    }
}

#[test]
fn dropping_the_future_kills_the_command() {
    let home = TestHome::new();
    let file = home.file("pid");
    let script = format!("echo $$ > {}; sleep 600", file.display());
    let provider = BearerCommand::new("corp", command("sh", &["-c", &script], "timeout_ms = 600000"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let refresh = provider.refresh(ProviderContext::new(RequestReason::Missing, None));
        let begun = async {
            while fs::read_to_string(&file).unwrap_or_default().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = refresh => panic!("the command exited by itself"),
            () = begun => {}
        }
    });
    eventually("the command to end", || !is_running(&file));
}

#[test]
fn standard_input_is_empty_and_a_token_repeated_on_stderr_is_hidden() {
    assert_eq!(run_shell("cat; echo token", "").unwrap(), "token");
    let error = run_shell("echo short; echo got short, then failed >&2; exit 9", "").unwrap_err();
    assert_eq!(error.to_string(), "sh failed with exit status: 9; stderr: got …, then failed");
}
