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

use self::finding::{AutomaticFix, Finding, FindingLevel};
use crate::CommandOutcome;
use crate::error::{CommandError, Exit};
use crate::output::{Output, path_text};

#[derive(Args, Debug)]
pub(crate) struct DoctorArguments {
    /// Mend what is safe to mend: modes that are too loose, and what processes that were killed have left behind
    #[arg(long)]
    fix: bool,

    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is looked at.
struct Examination {
    environment: Environment,
    home: Home,
    clock: Clock,
    stores: Result<Stores, CommandError>,
}

pub(crate) fn run(arguments: &DoctorArguments, output: &mut Output) -> CommandOutcome {
    let mut findings = vec![machine::version()];
    let mut mended = Vec::new();
    match Examination::open(output) {
        Err(error) => findings.push(Finding::failed("place", &error)),
        Ok(subject) => {
            let mut found = subject.findings();
            if arguments.fix && found.iter().any(|finding| finding.fix == AutomaticFix::ByFlag) {
                let outcome = subject.mend();
                let after = subject.findings();
                mended = found.into_iter().filter(|finding| finding.fix == AutomaticFix::ByFlag).collect();
                mended.retain(|finding| !after.contains(finding));
                found = after;
                found.extend(outcome.err().map(|error| Finding::failed("fix", &error)));
            }
            findings.extend(found);
        }
    }
    report(&findings, &mended, output)?;
    let healthy = findings.iter().all(|finding| finding.standing != FindingLevel::Problem);
    if healthy { Ok(()) } else { Err(CommandError::told(Exit::Failed)) }
}

impl Examination {
    fn open(output: &mut Output) -> Result<Self, CommandError> {
        let environment = Environment::of_process()?;
        output.configure(&environment);
        let home = store::locate(&environment)?;
        output.head("place", json!(path_text(home.path())));
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
        Ok(inspection::fix(&lease)?)
    }
}

fn report(findings: &[Finding], mended: &[Finding], output: &Output) -> Result<(), CommandError> {
    let number = |standing| findings.iter().filter(|finding| finding.standing == standing).count();
    let (problems, warnings) = (number(FindingLevel::Problem), number(FindingLevel::Warning));
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
        output.data(&finding.fixed(output))?;
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
