//! `codex login`: obtains a credential, keeps it, and only then touches the one before.

mod browser;
mod commit;
mod device;
mod interrupt;
mod piped;
mod report;
mod screen;

use std::io::{self, IsTerminal as _};

use clap::{Args, Subcommand};
use codex_auth::AuthDocument;
use codex_auth::authority::Issuer;
use codex_auth::config::{LoginMethod, StoreSelection, UserLocation};
use codex_auth::login::{self, LoginSession, OldLoginPolicy};

use self::commit::LoginTarget;
use crate::arguments::STORES;
use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::status;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub(crate) struct LoginArguments {
    #[command(subcommand)]
    command: Option<LoginCommand>,

    /// Where to keep it: keychain, file or auto (default: where the login is now, else the keychain where one is usable)
    #[arg(long, value_name = "STORE", value_parser = STORES, hide_possible_values = true)]
    store: Option<StoreSelection>,

    /// Show a code to type on another device; for a machine without a browser
    #[arg(long, group = "way")]
    device_auth: bool,

    /// Read an API key from standard input
    #[arg(long, group = "way")]
    with_api_key: bool,

    /// Read a personal access token (at-…) or an agent identity token from standard input
    #[arg(long, group = "way")]
    with_access_token: bool,

    /// Show the address instead of opening a browser, and take the address that the browser ends at
    #[arg(long, group = "way")]
    no_browser: bool,

    /// The authority to sign in at
    #[arg(long, value_name = "URL", alias = "experimental_issuer")]
    issuer: Option<String>,

    /// Revoke the tokens of the login before, also those of another account
    #[arg(long, conflicts_with = "keep_old")]
    revoke_old: bool,

    /// Let the tokens of the login before live until they expire
    #[arg(long)]
    keep_old: bool,

    /// Report as JSON when it is done; the address and the code are still told on standard error
    #[arg(long)]
    json: bool,

    /// Refused: what stands in a command line can be read by every program of this machine
    #[arg(long, value_name = "KEY", hide = true)]
    api_key: Option<String>,
}

const AFTER_HELP: &str = "\
Without a way to sign in, a browser is opened; in an SSH session without a display, a device code is shown instead.\n
Whoever is signed in stays so until the new login is safe. Then the tokens of the login before are revoked if they are \
of the same account; those of another account are let live.";

#[derive(Debug, Subcommand)]
enum LoginCommand {
    /// The same as `codex status`
    Status(status::StatusArguments),
}

/// How a person signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoginWay {
    AccessToken,
    ApiKey,
    Browser(BrowserOpening),
    Device,
}

/// Who opens the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrowserOpening {
    Ours,
    Theirs,
}

impl LoginArguments {
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            Some(LoginCommand::Status(status)) => status.json,
            None => self.json,
        }
    }

    fn old_login(&self) -> OldLoginPolicy {
        match (self.revoke_old, self.keep_old) {
            (true, _) => OldLoginPolicy::RevokeAlways,
            (false, true) => OldLoginPolicy::Keep,
            (false, false) => OldLoginPolicy::RevokeSameAccount,
        }
    }

    fn way(&self, session: &CommandContext, output: &Output) -> LoginWay {
        if self.with_api_key {
            LoginWay::ApiKey
        } else if self.with_access_token {
            LoginWay::AccessToken
        } else if self.device_auth {
            LoginWay::Device
        } else if self.no_browser {
            LoginWay::Browser(BrowserOpening::Theirs)
        } else if session.environment.terminal.user == UserLocation::Remote {
            output.say("this is an SSH session without a display, so the login is by device code");
            output.say("to use a browser all the same: codex login --no-browser");
            LoginWay::Device
        } else {
            LoginWay::Browser(BrowserOpening::Ours)
        }
    }
}

pub(crate) fn run(arguments: &LoginArguments, output: &mut Output) -> CommandOutcome {
    if let Some(LoginCommand::Status(arguments)) = &arguments.command {
        return status::run(arguments, output);
    }
    if arguments.api_key.is_some() {
        return Err(CommandError::new(Exit::Usage, "an API key is not taken from the command line")
            .hint("printenv OPENAI_API_KEY | codex login --with-api-key"));
    }
    let issuer = arguments.issuer.as_deref().map(|address| Issuer::parse("--issuer", address)).transpose();
    let issuer = issuer.map_err(|error| CommandError::new(Exit::Usage, error.to_string()))?;
    let context = CommandContext::open(output)?;
    let way = arguments.way(&context, output);
    let method = if way == LoginWay::ApiKey { LoginMethod::Api } else { LoginMethod::ChatGpt };
    let session = LoginSession::begin(&context.stores, &context.environment, method, arguments.store);
    let mut session = session.map_err(|error| match error {
        error @ login::Error::Forbidden(_) => forbidden(method, &error),
        error => error.into(),
    })?;
    if let Some(issuer) = issuer {
        session = session.with_issuer(issuer);
    }
    let session = session.with_old_login_policy(arguments.old_login());
    let target = LoginTarget { context, session };
    match way {
        LoginWay::ApiKey => {
            let key = piped::secret("API key", "printenv OPENAI_API_KEY | codex login --with-api-key")?;
            target.commit_supplied(AuthDocument::with_api_key(&key), output)
        }
        LoginWay::AccessToken => {
            let usage = "printenv CODEX_ACCESS_TOKEN | codex login --with-access-token";
            let token = piped::secret("access token", usage)?;
            target.commit_verified(&token, output)
        }
        LoginWay::Browser(who) => browser::run(&target, who, output),
        LoginWay::Device => match device::run(&target, output) {
            Err(device::DeviceFailure::NotEnabled(error)) if io::stdin().is_terminal() => {
                output.say(&format!("{error}; going on with a browser"));
                browser::run(&target, BrowserOpening::Theirs, output)
            }
            Err(device::DeviceFailure::NotEnabled(error)) => {
                Err(CommandError::from(codex_auth::Error::from(error))
                    .hint("sign in with a browser instead: codex login --no-browser"))
            }
            Err(device::DeviceFailure::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        },
    }
}

/// The administrator's rule, with the way that it leaves open.
fn forbidden(method: LoginMethod, error: &login::Error) -> CommandError {
    let open = match method {
        LoginMethod::Api => "sign in with your account: codex login",
        _ => "use an API key: printenv OPENAI_API_KEY | codex login --with-api-key",
    };
    CommandError::new(Exit::Failed, error.to_string()).hint(open)
}
