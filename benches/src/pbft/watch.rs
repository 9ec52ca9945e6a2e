//! Which payment became final when, and where.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use pentad_api::block_from_bytes;
use pentad_api::chain::v1::FollowTipRequest;
use pentad_api::chain::v1::event_service_client::EventServiceClient;
use pentad_api::chain::v1::follow_tip_response::Event;
use pentad_primitives::Txid;
use pentad_service_kit::limits::MESSAGE_BYTES_MAX;
use tokio::sync::Notify;

use crate::process::Node;

/// What the tips of all nodes told.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Seen {
    /// For each payment, on how many nodes it is final, and since when on the last of them.
    payments: HashMap<Txid, (usize, Instant)>,
    blocks: usize,
}

impl Watch {
    /// Follows the nodes from now on, each until it is gone.
    pub(crate) async fn start(nodes: &[Node]) -> Self {
        let watch = Self::default();
        for node in nodes {
            let connection = node.connection().expect("a live node");
            let mut client =
                EventServiceClient::new(connection).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let request = FollowTipRequest { cursor: String::new(), with_blocks: true };
            let mut tips = client.follow_tip(request).await.expect("a stream").into_inner();
            let watch = watch.clone();
            tokio::spawn(async move {
                while let Ok(Some(message)) = tips.message().await {
                    if let Some(Event::Apply(block)) = message.event {
                        watch.add(&block.raw);
                    }
                }
            });
        }
        watch
    }

    fn add(&self, raw: &bytes::Bytes) {
        let now = Instant::now();
        let block = block_from_bytes("raw", raw).expect("a block");
        let mut seen = self.seen();
        seen.blocks += 1;
        for transaction in &block.transactions {
            let entry = seen.payments.entry(transaction.txid()).or_insert((0, now));
            *entry = (entry.0 + 1, now);
        }
        drop(seen);
        self.changed.notify_waiters();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    /// When a payment was final on so many nodes; waits for it.
    pub(crate) async fn is_final(&self, txid: Txid, nodes: usize) -> Instant {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = self.seen().payments.get(&txid).copied();
            if let Some((count, at)) = found
                && count >= nodes
            {
                return at;
            }
            changed.await;
        }
    }

    /// Blocks that became final, over all nodes.
    pub(crate) fn blocks(&self) -> usize {
        self.seen().blocks
    }
}
