//! `codex app-server`: handles the account methods of Codex's app-server protocol over standard input and output, and
//! forwards every other method to the app-server of the next `codex` on PATH.

mod account;
mod client;
mod handed_in;
mod lines;
mod logins;
mod message;
mod methods;
mod next;
mod protocol;
mod queue;
mod server;
mod turns;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use clap::Args;

use self::account::Accounts;
use self::lines::{LineLimit, Outbox, STALL_LIMIT};
pub(crate) use self::server::arguments_of;
use self::server::{LONGEST_LINE, Server};
use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::{log, runtime};

/// How long a client that has closed its output may take to read the remaining lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Options of Codex's app-server that keep its transport standard input and output. They are passed to the next
/// app-server.
const WITHOUT_VALUE: [&str; 3] = ["--stdio", "--strict-config", "--analytics-default-enabled"];
const WITH_VALUE: [&str; 4] = ["-c", "--config", "--enable", "--disable"];

#[derive(Args, Debug)]
#[command(after_help = crate::help::APP_SERVER)]
pub(crate) struct AppServerArguments {
    /// Arguments for the app-server of the next codex on PATH, which handles the other methods
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Whether this program handles `app-server` with these arguments. With others Codex listens on a socket or generates a
/// description of the protocol, and the command goes to the next `codex`.
pub(crate) fn is_ours(arguments: &[&OsString]) -> bool {
    let mut words = arguments.iter().map(|word| word.to_str());
    while let Some(word) = words.next() {
        let ours = match word {
            Some("--listen=stdio://") => true,
            Some("--listen") => words.next().flatten() == Some("stdio://"),
            Some(word) if WITHOUT_VALUE.contains(&word) => true,
            Some(word) if WITH_VALUE.contains(&word) => words.next().is_some(),
            Some(word) => WITH_VALUE.iter().any(|name| word.starts_with(&format!("{name}="))),
            None => false,
        };
        if !ours {
            return false;
        }
    }
    true
}

pub(crate) fn run(arguments: &AppServerArguments, output: &mut Output) -> CommandOutcome {
    if !is_ours(&arguments.arguments.iter().collect::<Vec<_>>()) {
        let message =
            "`codex app-server` serves standard input and output only; these arguments are those of Codex";
        return Err(CommandError::new(Exit::Usage, message).hint("codex app-server --help"));
    }
    let session = CommandContext::open(output)?;
    log::start(&session.environment, None);
    let accounts = Accounts::open(&session)?;
    let overrides = arguments_of(&session.environment.overrides);
    let arguments =
        overrides.into_iter().map(OsString::from).chain(arguments.arguments.iter().cloned()).collect();
    runtime::run(serve(session, accounts, arguments))
}

async fn serve(session: CommandContext, accounts: Accounts, arguments: Vec<OsString>) -> CommandOutcome {
    let limit = LineLimit::new(LONGEST_LINE);
    let lines = lines::read("codex read", io::BufReader::new(io::stdin()), limit.clone());
    let mut lines = lines.map_err(|error| CommandError::cannot_start("a thread", &error))?;
    let outbox = Outbox::open(io::stdout());
    let (outbox, mut written) = outbox.map_err(|error| CommandError::cannot_start("a thread", &error))?;
    let client = outbox.clone();
    let server = Server::new(session, accounts, outbox, limit, arguments);
    let (queues, tasks) = server.start();
    let following = tokio::spawn(std::sync::Arc::clone(&server).follow());
    loop {
        tokio::select! {
            biased;
            () = client.stalled() => break,
            line = lines.recv() => match line {
                Some(line) => server.handle(line, &queues).await,
                None => break,
            },
            () = client.closed() => break,
        }
    }
    drop(queues);
    following.abort();
    // Requests that were read get their response, as long as the client reads.
    let answered = async {
        for task in tasks {
            let _ = task.await;
        }
    };
    let stalled = tokio::select! {
        biased;
        () = client.stalled() => true,
        () = answered => false,
    };
    server.end().await;
    if stalled {
        let message = format!("the client has not read from standard output for {} s", STALL_LIMIT.as_secs());
        return Err(CommandError::new(Exit::TryAgain, message));
    }
    drop((server, client));
    let _ = tokio::time::timeout(FLUSH_TIMEOUT, written.recv()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_app_server_over_standard_input_and_output_is_handled_here() {
        for (line, ours) in [
            ("", true),
            ("--listen stdio://", true),
            ("-c model=\"x\" --enable a --stdio", true),
            ("--config=a=1", true),
            ("--listen ws://127.0.0.1:1", false),
            ("--listen", false),
            ("generate-ts --out x", false),
            ("proxy", false),
            ("--help", false),
            ("--startup-sign-out", false),
        ] {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(is_ours(&words.iter().collect::<Vec<_>>()), ours, "{line}");
        }
    }
}
