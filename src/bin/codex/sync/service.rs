//! `codex sync install` and `uninstall`: the keeper as a service of the user, with every file and command shown.

use std::path::PathBuf;

use clap::Args;
use codex_auth::config::{Environment, UserFolders};
use codex_auth::{Home, keeper, store};
use codex_auth_platform::service::{self, ManagerCall, Service, ServiceFolders, ServiceManager, Start};

use crate::CommandOutcome;
use crate::context::CommandContext;
use crate::error::{CommandError, Exit};
use crate::hand_over;
use crate::output::Output;

/// Variables that change how a keeper works, and that a service does not have from a shell.
const MISSED: [&str; 15] = [
    "CODEX_AUTH_LOCK_TIMEOUT",
    "CODEX_AUTH_KEYCHAIN_TIMEOUT",
    "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
    "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
    "CODEX_APP_SERVER_LOGIN_ISSUER",
    "CODEX_AUTHAPI_BASE_URL",
    "CODEX_CA_CERTIFICATE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

#[derive(Args, Debug)]
pub(crate) struct Install {
    /// Start it at once, not only at the next login
    #[arg(long)]
    now: bool,

    /// Show what would be written and run, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Uninstall {
    /// Show what would be removed and run, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// A keeper's service, and where it is described.
pub(crate) struct Installation {
    manager: ServiceManager,
    service: Service,
    pub(crate) file: PathBuf,
}

impl Installation {
    pub(crate) fn of(home: &Home, environment: &Environment) -> Result<Self, CommandError> {
        let manager = service::NATIVE.ok_or_else(|| {
            CommandError::new(Exit::Failed, "this system has no service manager that is known")
        })?;
        let user = UserFolders::of_process()
            .ok_or_else(|| CommandError::new(Exit::Failed, "no home directory is known; set HOME"))?;
        let service = described(home, environment);
        let folders = ServiceFolders { home: user.home, config: user.config };
        let file = manager.file(&service, &folders);
        Ok(Self { manager, service, file })
    }

    /// The program that the installed description names; none where nothing is installed.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        self.manager.program(&service::read(&self.file)?)
    }
}

pub(super) fn install(arguments: &Install, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    let installation = Installation::of(session.home(), &session.environment)?;
    let Installation { manager, service, file } = &installation;
    let program = hand_over::own_path(&session.environment).ok_or_else(|| {
        CommandError::new(Exit::Failed, "the file of this program was replaced or removed while it ran")
            .hint("run the same command again")
    })?;
    let service = &Service { command: vec![program.into(), "sync".into(), "run".into()], ..service.clone() };
    let text = manager.describe(service).map_err(|error| failed(&error))?;
    let start = if arguments.now { Start::Now } else { Start::AtLogin };
    let calls = manager.enabling(service, file, start);
    if arguments.dry_run {
        output.say(&format!("would write {}:", file.display()));
        output.data(text.trim_end())?;
        calls.iter().for_each(|call| output.say(&format!("would run: {call}")));
        return Ok(());
    }
    service::write(file, &text).map_err(|error| failed(&error))?;
    output.say(&format!("wrote {}", file.display()));
    run(&calls, output)?;
    output.say(match start {
        Start::Now => "the keeper runs, and starts by itself when you log in",
        _ => "the keeper starts by itself when you log in next",
    });
    for name in session.environment.set.iter().filter(|name| MISSED.contains(name)) {
        output.warn(&format!("{name} is set here and not for the service; it will not be used there"));
    }
    Ok(())
}

pub(super) fn uninstall(arguments: &Uninstall, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    let Installation { manager, service, file } = Installation::of(session.home(), &session.environment)?;
    if service::read(&file).is_none() {
        output.say(&format!("not installed: there is no {}", file.display()));
        return Ok(());
    }
    let before = manager.disabling(&service);
    if arguments.dry_run {
        before.iter().for_each(|call| output.say(&format!("would run: {call}")));
        output.say(&format!("would remove {}", file.display()));
        manager.forgetting().iter().for_each(|call| output.say(&format!("would run: {call}")));
        return Ok(());
    }
    // A manager that cannot be reached runs nothing either: then the file is all there is to remove.
    let stopped = run(&before, output);
    service::remove(&file).map_err(|error| failed(&error))?;
    output.say(&format!("removed {}", file.display()));
    stopped.and_then(|()| run(&manager.forgetting(), output))
}

/// The service without its command, which only an installation needs.
fn described(home: &Home, environment: &Environment) -> Service {
    let default = environment.is_default_home();
    let mut writes: Vec<PathBuf> = vec![home.path().to_owned()];
    // A document that is a link is written where it leads to.
    let elsewhere = store::watched(home).into_iter().filter_map(|file| file.parent().map(ToOwned::to_owned));
    writes.extend(elsewhere.filter(|folder| !folder.starts_with(home.path())));
    // The place for the socket is made by the keeper.
    let socket = keeper::Client::of(home, environment);
    let socket_folder = socket.as_ref().and_then(|client| client.path().ancestors().nth(2));
    writes.extend(socket_folder.filter(|folder| !folder.starts_with(home.path())).map(ToOwned::to_owned));
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
        writes,
    }
}

fn run(calls: &[ManagerCall], output: &Output) -> CommandOutcome {
    for call in calls {
        call.run().map_err(|error| failed(&error))?;
        output.say(&format!("ran {call}"));
    }
    Ok(())
}

fn failed(error: &service::Error) -> CommandError {
    let hint = match error {
        service::Error::Call { .. } => Some(
            "run this in a session of your own, not through sudo or su; or start it by hand: codex sync run",
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
