//! A queue that is bounded by the total size of its items.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that a queue holds. A larger item is sent once the queue is empty.
const CAPACITY: u32 = 8 * 1024 * 1024;
/// Bytes that every item counts besides its own.
const OVERHEAD: usize = 256;

/// The sending end of a queue.
#[derive(Debug)]
pub(super) struct Sender<T> {
    items: UnboundedSender<(T, QueueSlot)>,
    capacity: Arc<Semaphore>,
}

/// The receiving end of a queue.
#[derive(Debug)]
pub(super) struct Receiver<T>(UnboundedReceiver<(T, QueueSlot)>);

/// The capacity that an item occupies in its queue until this is dropped.
#[derive(Debug)]
pub(super) struct QueueSlot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Why an item could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendError {
    /// The receiver was dropped.
    Closed,
    /// The queue is full.
    Full,
}

pub(super) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let (items, received) = unbounded_channel();
    let capacity = Arc::new(Semaphore::new(usize::try_from(CAPACITY).unwrap_or(Semaphore::MAX_PERMITS)));
    (Sender { items, capacity }, Receiver(received))
}

impl<T> Sender<T> {
    /// Sends an item of `bytes` bytes, waiting while the queue is full.
    pub(super) async fn send(&self, item: T, bytes: usize) -> Result<(), SendError> {
        let capacity = Arc::clone(&self.capacity).acquire_many_owned(size(bytes)).await;
        self.send_into(item, capacity.map_err(|_| SendError::Closed)?)
    }

    /// As [`Self::send`], blocking the thread.
    pub(super) fn send_blocking(&self, item: T, bytes: usize, runtime: &Handle) -> Result<(), SendError> {
        runtime.block_on(self.send(item, bytes))
    }

    /// Sends an item of `bytes` bytes if there is capacity for it now.
    pub(super) fn try_send(&self, item: T, bytes: usize) -> Result<(), SendError> {
        match Arc::clone(&self.capacity).try_acquire_many_owned(size(bytes)) {
            Ok(capacity) => self.send_into(item, capacity),
            Err(_) if self.items.is_closed() => Err(SendError::Closed),
            Err(_) => Err(SendError::Full),
        }
    }

    /// Waits until the receiver is dropped.
    pub(super) async fn closed(&self) {
        self.items.closed().await;
    }

    fn send_into(&self, item: T, capacity: OwnedSemaphorePermit) -> Result<(), SendError> {
        self.items.send((item, QueueSlot(capacity))).map_err(|_| SendError::Closed)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), capacity: Arc::clone(&self.capacity) }
    }
}

impl<T> Receiver<T> {
    /// Returns the next item, and frees its capacity.
    pub(super) async fn recv(&mut self) -> Option<T> {
        self.0.recv().await.map(|(item, _)| item)
    }

    /// Returns the next item with the capacity that it occupies, blocking the thread.
    pub(super) fn recv_blocking(&mut self) -> Option<(T, QueueSlot)> {
        self.0.blocking_recv()
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_add(OVERHEAD)).unwrap_or(CAPACITY).min(CAPACITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_bounded_by_bytes_and_sends_a_larger_item_once_it_is_empty() {
        const MEBIBYTE: usize = 1024 * 1024;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sender, mut receiver) = queue();
        let sent = (0..100).take_while(|number| sender.try_send(*number, MEBIBYTE).is_ok()).count();
        assert_eq!(sent, 7, "the overhead of the items leaves no capacity for the eighth");
        assert_eq!(sender.try_send(7, MEBIBYTE), Err(SendError::Full));
        runtime.block_on(async {
            for number in 0..7 {
                assert_eq!(receiver.recv().await, Some(number));
            }
        });
        assert_eq!(sender.try_send(7, 64 * MEBIBYTE), Ok(()));
        assert_eq!(sender.try_send(8, 1), Err(SendError::Full));
        let (_, slot) = receiver.recv_blocking().unwrap();
        assert_eq!(sender.try_send(8, 1), Err(SendError::Full), "until the slot is dropped");
        drop(slot);
        assert_eq!(sender.try_send(8, 1), Ok(()));
        drop(receiver);
        assert_eq!(sender.try_send(9, 1), Err(SendError::Closed));
    }
}
