//! The program `codex-auth`: runs the `codex` installed beside it, which under this name handles every command itself.
//!
//! Only `cargo install` uses it, because that installs no links. In the release archives and in packages, `codex-auth` is
//! the program `codex` itself.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The file name of the program that is run.
const PROGRAM: &str = "codex";
/// The name that is passed to it as the first argument.
const NAME: &str = "codex-auth";

fn main() -> ExitCode {
    let failure = match path_of_codex() {
        Err(error) => StartFailure::OwnPathUnknown(error),
        Ok(program) => {
            // Always with this name, so that a link to this program that is called `codex` counts as `codex-auth`; with
            // the folder of the call, so that `codex` finds the path that an upgrade keeps.
            let called = std::env::args_os().next().map_or_else(PathBuf::new, PathBuf::from);
            let error = Command::new(&program)
                .arg0(called.with_file_name(NAME))
                .args(std::env::args_os().skip(1))
                .exec();
            StartFailure::NotRun(program, error)
        }
    };
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "{failure}");
    ExitCode::FAILURE
}

/// The path of `codex` in the folder of this program's file.
fn path_of_codex() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.canonicalize()?.with_file_name(PROGRAM))
}

/// Why `codex` could not be run.
enum StartFailure {
    OwnPathUnknown(io::Error),
    NotRun(PathBuf, io::Error),
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnPathUnknown(error) => {
                writeln!(
                    f,
                    "error: {NAME} cannot find its own file, and so not the {PROGRAM} beside it: {error}"
                )?;
                write!(f, "hint: run {PROGRAM} instead")
            }
            Self::NotRun(program, error) if error.kind() == io::ErrorKind::NotFound => {
                writeln!(f, "error: {} does not exist, but {NAME} runs it", program.display())?;
                write!(f, "hint: put both programs into one folder; every release archive contains both")
            }
            Self::NotRun(program, error) => {
                writeln!(f, "error: cannot run {}: {error}", program.display())?;
                write!(f, "hint: reinstall both programs")
            }
        }
    }
}
