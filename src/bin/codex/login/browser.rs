//! `codex login` by browser: opens one, or prints the address to open.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::thread;
use std::time::Duration;

use codex_auth::Secret;
use codex_auth::login::{
    BROWSER_LOGIN_TIMEOUT, BrowserLogin, BrowserMessage, PasteError, PasteHandle, PendingLogin,
};
use codex_auth_platform::hardening;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::interval;
use webbrowser::BrowserOptions;

use super::commit::LoginTarget;
use super::interrupt::Interrupts;
use super::{BrowserOpening, screen};
use crate::error::{CommandError, CommandOutcome};
use crate::output::Output;
use crate::runtime;

pub(super) fn run(target: &LoginTarget, who: BrowserOpening, output: &mut Output) -> CommandOutcome {
    runtime::run(async {
        let mut interrupts = Interrupts::listen()?;
        let done = log_in(target, who, &mut interrupts, output).await;
        interrupts.wait_for_revocation(target.setup(), done, output).await
    })
}

async fn log_in(
    target: &LoginTarget,
    who: BrowserOpening,
    interrupts: &mut Interrupts,
    output: &mut Output,
) -> CommandOutcome {
    let start = async { Ok(BrowserLogin::start(target.setup(), target.context.home()).await?) };
    let mut login = interrupts.or(start).await?;
    target.show_old_login(output);
    let obtained = {
        let mut person = match who {
            BrowserOpening::Ours => open(&login, target, output),
            BrowserOpening::Theirs => PasteInput { opened: None, lines: invite(&login, output) },
        };
        interrupts.or(waited_for(&mut login, &mut person, output)).await?
    };
    match target.commit(obtained, interrupts, output).await {
        Ok(committed) => {
            let announce = login.announce(BrowserMessage::LoggedIn);
            target.finish(&committed, announce, interrupts, output).await
        }
        Err(error) => {
            let why = error.to_string();
            let announce = async {
                login.announce(BrowserMessage::NotStored(&why)).await;
                Ok(())
            };
            let _ = interrupts.or(announce).await;
            Err(error)
        }
    }
}

/// What the user does until the login is obtained.
struct PasteInput {
    /// Whether a browser could be opened, once that is known.
    opened: Option<oneshot::Receiver<io::Result<()>>>,
    /// The lines that the user pastes.
    lines: Option<UnboundedReceiver<Secret>>,
}

/// Opens the user's browser on another thread: the program that does so may take long.
fn open(login: &BrowserLogin, target: &LoginTarget, output: &Output) -> PasteInput {
    let url = login.authorize_url().to_owned();
    output.say(&format!("opening a browser to log in at {}", target.setup().issuer()));
    output.say("if no browser opens, open this address:");
    output.say("");
    output.say(&format!("    {url}"));
    output.say("");
    let (sender, opened) = oneshot::channel();
    thread::spawn(move || {
        let mut quiet = BrowserOptions::new();
        quiet.with_suppress_output(true);
        // The files that the browser creates are the user's, not ours.
        let done = hardening::with_inherited_umask(|| {
            webbrowser::open_browser_with_options(webbrowser::Browser::Default, &url, &quiet)
        });
        // The login may have ended.
        let _ = sender.send(done);
    });
    PasteInput { opened: Some(opened), lines: None }
}

/// Prints the address, to be opened in any browser.
fn invite(login: &BrowserLogin, output: &Output) -> Option<UnboundedReceiver<Secret>> {
    output.say("open this address in any browser, and sign in:");
    output.say("");
    output.say(&format!("    {}", login.authorize_url()));
    output.say("");
    pasted(login.redirect_uri(), output)
}

/// Reads the address that a browser ends at from the terminal, if there is one.
fn pasted(redirect_uri: &str, output: &Output) -> Option<UnboundedReceiver<Secret>> {
    if !io::stdin().is_terminal() {
        return None;
    }
    output.say(
        "a browser on another machine ends at a page that does not load; copy the whole address of that page,",
    );
    output.say(&format!("which begins with {redirect_uri}, paste it here, and press Enter:"));
    let (sender, lines) = unbounded_channel();
    // This thread may block for ever; the process does not wait for it.
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(Secret::new(line)).is_err() {
                return;
            }
        }
    });
    Some(lines)
}

async fn waited_for(
    login: &mut BrowserLogin,
    person: &mut PasteInput,
    output: &Output,
) -> Result<PendingLogin, CommandError> {
    let (paste, redirect_uri) = (login.paste(), login.redirect_uri().to_owned());
    // A countdown would overwrite what the user pastes.
    let mut countdown = person.lines.is_none().then(|| screen::Countdown::new("you to sign in"));
    let mut left = BROWSER_LOGIN_TIMEOUT;
    let mut second = interval(Duration::from_secs(1));
    let obtained = login.obtain();
    tokio::pin!(obtained);
    loop {
        tokio::select! {
            obtained = &mut obtained => return Ok(obtained?),
            () = not_opened(&mut person.opened) => {
                countdown = None;
                output.say("no browser could be opened here");
                output.hint("on a remote or headless machine: codex login --device-auth");
                person.lines = pasted(&redirect_uri, output);
            }
            line = next(&mut person.lines) => take(&paste, &line, output),
            _ = second.tick() => {
                if let Some(countdown) = &countdown {
                    countdown.show(left);
                }
                left = left.saturating_sub(Duration::from_secs(1));
            }
        }
    }
}

/// Waits until opening a browser has failed; for ever if it succeeded.
async fn not_opened(opened: &mut Option<oneshot::Receiver<io::Result<()>>>) {
    if let Some(word) = opened {
        let failed = matches!(word.await, Ok(Err(_)));
        *opened = None;
        if failed {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Returns the next line that the user pastes; waits for ever without a terminal, or at its end.
async fn next(lines: &mut Option<UnboundedReceiver<Secret>>) -> Secret {
    if let Some(open) = lines {
        if let Some(line) = open.recv().await {
            return line;
        }
        *lines = None;
    }
    std::future::pending().await
}

fn take(paste: &PasteHandle, line: &Secret, output: &Output) {
    match paste.submit(line) {
        Ok(()) | Err(PasteError::Empty) => {}
        Err(error) => output.say(&error.to_string()),
    }
}
