//! Which payment became final when.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pentad_api::block_from_bytes;
use pentad_api::chain::v1::event_service_client::EventServiceClient;
use pentad_api::chain::v1::follow_tip_response::Event;
use pentad_api::chain::v1::{BlockConnected, FollowTipRequest};
use pentad_bench::node::Node;
use pentad_primitives::{Transaction, Txid};
use pentad_service_kit::limits::MESSAGE_BYTES_MAX;
use tokio::sync::Notify;

/// What the tips of some nodes told. A payment counts as final once it is so on all of them. One
/// of them sends its blocks, the others only say how far they are, so that the generator of load
/// takes little of the processors that it measures.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Seen {
    /// Height of each node's tip.
    tips: Vec<u32>,
    /// Blocks that are not final on all nodes yet.
    blocks: BTreeMap<u32, Vec<Txid>>,
    /// Payments that are not final yet, with when they were submitted.
    waiting: HashMap<Txid, Instant>,
    /// How long each that became final took, since somebody last took these.
    latencies: Vec<Duration>,
    /// When the last block became final on all nodes.
    final_at: Option<Instant>,
    /// How many blocks did.
    blocks_final: u64,
}

impl Watch {
    /// Follows the nodes from now on, each until it is gone.
    pub(crate) async fn start<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Self {
        let watch = Self::default();
        for (number, node) in nodes.into_iter().enumerate() {
            watch.seen().tips.push(0);
            let connection = node.connection().expect("a live node");
            let mut client =
                EventServiceClient::new(connection).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let request = FollowTipRequest {
                cursor: String::new(),
                with_blocks: number == 0,
                ..Default::default()
            };
            let mut tips = client.follow_tip(request).await.expect("a stream").into_inner();
            let watch = watch.clone();
            tokio::spawn(async move {
                while let Ok(Some(message)) = tips.message().await {
                    if let Some(Event::Apply(block)) = message.event {
                        watch.add(number, &block);
                    }
                }
            });
        }
        watch
    }

    fn add(&self, node: usize, block: &BlockConnected) {
        let now = Instant::now();
        let height = block.header.as_ref().expect("a block has a header").height;
        let txids = (node == 0).then(|| {
            let block = block_from_bytes("raw", &block.raw).expect("a block");
            block.transactions.iter().map(Transaction::txid).collect()
        });
        let mut seen = self.seen();
        seen.tips[node] = height;
        seen.blocks.extend(txids.map(|txids| (height, txids)));
        let lowest = seen.tips.iter().copied().min().unwrap_or_default();
        while let Some(block) = seen.blocks.first_entry().filter(|block| *block.key() <= lowest) {
            let txids = block.remove();
            seen.blocks_final += 1;
            seen.final_at = Some(now);
            for txid in txids {
                let since = seen.waiting.remove(&txid);
                seen.latencies.extend(since.map(|since| now - since));
            }
        }
        drop(seen);
        self.changed.notify_waiters();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    /// Payments that are submitted now.
    pub(crate) fn expect(&self, txids: impl IntoIterator<Item = Txid>) {
        let now = Instant::now();
        self.seen().waiting.extend(txids.into_iter().map(|txid| (txid, now)));
    }

    /// How many payments are not final yet.
    pub(crate) fn waiting(&self) -> usize {
        self.seen().waiting.len()
    }

    /// Waits until all payments are final; when the last block became so.
    pub(crate) async fn all_are_final(&self) -> Instant {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(at) = self.final_at() {
                return at;
            }
            changed.await;
        }
    }

    /// When the last block became final, if all payments are.
    fn final_at(&self) -> Option<Instant> {
        let seen = self.seen();
        seen.final_at.filter(|_| seen.waiting.is_empty())
    }

    /// How long the payments took that became final since the last call.
    pub(crate) fn take_latencies(&self) -> Vec<Duration> {
        std::mem::take(&mut self.seen().latencies)
    }

    /// Blocks that became final on all nodes.
    pub(crate) fn blocks(&self) -> u64 {
        self.seen().blocks_final
    }
}
