//! The main chain, block by block: every rule, and what its rows should be.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;

use bytes::Bytes;
use pentad_ledger::connect::{ConnectError, connect};
use pentad_ledger::verify::contextual::{self, BlockContext};
use pentad_ledger::verify::{
    CheckedBlock, block_signatures, semantic, structural, verify_signatures,
};
use pentad_ledger::{BlockUndo, UtxoView};
use pentad_primitives::{Block, BlockHash, BlockHeight, OutPoint, Utxo};
use pentad_store::{
    BlockEntry, Contents, IndexRead as _, Pair, Row, StoreError, Table, block_key,
    read_certificate, rows,
};

use super::sums::Sums;
use super::{Event, Level, Phase, Place, Stop, Verification, damage_of};

/// Blocks whose times decide on the next.
const TIMES: usize = 11;

/// What a block says that it spends.
struct Spent(HashMap<OutPoint, Utxo>);

impl UtxoView for Spent {
    type Error = Infallible;

    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, Infallible> {
        Ok(self.0.get(outpoint).cloned())
    }
}

/// A block of the main chain as it is stored.
pub(super) struct Stored {
    block: CheckedBlock,
    height: BlockHeight,
    undo: BlockUndo,
    /// Empty where it has none.
    certificate: Bytes,
}

impl Stored {
    /// The rows of the index that the block adds and removes.
    pub(super) fn each_row(&self, mut visit: impl FnMut(Row<'_>)) -> Result<(), String> {
        let (block, txids) = (self.block.block(), self.block.txids());
        let rows =
            rows(block, txids, self.height, &self.undo.spent).map_err(|it| it.to_string())?;
        rows.iter().for_each(&mut visit);
        Ok(())
    }
}

impl<F: FnMut(Event) -> bool> Verification<'_, F> {
    /// Checks the blocks of the plan and sums up the rows that they leave; `None` where one of them
    /// cannot be read.
    pub(super) fn check_blocks(&mut self, chain: &[BlockHash]) -> Result<Option<Sums>, Stop> {
        let mut is_whole = true;
        let mut sums = Sums::new();
        let top = chain.len().saturating_sub(1);
        let heights = self.plan.heights;
        let (from, to) = heights
            .map_or((0, top), |(from, to)| (from.get() as usize, top.min(to.get() as usize)));
        let total = (to + 1).saturating_sub(from) as u64;
        let mut times = VecDeque::new();
        let below = chain.iter().take(from).skip(from.saturating_sub(TIMES));
        for hash in below {
            times.extend(self.entry(hash)?.map(|entry| entry.header.time));
        }
        times.make_contiguous().reverse();
        self.progress(Phase::Blocks, 0, total)?;
        for (done, at) in (1..).zip(from..=to) {
            if let Some(stored) = self.stored(&chain[at])? {
                self.check_rules(&stored, &times)?;
                self.take_rows(&stored, &mut sums)?;
            } else {
                is_whole = false;
            }
            if let Some(entry) = self.entry(&chain[at])? {
                times.push_front(entry.header.time);
            }
            times.truncate(TIMES);
            self.report.blocks += 1;
            self.progress(Phase::Blocks, done, total)?;
        }
        Ok(is_whole.then_some(sums))
    }

    /// A block of the main chain with its undo data; none, and damage, where it cannot be read.
    pub(super) fn stored(&mut self, hash: &BlockHash) -> Result<Option<Stored>, Stop> {
        let Some(entry) = self.entry(hash)? else {
            self.damage(Place::Row(block_key(hash)), "the row is missing or malformed")?;
            return Ok(None);
        };
        let Some(block) = self.stored_block(hash, &entry)? else { return Ok(None) };
        let Some(position) = entry.undo else {
            let problem = "the row of a block of the main chain knows of no undo data";
            self.damage(Place::Row(block_key(hash)), problem)?;
            return Ok(None);
        };
        let problem = match self.record(position)? {
            Ok(Contents::Undo(of, spent)) if of == *hash => {
                let Some(certificate) = self.stored_certificate(hash, &entry)? else {
                    return Ok(None);
                };
                return Ok(Some(Stored {
                    block: CheckedBlock::assume_valid(block),
                    height: entry.height,
                    undo: BlockUndo { spent },
                    certificate,
                }));
            }
            Ok(_) => format!("the record is not the undo data of block {hash}"),
            Err(problem) => problem,
        };
        self.damage(Place::Record(position), problem)?;
        Ok(None)
    }

    fn stored_block(
        &mut self,
        hash: &BlockHash,
        entry: &BlockEntry,
    ) -> Result<Option<Block>, Stop> {
        let problem = match self.record(entry.body)? {
            Ok(Contents::Block(stored)) if stored.block.block_hash() == *hash => {
                return Ok(Some(stored.block));
            }
            Ok(_) => format!("the record is not block {hash}"),
            Err(problem) => problem,
        };
        self.damage(Place::Record(entry.body), problem)?;
        Ok(None)
    }

