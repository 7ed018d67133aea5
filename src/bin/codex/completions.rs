//! `codex completions`: a completion script from the one definition of the arguments.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::Outcome;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Arguments::command(), "codex", &mut script);
    Ok(output.data(String::from_utf8_lossy(&script).trim_end())?)
}
