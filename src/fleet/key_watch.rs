//! A watch of one key: a stream, and a read every ten seconds beside it.

use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::error::Error;
use super::shared_store::{SharedRead, SharedStore};
use super::wire::{Base64, Streamed, WatchCreate, WatchReply, WatchRequest};

/// The interval of reads: a stopped etcd leaves its streams open and silent.
const POLL: Duration = Duration::from_secs(10);
/// The pause after a stream could not be opened.
const RECONNECT: Duration = Duration::from_secs(1);
/// The maximum length of one streamed message.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// A watch of one key.
///
/// It reports what it reads, and never a change that it has only heard of: the stream says when to read. So no change
/// is missed for longer than ten seconds, whatever happened to the stream.
#[derive(Debug)]
pub struct KeyWatch {
    store: SharedStore,
    key: String,
    stream: Option<WatchStream>,
    /// What was reported last.
    last: Option<SharedRead>,
    /// Whether a change may have been missed since the last report.
    continuity: Continuity,
    poll: Instant,
}

/// What a [`KeyWatch`] has read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// The value and the state of etcd.
    pub read: SharedRead,
    /// Whether the stream was connected since the last observation.
    pub continuity: Continuity,
}

/// Whether etcd may have been restored from a backup between two observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller handles both")]
pub enum Continuity {
    /// The stream was connected all the time, so it was not.
    Unbroken,
    /// The stream was connected anew. The first observation has a gap before it, too.
    Gap,
}

#[derive(Debug)]
struct WatchStream {
    response: Response,
    buffer: Vec<u8>,
}

/// What made the watch read.
#[derive(PartialEq, Eq)]
enum Wake {
    Event,
    Poll,
    Broken,
}

impl KeyWatch {
    /// Watches `key`. Nothing is sent before the first [`Self::next`].
    #[must_use]
    pub fn of(store: &SharedStore, key: &str) -> Self {
        Self {
            store: store.clone(),
            key: key.to_owned(),
            stream: None,
            last: None,
            continuity: Continuity::Gap,
            poll: Instant::now(),
        }
    }

    /// Waits for the next observation: the first, one with another value or an older revision than the last, or one
    /// after a gap.
    ///
    /// # Errors
    /// As [`SharedStore::read`]. The next call tries again at once; wait between calls.
    ///
    /// # Cancellation
    /// If the future is dropped, nothing is lost.
    pub async fn next(&mut self) -> Result<Observation, Error> {
        loop {
            let wake = if self.stream.is_none() { self.connect().await? } else { self.wake().await };
            if wake == Wake::Broken {
                self.leave_stream();
                continue;
            }
            let read = self.store.read(&self.key).await?;
            self.poll = Instant::now() + POLL;
            let is_change = self.last.as_ref().is_some_and(|last| last.value != read.value);
            if wake == Wake::Poll && is_change {
                // The stream should have said so: its member is stopped or cut off.
                self.leave_stream();
            }
            if let Some(observation) = self.observe(read) {
                return Ok(observation);
            }
        }
    }

    /// Returns `read` if it is worth a report.
    fn observe(&mut self, read: SharedRead) -> Option<Observation> {
        let is_older = |last: &SharedRead| read.state.revision < last.state.revision;
        let is_news = self.last.as_ref().is_none_or(|last| last.value != read.value || is_older(last));
        if self.last.as_ref().is_some_and(is_older) {
            self.continuity = Continuity::Gap;
        }
        let continuity = self.continuity;
        self.last = Some(read.clone());
        let is_connected = self.stream.is_some();
        if is_connected {
            self.continuity = Continuity::Unbroken;
        }
        (is_news || is_connected && continuity == Continuity::Gap).then_some(Observation { read, continuity })
    }

    fn leave_stream(&mut self) {
        self.stream = None;
        self.continuity = Continuity::Gap;
    }

    /// Opens the stream. It begins at the current revision, and what came before is read next.
    async fn connect(&mut self) -> Result<Wake, Error> {
        let create = WatchCreate { key: Base64(self.key.as_bytes().to_vec()), start_revision: 0 };
        let request = WatchRequest { create_request: create };
        let opened = self.store.gateway().open("watch", &request).await;
        if let Ok(response) = opened {
            let mut stream = WatchStream { response, buffer: Vec::new() };
            // The first message says that the watch is there.
            let created = timeout(self.store.gateway().limits.attempt, stream.message()).await;
            if let Ok(Some(message)) = created
                && !message.canceled
            {
                self.stream = Some(stream);
                return Ok(Wake::Event);
            }
            self.store.gateway().leave_current();
        }
        // Reads go on without a stream, and say what is wrong.
        sleep(RECONNECT).await;
        Ok(Wake::Event)
    }

    /// Waits for a message of the stream or the time of the next read.
    async fn wake(&mut self) -> Wake {
        let Some(stream) = &mut self.stream else { return Wake::Broken };
        tokio::select! {
            message = stream.message() => match message {
                Some(message) if !message.canceled => Wake::Event,
                // Broken off, or the revision was compacted.
                _ => Wake::Broken,
            },
            () = sleep_until(self.poll) => Wake::Poll,
        }
    }
}

impl WatchStream {
    /// Waits for the next message; `None` if the stream has ended or is not one of etcd. If the future is dropped,
    /// nothing is lost.
    async fn message(&mut self) -> Option<WatchReply> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let message: Streamed<WatchReply> = serde_json::from_slice(&line).ok()?;
                return message.result;
            }
            let chunk = self.response.chunk().await.ok()??;
            if self.buffer.len() + chunk.len() > MAX_MESSAGE {
                return None;
            }
            self.buffer.extend_from_slice(&chunk);
        }
    }
}
