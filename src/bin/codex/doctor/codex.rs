//! The report of Codex's own doctor, which follows ours where the program is called `codex`.

use std::process::{Command, Stdio};

use codex_auth::config::Environment;
use serde_json::Value;

use super::DoctorArguments;
use crate::app_server::arguments_of;
use crate::error::CommandError;
use crate::hand_over;
use crate::next_codex;
use crate::output::Output;

impl DoctorArguments {
    /// The doctor of the next codex with its options; `None` if there is none.
    pub(super) fn next_doctor(&self) -> Option<Command> {
        let mut command = next_codex::as_child()?;
        let overrides = Environment::of_process().map(|environment| arguments_of(&environment.overrides));
        command.arg("doctor").args(overrides.unwrap_or_default());
        let flags = [
            ("--json", self.json),
            ("--summary", self.summary),
            ("--all", self.all),
            ("--no-color", self.no_color),
            ("--ascii", self.ascii),
            ("--network-only", self.network_only),
        ];
        command.args(flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag));
        for (option, values) in
            [("--config", &self.config), ("--enable", &self.enable), ("--disable", &self.disable)]
        {
            command.args(values.iter().flat_map(|value| [option, value]));
        }
        Some(command)
    }
}

/// Runs `doctor` and prints its report after ours. Returns whether it found no problem.
pub(super) fn run(mut doctor: Command, output: &Output) -> Result<bool, CommandError> {
    // Codex's doctor refreshes an expired login, without the lease.
    hand_over::refresh_before_child();
    let program = doctor.get_program().to_owned();
    output.data(&format!("\n{}:", program.display()))?;
    Ok(doctor.status().map_err(|error| cannot_run(&doctor, &error))?.success())
}

/// As [`run`], with the JSON of `doctor`, to which ours is added.
pub(super) fn run_as_json(mut doctor: Command, ours: Value, output: &Output) -> Result<bool, CommandError> {
    // Codex's doctor refreshes an expired login, without the lease.
    hand_over::refresh_before_child();
    let ended = doctor.stderr(Stdio::inherit()).output().map_err(|error| cannot_run(&doctor, &error))?;
    let mut report = match serde_json::from_slice(&ended.stdout) {
        Ok(Value::Object(report)) => report,
        _ => serde_json::Map::new(),
    };
    report.insert("codex_auth".to_owned(), ours);
    output.data(&format!("{:#}", Value::Object(report)))?;
    Ok(ended.status.success())
}

fn cannot_run(doctor: &Command, error: &std::io::Error) -> CommandError {
    CommandError::cannot_start(&doctor.get_program().display().to_string(), error)
}
