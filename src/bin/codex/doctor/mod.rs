//! `codex doctor`: checks everything that a login depends on, and reports each problem with how to fix it.
//!
//! It never refreshes, writes nothing without `--fix`, and prints no secret, so its report can be pasted into a bug
//! report. The only request it sends is an empty one to the authority.

mod examination;
mod finding;
mod folders;
mod login;
mod machine;
mod network;

use clap::Args;
use serde_json::json;

use self::examination::Examination;
use self::finding::{AutomaticFix, Finding, FindingLevel};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = crate::help::DOCTOR)]
pub(crate) struct DoctorArguments {
    /// Fix what is safe to fix: modes that are too open, and leftovers of killed processes
    #[arg(long)]
    fix: bool,

    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(arguments: &DoctorArguments, output: &mut Output) -> CommandOutcome {
    let mut findings = vec![machine::version()];
    let mut fixed = Vec::new();
    match Examination::open(output) {
        Err(error) => findings.push(Finding::failed("place", &error)),
        Ok(subject) => {
            let mut found = check(&subject);
            if arguments.fix && found.iter().any(|finding| finding.fix == AutomaticFix::ByFlag) {
                let outcome = subject.fix();
                let after = check(&subject);
                fixed = found.into_iter().filter(|finding| finding.fix == AutomaticFix::ByFlag).collect();
                fixed.retain(|finding| !after.contains(finding));
                found = after;
                found.extend(outcome.err().map(|error| Finding::failed("fix", &error)));
            }
            findings.extend(found);
        }
    }
    report(&findings, &fixed, output)?;
    let healthy = findings.iter().all(|finding| finding.level != FindingLevel::Problem);
    if healthy { Ok(()) } else { Err(CommandError::reported(Exit::Failed)) }
}

/// Runs all checks.
fn check(subject: &Examination) -> Vec<Finding> {
    [
        folders::findings(subject),
        login::findings(subject),
        network::findings(subject),
        machine::findings(subject),
    ]
    .concat()
}

fn report(findings: &[Finding], fixed: &[Finding], output: &Output) -> Result<(), CommandError> {
    let number = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (number(FindingLevel::Problem), number(FindingLevel::Warning));
    if output.is_json() {
        output.report(json!({
            "problems": problems,
            "warnings": warnings,
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
            "mended": fixed.iter().map(Finding::json).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    for finding in fixed {
        output.text(&finding.fixed(output))?;
    }
    for finding in findings {
        output.text(&finding.lines(output))?;
    }
    let counted = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    output.data(&format!("\n  {}, {}", counted(problems, "problem"), counted(warnings, "warning")))?;
    Ok(())
}
