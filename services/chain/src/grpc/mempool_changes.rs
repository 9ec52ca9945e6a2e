//! The mempool as the services of the node follow it: many changes in a message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::RemovalReason;
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{Transaction, Txid};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::events::following;
use crate::view::{MempoolEvent, Published};

/// Between two messages: what comes meanwhile shares the second one. Each message wakes a service,
/// which costs more than the changes in it.
const PAUSE: Duration = Duration::from_millis(2);
/// Changes in one message, and bytes of transactions: well below the limit of a message.
const CHANGES_MAX: usize = 4_096;
const BYTES_MAX: usize = 1 << 20;

/// Somebody who follows. It keeps nothing: what waits for a slow one waits in the channel.
struct Follower {
    published: Arc<Published>,
    with_transactions: bool,
    changes: Receiver<MempoolEvent>,
    present: std::vec::IntoIter<(Txid, Arc<Transaction>)>,
    is_reset: bool,
    told_at: Option<Instant>,
}

type Message = proto::FollowMempoolChangesResponse;

/// The present transactions, then every change, for as long as somebody takes them.
pub(super) fn follow(
    published: Arc<Published>,
    with_transactions: bool,
) -> impl Stream<Item = Result<Message, Status>> + Send {
    let (present, changes) = following(&published);
    let follower = Follower {
        published,
        with_transactions,
        changes,
        present: present.into_iter(),
        is_reset: true,
        told_at: None,
    };
    unfold(follower, |mut follower| async {
        let message = follower.next().await?;
        follower.told_at = Some(Instant::now());
        Some((Ok(message), follower))
    })
}

impl Follower {
    /// `None` once the chain has ended.
    async fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        let mut bytes = 0;
        if !self.is_reset && self.present.len() == 0 {
            match self.changes.recv().await {
                Ok(event) => bytes += self.add(&mut message, event),
                Err(RecvError::Lagged(_)) => self.start_over(&mut message),
                Err(RecvError::Closed) => return None,
            }
            if let Some(at) = self.told_at {
                sleep_until(at + PAUSE).await;
            }
        }
        message.is_reset |= std::mem::take(&mut self.is_reset);
        while message.changes.len() < CHANGES_MAX && bytes < BYTES_MAX {
            if let Some((txid, transaction)) = self.present.next() {
                bytes += self.add_entry(&mut message, &txid, &transaction);
                continue;
            }
            match self.changes.try_recv() {
                Ok(event) => bytes += self.add(&mut message, event),
                Err(TryRecvError::Lagged(_)) => {
                    self.start_over(&mut message);
                    bytes = 0;
                }
                // The next call notices that nobody is left to tell anything.
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Some(message)
    }

    /// Changes were missed: what is present now takes the place of everything before.
    fn start_over(&mut self, message: &mut Message) {
        let (present, changes) = following(&self.published);
        (self.present, self.changes) = (present.into_iter(), changes);
        *message = Message { is_reset: true, changes: Vec::new() };
    }

    /// Returns how many bytes came to the message.
    fn add(&self, message: &mut Message, event: MempoolEvent) -> usize {
        match event {
            MempoolEvent::Added { txid, transaction, .. } => {
                self.add_entry(message, &txid, &transaction)
            }
            MempoolEvent::Removed(txid, reason) => {
                let removed = reason.into();
                message.changes.push(proto::MempoolChange { removed, ..change(&txid) });
                0
            }
        }
    }

    fn add_entry(&self, message: &mut Message, txid: &Txid, transaction: &Transaction) -> usize {
        let transaction: Bytes = match self.with_transactions {
            true => transaction.to_bytes().into(),
            false => Bytes::new(),
        };
        let length = transaction.len();
        let traceparent = self.published.traces.traceparent(txid);
        message.changes.push(proto::MempoolChange { transaction, traceparent, ..change(txid) });
        length
    }
}

fn change(txid: &Txid) -> proto::MempoolChange {
    proto::MempoolChange {
        txid: Bytes::copy_from_slice(txid.as_bytes()),
        removed: RemovalReason::Unspecified.into(),
        transaction: Bytes::new(),
        traceparent: String::new(),
    }
}
