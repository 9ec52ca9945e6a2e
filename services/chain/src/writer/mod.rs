//! The one writer: a thread that owns the store, the header tree and the right to change the
//! mempool, and works through a bounded queue.
//!
//! Blocks are connected in groups: whatever waits in the queue is connected in the store's open
//! layer, then one fsync makes the group durable, then readers see the new tip, then the senders
//! get their answers. An answer therefore never runs ahead of the disk.

mod blocks;
mod certificates;
mod command;
mod finality;
mod mempool_file;
mod proposals;
mod queue;
mod rebuild;
pub(crate) mod signatures;
mod start;
mod traced;
mod transactions;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use pentad_ledger::mempool::Entry;
use pentad_ledger::verify::CheckedBlock;
use pentad_ledger::{BlockTemplate, ChainSpec, HeaderTree, UtxoView};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight, OutPoint, Script, Utxo};
use pentad_service_kit::telemetry::BlockTrace;
use pentad_store::{ChainStore, IndexError, IndexRead as _, StoreError};
use tokio::sync::watch;

pub use command::{
    Admission, BlockOutcome, FinalityOutcome, HeadersChecked, NotOnTip, Origin, TemplateRefused,
};
pub(crate) use command::{Command, Job, Reply};
use finality::below_finality;
use mempool_file::MempoolFile;
use proposals::Proposals;
use queue::{Abandoned, Queue};
pub use start::Ended;
pub(crate) use start::{Parts, Started, start};
use traced::TracedBlock;

use crate::clock::Clock;
use crate::finality::Certified;
use crate::metrics::ChainMetrics;
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::view::Published;

/// Bytes of commands that may wait; beyond that senders do.
pub(crate) const QUEUE_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// What the smallest command counts for, which bounds their number to 1024.
pub(crate) const COMMAND_BYTES_MIN: u32 = 64 * 1024;
/// How often the writer looks after the mempool, busy or not.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);
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
    proposals: Proposals,
    waiting: MempoolFile,
    /// The highest certificate whose block is not here yet.
    awaited: Option<Certified>,
    progress: watch::Sender<Progress>,
}

