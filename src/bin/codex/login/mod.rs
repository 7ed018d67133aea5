//! `codex login`: obtains a credential, stores it, and only then revokes the old one.

mod browser;
mod commit;
mod device;
mod interrupt;
mod report;
mod screen;

use std::io::{self, IsTerminal as _};

use clap::{Args, Subcommand};
use codex_auth::accounts::{AccountPlace, AccountSet, login_store};
use codex_auth::authority::Issuer;
use codex_auth::config::{LoginMethod, StoreSelection, UserLocation};
use codex_auth::login::{self, LoginOwner, LoginSession, OldLoginPolicy};
use codex_auth::{AuthDocument, Home};

use self::commit::LoginTarget;
use crate::arguments::STORES;
use crate::context::CommandContext;
use crate::daemon::DaemonArguments;
use crate::error::{CommandError, CommandOutcome, Exit, PIPE_AN_ACCESS_TOKEN, PIPE_AN_API_KEY};
use crate::located;
use crate::name;
use crate::output::Output;
use crate::piped;
use crate::replaced::remember_user;
use crate::status;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub(crate) struct LoginArguments {
    #[command(subcommand)]
    command: Option<LoginCommand>,

    #[command(flatten)]
    options: LoginOptions,
}

/// The options of a login, also of `codex account add`.
#[derive(Args, Debug)]
pub(crate) struct LoginOptions {
    /// Where to store the login: keychain, file or auto (default: where the login is now, else a usable keychain)
    #[arg(long, value_name = "STORE", value_parser = STORES, hide_possible_values = true)]
    store: Option<StoreSelection>,

    /// Show a code to type on another device: for a remote or headless machine
    #[arg(long, group = "way")]
    device_auth: bool,

    /// Read an API key from standard input
    #[arg(long, group = "way")]
    with_api_key: bool,

    /// Read a personal access token (at-…) or an agent identity token from standard input
    #[arg(long, group = "way")]
    with_access_token: bool,

    /// Print the address instead of opening a browser, and read the address that the browser ends at
    #[arg(long, group = "way")]
    no_browser: bool,

    /// The server to log in at
    #[arg(long, value_name = "URL", alias = "experimental_issuer")]
    issuer: Option<String>,

    /// Revoke the tokens of the old login, also those of another account
    #[arg(long, conflicts_with = "keep_old")]
    revoke_old: bool,

    /// Do not revoke the tokens of the old login
    #[arg(long)]
    keep_old: bool,

    #[command(flatten)]
    daemon: DaemonArguments,

    /// Report as JSON at the end; the address and the code are printed on standard error
    #[arg(long)]
    pub(crate) json: bool,

    /// Refused: every program on this machine can read a command line
    #[arg(long, value_name = "KEY", hide = true)]
    api_key: Option<String>,
}

const AFTER_HELP: &str = concat!(
    "By default a browser is opened; in an SSH session without a display, a device code is shown instead.\n\n",
    "The old login stays in use until the new one is stored. Then its tokens are revoked if it is of the same account.\n\n",
    crate::help::examples![
        "codex login",
        "codex login --device-auth",
        "codex login --store keychain",
        "printenv OPENAI_API_KEY | codex login --with-api-key",
    ]
);

#[derive(Debug, Subcommand)]
enum LoginCommand {
    /// Show the kind of the login in one line, as Codex does; `codex status` shows more
    Status(status::StatusArguments),
}

/// How the credential is obtained.
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
            None => self.options.json,
        }
    }
}

impl LoginOptions {
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
            output.say("this is an SSH session without a display, so a device code is used");
            output.say("to use a browser: codex login --no-browser");
            LoginWay::Device
        } else {
            LoginWay::Browser(BrowserOpening::Ours)
        }
    }
}

pub(crate) fn run(arguments: &LoginArguments, output: &mut Output) -> CommandOutcome {
    if let Some(LoginCommand::Status(arguments)) = &arguments.command {
        let is_codex = name::of_this_run() == name::SHARED && !output.is_json();
        return if is_codex { status::run_as_codex(output) } else { status::run(arguments, output) };
    }
    let options = &arguments.options;
    options.check()?;
    let context = CommandContext::open(output)?;
    let (chosen, environment) = (context.chosen.clone(), context.environment.clone());
    let Some(account) = &chosen.account else {
        let done = options.log_in_beside(Vec::new(), context, output);
        located::reconcile_own_login(&chosen.home, &environment, output);
        return done;
    };
    let others = AccountSet::around(chosen.home.clone())?.other_homes(account)?;
    let done = options.log_in_beside(others, context, output);
    located::reconcile_own_login(&chosen.home, &environment, output);
    if let Ok(set) = AccountSet::around(chosen.home) {
        remember_user(&set, account, &environment);
    }
    done.map_err(|error| match account.place {
        AccountPlace::Folder => error.for_command(&format!("codex login --account {}", account.name)),
        _ => error,
    })
}

