//! What waits for a block, and for how long.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pentad_api::chain::v1::follow_mempool_response::Event as MempoolEvent;
use pentad_api::txid_from_hex;
use pentad_primitives::Txid;
use tokio::sync::mpsc;

use crate::backoff::backoff;
use crate::chain::{ChainClient, ChainError};
use crate::event::Event;
use pentad_service_kit::Backoff;

/// Transactions whose waiting time is known: the oldest of those that wait. More than a few
/// blocks hold, so that a censored one is among them sooner or later.
const TRACKED_MAX: usize = 10_000;

/// The transactions that wait; cheap to clone. A std mutex is right: it is held for a few
/// instructions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The next transaction is to be told of.
    is_awaited: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How many there are in all.
    count: u64,
    since: HashMap<Txid, Instant>,
    /// As in `since`, oldest first, with some that have left.
    order: VecDeque<(Instant, Txid)>,
}

impl Waiting {
    fn add(&mut self, txid: Txid, now: Instant) {
        self.count += 1;
        if self.since.len() < TRACKED_MAX && self.since.insert(txid, now).is_none() {
            self.order.push_back((now, txid));
        }
    }

    fn remove(&mut self, txid: &Txid) {
        self.count = self.count.saturating_sub(1);
        self.since.remove(txid);
        // Those that left go from the front; in the middle there are never more than stay.
        while self.order.front().is_some_and(|entry| !self.is_current(entry)) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * TRACKED_MAX {
            let Self { since, order, .. } = self;
            order.retain(|(at, txid)| since.get(txid) == Some(at));
        }
    }

    fn is_current(&self, (at, txid): &(Instant, Txid)) -> bool {
        self.since.get(txid) == Some(at)
    }
}

impl Pending {
    pub(crate) fn count(&self) -> u64 {
        self.lock().count
    }

    /// The transaction that has waited longest, and since when.
    pub(crate) fn oldest(&self) -> Option<(Txid, Instant)> {
        self.lock().order.front().map(|(since, txid)| (*txid, *since))
    }

    /// Whether a transaction still waits.
    pub(crate) fn holds(&self, txid: &Txid) -> bool {
        self.lock().since.contains_key(txid)
    }

    /// Asks for an event at the next transaction that comes.
    pub(crate) fn await_next(&self) {
        self.0.is_awaited.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what happened; whether the driver is to hear of it.
    fn apply(&self, event: MempoolEvent) -> Result<bool, ChainError> {
        let txid = |text: &str| {
            txid_from_hex("txid", text).map_err(|error| ChainError::Malformed(error.to_string()))
        };
        Ok(match event {
            MempoolEvent::Added(added) => {
                let txid = txid(&added.txid)?;
                let mut waiting = self.lock();
                waiting.add(txid, Instant::now());
                let is_first = waiting.count == 1;
                drop(waiting);
                is_first | self.0.is_awaited.swap(false, Ordering::Relaxed)
            }
            MempoolEvent::Removed(removed) => {
                let txid = txid(&removed.txid)?;
                let mut waiting = self.lock();
                waiting.remove(&txid);
                waiting.count == 0
            }
            MempoolEvent::Reset(_) => {
                self.clear();
                true
            }
        })
    }

    fn clear(&self) {
        *self.lock() = Waiting::default();
    }

    /// Follows the chain's mempool until the driver is gone.
    pub(crate) async fn follow(self, chain: ChainClient, events: mpsc::Sender<Event>) {
        let mut backoff = backoff();
        while !events.is_closed() {
            if let Err(error) = self.follow_once(&chain, &events, &mut backoff).await {
                tracing::debug!(%error, "the stream of mempool events broke");
            }
            backoff.pause().await;
        }
    }

    async fn follow_once(
        &self,
        chain: &ChainClient,
        events: &mpsc::Sender<Event>,
        backoff: &mut Backoff,
    ) -> Result<(), ChainError> {
        let mut stream = chain.follow_mempool().await?;
        // The present ones follow.
        self.clear();
        backoff.reset();
        while let Some(message) = stream.message().await? {
            let event = message.event.ok_or(ChainError::Malformed("no event".to_owned()))?;
            if self.apply(event)? && events.send(Event::Mempool).await.is_err() {
                return Ok(());
            }
        }
        Err(ChainError::Ended)
    }
}

/// Doublings of the patience at most: 16 times the view timer.
const DOUBLINGS_MAX: u32 = 4;

/// Finds a primary that keeps a valid transaction out of blocks that have room (attacks 3, 4).
///
/// Where a network is so busy that a transaction takes long to reach a primary, another primary
/// is no better: each suspicion doubles the patience, until transactions flow again.
#[derive(Debug, Default)]
pub(crate) struct Censorship {
    /// Had waited too long when the last block of the view had room for it.
    candidate: Option<Txid>,
    doublings: u32,
}

impl Censorship {
    /// Another view, another primary.
    pub(crate) fn forgive(&mut self) {
        self.candidate = None;
    }

