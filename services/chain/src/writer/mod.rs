//! The one writer: a thread that owns the store, the header tree and the right to change the
//! mempool, and works through a bounded queue.
//!
//! Blocks are connected in groups: whatever waits in the queue is connected in the store's open
//! layer, then one fsync makes the group durable, then readers see the new tip, then the senders
//! get their answers. An answer therefore never runs ahead of the disk.

mod blocks;
mod command;
mod signatures;
mod start;
mod transactions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use pentad_ledger::verify::CheckedBlock;
use pentad_ledger::{BlockTemplate, ChainSpec, HeaderTree, UtxoView};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{BlockHash, BlockHeader, OutPoint, Script, Utxo};
use pentad_store::{ChainStore, IndexError, IndexRead as _, StoreError};
use tokio::sync::mpsc;

pub use command::{Admission, BlockOutcome, HeadersChecked, Origin, TemplateRefused};
pub(crate) use command::{Command, Reply};
pub use start::Ended;
pub(crate) use start::{Parts, Started, start};

use crate::clock::Clock;
use crate::metrics::ChainMetrics;
use crate::refusal::Refusal;
use crate::view::Published;

/// Commands that may wait; beyond that senders do.
pub(crate) const QUEUE_LEN_MAX: usize = 1024;
/// Bytes of blocks and transactions that may wait.
pub(crate) const QUEUE_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Bytes of blocks that are made durable together: they stay in memory until then.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bodies that a header answer asks for at most.
const WANTED_MAX: usize = 1024;

/// The state that only the writer's thread touches.
pub(crate) struct Writer {
    spec: ChainSpec,
    store: ChainStore,
    tree: HeaderTree,
    published: Arc<Published>,
    clock: Arc<dyn Clock>,
    metrics: ChainMetrics,
    group: Group,
}

/// Blocks that were dealt with and are not durable yet.
#[derive(Default)]
struct Group {
    /// Those that were connected or disconnected.
    blocks: HashMap<BlockHash, CheckedBlock>,
    bytes: usize,
    answers: Vec<(Reply<Result<BlockOutcome, Refusal>>, BlockOutcome)>,
}

/// The unspent outputs as the writer sees them, group included.
struct Utxos<'a>(&'a ChainStore);

impl UtxoView for Utxos<'_> {
    type Error = IndexError;

    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, IndexError> {
        self.0.utxo(outpoint)
    }
}

impl Writer {
    /// Works until told to stop or until nobody is left to give it work.
    ///
    /// # Errors
    /// When the store fails: nothing more is acknowledged after that.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), StoreError> {
        let mut stopping = None;
        while stopping.is_none()
            && let Some(first) = commands.blocking_recv()
        {
            let mut next = Some(first);
            while let Some(command) = next {
                if let Command::Stop { reply } = command {
                    stopping = Some(reply);
                    break;
                }
                self.on_command(command)?;
                next = commands.try_recv().ok();
            }
            self.finish_group()?;
            self.expire();
        }
        self.store.close()?;
        if let Some(reply) = stopping {
            answer(reply, ());
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command) -> Result<(), StoreError> {
        if !matches!(command, Command::Block { .. }) {
            // Others are to see what the blocks before them did.
            self.finish_group()?;
        }
        match command {
            Command::Block {
                block,
                origin,
                reply,
                room,
            } => {
                self.on_block(&block, origin, reply)?;
                drop(room);
            }
            Command::InvalidBody(hash) => {
                self.tree.mark_invalid(&hash);
            }
            Command::Transaction {
                transaction,
                reply,
                room,
            } => {
                answer(reply, self.on_transaction(transaction)?);
                drop(room);
            }
            Command::Headers { headers, reply } => answer(reply, self.on_headers(&headers)),
            Command::Template {
                payout,
                extra_nonce,
                reply,
            } => {
                answer(reply, self.on_template(payout, extra_nonce));
            }
            Command::Stop { .. } => unreachable!("the loop ends at a stop"),
        }
        Ok(())
    }

    fn on_block(
        &mut self,
        block: &CheckedBlock,
        origin: Origin,
        reply: Reply<Result<BlockOutcome, Refusal>>,
    ) -> Result<(), StoreError> {
        let started = Instant::now();
        let span = tracing::info_span!("connect", block = %block.hash());
        let verdict = span.in_scope(|| self.accept(block, origin))?;
        self.metrics
            .connect_seconds
            .observe(started.elapsed().as_secs_f64());
        match verdict {
            Ok(outcome) => self.group.answers.push((reply, outcome)),
            Err(refusal) => {
                tracing::info!(
                    block = %block.hash(), reason = refusal.reason, "block refused: {}",
                    refusal.message
                );
                answer(reply, Err(refusal));
            }
        }
        self.group.bytes += block.block().encoded_len();
        if self.group.bytes >= GROUP_BYTES_MAX || self.store.wants_commit() {
            self.finish_group()?;
        }
        Ok(())
    }

    fn on_headers(&mut self, headers: &[BlockHeader]) -> HeadersChecked {
        let now = self.clock.unix_seconds();
        let mut refusal = None;
        let mut accepted = 0;
        for header in headers {
            match self.tree.insert(header, now) {
                Ok(_) => accepted += 1,
                Err(error) => {
                    refusal = Some(Refusal::from(&error));
                    break;
                }
            }
        }
        let best = self.tree.best_header();
        HeadersChecked {
            accepted,
            refusal,
            wanted: self.tree.missing_bodies(WANTED_MAX),
            best_work: self
                .tree
                .chain_work(&best)
                .expect("the best header is in the tree"),
            best_height: self
                .tree
                .height(&best)
                .expect("the best header is in the tree"),
        }
    }

    fn on_template(
        &self,
        payout: Script,
        extra_nonce: u64,
    ) -> Result<BlockTemplate, TemplateRefused> {
        let context = self
            .tree
            .tip_context()
            .ok_or_else(|| TemplateRefused("the chain has reached its last height".to_owned()))?;
        let now = self.clock.unix_seconds();
        let mempool = self.published.mempool();
        let mut template = BlockTemplate::build(&context, &mempool, &self.spec, payout, now)
            .map_err(|error| TemplateRefused(error.to_string()))?;
        drop(mempool);
        template.set_extra_nonce(extra_nonce);
        Ok(template)
    }
}

/// A caller that no longer waits is no error.
fn answer<T>(reply: Reply<T>, outcome: T) {
    drop(reply.send(outcome));
}
