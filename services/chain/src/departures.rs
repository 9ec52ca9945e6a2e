//! Calls that wait until a transaction leaves the mempool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pentad_api::chain::v1::RemovalReason;
use pentad_primitives::Txid;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Calls that may wait at once: each holds a stream of its connection and some hundred bytes here.
const WAITING_MAX: usize = 10_000;

type Waiting = HashMap<Txid, Vec<oneshot::Sender<RemovalReason>>>;

/// Who waits for which transaction. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Departures {
    waiting: Arc<Mutex<Waiting>>,
    places: Arc<Semaphore>,
}

/// One call that waits. Gives up its place when dropped.
#[derive(Debug)]
pub(crate) struct Departure {
    txid: Txid,
    told: oneshot::Receiver<RemovalReason>,
    departures: Departures,
    _place: OwnedSemaphorePermit,
}

impl Departures {
    /// Waits for a transaction from now on; `None`: too many do.
    pub(crate) fn wait_for(&self, txid: Txid) -> Option<Departure> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (sender, told) = oneshot::channel();
        self.waiting().entry(txid).or_default().push(sender);
        Some(Departure { txid, told, departures: self.clone(), _place: place })
    }

    /// Tells those who wait for a transaction why it left.
    pub(crate) fn tell(&self, txid: &Txid, reason: RemovalReason) {
        for sender in self.waiting().remove(txid).unwrap_or_default() {
            // An error says that the call has ended meanwhile.
            sender.send(reason).ok();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Departures {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(WAITING_MAX));
        Self { waiting: Arc::default(), places }
    }
}

impl Departure {
    /// Why the transaction left; `None` when nobody is left to tell.
    pub(crate) async fn reason(mut self) -> Option<RemovalReason> {
        (&mut self.told).await.ok()
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.told.close();
        let mut waiting = self.departures.waiting();
        if let Some(senders) = waiting.get_mut(&self.txid) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiting.remove(&self.txid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txid(number: u8) -> Txid {
        Txid::from_bytes([number; 32])
    }

    #[tokio::test]
    async fn everyone_who_waits_is_told_and_nobody_else() {
        let departures = Departures::default();
        let waiting: Vec<_> =
            [1, 1, 2].map(|it| departures.wait_for(txid(it)).expect("room")).into();
        departures.tell(&txid(1), RemovalReason::Confirmed);
        departures.tell(&txid(3), RemovalReason::Expired);
        departures.tell(&txid(2), RemovalReason::Replaced);
        let mut reasons = Vec::new();
        for departure in waiting {
            reasons.push(departure.reason().await.expect("told"));
        }
        let expected =
            [RemovalReason::Confirmed, RemovalReason::Confirmed, RemovalReason::Replaced];
        assert_eq!(reasons, expected);
        assert!(departures.waiting().is_empty());
    }

    #[test]
    fn who_goes_leaves_nothing_behind_and_there_is_a_bound() {
        let departures = Departures::default();
        let first = departures.wait_for(txid(1)).expect("room");
        let second = departures.wait_for(txid(1)).expect("room");
        drop(first);
        assert_eq!(departures.waiting().get(&txid(1)).map(Vec::len), Some(1));
        drop(second);
        assert!(departures.waiting().is_empty());
        let all: Vec<_> = (0..WAITING_MAX).map_while(|_| departures.wait_for(txid(1))).collect();
        assert_eq!(all.len(), WAITING_MAX);
        assert!(departures.wait_for(txid(2)).is_none());
    }
}
