//! What waits for a block, and for how long.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pentad_api::chain::v1::{FollowMempoolChangesResponse, RemovalReason};
use pentad_api::hash_from_bytes;
use pentad_primitives::Txid;
use tokio::sync::mpsc;

use crate::backoff::backoff;
use crate::chain::{ChainClient, ChainError};
use crate::event::Event;
use pentad_service_kit::Backoff;

/// Transactions whose waiting time is known: the oldest of those that wait. More than a few
/// blocks hold, so that a censored one is among them sooner or later.
const TRACKED_MAX: usize = 10_000;
/// Transactions whose time until a block took them is remembered, the last ones.
const WAITS_MAX: usize = 1_024;

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
    /// How long those waited that blocks took lately, the last of them in front.
    waits: VecDeque<Duration>,
}

impl Waiting {
    fn add(&mut self, txid: Txid, now: Instant) {
        self.count += 1;
        if self.since.len() < TRACKED_MAX && self.since.insert(txid, now).is_none() {
            self.order.push_back((now, txid));
        }
    }

    fn remove(&mut self, txid: &Txid, is_confirmed: bool, now: Instant) {
        self.count = self.count.saturating_sub(1);
        let since = self.since.remove(txid);
        if let Some(since) = since.filter(|_| is_confirmed) {
            self.waits.truncate(WAITS_MAX - 1);
            self.waits.push_front(now.saturating_duration_since(since));
        }
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

    /// How long nine in ten of those waited at most that blocks took lately.
    fn usual_wait(&self) -> Duration {
        let mut waits: Vec<Duration> = self.lock().waits.iter().copied().collect();
        match waits.len().checked_sub(1) {
            Some(last) => *waits.select_nth_unstable(last * 9 / 10).1,
            None => Duration::ZERO,
        }
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
    fn apply(&self, news: &FollowMempoolChangesResponse) -> Result<bool, ChainError> {
        let now = Instant::now();
        let mut waiting = self.lock();
        if news.is_reset {
            let waits = std::mem::take(&mut waiting.waits);
            *waiting = Waiting { waits, ..Waiting::default() };
        }
        let before = waiting.count;
        let mut has_more = false;
        for change in &news.changes {
            let txid = Txid::from_bytes(hash_from_bytes("txid", &change.txid)?);
            if change.removed() == RemovalReason::Unspecified {
                waiting.add(txid, now);
                has_more = true;
            } else {
                waiting.remove(&txid, change.removed() == RemovalReason::Confirmed, now);
            }
        }
        let is_other = (before == 0) != (waiting.count == 0);
        drop(waiting);
        let is_awaited = has_more && self.0.is_awaited.swap(false, Ordering::Relaxed);
        Ok(news.is_reset || is_other || is_awaited)
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
        backoff.reset();
        while let Some(message) = stream.message().await? {
            if self.apply(&message)? && events.send(Event::Mempool).await.is_err() {
                return Ok(());
            }
        }
        Err(ChainError::Ended)
    }
}

/// Doublings of the patience at most: 16 times the view timer.
const DOUBLINGS_MAX: u32 = 4;
/// A transaction is passed over when it has waited so many times as long as others do.
const UNUSUAL: u32 = 2;

/// Finds a primary that keeps a valid transaction out of blocks that have room (attacks 3, 4).
///
/// Where a network is so busy that a transaction takes long to reach a primary, another primary
/// is no better. So patience is never shorter than twice what nine in ten transactions take, and
/// each suspicion doubles it, until transactions flow again; up to a bound, which holds for a
/// primary that slows all of them down as well.
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
        let doubled = patience * 2_u32.pow(self.doublings);
        let has_waited = |since: Instant, time: Duration| since.max(view_since).elapsed() >= time;
        let is_passed_over = |since: Instant| {
            let longest = patience * 2_u32.pow(DOUBLINGS_MAX);
            has_waited(since, doubled)
                && has_waited(since, (pending.usual_wait() * UNUSUAL).min(longest))
        };
        let passed_over = oldest.filter(|(_, since)| has_room && is_passed_over(*since));
        self.candidate = passed_over.map(|(txid, _)| txid);
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

    /// A block takes it.
    fn leave(pending: &Pending, number: u64) {
        pending.lock().remove(&txid(number), true, Instant::now());
    }

    #[test]
    fn the_oldest_is_known_whatever_leaves() {
        let pending = pending(0..5);
        for (gone, oldest) in [(3, 0), (0, 1), (1, 2), (2, 4)] {
            leave(&pending, gone);
            assert_eq!(pending.oldest().expect("some wait").0, txid(oldest));
        }
        leave(&pending, 4);
        assert_eq!((pending.oldest(), pending.count()), (None, 0));
    }

    #[test]
    fn memory_is_bounded_however_many_wait_and_come_and_go() {
        let many = 5 * TRACKED_MAX as u64;
        let pending = pending(0..many);
        assert_eq!(pending.count(), many);
        assert_eq!(pending.lock().since.len(), TRACKED_MAX);
        for number in 1..many {
            leave(&pending, number);
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
        leave(&waiting, 1);
        assert!(!censorship.observe(&waiting, start, patience, true));
    }

    /// Attack 3, and a busy network: what all others wait as well is no censorship, what they do
    /// not wait is, and no primary can make everybody wait so long that nothing is.
    #[test]
    fn case_3_a_transaction_is_passed_over_when_it_waits_much_longer_than_others() {
        let timer = Duration::from_secs(2);
        let start = Instant::now().checked_sub(60 * timer).expect("the system runs longer");
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        // The wait of one, of the others, of the tenth of them that waits long.
        for (waits, others, rare, is_censored) in [
            (3, 1, 1, true),
            (3, 1, 60, true),
            (3, 2, 2, false),
            (9, 5, 5, false),
            (11, 5, 5, true),
            (31, 60, 60, false),
            (33, 60, 60, true),
        ] {
            let pending = Pending::default();
            for number in 0..100 {
                let wait = if number % 11 == 0 { rare } else { others };
                pending.lock().add(txid(number), ago(wait).expect("the system runs longer"));
                leave(&pending, number);
            }
            pending.lock().add(txid(100), ago(waits).expect("the system runs longer"));
            let mut censorship = Censorship::default();
            assert!(!censorship.observe(&pending, start, timer, true));
            let found = censorship.observe(&pending, start, timer, true);
            assert_eq!(found, is_censored, "{waits} s where others wait {others} s");
        }
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