impl LoginOptions {
    /// Refuses what no login accepts, before anything is created for one.
    pub(crate) fn check(&self) -> CommandOutcome {
        if self.api_key.is_some() {
            return Err(CommandError::new(Exit::Usage, "an API key is not taken from the command line")
                .hint(PIPE_AN_API_KEY));
        }
        self.issuer().map(drop)
    }

    fn issuer(&self) -> Result<Option<Issuer>, CommandError> {
        let issuer = self.issuer.as_deref().map(|address| Issuer::parse("--issuer", address)).transpose();
        issuer.map_err(|error| CommandError::new(Exit::Usage, error.to_string()))
    }

    /// Logs in to the home of `context`, with a login that is in none of the homes `others`.
    pub(crate) fn log_in_beside(
        &self,
        others: Vec<Home>,
        context: CommandContext,
        output: &mut Output,
    ) -> CommandOutcome {
        let way = self.way(&context, output);
        let method = if way == LoginWay::ApiKey { LoginMethod::Api } else { LoginMethod::ChatGpt };
        let session =
            LoginSession::begin(&context.stores, &context.environment, method, self.store_for(&context)?);
        let mut session = session.map_err(|error| match error {
            error @ login::Error::Forbidden(_) => forbidden(method, &error),
            error => error.into(),
        })?;
        if let Some(issuer) = self.issuer()? {
            session = session.with_issuer(issuer);
        }
        let mut session = session.with_old_login_policy(self.old_login()).with_other_homes(others);
        if let Some(account) = &context.chosen.account {
            session = session.with_owner(LoginOwner::SameUser);
            if account.place == AccountPlace::Folder && self.store.is_none() {
                session = session.with_store_of_accounts();
            }
        }
        let target = LoginTarget { context, session, daemon: self.daemon };
        target.warn_of_shared_file(output);
        match way {
            LoginWay::ApiKey => {
                let key = piped::secret("API key", PIPE_AN_API_KEY)?;
                target.commit_supplied(AuthDocument::with_api_key(&key), output)
            }
            LoginWay::AccessToken => {
                let token = piped::secret("access token", PIPE_AN_ACCESS_TOKEN)?;
                target.commit_verified(&token, output)
            }
            LoginWay::Browser(who) => browser::run(&target, who, output),
            LoginWay::Device => match device::run(&target, output) {
                Err(device::DeviceFailure::NotEnabled(error)) if io::stdin().is_terminal() => {
                    output.say(&format!("{error}; continuing with a browser"));
                    browser::run(&target, BrowserOpening::Theirs, output)
                }
                Err(device::DeviceFailure::NotEnabled(error)) => {
                    Err(CommandError::from(codex_auth::Error::from(error))
                        .hint("log in with a browser: codex login --no-browser"))
                }
                Err(device::DeviceFailure::Failed(error)) => Err(error),
                Ok(()) => Ok(()),
            },
        }
    }

    /// Returns the store that was asked for. All accounts share `config.toml`, so their logins are stored where that says.
    fn store_for(&self, context: &CommandContext) -> Result<Option<StoreSelection>, CommandError> {
        let account = context.chosen.account.as_ref();
        let Some(account) = account.filter(|account| account.place == AccountPlace::Folder) else {
            return Ok(self.store);
        };
        let shared = login_store(&context.stores);
        match self.store {
            Some(wanted) if wanted != shared => Err(CommandError::new(
                Exit::Usage,
                format!(
                    "the login of the account {} is stored as {}, which config.toml says for all accounts",
                    account.name,
                    shared.as_str()
                ),
            )
            .hint("leave out --store")),
            _ => Ok(Some(shared)),
        }
    }
}

/// Returns the error for a method that `config.toml` forbids, with the method that it allows.
fn forbidden(method: LoginMethod, error: &login::Error) -> CommandError {
    let open = match method {
        LoginMethod::Api => "log in with your account: codex login",
        _ => "use an API key: printenv OPENAI_API_KEY | codex login --with-api-key",
    };
    CommandError::new(Exit::Failed, error.to_string()).hint(open)
}
