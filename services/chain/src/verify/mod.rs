//! Is what the node has stored sound? A walk through the block log, the main chain and the index,
//! beside the running node.
//!
//! What is checked is the main chain as it was at the start. Records are never changed, so the
//! block log stands still by itself; how the index is made to, [`index`] explains.

mod blocks;
mod index;
mod records;
mod sums;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pentad_primitives::{BlockHash, BlockHeight};
use pentad_store::log::{LogError, LogPosition};
use pentad_store::{BlockEntry, IndexRead as _, StoreError};

use crate::error::ChainError;
use crate::reader::{Reader, View};
use crate::view::TipView;

/// Least time between two words on progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Damages that are told one by one: more would say no more.
const DAMAGES_TOLD_MAX: u64 = 1_000;

/// How much to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The block log.
    Records,
    /// All rules but signatures, and the index.
    Ledger,
    /// Everything.
    Signatures,
}

/// What to check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) level: Level,
    /// The first and the last height, where not the whole chain is meant.
    pub(crate) heights: Option<(BlockHeight, BlockHeight)>,
}

/// What is being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Records,
    Blocks,
    Index,
    Search,
}

/// Where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A record of the block log.
    Record(LogPosition),
    /// A block of the main chain.
    Block(BlockHash),
    /// A row of the index, by its key.
    Row(Vec<u8>),
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) place: Place,
    pub(crate) problem: String,
}

impl Damage {
    /// Does it concern the index alone, which can be rebuilt?
    pub(crate) const fn is_of_index(&self) -> bool {
        matches!(self.place, Place::Row(_))
    }
}

/// What a verification says as it goes.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Progress { phase: Phase, done: u64, total: u64 },
    Damage(Damage),
}

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) records: u64,
    pub(crate) blocks: u64,
    pub(crate) rows: u64,
    /// Damages of the index, and of the block log.
    pub(crate) damages_of_index: u64,
    pub(crate) damages_of_blocks: u64,
}

/// Why a verification ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody listens any more.
    Gone,
    /// The store cannot be read, damage apart.
    Failed(ChainError),
}

impl From<ChainError> for Stop {
    fn from(error: ChainError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Failed(error.into())
    }
}

/// A verification under way.
pub(crate) struct Verification<'a, F> {
    reader: &'a Reader,
    /// The chain that is checked.
    tip: &'a TipView,
    plan: Plan,
    /// Takes what is to be told; `false`: nobody listens.
    tell: F,
    report: Report,
    /// Several phases meet the same record or row: what was told once is not told again.
    told: HashSet<Place>,
    told_at: Option<Instant>,
}

impl<'a, F: FnMut(Event) -> bool> Verification<'a, F> {
    pub(crate) fn new(reader: &'a Reader, tip: &'a TipView, plan: Plan, tell: F) -> Self {
        Self {
            reader,
            tip,
            plan,
            tell,
            report: Report::default(),
            told: HashSet::new(),
            told_at: None,
        }
    }

    /// Checks everything; takes a thread for as long as that takes.
    ///
    /// # Errors
    /// When nobody listens any more or the store cannot be read; damage is no error.
    pub(crate) fn run(mut self) -> Result<Report, Stop> {
        if self.plan.heights.is_none() {
            self.check_records()?;
        }
        if self.plan.level >= Level::Ledger
            && let Some(chain) = self.main_chain()?
        {
            let sums = self.check_blocks(&chain)?;
            // Without every block, nobody knows what the index should hold.
            if let Some(sums) = sums.filter(|_| self.plan.heights.is_none()) {
                self.check_index(&chain, &sums)?;
            }
        }
        Ok(self.report)
    }

    /// The hashes of the main chain up to the height to check, by height; `None` where a link is
    /// missing.
    fn main_chain(&mut self) -> Result<Option<Vec<BlockHash>>, Stop> {
        let mut chain = Vec::new();
        let mut hash = self.tip.hash;
        loop {
            let Some(entry) = self.entry(&hash)? else {
                let problem = "the row of a block of the main chain is missing or malformed";
                self.damage(Place::Row(pentad_store::block_key(&hash)), problem)?;
                return Ok(None);
            };
            chain.push(hash);
            if entry.height == BlockHeight::GENESIS {
                break;
            }
            hash = entry.header.prev_block_hash;
        }
        chain.reverse();
        Ok(Some(chain))
    }

    /// What the index knows about a block; `None` also where its row does not decode.
    fn entry(&self, hash: &BlockHash) -> Result<Option<BlockEntry>, Stop> {
        let hash = *hash;
        let row =
            self.read(move |view| Ok(view.tip.snapshot.get(&pentad_store::block_key(&hash))?))?;
        Ok(row.and_then(|row| BlockEntry::from_bytes(&row)))
    }

    fn read<T>(&self, read: impl Fn(View<'_>) -> Result<T, ChainError>) -> Result<T, Stop> {
        Ok(self.reader.read_here(read)?)
    }

    /// A record, or what is wrong with it.
    fn record(
        &self,
        position: LogPosition,
    ) -> Result<Result<pentad_store::Contents, String>, Stop> {
        match self.reader.published().log.read(position) {
            Ok(record) => Ok(pentad_store::contents(&record)),
            Err(error) => Ok(Err(damage_of(error)?)),
        }
    }

    fn damage(&mut self, place: Place, problem: impl Into<String>) -> Result<(), Stop> {
        if self.told.contains(&place) {
            return Ok(());
        }
        let damage = Damage { place, problem: problem.into() };
        let count = match damage.is_of_index() {
            true => &mut self.report.damages_of_index,
            false => &mut self.report.damages_of_blocks,
        };
        *count += 1;
        if self.report.damages() > DAMAGES_TOLD_MAX {
            return Ok(());
        }
        self.told.insert(damage.place.clone());
        tracing::error!(place = ?damage.place, problem = damage.problem, "damage found");
        self.say(Event::Damage(damage))
    }

    /// Says how far a phase has come: at its ends always, in between now and then.
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), Stop> {
        let is_due = self.told_at.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL);
        if is_due || done == 0 || done == total {
            self.told_at = Some(Instant::now());
            self.say(Event::Progress { phase, done, total })?;
        }
        Ok(())
    }

    fn say(&mut self, event: Event) -> Result<(), Stop> {
        if (self.tell)(event) { Ok(()) } else { Err(Stop::Gone) }
    }
}

impl Report {
    /// All of them.
    pub(crate) const fn damages(&self) -> u64 {
        self.damages_of_index + self.damages_of_blocks
    }
}

/// What an error of the block log says about the files; other errors are no finding.
fn damage_of(error: LogError) -> Result<String, Stop> {
    match error {
        LogError::Damaged { problem, .. } => Ok(problem.to_owned()),
        LogError::MissingSegment { .. } => Ok("the file is missing".to_owned()),
        LogError::Version { found, .. } => Ok(format!("the file has format version {found}")),
        error => Err(error.into()),
    }
}
