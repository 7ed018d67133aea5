//! `codex login --device-auth`: shows a code that is typed on another device.

use std::time::Duration;

use codex_auth::login::{self, DeviceLogin, PendingLogin};
use tokio::time::interval;

use super::commit::LoginTarget;
use super::interrupt::Interrupts;
use super::screen;
use crate::error::{CommandError, CommandOutcome};
use crate::output::Output;
use crate::runtime;

/// Why a device login failed.
pub(super) enum DeviceFailure {
    Failed(CommandError),
    /// The server does not offer device logins; a browser may work.
    NotEnabled(login::Error),
}

impl From<CommandError> for DeviceFailure {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

pub(super) fn run(target: &LoginTarget, output: &mut Output) -> Result<(), DeviceFailure> {
    let mut not_enabled = None;
    let done = runtime::run(async {
        let mut interrupts = Interrupts::listen()?;
        let started = interrupts.or(async { Ok(DeviceLogin::start(target.setup()).await) }).await?;
        let login = match started {
            Err(error @ login::Error::DeviceNotEnabled { .. }) => {
                not_enabled = Some(error);
                return Ok(());
            }
            started => started?,
        };
        let done = log_in(login, target, &mut interrupts, output).await;
        interrupts.wait_for_revocation(target.setup(), done, output).await
    });
    match not_enabled {
        Some(error) => Err(DeviceFailure::NotEnabled(error)),
        None => Ok(done?),
    }
}

async fn log_in(
    mut login: DeviceLogin,
    target: &LoginTarget,
    interrupts: &mut Interrupts,
    output: &mut Output,
) -> CommandOutcome {
    target.show_old_login(output);
    show(&login, target, output);
    let obtained = interrupts.or(waited_for(&mut login)).await?;
    let committed = target.commit(obtained, interrupts, output).await?;
    target.finish(&committed, async {}, interrupts, output).await
}

fn show(login: &DeviceLogin, target: &LoginTarget, output: &Output) {
    let environment = &target.context.environment;
    output.say("on any device, open this address and sign in:");
    output.say("");
    output.say(&format!("    {}", login.verification_url()));
    let picture = screen::scannable(login.verification_url(), environment);
    if !picture.is_empty() {
        output.say("");
        picture.iter().for_each(|line| output.draw(line));
    }
    output.say("");
    output.say("then type this code, which is valid for 15 minutes:");
    output.say("");
    screen::large(login.user_code(), environment.terminal).iter().for_each(|line| output.say(line));
    output.say("");
    output.say("never type a code that another person has sent you");
}

async fn waited_for(login: &mut DeviceLogin) -> Result<PendingLogin, CommandError> {
    let countdown = screen::Countdown::new("you to approve it");
    let mut left = login.remaining();
    let mut second = interval(Duration::from_secs(1));
    let obtained = login.obtain();
    tokio::pin!(obtained);
    loop {
        tokio::select! {
            obtained = &mut obtained => return Ok(obtained?),
            _ = second.tick() => {
                countdown.show(left);
                left = left.saturating_sub(Duration::from_secs(1));
            }
        }
    }
}
