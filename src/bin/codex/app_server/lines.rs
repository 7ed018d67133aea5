//! Lines in and out: read in full or not at all, and written by a thread that alone waits for a slow reader.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver};

/// How many lines wait for each other at most, each way.
const WAITING: usize = 64;

/// The longest line that is taken, in bytes without its end. It may be changed while lines are read.
#[derive(Clone, Debug)]
pub(crate) struct Limit(Arc<AtomicUsize>);

impl Limit {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Whole(Vec<u8>),
    /// It was longer than it may be; nothing is kept of it.
    TooLong,
}

/// Reads lines on a thread of their own. The channel ends where the input does.
pub(crate) fn read(
    name: &str,
    input: impl BufRead + Send + 'static,
    limit: Limit,
) -> io::Result<Receiver<Line>> {
    let (tell, lines) = mpsc::channel(WAITING);
    let mut input = input;
    let work = move || {
        while let Ok(Some(line)) = next(&mut input, &limit) {
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    Ok(lines)
}

/// The next line that is not empty; a last one without an end counts.
fn next(input: &mut impl BufRead, limit: &Limit) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() {
            return Ok(match (too_long, line.trim_ascii().is_empty()) {
                (true, _) => Some(Line::TooLong),
                (false, true) => None,
                (false, false) => Some(Line::Whole(line)),
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
                return Ok(Some(Line::TooLong));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(Line::Whole(line)));
            }
            line.clear();
        }
    }
}

/// Where lines are written to. Whoever writes waits while the reader is behind.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(Sender<Vec<u8>>);

impl Outbox {
    /// Writes lines to `output` on a thread of its own, until everybody has dropped the outbox or nobody reads any more.
    /// The last sender is told by the end of the answer's channel that all is written.
    pub(crate) fn open(output: impl Write + Send + 'static) -> io::Result<(Self, Receiver<()>)> {
        let (tell, lines) = mpsc::channel(WAITING);
        let (written, done) = mpsc::channel(1);
        let work = move || {
            write_all(output, lines);
            drop(written);
        };
        thread::Builder::new().name("codex write".to_owned()).spawn(work)?;
        Ok((Self(tell), done))
    }

    /// Writes a line. One that nobody can read any more is dropped.
    pub(crate) async fn send(&self, line: Vec<u8>) {
        let _ = self.0.send(line).await;
    }

    /// Waits until nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

fn write_all(mut output: impl Write, mut lines: Receiver<Vec<u8>>) {
    while let Some(line) = lines.blocking_recv() {
        if write(&mut output, line).is_err() {
            return;
        }
    }
}

/// Writes lines to `output` on a thread of its own, however many wait; for a reader who must not keep us.
pub(crate) fn write_unbounded(
    output: impl Write + Send + 'static,
    mut lines: UnboundedReceiver<Vec<u8>>,
) -> io::Result<()> {
    let mut output = output;
    let work = move || {
        while let Some(line) = lines.blocking_recv() {
            if write(&mut output, line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("codex forward".to_owned()).spawn(work).map(drop)
}

fn write(output: &mut impl Write, mut line: Vec<u8>) -> io::Result<()> {
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn all(input: &[u8], limit: usize, chunk: usize) -> Vec<Line> {
        let (mut input, limit) = (BufReader::with_capacity(chunk, input), Limit::new(limit));
        std::iter::from_fn(|| next(&mut input, &limit).unwrap()).collect()
    }

    #[test]
    fn a_line_that_just_fits_is_read_and_a_longer_one_is_passed_over() {
        let input = b"12345\n123456\n\n \r\n1234\r\n1";
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        for chunk in 1..20 {
            assert_eq!(
                all(input, 5, chunk),
                [whole("12345"), Line::TooLong, whole("1234\r"), whole("1")],
                "{chunk}"
            );
        }
    }

    proptest! {
        /// However the bytes arrive, the same lines are read, and what is between two ends is one of them or none.
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300),
            limit in 0..40_usize,
            chunk in 1..50_usize,
        ) {
            let expected: Vec<_> = input
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.trim_ascii().is_empty() || line.len() > limit)
                .map(|line| if line.len() > limit { Line::TooLong } else { Line::Whole(line.to_vec()) })
                .collect();
            prop_assert_eq!(all(&input, limit, chunk), expected);
        }
    }
}
