//! Search threads: plain threads of their own, so that mining never blocks the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use pentad_primitives::BlockHeader;
use pentad_primitives::pow::Target;
use tokio::sync::mpsc::UnboundedSender;

use crate::meter::Meter;
use crate::search::{Outcome, search};

/// A throttled thread rests no longer at a time, so that it stops promptly.
const REST_MAX: Duration = Duration::from_millis(20);

/// What one thread searches: all nonces of a header, at its time and every later one allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) header: BlockHeader,
    pub(crate) target: Target,
    pub(crate) time_max: u32,
}

/// A header that meets its target. Its thread waits until it is told to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The work it belongs to.
    pub(crate) work: u64,
    /// Which slot of it.
    pub(crate) slot: u32,
    pub(crate) time: u32,
    pub(crate) nonce: u32,
}

/// The threads. What belongs to work before the present one is dropped within a batch of nonces. A
/// thread holds one order and one report at most, so the unbounded channels stay short.
pub(crate) struct Pool {
    threads: Vec<Thread>,
    /// Changes whenever the threads are to look up.
    epoch: Arc<AtomicU64>,
}

struct Thread {
    orders: Sender<Order>,
    handle: JoinHandle<()>,
}

enum Order {
    /// Search this from its beginning.
    Search { epoch: u64, work: u64, slot: Slot, given: Instant },
    /// Go on behind what was found.
    GoOn { work: u64 },
}

