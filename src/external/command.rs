//! One run of a command for the token that it prints: bounded in time and size, and never through a shell.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use codex_auth_platform::process::{self, StopSignal};
use tokio::io::Interest;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::{Error, error};
use crate::config::{CREDENTIALS, ProviderCommand};
use crate::secret::Secret;

/// The longest output that is taken for a token, in bytes; tokens have a few thousand.
const LONGEST: usize = 64 * 1024;
/// How much is kept of what it says on standard error, in bytes. The rest is read and dropped.
const KEPT: usize = 4 * 1024;
/// How much is read at once, in bytes.
const CHUNK: usize = 8 * 1024;

/// Runs `command`, and takes what it prints as a token: white space around it trimmed, and one word.
pub(super) async fn run(command: &ProviderCommand) -> Result<Secret, Error> {
    let mut running = RunningCommand::start(command)?;
    let ends = Instant::now() + command.timeout;
    let ended = tokio::select! {
        biased;
        ended = running.listen() => ended?,
        () = sleep_until(ends) => {
            // Dropping it ends it.
            return Err(Error::TimedOut {
                program: command.program.clone(),
                limit: command.timeout,
                stderr: running.said(),
            });
        }
    };
    let RunEnd::ByItself = ended else { return Err(running.not_a_token("it is longer than 64 KiB")) };
    let status = running.status()?;
    if !status.success() {
        let (status, stderr) = (status.to_string(), running.said());
        return Err(Error::Failed { program: command.program.clone(), status, stderr });
    }
    token(&running.stdout.bytes).map_err(|problem| running.not_a_token(problem))
}

/// How a run came to its end.
enum RunEnd {
    ByItself,
    PrintingTooMuch,
}

/// A command that runs. Dropping it ends it, with all that it has started.
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
        let unheard = |source| Error::OutputUnreadable { program: program.clone(), source };
        let folder = folder.as_ref().map(path::absolute).transpose().map_err(not_started)?;
        let mut command = Command::new(located(program, folder.as_deref()));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &folder {
            command.current_dir(folder);
        }
        for variable in CREDENTIALS {
            command.env_remove(variable.name);
        }
        process::without_loader_variables(&mut command);
        let mut child = process::own_group(&mut command).spawn().map_err(not_started)?;
        let pid = child.id();
        let (tell, exit) = oneshot::channel();
        let (stdout, stderr) =
            (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
        let (stdout, stderr) = (CapturedOutput::new(stdout, LONGEST), CapturedOutput::new(stderr, KEPT));
        let mut running = Self { program: program.clone(), child, stdout, stderr, exit, reaped: false };
        // Its end is noticed and not collected: until it is, its number cannot become another process's.
        let waiter = move || {
            let _ = process::await_end(pid);
            let _ = tell.send(());
        };
        thread::Builder::new().name("codex-auth command".to_owned()).spawn(waiter).map_err(unheard)?;
        for output in [&mut running.stdout, &mut running.stderr] {
            output.open().map_err(unheard)?;
        }
        Ok(running)
    }

    /// Listens until it has ended, and takes what it has written by then. What it has started may hold the pipes open, and
    /// is not waited for.
    async fn listen(&mut self) -> Result<RunEnd, Error> {
        loop {
            let heard = tokio::select! {
                biased;
                _ = &mut self.exit => break,
                heard = self.stdout.next() => heard,
                heard = self.stderr.next() => heard,
            };
            heard.map_err(|source| Error::OutputUnreadable { program: self.program.clone(), source })?;
            if self.stdout.overflowed {
                return Ok(RunEnd::PrintingTooMuch);
            }
        }
        for output in [&mut self.stdout, &mut self.stderr] {
            output
                .drain()
                .map_err(|source| Error::OutputUnreadable { program: self.program.clone(), source })?;
        }
        Ok(if self.stdout.overflowed { RunEnd::PrintingTooMuch } else { RunEnd::ByItself })
    }

    fn status(&mut self) -> Result<ExitStatus, Error> {
        let status = self.child.wait();
        self.reaped = true;
        status.map_err(|source| Error::OutputUnreadable { program: self.program.clone(), source })
    }

    fn not_a_token(&self, problem: &'static str) -> Error {
        Error::NotAToken { program: self.program.clone(), problem, stderr: self.said() }
    }

    /// What it said on standard error, without what it printed.
    fn said(&self) -> String {
        let said = String::from_utf8_lossy(&self.stderr.bytes);
        let printed = std::str::from_utf8(&self.stdout.bytes).unwrap_or_default().trim();
        match printed {
            "" => error::stderr(said.as_bytes()),
            printed => error::stderr(said.replace(printed, "…").as_bytes()),
        }
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = process::end_group(self.child.id(), StopSignal::Force);
            // It may have left its group.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// One of the two streams, as far as it is kept.
struct CapturedOutput {
    unopened: Option<OwnedFd>,
    pipe: Option<Receiver>,
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    overflowed: bool,
}

impl CapturedOutput {
    fn new(pipe: Option<OwnedFd>, limit: usize) -> Self {
        // A buffer that grew would leave copies behind.
        let bytes = Zeroizing::new(Vec::with_capacity(limit));
        Self { unopened: pipe, pipe: None, bytes, limit, overflowed: false }
    }

    fn open(&mut self) -> io::Result<()> {
        self.pipe = self.unopened.take().map(Receiver::from_owned_fd).transpose()?;
        Ok(())
    }

    /// Takes what comes next; waits for ever where nothing can come.
    async fn next(&mut self) -> io::Result<()> {
        match &self.pipe {
            Some(pipe) => drop(pipe.ready(Interest::READABLE).await?),
            None => std::future::pending().await,
        }
        let Some(pipe) = self.pipe.take() else { return Ok(()) };
        if self.take(|chunk| pipe.try_read(chunk))? != ReadResult::End {
            self.pipe = Some(pipe);
        }
        Ok(())
    }

    /// Takes what is there still, once nothing more is waited for. Asked of the pipe itself: the runtime may not have
    /// heard of it yet.
    fn drain(&mut self) -> io::Result<()> {
        let Some(pipe) = self.pipe.take() else { return Ok(()) };
        let mut pipe = File::from(pipe.into_nonblocking_fd()?);
        while !self.overflowed && self.take(|chunk| pipe.read(chunk))? == ReadResult::Something {}
        Ok(())
    }

    /// Takes a chunk of what `read` yields.
    fn take(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<ReadResult> {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        match read(&mut *chunk) {
            Ok(0) => Ok(ReadResult::End),
            Ok(length) => {
                let kept = length.min(self.limit - self.bytes.len());
                self.bytes.extend_from_slice(&chunk[..kept]);
                self.overflowed |= kept < length;
                Ok(ReadResult::Something)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadResult::Nothing),
            Err(error) => Err(error),
        }
    }
}

/// What was there to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadResult {
    Something,
    Nothing,
    End,
}

/// A relative path begins at the folder of the command; a bare name is looked for on `PATH`.
fn located(program: &str, folder: Option<&Path>) -> PathBuf {
    match folder {
        Some(folder) if program.contains('/') => folder.join(program),
        _ => program.into(),
    }
}

/// What was printed, if it is one token.
fn token(printed: &[u8]) -> Result<Secret, &'static str> {
    let text = std::str::from_utf8(printed).map_err(|_| "it is not UTF-8")?.trim();
    if text.is_empty() {
        return Err("it printed nothing");
    }
    if text.contains(char::is_whitespace) {
        return Err("there is white space inside it");
    }
    if text.contains(char::is_control) {
        return Err("there are control characters in it");
    }
    Ok(Secret::from(text))
}
