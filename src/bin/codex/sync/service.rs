//! `codex sync install` and `uninstall`: installs the keeper as a user service, and shows every file and command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use codex_auth::accounts::AccountSet;
use codex_auth::config::{Environment, Network, NetworkSetting, UserFolders};
use codex_auth::{Home, keeper, store};
use codex_auth_platform::service::{self, ManagerCall, Service, ServiceFolders, ServiceManager, Start};

use super::export;
use crate::account;
use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::hand_over;
use crate::output::Output;

/// Environment variables that affect a keeper and that a service does not inherit from a shell.
const NOT_INHERITED: [&str; 9] = [
    "CODEX_AUTH_LOCK_TIMEOUT",
    "CODEX_AUTH_KEYCHAIN_TIMEOUT",
    "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
    "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
    "CODEX_APP_SERVER_LOGIN_ISSUER",
    "CODEX_AUTHAPI_BASE_URL",
    "CODEX_CA_CERTIFICATE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

#[derive(Args, Debug)]
pub(crate) struct Install {
    /// Start it now, not only at the next login
    #[arg(long)]
    now: bool,

    /// Export the login into this folder too, as `codex sync export DIR` does; may be given several times
    #[arg(long, value_name = "DIR")]
    export: Vec<PathBuf>,

    /// Only show what would be written and run
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Uninstall {
    /// Only show what would be removed and run
    #[arg(long)]
    dry_run: bool,
}

/// The service of a home's keeper, with its unit or agent file.
pub(crate) struct Installation {
    manager: ServiceManager,
    service: Service,
    pub(crate) file: PathBuf,
    user_home: PathBuf,
}

impl Installation {
    pub(crate) fn of(home: &Home, environment: &Environment) -> Result<Self, CommandError> {
        let manager = service::NATIVE.ok_or_else(|| {
            CommandError::new(Exit::Failed, "no supported service manager: only systemd and launchd are")
        })?;
        let user = UserFolders::of_process().ok_or_else(|| {
            CommandError::new(Exit::Failed, "cannot find the home directory of this user; set HOME")
        })?;
        let service = service_of(home, store::is_home(home, &user.codex_home()), environment);
        let folders = ServiceFolders { home: user.home, config: user.config };
        let file = manager.file_path(&service, &folders);
        Ok(Self { manager, service, file, user_home: folders.home })
    }

    /// Refuses to act as root in another user's home directory: its service manager is out of reach there, and the files
    /// would be root's.
    fn check_user(&self) -> CommandOutcome {
        match service::foreign_owner(&self.user_home) {
            Some(owner) => {
                let home = self.user_home.display();
                let message =
                    format!("root cannot manage the service of user {owner}, to whom {home} belongs");
                Err(CommandError::new(Exit::Failed, message).hint("run this as that user, without sudo"))
            }
            None => Ok(()),
        }
    }

    /// The program that the installed service runs; `None` if it is not installed.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        self.manager.program(&service::read(&self.file)?)
    }
}

pub(super) fn install(arguments: &Install, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open_for_keeper(output)?;
    if !arguments.dry_run {
        export::add_all(&arguments.export, &session)?;
    }
    let installation = Installation::of(session.home(), &session.environment)?;
    installation.check_user()?;
    let Installation { manager, service, file, .. } = &installation;
    let program = hand_over::own_path(&session.environment).ok_or_else(|| {
        CommandError::new(Exit::Failed, "the program file was replaced or removed while this command ran")
            .hint("run the same command again")
    })?;
    let mut service =
        Service { command: vec![program.into(), "sync".into(), "run".into()], ..service.clone() };
    service.environment.extend(proxies(&session.environment.network, output));
    let service = &service;
    let text = manager.describe(service).map_err(|error| failed(&error))?;
    let start = if arguments.now { Start::Now } else { Start::AtLogin };
    let calls = manager.enable_calls(service, file, start);
    for name in session.environment.variables_set.iter().filter(|name| NOT_INHERITED.contains(name)) {
        output.warn(&format!("{name} is set in this shell but not for the service, which will not use it"));
    }
    if arguments.dry_run {
        output.say(&format!("would write {}:", file.display()));
        output.data(text.trim_end())?;
        calls.iter().for_each(|call| output.say(&format!("would run: {call}")));
        return Ok(());
    }
    let before = service::read(file);
    service::write(file, &text).map_err(|error| failed(&error))?;
    output.inform(&format!("wrote {}", file.display()));
    if let Err(error) = run(&calls, output) {
        let restored = match before {
            Some(before) => service::write(file, &before).map(|()| "restored"),
            None => service::remove(file).map(|()| "removed"),
        };
        output.inform(&match restored {
            Ok(what) => format!("{what} {}", file.display()),
            Err(error) => error.to_string(),
        });
        return Err(error);
    }
    output.inform(match start {
        Start::Now => "the keeper is running, and starts at every login",
        _ => "the keeper starts at the next login",
    });
    Ok(())
}

pub(super) fn uninstall(arguments: &Uninstall, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open_for_keeper(output)?;
    let installation = Installation::of(session.home(), &session.environment)?;
    installation.check_user()?;
    let Installation { manager, service, file, .. } = installation;
    if service::read(&file).is_none() {
        output.inform(&format!("not installed: {} does not exist", file.display()));
        return Ok(());
    }
    account::check_uninstall(session.home(), output)?;
    let before = manager.disable_calls(&service);
    if arguments.dry_run {
        before.iter().for_each(|call| output.say(&format!("would run: {call}")));
        output.say(&format!("would remove {}", file.display()));
        manager.reload_calls().iter().for_each(|call| output.say(&format!("would run: {call}")));
        return Ok(());
    }
    // If the manager cannot be reached, the service does not run either, and only the file has to be removed.
    let stopped = run(&before, output);
    service::remove(&file).map_err(|error| failed(&error))?;
    output.inform(&format!("removed {}", file.display()));
    stopped.and_then(|()| run(&manager.reload_calls(), output))
}

/// The proxy settings of this shell, which the service gets.
fn proxies(network: &Network, output: &Output) -> Vec<(String, OsString)> {
    let is_secret = |setting: &NetworkSetting| setting.value.as_encoded_bytes().contains(&b'@');
    let proxy = network.proxy.as_ref().filter(|setting| {
        if is_secret(setting) {
            output.warn(&format!(
                "{} contains a user name or password, which is not written into the service: it will use no proxy",
                setting.variable
            ));
        }
        !is_secret(setting)
    });
    let exceptions = network.no_proxy.as_ref().filter(|_| proxy.is_some());
    let taken = proxy.into_iter().chain(exceptions);
    taken
        .map(|setting| {
            output.inform(&format!("the service gets {} from this shell", setting.variable));
            (setting.variable.to_owned(), setting.value.clone())
        })
        .collect()
}

/// The service of the keeper of `home`, without the command, which only `install` needs. `default`: it is the home of a
/// shell without `CODEX_HOME`, whether or not the variable is set here.
fn service_of(home: &Home, default: bool, environment: &Environment) -> Service {
    let mut writes: Vec<PathBuf> = vec![home.path().to_owned()];
    // If the document is a symbolic link, its target is written.
    let elsewhere =
        store::watched_files(home).into_iter().filter_map(|file| file.parent().map(ToOwned::to_owned));
    writes.extend(elsewhere.filter(|folder| !folder.starts_with(home.path())));
    // The keeper creates the folder of its socket.
    let socket = keeper::Client::of(home, environment);
    let socket_folder = socket.as_ref().and_then(|client| client.path().ancestors().nth(2));
    writes.extend(socket_folder.filter(|folder| !folder.starts_with(home.path())).map(ToOwned::to_owned));
    // The keeper reports what cannot be read.
    let accounts = AccountSet::open(home.clone()).ok();
    let accounts = accounts.iter().flat_map(|set| set.accounts().filter_map(|one| set.home_of(one).ok()));
    let exports = std::iter::once(home.clone()).chain(accounts);
    let exports = exports.flat_map(|home| keeper::ExportList::read(&home).unwrap_or_default().exports);
    writes.extend(exports.map(|export| export.folder));
    writes.sort();
    writes.dedup();
    Service {
        name: if default { "codex-auth".to_owned() } else { format!("codex-auth-{}", home.hash()) },
        purpose: format!("Keeps the login in {} fresh", home.path().display()),
        command: Vec::new(),
        environment: if default {
            Vec::new()
        } else {
            vec![("CODEX_HOME".to_owned(), home.path().to_owned().into())]
        },
        writable_folders: writes,
    }
}

fn run(calls: &[ManagerCall], output: &Output) -> CommandOutcome {
    for call in calls {
        call.run().map_err(|error| failed(&error))?;
        output.inform(&format!("ran {call}"));
    }
    Ok(())
}

fn failed(error: &service::Error) -> CommandError {
    let hint = match error {
        service::Error::Call { .. } => Some(
            "run this in your own login session, not through sudo or su; or run the keeper yourself: codex sync run",
        ),
        _ => None,
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let failed = CommandError::new(Exit::Failed, format!("{error}{cause}"));
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
