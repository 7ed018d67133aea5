//! A command that prints tokens, as a provider, with limits on time and output.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use codex_auth_platform::process;
use tokio::io::Interest;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::error::{Error, redacted_stderr};
use super::provider::{ExternalAuth, ProviderContext, TokenFuture};
use super::token::ExternalToken;
use crate::config::{CREDENTIAL_VARIABLES, ProviderCommand};
use crate::secret::{INPUT_LIMIT, InputError, Secret};

/// How much of standard error is kept, in bytes. The rest is read and discarded.
const MAX_STDERR: usize = 4 * 1024;
/// How much is read in one call, in bytes.
const CHUNK: usize = 8 * 1024;

/// A command that prints a bearer token.
///
/// It runs in its own process group, without a shell, standard input, or the credential variables of this process. The
/// whole group is killed if the command exceeds its time limit, prints more than 64 KiB, or the future is dropped.
/// Processes that it leaves behind when it exits are not killed.
///
/// Outside the manager, its futures need a tokio runtime with I/O and time drivers.
#[derive(Clone, Debug)]
pub struct BearerCommand {
    name: String,
    command: ProviderCommand,
}

impl BearerCommand {
    /// Creates a provider from the command of the model provider `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, command: ProviderCommand) -> Self {
        Self { name: name.into(), command }
    }
}

impl ExternalAuth for BearerCommand {
    fn name(&self) -> &str {
        &self.name
    }

    fn refresh(&self, _context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async { Ok(ExternalToken::bearer(run(&self.command).await?)) })
    }

    fn refresh_interval(&self) -> Option<Duration> {
        self.command.refresh_interval
    }
}

/// Runs `command` and returns the token that it prints, without the white space around it.
async fn run(command: &ProviderCommand) -> Result<Secret, Error> {
    let mut running = RunningCommand::start(command)?;
    let deadline = Instant::now() + command.timeout;
    let end = tokio::select! {
        biased;
        end = running.read_output() => end?,
        () = sleep_until(deadline) => {
            // Dropping `running` kills it.
            return Err(Error::TimedOut {
                program: command.program.clone(),
                limit: command.timeout,
                stderr: running.stderr_text(),
            });
        }
    };
    let RunEnd::Exited = end else { return Err(running.not_a_token(InputError::TooLong)) };
    let status = running.status()?;
    if !status.success() {
        let (status, stderr) = (status.to_string(), running.stderr_text());
        return Err(Error::Failed { program: command.program.clone(), status, stderr });
    }
    Secret::from_input(&running.stdout.bytes).map_err(|problem| running.not_a_token(problem))
}

/// How a run ended.
enum RunEnd {
    Exited,
    OutputTooLong,
}

/// A running command. Dropping it kills its process group.
struct RunningCommand {
    program: String,
    child: Child,
    stdout: CapturedOutput,
    stderr: CapturedOutput,
    exit: oneshot::Receiver<()>,
    reaped: bool,
}

