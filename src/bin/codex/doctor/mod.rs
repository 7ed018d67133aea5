//! `codex doctor`: checks everything that a login depends on, and reports each problem with how to fix it.
//!
//! It never refreshes, writes nothing without `--fix`, and prints no secret, so its report can be pasted into a bug
//! report. The only request it sends is an empty one to the authority.

mod codex;
mod examination;
mod finding;
mod fleet;
mod folders;
mod login;
mod machine;
mod network;

use clap::Args;
use serde_json::{Value, json};

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

    /// For Codex's doctor, as all of the following
    #[arg(long, hide = true)]
    summary: bool,

    #[arg(long, hide = true)]
    all: bool,

    #[arg(long, hide = true)]
    no_color: bool,

    #[arg(long, hide = true)]
    ascii: bool,

    #[arg(long, hide = true)]
    network_only: bool,

    #[arg(short, long, hide = true)]
    config: Vec<String>,

    #[arg(long, hide = true)]
    enable: Vec<String>,

    #[arg(long, hide = true)]
    disable: Vec<String>,
}

pub(crate) fn run(arguments: &DoctorArguments, output: &mut Output) -> CommandOutcome {
    let mut findings = vec![machine::version()];
    let mut fixed = Vec::new();
    match Examination::open(output) {
        Err(error) => findings.push(Finding::failed("place", error)),
        Ok(mut subject) => {
            let mut found = check(&subject);
            if arguments.fix && found.iter().any(|finding| finding.fix == AutomaticFix::ByFlag) {
                let outcome = subject.fix();
                let after = check(&subject);
                fixed = found.into_iter().filter(|finding| finding.fix == AutomaticFix::ByFlag).collect();
                fixed.retain(|finding| !after.contains(finding));
                found = after;
                found.extend(outcome.err().map(|error| Finding::failed("fix", error)));
            }
            findings.extend(found);
        }
    }
    let healthy = findings.iter().all(|finding| finding.level != FindingLevel::Problem);
    let is_next_healthy = match arguments.next_doctor() {
        Some(next) if output.is_json() => {
            codex::run_as_json(next, output.to_value(json_report(&findings, &fixed)), output)?
        }
        Some(next) => {
            report(&findings, &fixed, output)?;
            codex::run(next, output)?
        }
        None => {
            report(&findings, &fixed, output)?;
            true
        }
    };
    if healthy && is_next_healthy { Ok(()) } else { Err(CommandError::reported(Exit::Failed)) }
}

/// Runs all checks.
fn check(subject: &Examination) -> Vec<Finding> {
    [
        subject.unknown_account.iter().cloned().collect(),
        folders::findings(subject),
        login::findings(subject),
        fleet::findings(subject),
        network::findings(&subject.diagnosis.network),
        machine::findings(subject),
    ]
    .concat()
}

fn number(findings: &[Finding], level: FindingLevel) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

fn json_report(findings: &[Finding], fixed: &[Finding]) -> Value {
    json!({
        "problems": number(findings, FindingLevel::Problem),
        "warnings": number(findings, FindingLevel::Warning),
        "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        "mended": fixed.iter().map(Finding::json).collect::<Vec<_>>(),
    })
}

fn report(findings: &[Finding], fixed: &[Finding], output: &Output) -> Result<(), CommandError> {
    if output.is_json() {
        output.report(json_report(findings, fixed))?;
        return Ok(());
    }
    let (problems, warnings) =
        (number(findings, FindingLevel::Problem), number(findings, FindingLevel::Warning));
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
