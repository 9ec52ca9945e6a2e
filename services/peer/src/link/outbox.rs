//! What waits to be sent over one link.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pentad_wire::chunk::QueueFull;
use pentad_wire::{Chunker, Class, Tally};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bounded queues by class, between everybody who sends and the link's writer. A std mutex is
/// right: it is held while at most 64 KiB are copied and never across an await.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Notify,
    /// There is room again.
    drained: Notify,
    /// Nothing is taken any more.
    closed: Notify,
}

#[derive(Debug)]
struct State {
    chunker: Chunker,
    /// When something was taken last, or there was nothing.
    taken: Instant,
    /// Nothing is taken any more; what is queued is the farewell.
    closing: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { chunker: Chunker::new(), taken: Instant::now(), closing: false }
    }
}

/// A frame that was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The other side reads too slowly.
    Full,
    /// The link is closing.
    Closing,
}

impl Outbox {
    /// Queues an encoded frame.
    pub(crate) fn push(&self, class: Class, frame: Bytes) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closing {
            return Err(Refused::Closing);
        }
        state.chunker.push(class, frame).map_err(|QueueFull { .. }| Refused::Full)?;
        drop(state);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Queues a frame that may be dropped for a newer one; returns how many were dropped.
    pub(crate) fn push_expendable(&self, class: Class, frame: Bytes) -> u64 {
        let mut state = self.lock();
        if state.closing {
            return 1;
        }
        let dropped = state.chunker.push_expendable(class, frame);
        drop(state);
        self.0.filled.notify_one();
        dropped
    }

    /// Queues a frame once little waits in its class: for answers, which can wait.
    pub(crate) async fn push_patiently(&self, class: Class, frame: Bytes) -> Result<(), Refused> {
        self.room(class).await;
        self.push(class, frame)
    }

    /// Waits until little waits in a class, or nothing is taken any more.
    pub(crate) async fn room(&self, class: Class) {
        loop {
            let drained = self.0.drained.notified();
            if self.has_room(class) {
                return;
            }
            drained.await;
        }
    }

    /// Whether little waits in a class: see [`Class::low_water`].
    pub(crate) fn has_room(&self, class: Class) -> bool {
        self.queued(class) <= class.low_water()
    }

    /// Bytes of answers that wait, and since when none of them was taken.
    pub(crate) fn waiting_answers(&self) -> (usize, Instant) {
        let state = self.lock();
        (state.chunker.queued(Class::Bulk), state.taken)
    }

    /// Bytes that wait in a class.
    pub(crate) fn queued(&self, class: Class) -> usize {
        self.lock().chunker.queued(class)
    }

    /// What was taken in a class since the start, and how many frames were dropped.
    pub(crate) fn sent(&self, class: Class) -> (Tally, u64) {
        let state = self.lock();
        (state.chunker.sent(class), state.chunker.dropped(class))
    }

    /// Drops blocks and transactions that are queued, queues a farewell and takes nothing more.
    pub(crate) fn close(&self, farewell: Option<Bytes>) {
        let mut state = self.lock();
        if state.closing {
            return;
        }
        state.closing = true;
        state.chunker.keep_consensus_only();
        if let Some(frame) = farewell
            && state.chunker.push(Class::Consensus, frame).is_err()
        {
            tracing::debug!("no room for a farewell");
        }
        drop(state);
        self.0.filled.notify_one();
        self.0.drained.notify_waiters();
        self.0.closed.notify_waiters();
    }

    /// Waits until nothing is taken any more.
    pub(super) async fn closed(&self) {
        let closed = self.0.closed.notified();
        if !self.lock().closing {
            closed.await;
        }
    }

    /// Waits for the next plaintext; false once the link is closing and the farewell is taken.
    pub(super) async fn next(&self, plaintext: &mut Vec<u8>) -> bool {
        loop {
            let closing = {
                let mut state = self.lock();
                state.chunker.next_message(plaintext);
                state.taken = Instant::now();
                state.closing
            };
            if !plaintext.is_empty() {
                self.0.drained.notify_waiters();
                return true;
            }
            if closing {
                return false;
            }
            self.0.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_patience_waits_for_room() {
        let outbox = Outbox::default();
        let frame = Bytes::from(vec![0; Class::Bulk.queue_max() / 2 + 1]);
        assert!(outbox.has_room(Class::Bulk));
        assert_eq!(outbox.push(Class::Bulk, frame.clone()), Ok(()));
        assert!(!outbox.has_room(Class::Bulk));
        assert_eq!(outbox.push(Class::Bulk, frame.clone()), Err(Refused::Full));
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.push_patiently(Class::Bulk, Bytes::from_static(b"late")).await }
        });
        let mut plaintext = Vec::new();
        let mut taken = 0;
        while taken <= frame.len() {
            assert!(outbox.next(&mut plaintext).await);
            taken += plaintext.len();
        }
        assert_eq!(waiting.await.expect("no panic"), Ok(()));
    }

    #[tokio::test]
    async fn a_closing_outbox_sends_the_farewell_alone() {
        let outbox = Outbox::default();
        outbox.push(Class::Bulk, Bytes::from_static(b"old")).expect("room");
        outbox.close(Some(Bytes::from_static(b"bye")));
        assert_eq!(outbox.push(Class::Consensus, Bytes::new()), Err(Refused::Closing));
        let patient = outbox.push_patiently(Class::Bulk, Bytes::new()).await;
        assert_eq!(patient, Err(Refused::Closing));
        let mut plaintext = Vec::new();
        assert!(outbox.next(&mut plaintext).await);
        assert_eq!(plaintext, b"\0\0\x03bye");
        assert!(!outbox.next(&mut plaintext).await);
    }
}
