//! The second name of the program: runs the `codex` that is installed beside it, which under this name hands nothing over.
//!
//! A program of its own and no link, because not every way of installing keeps links: `cargo install` and `cargo binstall`
//! place files.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What the other program is called.
const PROGRAM: &str = "codex";
/// The name by which it knows that every command is its own.
const NAME: &str = "codex-auth";

fn main() -> ExitCode {
    let failure = match beside() {
        Err(error) => StartFailure::Lost(error),
        Ok(program) => {
            // Always by this name, so that a link to it that is called `codex` cannot be taken for another codex; in the
            // folder where it was called, so that the other program can tell which path survives upgrades.
            let called = std::env::args_os().next().map_or_else(PathBuf::new, PathBuf::from);
            let error = Command::new(&program)
                .arg0(called.with_file_name(NAME))
                .args(std::env::args_os().skip(1))
                .exec();
            StartFailure::NotRun(program, error)
        }
    };
    // Nobody is left to be told that stderr is gone.
    let _ = writeln!(io::stderr(), "{failure}");
    ExitCode::FAILURE
}

/// Where the other program has to be: in the folder of this one's file, wherever links to it are.
fn beside() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.canonicalize()?.with_file_name(PROGRAM))
}

/// Why the other program is not running now.
enum StartFailure {
    Lost(io::Error),
    NotRun(PathBuf, io::Error),
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(error) => {
                writeln!(f, "error: {NAME} cannot find its own file, beside which {PROGRAM} is: {error}")?;
                write!(f, "hint: call {PROGRAM} itself")
            }
            Self::NotRun(program, error) if error.kind() == io::ErrorKind::NotFound => {
                writeln!(f, "error: there is no {}, of which {NAME} is the second name", program.display())?;
                write!(f, "hint: put both programs into one folder; every archive holds both")
            }
            Self::NotRun(program, error) => {
                writeln!(f, "error: cannot run {}: {error}", program.display())?;
                write!(f, "hint: install both programs anew")
            }
        }
    }
}