impl Pool {
    /// Starts `threads` threads, idle, that search for `throttle` percent of the time.
    pub(crate) fn start(
        threads: usize,
        throttle: u32,
        meter: &Arc<Meter>,
        reports: &UnboundedSender<Report>,
    ) -> io::Result<Self> {
        let epoch = Arc::new(AtomicU64::new(0));
        let mut pool = Self { threads: Vec::with_capacity(threads), epoch };
        for number in 0..threads {
            let (orders, inbox) = channel();
            let searcher = Searcher {
                number: u32::try_from(number).unwrap_or(u32::MAX),
                throttle,
                epoch: Arc::clone(&pool.epoch),
                meter: Arc::clone(meter),
                reports: reports.clone(),
            };
            let name = format!("search-{number}");
            let spawned = thread::Builder::new().name(name).spawn(move || searcher.run(&inbox));
            match spawned {
                Ok(handle) => pool.threads.push(Thread { orders, handle }),
                Err(error) => {
                    pool.stop();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    pub(crate) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Ends the work at hand; the threads wait for more.
    pub(crate) fn rest(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// New work, a slot for each thread.
    pub(crate) fn assign(&self, work: u64, slots: impl IntoIterator<Item = Slot>) {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let given = Instant::now();
        for (thread, slot) in self.threads.iter().zip(slots) {
            thread.order(Order::Search { epoch, work, slot, given });
        }
    }

    /// The thread of a slot is to go on, unless it has other work by now.
    pub(crate) fn go_on(&self, work: u64, slot: u32) {
        if let Some(thread) = self.threads.get(slot as usize) {
            thread.order(Order::GoOn { work });
        }
    }

    /// Ends the threads, within a batch of nonces.
    pub(crate) fn stop(self) {
        self.rest();
        for Thread { orders, handle } in self.threads {
            drop(orders);
            if handle.join().is_err() {
                tracing::error!("a search thread panicked");
            }
        }
    }
}

impl Thread {
    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("a search thread is gone");
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.len()).finish_non_exhaustive()
    }
}

/// What one thread knows.
struct Searcher {
    number: u32,
    throttle: u32,
    epoch: Arc<AtomicU64>,
    meter: Arc<Meter>,
    reports: UnboundedSender<Report>,
}

/// Where a thread stands in its work.
struct Place {
    epoch: u64,
    work: u64,
    slot: Slot,
    /// The next nonce; `None` once all are tried, at this time and the later ones.
    next: Option<u32>,
}

impl Searcher {
    fn run(&self, inbox: &Receiver<Order>) {
        let mut place = None;
        while let Ok(order) = inbox.recv() {
            match order {
                Order::Search { epoch, work, slot, given } => {
                    self.meter.switch.observe(given.elapsed().as_secs_f64());
                    place = Some(Place { epoch, work, slot, next: Some(0) });
                }
                Order::GoOn { work } => place = place.filter(|it: &Place| it.work == work),
            }
            if let Some(place) = &mut place
                && let Some(report) = self.advance(place)
                && self.reports.send(report).is_err()
            {
                return;
            }
        }
    }

    /// Searches until something is found, everything was tried, or the work is over.
    fn advance(&self, place: &mut Place) -> Option<Report> {
        while let Some(first) = place.next {
            let Slot { header, target, time_max } = &mut place.slot;
            let epoch = place.epoch;
            let mut begun = Instant::now();
            let outcome = search(header, target, first, |hashed| {
                self.meter.add(u64::from(hashed));
                self.rest_after(begun.elapsed());
                begun = Instant::now();
                self.epoch.load(Ordering::Relaxed) == epoch
            });
            match outcome {
                Outcome::Found(nonce) => {
                    place.next = nonce.checked_add(1);
                    let (slot, time) = (self.number, header.time);
                    return Some(Report { work: place.work, slot, time, nonce });
                }
                Outcome::Stopped => return None,
                Outcome::Exhausted if header.time < *time_max => {
                    header.time += 1;
                    place.next = Some(0);
                }
                Outcome::Exhausted => place.next = None,
            }
        }
        None
    }

    /// Rests after so much work, if it is throttled.
    fn rest_after(&self, worked: Duration) {
        if let Some(resting) = 100_u32.checked_sub(self.throttle).filter(|share| *share > 0) {
            thread::sleep((worked * resting / self.throttle.max(1)).min(REST_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{BlockHash, CompactTarget, MerkleRoot};
    use tokio::sync::mpsc;

    use super::*;

    const HEADER: BlockHeader = BlockHeader {
        version: 1,
        prev_block_hash: BlockHash::ZERO,
        merkle_root: MerkleRoot::ZERO,
        time: 1_800_000_000,
        bits: CompactTarget(0x2000_ffff),
        nonce: 0,
    };

    fn slot(target: Target) -> Slot {
        Slot { header: HEADER, target, time_max: HEADER.time + 1 }
    }

    fn easy() -> Target {
        Target::from_compact(HEADER.bits).expect("a constant")
    }

    #[test]
    fn a_thread_that_goes_on_finds_each_nonce_once() {
        let (reports, mut inbox) = mpsc::unbounded_channel();
        let pool = Pool::start(1, 100, &Arc::default(), &reports).expect("a thread");
        pool.assign(7, [slot(easy())]);
        let mut found = Vec::new();
        while found.len() < 20 {
            let report = inbox.blocking_recv().expect("a report");
            assert_eq!((report.work, report.slot, report.time), (7, 0, HEADER.time));
            found.push(report.nonce);
            pool.go_on(7, 0);
        }
        let meets =
            |nonce: &u32| easy().is_met_by(&BlockHeader { nonce: *nonce, ..HEADER }.block_hash());
        assert_eq!(found, (0..).filter(meets).take(20).collect::<Vec<u32>>());
        // Word of other work moves nobody.
        assert!(inbox.blocking_recv().is_some());
        pool.go_on(6, 0);
        pool.stop();
        assert!(inbox.try_recv().is_err());
    }

    #[test]
    fn time_rolls_once_all_nonces_are_tried() {
        let (reports, _inbox) = mpsc::unbounded_channel();
        let searcher = Searcher {
            number: 0,
            throttle: 100,
            epoch: Arc::default(),
            meter: Arc::default(),
            reports,
        };
        let nothing = Target::from_be_bytes([0; 32]);
        let near_the_end = Some(u32::MAX - 10);
        let mut place = Place { epoch: 0, work: 1, slot: slot(easy()), next: near_the_end };
        place.slot.target = nothing;
        place.slot.time_max = HEADER.time;
        assert_eq!(searcher.advance(&mut place), None);
        assert_eq!((place.slot.header.time, place.next), (HEADER.time, None));
        let mut place = Place { epoch: 0, work: 1, slot: slot(easy()), next: near_the_end };
        // Of the last ten nonces none meets the target: found at the next second.
        let report = searcher.advance(&mut place).expect("there are many");
        assert_eq!(report.time, HEADER.time + 1);
        let header = BlockHeader { time: report.time, nonce: report.nonce, ..HEADER };
        assert!(easy().is_met_by(&header.block_hash()));
    }

    #[test]
    fn a_throttled_thread_rests_in_proportion() {
        let meters = [Arc::<Meter>::default(), Arc::default()];
        let (reports, _inbox) = mpsc::unbounded_channel();
        let pools: Vec<_> = [(100, &meters[0]), (10, &meters[1])]
            .into_iter()
            .map(|(throttle, meter)| Pool::start(1, throttle, meter, &reports).expect("a thread"))
            .collect();
        let nothing = Target::from_be_bytes([0; 32]);
        pools.iter().for_each(|pool| pool.assign(1, [slot(nothing)]));
        while meters[1].hashes() < 100_000 {
            thread::yield_now();
        }
        let [full, tenth] = meters.each_ref().map(|meter| meter.hashes());
        assert!(full > 2 * tenth, "{full} and {tenth}");
        pools.into_iter().for_each(Pool::stop);
    }
}