impl RunningCommand {
    fn start(settings: &ProviderCommand) -> Result<Self, Error> {
        let ProviderCommand { program, arguments, folder, .. } = settings;
        let not_started = |source| Error::NotStarted { program: program.clone(), source };
        let unreadable = |source| Error::OutputUnreadable { program: program.clone(), source };
        let folder = folder.as_ref().map(path::absolute).transpose().map_err(not_started)?;
        let mut command = Command::new(resolve_program(program, folder.as_deref()));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &folder {
            command.current_dir(folder);
        }
        for variable in CREDENTIAL_VARIABLES {
            command.env_remove(variable.name);
        }
        process::remove_loader_variables(&mut command);
        let mut child = process::start_in_new_group(&mut command).spawn().map_err(not_started)?;
        let pid = child.id();
        let (sender, exit) = oneshot::channel();
        let (stdout, stderr) =
            (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
        let (stdout, stderr) =
            (CapturedOutput::new(stdout, INPUT_LIMIT), CapturedOutput::new(stderr, MAX_STDERR));
        let mut running = Self { program: program.clone(), child, stdout, stderr, exit, reaped: false };
        // Waits without collecting the exit status, so that the process id stays reserved until `status` is called.
        let waiter = move || {
            let _ = process::wait_for_exit(pid);
            let _ = sender.send(());
        };
        thread::Builder::new().name("codex-auth command".to_owned()).spawn(waiter).map_err(unreadable)?;
        for output in [&mut running.stdout, &mut running.stderr] {
            output.open().map_err(unreadable)?;
        }
        Ok(running)
    }

    /// Reads until the command exits, then what is in the pipes. It does not wait for child processes that keep the
    /// pipes open.
    async fn read_output(&mut self) -> Result<RunEnd, Error> {
        loop {
            let read = tokio::select! {
                biased;
                _ = &mut self.exit => break,
                read = self.stdout.next() => read,
                read = self.stderr.next() => read,
            };
            read.map_err(|source| Error::OutputUnreadable { program: self.program.clone(), source })?;
            if self.stdout.overflowed {
                return Ok(RunEnd::OutputTooLong);
            }
        }
        for output in [&mut self.stdout, &mut self.stderr] {
            output
                .drain()
                .map_err(|source| Error::OutputUnreadable { program: self.program.clone(), source })?;
        }
        Ok(if self.stdout.overflowed { RunEnd::OutputTooLong } else { RunEnd::Exited })
    }

    fn status(&mut self) -> Result<ExitStatus, Error> {
        let status = self.child.wait();
        self.reaped = true;
        status.map_err(|source| Error::OutputUnreadable { program: self.program.clone(), source })
    }

    fn not_a_token(&self, problem: InputError) -> Error {
        Error::NotAToken { program: self.program.clone(), problem, stderr: self.stderr_text() }
    }

    /// Returns standard error for a message, with standard output, which may be a token, replaced by `…`.
    fn stderr_text(&self) -> String {
        let stderr = String::from_utf8_lossy(&self.stderr.bytes);
        match std::str::from_utf8(&self.stdout.bytes).unwrap_or_default().trim() {
            "" => redacted_stderr(stderr.as_bytes()),
            printed => redacted_stderr(stderr.replace(printed, "…").as_bytes()),
        }
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = process::kill_group(self.child.id());
            // The command may have left its group.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The beginning of an output stream.
struct CapturedOutput {
    unopened: Option<OwnedFd>,
    pipe: Option<Receiver>,
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    overflowed: bool,
}

impl CapturedOutput {
    fn new(pipe: Option<OwnedFd>, limit: usize) -> Self {
        // A buffer that grew would leave unwiped copies behind.
        let bytes = Zeroizing::new(Vec::with_capacity(limit));
        Self { unopened: pipe, pipe: None, bytes, limit, overflowed: false }
    }

    fn open(&mut self) -> io::Result<()> {
        self.pipe = self.unopened.take().map(Receiver::from_owned_fd).transpose()?;
        Ok(())
    }

    /// Waits for output and reads a chunk; waits forever after the end of the stream.
    async fn next(&mut self) -> io::Result<()> {
        match &self.pipe {
            Some(pipe) => drop(pipe.ready(Interest::READABLE).await?),
            None => std::future::pending().await,
        }
        let Some(pipe) = self.pipe.take() else { return Ok(()) };
        if self.read_chunk(|chunk| pipe.try_read(chunk))? != ReadResult::End {
            self.pipe = Some(pipe);
        }
        Ok(())
    }

    /// Reads what is in the pipe after the command has exited. It reads the pipe directly, because the runtime may not
    /// have registered the data yet.
    fn drain(&mut self) -> io::Result<()> {
        let Some(pipe) = self.pipe.take() else { return Ok(()) };
        let mut pipe = File::from(pipe.into_nonblocking_fd()?);
        while !self.overflowed && self.read_chunk(|chunk| pipe.read(chunk))? == ReadResult::Data {}
        Ok(())
    }

    /// Reads a chunk by `read` and keeps what fits.
    fn read_chunk(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<ReadResult> {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        match read(&mut *chunk) {
            Ok(0) => Ok(ReadResult::End),
            Ok(length) => {
                let kept = length.min(self.limit - self.bytes.len());
                self.bytes.extend_from_slice(&chunk[..kept]);
                self.overflowed |= kept < length;
                Ok(ReadResult::Data)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadResult::WouldBlock),
            Err(error) => Err(error),
        }
    }
}

/// The result of reading a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadResult {
    Data,
    WouldBlock,
    End,
}

/// Returns the path of `program`: relative paths are relative to `folder`, bare names are searched on `PATH`.
fn resolve_program(program: &str, folder: Option<&Path>) -> PathBuf {
    match folder {
        Some(folder) if program.contains('/') => folder.join(program),
        _ => program.into(),
    }
}
