//! Line input of bounded length, and line output on a separate thread, so that a slow reader delays nothing else.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::queue::{Receiver, Sender, queue};

/// How long a client may read nothing while its queue is full.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of one write. Progress is counted per write, so that a slow reader of a long line does not count as stalled.
const CHUNK: usize = 64 * 1024;

/// The maximum length of a line, in bytes without its end. It can be changed while lines are read.
#[derive(Clone, Debug)]
pub(super) struct LineLimit(Arc<AtomicUsize>);

impl LineLimit {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A line of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InputLine {
    Whole(Vec<u8>),
    /// A line over the limit, whose content is dropped.
    TooLong,
}

/// Reads lines on a thread, which waits while the queue is full. The queue ends with the input.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn read(
    name: &str,
    input: impl BufRead + Send + 'static,
    limit: LineLimit,
) -> io::Result<Receiver<InputLine>> {
    let (sender, lines) = queue();
    let (mut input, runtime) = (input, Handle::current());
    let work = move || {
        while let Ok(Some(line)) = next(&mut input, &limit) {
            let bytes = if let InputLine::Whole(line) = &line { line.len() } else { 0 };
            if sender.send_blocking(line, bytes, &runtime).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    Ok(lines)
}

/// Returns the next line that is not blank. The last line needs no line end.
fn next(input: &mut impl BufRead, limit: &LineLimit) -> io::Result<Option<InputLine>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() {
            return Ok(match (too_long, line.trim_ascii().is_empty()) {
                (true, _) => Some(InputLine::TooLong),
                (false, true) => None,
                (false, false) => Some(InputLine::Whole(line)),
            });
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        if too_long || line.len() + part.len() > limit.get() {
            too_long = true;
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = end.map_or(chunk.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            if too_long {
                return Ok(Some(InputLine::TooLong));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(InputLine::Whole(line)));
            }
            line.clear();
        }
    }
}

/// The queue of lines to the client. Senders wait while it is full; a client that reads nothing for [`STALL_LIMIT`]
/// meanwhile counts as stalled, and every later line is dropped.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    lines: Sender<Vec<u8>>,
    progress: Arc<AtomicU64>,
    stalled: watch::Sender<bool>,
}

impl Outbox {
    /// Starts a thread that writes to `output` until all clones of the outbox are dropped or the other end is closed.
    /// The returned channel closes when the thread ends.
    pub(super) fn open(output: impl Write + Send + 'static) -> io::Result<(Self, mpsc::Receiver<()>)> {
        let (lines, unwritten) = queue();
        let (written, done) = mpsc::channel(1);
        let progress = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&progress);
        let work = move || {
            write_all(output, unwritten, &counter);
            drop(written);
        };
        thread::Builder::new().name("codex write".to_owned()).spawn(work)?;
        Ok((Self { lines, progress, stalled: watch::Sender::new(false) }, done))
    }

    /// Queues a line. It is dropped if the client has stalled or closed its end.
    pub(super) async fn send(&self, line: Vec<u8>) {
        if *self.stalled.borrow() {
            return;
        }
        let bytes = line.len();
        let sent = self.lines.send(line, bytes);
        tokio::pin!(sent);
        let mut before = self.progress.load(Ordering::Relaxed);
        loop {
            tokio::select! {
                biased;
                _ = &mut sent => return,
                () = self.stalled() => return,
                () = tokio::time::sleep(STALL_LIMIT) => {
                    let now = self.progress.load(Ordering::Relaxed);
                    if now == before {
                        self.stalled.send_replace(true);
                    }
                    before = now;
                }
            }
        }
    }

    /// Waits until the client has stalled.
    pub(super) async fn stalled(&self) {
        // The sender lives as long as `self`.
        let _ = self.stalled.subscribe().wait_for(|stalled| *stalled).await;
    }

    /// Waits until the client closes its end.
    pub(super) async fn closed(&self) {
        self.lines.closed().await;
    }
}

/// Writes lines to `output` on a thread.
pub(super) fn write(output: impl Write + Send + 'static, lines: Receiver<Vec<u8>>) -> io::Result<()> {
    let work = move || write_all(output, lines, &AtomicU64::new(0));
    thread::Builder::new().name("codex forward".to_owned()).spawn(work).map(drop)
}

/// Writes lines until the queue ends or the other end is closed. Counts completed writes in `progress`.
fn write_all(mut output: impl Write, mut lines: Receiver<Vec<u8>>, progress: &AtomicU64) {
    let mut write = |bytes: &[u8]| -> io::Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            output.write_all(chunk)?;
            progress.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let mut write_line = |mut line: Vec<u8>| {
        line.push(b'\n');
        write(&line)
    };
    while let Some((line, _slot)) = lines.recv_blocking() {
        if write_line(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn all(input: &[u8], limit: usize, chunk: usize) -> Vec<InputLine> {
        let (mut input, limit) = (BufReader::with_capacity(chunk, input), LineLimit::new(limit));
        std::iter::from_fn(|| next(&mut input, &limit).unwrap()).collect()
    }

    #[test]
    fn a_line_of_maximum_length_is_read_and_a_longer_one_is_too_long() {
        let input = b"12345\n123456\n\n \r\n1234\r\n1";
        let whole = |text: &str| InputLine::Whole(text.as_bytes().to_vec());
        for chunk in 1..20 {
            assert_eq!(
                all(input, 5, chunk),
                [whole("12345"), InputLine::TooLong, whole("1234\r"), whole("1")],
                "{chunk}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_lines_are_the_same_for_every_chunk_size(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300),
            limit in 0..40_usize,
            chunk in 1..50_usize,
        ) {
            let expected: Vec<_> = input
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.trim_ascii().is_empty() || line.len() > limit)
                .map(|line| if line.len() > limit { InputLine::TooLong } else { InputLine::Whole(line.to_vec()) })
                .collect();
            prop_assert_eq!(all(&input, limit, chunk), expected);
        }
    }
}