    /// A block of the present view became final. `patience` is how long a transaction may wait,
    /// counted from the start of the view if it came earlier. Whether the primary is suspect: the
    /// block before this one had room for a transaction that had waited so long, and so has this
    /// one; two blocks, because this one's own transactions may still seem to wait.
    pub(crate) fn observe(
        &mut self,
        pending: &Pending,
        view_since: Instant,
        patience: Duration,
        has_room: bool,
    ) -> bool {
        let is_suspect = has_room && self.candidate.take().is_some_and(|txid| pending.holds(&txid));
        let oldest = pending.oldest();
        if is_suspect {
            self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
        } else if oldest.is_none_or(|(_, since)| since.elapsed() < patience) {
            self.doublings = 0;
        }
        let patience = patience * 2_u32.pow(self.doublings);
        self.candidate = oldest
            .filter(|(_, since)| has_room && (*since).max(view_since).elapsed() >= patience)
            .map(|(txid, _)| txid);
        is_suspect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txid(number: u64) -> Txid {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Txid::from_bytes(bytes)
    }

    fn pending(numbers: impl IntoIterator<Item = u64>) -> Pending {
        let pending = Pending::default();
        for number in numbers {
            pending.lock().add(txid(number), Instant::now());
        }
        pending
    }

    #[test]
    fn the_oldest_is_known_whatever_leaves() {
        let pending = pending(0..5);
        for (gone, oldest) in [(3, 0), (0, 1), (1, 2), (2, 4)] {
            pending.lock().remove(&txid(gone));
            assert_eq!(pending.oldest().expect("some wait").0, txid(oldest));
        }
        pending.lock().remove(&txid(4));
        assert_eq!((pending.oldest(), pending.count()), (None, 0));
    }

    #[test]
    fn memory_is_bounded_however_many_wait_and_come_and_go() {
        let many = 5 * TRACKED_MAX as u64;
        let pending = pending(0..many);
        assert_eq!(pending.count(), many);
        assert_eq!(pending.lock().since.len(), TRACKED_MAX);
        for number in 1..many {
            pending.lock().remove(&txid(number));
            pending.lock().add(txid(many + number), Instant::now());
        }
        let waiting = pending.lock();
        assert!(waiting.order.len() <= 2 * TRACKED_MAX + 1, "{}", waiting.order.len());
        assert_eq!(waiting.order.front().expect("some wait").1, txid(0));
    }

    #[test]
    fn case_4_censorship_is_found_when_two_blocks_with_room_pass_a_transaction_over() {
        let patience = Duration::ZERO;
        let waiting = pending([1]);
        let mut censorship = Censorship::default();
        let start = Instant::now();
        assert!(!censorship.observe(&waiting, start, patience, true));
        assert!(censorship.observe(&waiting, start, patience, true));
        // What a block confirmed meanwhile was not censored.
        let mut censorship = Censorship::default();
        assert!(!censorship.observe(&waiting, start, patience, true));
        waiting.lock().remove(&txid(1));
        assert!(!censorship.observe(&waiting, start, patience, true));
    }

    #[test]
    fn each_suspicion_doubles_the_patience_until_transactions_flow() {
        let patience = Duration::from_millis(20);
        let waiting = pending([1]);
        let start = Instant::now();
        let mut censorship = Censorship::default();
        let mut times = Vec::new();
        while times.len() < 2 {
            if censorship.observe(&waiting, start, patience, true) {
                times.push(start.elapsed());
            }
            std::thread::yield_now();
        }
        assert!(times[0] >= patience && times[1] >= 2 * patience, "{times:?}");
        assert_eq!(censorship.doublings, 2);
        assert!(!censorship.observe(&pending([2]), start, patience, true));
        assert_eq!(censorship.doublings, 0);
    }

    #[test]
    fn neither_full_blocks_nor_a_short_wait_nor_a_new_view_are_censorship() {
        let waiting = pending([1]);
        let start = Instant::now();
        for (patience, has_room) in [(Duration::ZERO, false), (Duration::from_secs(60), true)] {
            let mut censorship = Censorship::default();
            for _ in 0..3 {
                assert!(!censorship.observe(&waiting, start, patience, has_room));
            }
        }
        let mut censorship = Censorship::default();
        assert!(!censorship.observe(&waiting, start, Duration::ZERO, true));
        censorship.forgive();
        assert!(!censorship.observe(&waiting, start, Duration::ZERO, true));
    }
}
