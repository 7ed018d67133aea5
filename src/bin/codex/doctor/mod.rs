//! `codex doctor`: looks at everything that a login depends on, and says what is wrong, what that means and what mends it.
//!
//! It never refreshes, writes nothing unless `--fix` is given, and prints no secret: its report can be pasted into a bug
//! report as it is. The one thing it sends is an empty request to the authority.

mod finding;
mod folders;
mod login;
mod machine;
mod network;

use clap::Args;
use codex_auth::store::{self, inspection};
use codex_auth::{Clock, Environment, Home, Lease, Stores};
use serde_json::json;

use self::finding::{Finding, Fix, Standing};
use crate::Outcome;
use crate::error::{CommandError, Exit};
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Mend what is safe to mend: modes that are too loose, and what processes that were killed have left behind
    #[arg(long)]
    fix: bool,

    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is looked at.
struct Subject {
    environment: Environment,
    home: Home,
    clock: Clock,
    stores: Result<Stores, CommandError>,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    let mut findings = vec![machine::version()];
    let mut mended = Vec::new();
    match Subject::open(output) {
        Err(error) => findings.push(Finding::failed("place", &error)),
        Ok(subject) => {
            let mut found = subject.findings();
            if arguments.fix && found.iter().any(|finding| finding.fix == Fix::ByFlag) {
                let outcome = subject.mend();
                let after = subject.findings();
                mended = found.into_iter().filter(|finding| finding.fix == Fix::ByFlag).collect();
                mended.retain(|finding| !after.contains(finding));
                found = after;
                found.extend(outcome.err().map(|error| Finding::failed("fix", &error)));
            }
            findings.extend(found);
        }
    }
    report(&findings, &mended, output)?;
    let healthy = findings.iter().all(|finding| finding.standing != Standing::Problem);
    if healthy { Ok(()) } else { Err(CommandError::told(Exit::Failed)) }
}

impl Subject {
    fn open(output: &mut Output) -> Result<Self, CommandError> {
        let environment = Environment::of_process()?;
        output.configure(&environment);
        let home = store::locate(&environment)?;
        output.head("place", json!(home.path()));
        // Whose login it is stays out of a report that is made to be shown to others.
        output.head("account", json!(null));
        let stores = Stores::open(home.clone(), &environment).map_err(CommandError::from);
        Ok(Self { environment, home, clock: Clock::system(), stores })
    }

    /// Everything there is to say, from the ground up.
    fn findings(&self) -> Vec<Finding> {
        [folders::findings(self), login::findings(self), network::findings(self), machine::findings(self)]
            .concat()
    }

    fn mend(&self) -> Result<(), CommandError> {
        let lease = Lease::acquire(&self.home, self.environment.lock_timeout, |_waiting| {})?;
        Ok(inspection::mend(&lease)?)
    }
}

fn report(findings: &[Finding], mended: &[Finding], output: &Output) -> Result<(), CommandError> {
    let number = |standing| findings.iter().filter(|finding| finding.standing == standing).count();
    let (problems, warnings) = (number(Standing::Problem), number(Standing::Warning));
    if output.is_json() {
        output.report(json!({
            "problems": problems,
            "warnings": warnings,
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
            "mended": mended.iter().map(Finding::json).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    for finding in mended {
        output.data(&finding.mended(output))?;
    }
    for finding in findings {
        output.data(&finding.lines(output))?;
    }
    let counted = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    output.data(&format!("\n  {}, {}", counted(problems, "problem"), counted(warnings, "warning")))?;
    Ok(())
}
