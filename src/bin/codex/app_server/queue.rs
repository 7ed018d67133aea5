//! Queues of lines that hold a bounded number of bytes, however many lines there are and however long.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes a queue holds. A longer line goes through it alone.
const ROOM: u32 = 8 * 1024 * 1024;
/// What an item takes besides its bytes.
const OVERHEAD: usize = 256;

/// Where items go in.
#[derive(Debug)]
pub(super) struct Sender<T> {
    items: UnboundedSender<(T, QueueSlot)>,
    room: Arc<Semaphore>,
}

/// Where items come out.
#[derive(Debug)]
pub(super) struct Receiver<T>(UnboundedReceiver<(T, QueueSlot)>);

/// The room that an item takes in its queue until this is dropped.
#[derive(Debug)]
pub(super) struct QueueSlot(#[expect(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit);

/// Why an item was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendError {
    /// The receiver is gone.
    Closed,
    /// There is no room for it now.
    Full,
}

pub(super) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let (items, received) = unbounded_channel();
    let room = Arc::new(Semaphore::new(usize::try_from(ROOM).unwrap_or(Semaphore::MAX_PERMITS)));
    (Sender { items, room }, Receiver(received))
}

impl<T> Sender<T> {
    /// Sends an item of so many bytes when there is room for it.
    pub(super) async fn send(&self, item: T, bytes: usize) -> Result<(), SendError> {
        let room = Arc::clone(&self.room).acquire_many_owned(size(bytes)).await;
        self.send_into(item, room.map_err(|_| SendError::Closed)?)
    }

    /// As [`Self::send`], on a thread that may block.
    pub(super) fn send_blocking(&self, item: T, bytes: usize, runtime: &Handle) -> Result<(), SendError> {
        runtime.block_on(self.send(item, bytes))
    }

    /// Sends an item of so many bytes if there is room for it.
    pub(super) fn try_send(&self, item: T, bytes: usize) -> Result<(), SendError> {
        match Arc::clone(&self.room).try_acquire_many_owned(size(bytes)) {
            Ok(room) => self.send_into(item, room),
            Err(_) if self.items.is_closed() => Err(SendError::Closed),
            Err(_) => Err(SendError::Full),
        }
    }

    /// Waits until the receiver is gone.
    pub(super) async fn closed(&self) {
        self.items.closed().await;
    }

    fn send_into(&self, item: T, room: OwnedSemaphorePermit) -> Result<(), SendError> {
        self.items.send((item, QueueSlot(room))).map_err(|_| SendError::Closed)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), room: Arc::clone(&self.room) }
    }
}

impl<T> Receiver<T> {
    /// The next item. Its room is free again.
    pub(super) async fn recv(&mut self) -> Option<T> {
        self.0.recv().await.map(|(item, _)| item)
    }

    /// The next item with its room, on a thread that may block.
    pub(super) fn recv_blocking(&mut self) -> Option<(T, QueueSlot)> {
        self.0.blocking_recv()
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_add(OVERHEAD)).unwrap_or(ROOM).min(ROOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_full_by_bytes_and_a_line_longer_than_it_goes_through_alone() {
        const MEBIBYTE: usize = 1024 * 1024;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sender, mut receiver) = queue();
        let sent = (0..100).take_while(|number| sender.try_send(*number, MEBIBYTE).is_ok()).count();
        assert_eq!(sent, 7, "what an item takes besides its bytes leaves no room for the eighth");
        assert_eq!(sender.try_send(7, MEBIBYTE), Err(SendError::Full));
        runtime.block_on(async {
            for number in 0..7 {
                assert_eq!(receiver.recv().await, Some(number));
            }
        });
        assert_eq!(sender.try_send(7, 64 * MEBIBYTE), Ok(()));
        assert_eq!(sender.try_send(8, 1), Err(SendError::Full));
        let (_, room) = receiver.recv_blocking().unwrap();
        assert_eq!(sender.try_send(8, 1), Err(SendError::Full), "until its room is given back");
        drop(room);
        assert_eq!(sender.try_send(8, 1), Ok(()));
        drop(receiver);
        assert_eq!(sender.try_send(9, 1), Err(SendError::Closed));
    }
}
