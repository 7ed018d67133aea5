//! The scripted authority as a program: prints one line of JSON when ready, serves `/control/*`, ends with its stdin.

use std::io::{self, Write};
use std::process::ExitCode;

use scripted_authority::{AccessLife, Authority, Consent, Options, Policy, Reuse, Revocation};
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

const USAGE: &str = "\
usage: scripted-authority [options]
  --port N                 listen on this port of 127.0.0.1 (default: a free one)
  --lifetime SECONDS       lifetime of access tokens (default: 3600)
  --clock-offset SECONDS   run the authority's clock ahead, or behind if negative
  --family-revoke          the reuse of a refresh token ends its whole grant
  --revoke-grant           the revocation of a refresh token ends its whole grant
  --access-until-refresh   an access token dies at the refresh of its grant
  --consent-page           the authorize endpoint shows a page with a button
  --policy JSON            any rules, as /control/policy takes them; comes before the options above
  --keep-running           stay when stdin ends
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        return finish(io::stdout().write_all(USAGE.as_bytes()), ExitCode::SUCCESS);
    }
    let invocation = match Invocation::parse(&arguments) {
        Ok(invocation) => invocation,
        Err(error) => return finish(write!(io::stderr(), "error: {error}\n\n{USAGE}"), ExitCode::from(2)),
    };
    match serve(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => finish(writeln!(io::stderr(), "error: {error}"), ExitCode::FAILURE),
    }
}

/// Writing the error failed too, and is not reported.
fn finish(_: io::Result<()>, code: ExitCode) -> ExitCode {
    code
}

#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("{0} needs a value")]
    Missing(String),
    #[error("unknown option {0}")]
    Unknown(String),
    #[error("{value} is no value for {option}")]
    Value { option: String, value: String },
}

#[derive(Debug)]
struct Invocation {
    options: Options,
    keep_running: bool,
}

impl Invocation {
    fn parse(arguments: &[String]) -> Result<Self, UsageError> {
        let mut invocation =
            Self { options: Options { control: true, ..Options::default() }, keep_running: false };
        if let Some(at) = arguments.iter().position(|argument| argument == "--policy") {
            invocation.options.policy = value_of("--policy", arguments.get(at + 1), |text| {
                serde_json::from_str::<Policy>(text).ok()
            })?;
        }
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let Options { port, policy, .. } = &mut invocation.options;
            match option.as_str() {
                "--port" => *port = value_of(option, rest.next(), |text| text.parse().ok())?,
                "--lifetime" => {
                    policy.access_lifetime = value_of(option, rest.next(), |text| text.parse().ok())?;
                }
                "--clock-offset" => {
                    policy.clock_offset = value_of(option, rest.next(), |text| text.parse().ok())?;
                }
                "--family-revoke" => policy.reuse = Reuse::RevokesFamily,
                "--revoke-grant" => policy.revocation = Revocation::WholeGrant,
                "--access-until-refresh" => policy.access = AccessLife::UntilRefresh,
                "--consent-page" => policy.consent = Consent::Page,
                "--policy" => drop(rest.next()),
                "--keep-running" => invocation.keep_running = true,
                unknown => return Err(UsageError::Unknown(unknown.to_owned())),
            }
        }
        Ok(invocation)
    }
}

fn value_of<T>(
    option: &str,
    value: Option<&String>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, UsageError> {
    let value = value.ok_or_else(|| UsageError::Missing(option.to_owned()))?;
    let wrong = || UsageError::Value { option: option.to_owned(), value: value.clone() };
    parse(value).ok_or_else(wrong)
}

fn serve(invocation: Invocation) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut terminate = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    let authority = Authority::start_with(invocation.options)?;
    writeln!(io::stdout(), "{}", addresses(&authority))?;

    let (over, ended) = oneshot::channel::<()>();
    let mut over = Some(over);
    if !invocation.keep_running {
        let over = over.take();
        std::thread::spawn(move || {
            // Only the end of the input matters.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            drop(over);
        });
    }
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = ended => {}
        }
    });
    Ok(())
}

fn addresses(authority: &Authority) -> Value {
    let url = authority.url();
    json!({
        "url": url,
        "token_url": authority.token_url(),
        "revoke_url": authority.revoke_url(),
        "resource_url": authority.resource_url(),
        "control_url": format!("{url}/control"),
        "pid": std::process::id(),
    })
}