/// Blocks that were dealt with and are not durable yet.
#[derive(Default)]
struct Group {
    /// Those that were connected or disconnected.
    blocks: HashMap<BlockHash, CheckedBlock>,
    bytes: usize,
    answers: Vec<(Reply<Result<BlockOutcome, Refusal>>, BlockOutcome)>,
    /// What left the mempool with them; its memory is given back once the senders have answers.
    gone: Vec<Entry>,
    /// Those that are traced.
    traced: Vec<TracedBlock>,
    /// When the changes that the last block makes to the unspent outputs were written.
    written: Option<(SystemTime, SystemTime)>,
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
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) -> Result<(), StoreError> {
        self.load_mempool()?;
        let mut queue = Queue::new(jobs);
        let mut house_kept = Instant::now();
        loop {
            let next = match queue.next() {
                Some(job) => Some(job),
                None => {
                    self.finish_group()?;
                    match queue.wait(HOUSEKEEPING_INTERVAL) {
                        Ok(next) => next,
                        Err(Abandoned) => return self.close(),
                    }
                }
            };
            if let Some(Job { command, room, waiting, span }) = next {
                if let Command::Stop { reply } = command {
                    self.finish_group()?;
                    self.close()?;
                    answer(reply, ());
                    return Ok(());
                }
                span.in_scope(|| self.on_command(command))?;
                drop((room, waiting));
            }
            if house_kept.elapsed() >= HOUSEKEEPING_INTERVAL {
                self.finish_group()?;
                self.keep_house()?;
                house_kept = Instant::now();
            }
        }
    }

    fn close(mut self) -> Result<(), StoreError> {
        self.save_mempool();
        self.store.close()
    }

    fn on_command(&mut self, command: Command) -> Result<(), StoreError> {
        if !matches!(command, Command::Block { .. }) {
            // Others are to see what the blocks before them did.
            self.finish_group()?;
        }
        match command {
            Command::Block { block, certificate, origin, trace, reply } => {
                self.on_block(&block, certificate.as_ref(), origin, trace, reply)?;
            }
            Command::Proposal { block, proposal, reply } => {
                answer(reply, self.on_proposal(&block, proposal)?);
            }
            Command::InvalidBody(hash) => {
                self.tree.mark_invalid(&hash);
            }
            Command::Transaction { ready, reply } => answer(reply, self.on_ready(ready)?),
            Command::Transactions { ready, reply } => {
                let outcomes = ready.into_iter().map(|ready| self.on_ready(ready));
                answer(reply, outcomes.collect::<Result<_, _>>()?);
            }
            Command::Headers { headers, certificate, reply } => {
                answer(reply, self.on_headers(&headers, certificate.as_ref()));
            }
            Command::Reindex { reply } => {
                self.save_mempool();
                answer(reply, ());
                return Err(IndexError::RebuildRequested.into());
            }
            Command::Finalise { certificate, reply } => {
                answer(reply, self.on_finalise(certificate)?);
            }
            Command::Template { payout, extra_nonce, reply } => {
                answer(reply, self.on_template(payout, extra_nonce));
            }
            Command::Stop { .. } => unreachable!("a stop ends the work"),
        }
        Ok(())
    }

    fn on_block(
        &mut self,
        block: &CheckedBlock,
        certificate: Option<&Certified>,
        origin: Origin,
        trace: BlockTrace,
        reply: Reply<Result<BlockOutcome, Refusal>>,
    ) -> Result<(), StoreError> {
        let (started, began) = (Instant::now(), SystemTime::now());
        let trace = self.traced(block, trace);
        let verdict = self.accept(block, certificate, origin)?;
        self.metrics.connect_seconds.observe(started.elapsed(), trace.example());
        match verdict {
            Ok(outcome) => {
                if !trace.is_empty() && outcome == BlockOutcome::Connected {
                    let (hash, written) = (block.hash(), self.group.written.take());
                    self.group.traced.push(TracedBlock::connected(hash, &trace, began, written));
                }
                self.group.answers.push((reply, outcome));
            }
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

    fn on_headers(
        &mut self,
        headers: &[BlockHeader],
        certificate: Option<&Certified>,
    ) -> HeadersChecked {
        let now = self.clock.unix_seconds();
        let mut refusal = None;
        let mut accepted = 0;
        let mut last = self.tree.best_header();
        let fitting = match self.check_height(headers, certificate) {
            Ok(()) => headers,
            Err(error) => {
                refusal = Some(error);
                &[]
            }
        };
        for header in fitting {
            match self.tree.insert(header, now) {
                Ok(inserted) => {
                    accepted += 1;
                    last = inserted.hash;
                }
                Err(error) => {
                    refusal = Some(Refusal::from(&error));
                    break;
                }
            }
        }
        let best = self.tree.best_header();
        if accepted > 0 && !self.keeps_finality(&last) {
            // All known from before, and of no use any more.
            refusal.get_or_insert_with(|| below_finality(self.tree.final_height()));
            last = best;
        }
        HeadersChecked {
            accepted,
            refusal,
            wanted: self.wanted(&last),
            best_work: self.tree.chain_work(&best).expect("the best header is in the tree"),
            best_height: self.tree.height(&best).expect("the best header is in the tree"),
        }
    }

    /// Checks that the last of consecutive headers stands at the height that its certificate names.
    /// If their parent is unknown, nothing can be said; the tree does not take them then.
    fn check_height(
        &self,
        headers: &[BlockHeader],
        certificate: Option<&Certified>,
    ) -> Result<(), Refusal> {
        let parent = headers.first().and_then(|first| self.tree.height(&first.prev_block_hash));
        let (Some(certificate), Some(parent)) = (certificate, parent) else {
            return Ok(());
        };
        let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        certificate.check_height(BlockHeight::new(parent.get().saturating_add(count)))
    }

    /// Bodies towards a header that was just handed in, whose sender has them, if it overtakes the
    /// tip; those that a certificate waits for; then those towards the best header, which may be
    /// withheld for ever.
    fn wanted(&self, last: &BlockHash) -> Vec<BlockHash> {
        let overtakes = self.tree.chain_work(last) > self.tree.chain_work(&self.tree.tip());
        let mut wanted = match overtakes {
            true => self.tree.missing_bodies_to(last, WANTED_MAX),
            false => Vec::new(),
        };
        for others in [self.awaited_bodies(WANTED_MAX), self.tree.missing_bodies(WANTED_MAX)] {
            let known: HashSet<BlockHash> = wanted.iter().copied().collect();
            wanted.extend(others.into_iter().filter(|hash| !known.contains(hash)));
        }
        wanted.truncate(WANTED_MAX);
        wanted
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