    /// The certificate of a block, empty where it has none; none, and damage, where it cannot be
    /// read.
    fn stored_certificate(
        &mut self,
        hash: &BlockHash,
        entry: &BlockEntry,
    ) -> Result<Option<Bytes>, Stop> {
        match read_certificate(&self.reader.published().log, entry) {
            Ok(certificate) => return Ok(Some(certificate.unwrap_or_default().into())),
            Err(StoreError::Log(error)) => {
                let position = entry.certificate.unwrap_or(entry.body);
                self.damage(Place::Record(position), damage_of(error)?)?;
            }
            Err(StoreError::Record { problem, .. }) => {
                let problem = format!("where the row points to for the certificate: {problem}");
                self.damage(Place::Row(block_key(hash)), problem)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }

    /// Names the rule that a block of the main chain breaks, if it breaks one; `times` are those of
    /// the blocks below, the parent's first.
    fn check_rules(&mut self, stored: &Stored, times: &VecDeque<u32>) -> Result<(), Stop> {
        match self.broken_rule(stored, times) {
            Some(problem) => self.damage(Place::Block(stored.block.hash()), problem),
            None => Ok(()),
        }
    }

    fn broken_rule(&self, stored: &Stored, times: &VecDeque<u32>) -> Option<String> {
        let spec = &self.reader.published().spec;
        let (block, hash) = (stored.block.block(), stored.block.hash());
        if stored.height == BlockHeight::GENESIS {
            let is_genesis = *block == *spec.genesis_block() && stored.undo.spent.is_empty();
            return (!is_genesis)
                .then(|| "this is not the genesis block of the chain spec".to_owned());
        }
        if let Err(error) = structural::check_block(block, stored.block.txids(), &spec.limits()) {
            return Some(error.to_string());
        }
        if let Err(error) = semantic::check_block(block, spec) {
            return Some(error.to_string());
        }
        let header = &block.header;
        // It passed the check against the clock when it came.
        if let Err(error) = semantic::check_header(header, &hash, spec, header.time) {
            return Some(error.to_string());
        }
        let parent_height = stored.height.prev()?;
        let times = times.iter().copied();
        let context = BlockContext::after(spec, header.prev_block_hash, parent_height, times)?;
        if let Err(error) = contextual::check_header(header, &context) {
            return Some(error.to_string());
        }
        match connect(&stored.block, &context, spec, &spent(stored)) {
            Ok(connected) if connected.undo != stored.undo => {
                return Some("the undo data is not what the block spends".to_owned());
            }
            Ok(_) => {}
            Err(ConnectError::Rule(error)) => return Some(error.to_string()),
            Err(ConnectError::View(error)) => match error {},
        }
        let finality = &self.reader.published().finality;
        let certified = finality.check(&stored.certificate, &hash);
        let certified =
            certified.and_then(|it| it.map_or(Ok(()), |it| it.check_height(stored.height)));
        if let Err(refusal) = certified {
            return Some(refusal.message);
        }
        if self.plan.level < Level::Signatures {
            return None;
        }
        let checks = block_signatures(&stored.block, &stored.undo);
        verify_signatures(checks).err().map(|error| error.to_string())
    }

    /// Sums up a block's rows; where the index is not compared as a whole, holds those of them that
    /// no later block removes against it.
    fn take_rows(&mut self, stored: &Stored, sums: &mut Sums) -> Result<(), Stop> {
        let mut lasting = Vec::new();
        let is_alone = self.plan.heights.is_some();
        let outcome = stored.each_row(|row| match row {
            Row::Added(key, value) if is_alone && is_lasting(key) => {
                lasting.push((key.to_vec(), value.to_vec()));
            }
            Row::Added(..) | Row::Removed(..) if is_alone => {}
            Row::Added(key, value) => sums.add(key, value),
            Row::Removed(key, value) => sums.remove(key, value),
        });
        match outcome {
            Ok(()) if is_alone => self.check_rows(&lasting),
            Ok(()) => Ok(()),
            Err(problem) => self.damage(Place::Block(stored.block.hash()), problem),
        }
    }

    fn check_rows(&mut self, rows: &[Pair]) -> Result<(), Stop> {
        self.report.rows += rows.len() as u64;
        let wrong = self.read(|view| {
            // After a reorganisation, the index is that of another chain.
            if !view.is_on_main_chain(&self.tip.hash, self.tip.height)? {
                return Ok(Vec::new());
            }
            let mut wrong = Vec::new();
            for (key, value) in rows {
                if view.tip.snapshot.get(key)?.as_ref() != Some(value) {
                    wrong.push(key.clone());
                }
            }
            Ok(wrong)
        })?;
        wrong.into_iter().try_for_each(|key| {
            self.damage(Place::Row(key), "the row is missing or not what its block makes")
        })
    }
}

/// Is the row there as long as its block is on the main chain?
fn is_lasting(key: &[u8]) -> bool {
    let tables = [Table::Height, Table::Transaction, Table::ScriptHistory];
    tables.iter().any(|table| key.first() == Some(&(*table as u8)))
}

/// The outputs that older blocks have created for this one to spend.
fn spent(stored: &Stored) -> Spent {
    let transactions = stored.block.block().transactions.iter().skip(1);
    let inputs = transactions.flat_map(|transaction| &transaction.inputs);
    let spent = inputs.map(|input| input.previous_output).zip(stored.undo.spent.iter().cloned());
    Spent(spent.filter(|(_, utxo)| utxo.height < stored.height).collect())
}
