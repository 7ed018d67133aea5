//! `codex app-server`: the account methods of Codex's app-server over standard input and output, line by line; every other
//! method goes to the app-server of the next `codex`.
//!
//! A change of the login by any process is told to the client. Whatever spends a refresh token does so in a child.

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
use self::lines::{LineLimit, Outbox, PATIENCE};
use self::server::{LONGEST_LINE, Server, arguments_of, cannot_start};
use crate::context::CommandContext;
use crate::error::{CommandError, Exit};
use crate::output::Output;
use crate::{CommandOutcome, log};

/// How long a client that has ended the conversation may take to read what is left of it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Arguments of Codex's app-server that leave it what it is here: one that speaks with its client by standard input and
/// output. The next app-server is started with them.
const WITHOUT_VALUE: [&str; 3] = ["--stdio", "--strict-config", "--analytics-default-enabled"];
const WITH_VALUE: [&str; 4] = ["-c", "--config", "--enable", "--disable"];

#[derive(Args, Debug)]
pub(crate) struct AppServerArguments {
    /// Arguments for the app-server of the next codex on PATH, which answers what does not concern the account
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Whether an app-server with these arguments is one that we can stand in for. Others speak over a socket, or generate
/// descriptions of the protocol, and are the next program's.
pub(crate) fn is_ours(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().map(|word| word.to_str());
    while let Some(word) = words.next() {
        let ours = match word {
            Some("--help" | "-h" | "--listen=stdio://") => true,
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
    let session = CommandContext::open(output)?;
    log::start(&session.environment, None);
    let accounts = Accounts::open(&session)?;
    let overrides = arguments_of(&session.environment.overrides);
    let arguments =
        overrides.into_iter().map(OsString::from).chain(arguments.arguments.iter().cloned()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot_start(&error))?;
    let done = runtime.block_on(serve(session, accounts, arguments));
    // What waits for a lock or a server is left behind; a child that spends goes on by itself.
    runtime.shutdown_background();
    done
}

async fn serve(session: CommandContext, accounts: Accounts, arguments: Vec<OsString>) -> CommandOutcome {
    let limit = LineLimit::new(LONGEST_LINE);
    let lines = lines::read("codex read", io::BufReader::new(io::stdin()), limit.clone());
    let mut lines = lines.map_err(|error| cannot_start(&error))?;
    let (outbox, mut written) = Outbox::open(io::stdout()).map_err(|error| cannot_start(&error))?;
    let client = outbox.clone();
    let server = Server::new(session, accounts, outbox, limit, arguments);
    let (desks, tasks) = server.open();
    let following = tokio::spawn(std::sync::Arc::clone(&server).follow());
    loop {
        tokio::select! {
            biased;
            () = client.given_up() => break,
            line = lines.recv() => match line {
                Some(line) => server.take(line, &desks).await,
                None => break,
            },
            () = client.closed() => break,
        }
    }
    drop(desks);
    following.abort();
    // What was asked is answered, as long as the client reads.
    let answered = async {
        for task in tasks {
            let _ = task.await;
        }
    };
    let given_up = tokio::select! {
        biased;
        () = client.given_up() => true,
        () = answered => false,
    };
    server.end().await;
    if given_up {
        let message =
            format!("the client reads nothing: lines have waited for it for {} s", PATIENCE.as_secs());
        return Err(CommandError::new(Exit::TryAgain, message));
    }
    drop((server, client));
    let _ = tokio::time::timeout(LAST_WORDS, written.recv()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_server_over_a_socket_or_of_another_kind_is_not_ours() {
        for (line, ours) in [
            ("", true),
            ("--listen stdio://", true),
            ("-c model=\"x\" --enable a --stdio", true),
            ("--config=a=1", true),
            ("--listen ws://127.0.0.1:1", false),
            ("--listen", false),
            ("generate-ts --out x", false),
            ("proxy", false),
            ("--startup-sign-out", false),
        ] {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(is_ours(&words), ours, "{line}");
        }
    }
}
