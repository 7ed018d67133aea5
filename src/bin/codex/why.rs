//! `codex why`: explains why the login does not work, or why it was lost the last time.

use clap::Args;
use codex_auth::diagnosis::diagnose;
use codex_auth::why::{Evidence, Explanation, explain, report};
use serde_json::json;

use crate::context::CommandContext;
use crate::error::CommandOutcome;
use crate::fleet::removed_login;
use crate::history::line;
use crate::output::{Output, Paint};

#[derive(Args, Debug)]
#[command(after_help = crate::help::WHY)]
pub(crate) struct WhyArguments {
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print a report for an issue tracker as JSON: without e-mail addresses, account ids, hosts, names and paths
    #[arg(long, conflicts_with = "json")]
    report: bool,
}

pub(crate) fn run(arguments: &WhyArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    explain_login(arguments, &session, output)
}

/// Explains the login of `session`.
pub(crate) fn explain_login(
    arguments: &WhyArguments,
    session: &CommandContext,
    output: &mut Output,
) -> CommandOutcome {
    let evidence = Evidence::gather(&session.stores, &session.chosen, &session.environment, &session.clock);
    let explanation = explain(&evidence);
    if arguments.report {
        let diagnosis = diagnose(session.home(), &session.environment, &session.clock);
        let report = report(&explanation, &evidence, &diagnosis);
        return Ok(output.data(&serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?)?);
    }
    let snapshot = session.snapshot().ok();
    let removed = snapshot.and_then(|snapshot| removed_login(session.home(), snapshot.document()));
    let steps: Vec<&str> = match &removed {
        Some(removed) => removed.hints().iter().map(String::as_str).collect(),
        None => explanation.next_steps(),
    };
    if output.is_json() {
        let mut fields = json!(explanation);
        fields["decided_by"] = json!(explanation.decided_by());
        fields["next"] = json!(steps);
        return Ok(output.report(fields)?);
    }
    Ok(print(&explanation, &steps, output)?)
}

fn print(explanation: &Explanation, steps: &[&str], output: &Output) -> std::io::Result<()> {
    output.text(&explanation.to_string())?;
    if !explanation.evidence.is_empty() {
        output.data(&output.on_stdout("evidence:", Paint::Faint))?;
        for of in &explanation.evidence {
            output.data(&format!("  {}", line(of, output)))?;
        }
    }
    steps.iter().for_each(|step| output.hint(step));
    Ok(())
}
