//! `codex login --device-auth`: a code that is shown here and typed on another device.

use std::time::Duration;

use codex_auth::login::{self, DeviceLogin, PendingLogin};
use tokio::time::interval;

use super::interrupt::{self, Interrupts};
use super::keeping::LoginTarget;
use super::screen;
use crate::CommandOutcome;
use crate::error::CommandError;
use crate::output::Output;

/// How it ended, if not well.
pub(super) enum DeviceFailure {
    Failed(CommandError),
    /// The authority knows no such logins; a browser may do.
    NotEnabled(login::Error),
}

impl From<CommandError> for DeviceFailure {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

pub(super) fn run(keeping: &LoginTarget, output: &mut Output) -> Result<(), DeviceFailure> {
    let mut not_enabled = None;
    let done = interrupt::run(async {
        let mut interrupts = Interrupts::listen()?;
        let started = interrupts.or(async { Ok(DeviceLogin::start(&keeping.setup).await) }).await?;
        let login = match started {
            Err(error @ login::Error::DeviceNotEnabled { .. }) => {
                not_enabled = Some(error);
                return Ok(());
            }
            started => started?,
        };
        let done = log_in(login, keeping, &mut interrupts, output).await;
        interrupts.wait_for_revocation(&keeping.setup, done, output).await
    });
    match not_enabled {
        Some(error) => Err(DeviceFailure::NotEnabled(error)),
        None => Ok(done?),
    }
}

async fn log_in(
    mut login: DeviceLogin,
    keeping: &LoginTarget,
    interrupts: &mut Interrupts,
    output: &mut Output,
) -> CommandOutcome {
    keeping.tell_who_is_signed_in(output);
    show(&login, keeping, output);
    let obtained = interrupts.or(waited_for(&mut login)).await?;
    let document = obtained.document().clone();
    let kept = keeping.commit(obtained, interrupts, output).await?;
    keeping.finish(&document, kept, async {}, interrupts, output).await
}

fn show(login: &DeviceLogin, keeping: &LoginTarget, output: &Output) {
    let environment = &keeping.session.environment;
    output.say("on any device, open this address and sign in:");
    output.say("");
    output.say(&format!("    {}", login.verification_url()));
    let picture = screen::scannable(login.verification_url(), environment);
    if !picture.is_empty() {
        output.say("");
        picture.iter().for_each(|line| output.say(line));
    }
    output.say("");
    output.say("then type this code, which is good for 15 minutes:");
    output.say("");
    screen::large(login.user_code(), environment.terminal).iter().for_each(|line| output.say(line));
    output.say("");
    output.say("never type a code that somebody else has sent you");
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
