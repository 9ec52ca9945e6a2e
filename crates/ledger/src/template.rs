//! Block templates: the transactions that pay best, in a block that lacks only its nonce.

use std::collections::{BTreeMap, BTreeSet};

use pentad_crypto::script;
use pentad_primitives::encode::{CompactSize, Encode};
use pentad_primitives::hash::Txid;
use pentad_primitives::merkle::{self, Proof};
use pentad_primitives::pow::CompactTarget;
use pentad_primitives::{Amount, Block, BlockHeader, BlockHeight, Script, Transaction, TxOut};
use thiserror::Error;

use crate::coinbase;
use crate::mempool::{Entry, Mempool, Score, Totals};
use crate::spec::ChainSpec;
use crate::verify::contextual::BlockContext;

/// Packages that did not fit before the search ends: the block is as good as full.
const MISFITS_MAX: usize = 100;
/// Bytes of the number that ends a coinbase's scriptSig.
const EXTRA_NONCE_LEN: usize = 8;

/// A block that lacks only its nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTemplate {
    block: Block,
    /// Of its transactions, the coinbase apart.
    txids: Vec<Txid>,
    height: BlockHeight,
    fees: Amount,
    min_time: u32,
    tag: [u8; coinbase::TAG_LEN],
    /// From the coinbase to the merkle root.
    branch: Proof,
}

/// Why there is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The payout script is none of the templates.
    #[error("payout script is neither P2PKH nor P2SH")]
    Payout,
    /// Under PBFT, a block that pays anybody else is invalid.
    #[error("payout script is not the payout address of a validator of the chain spec")]
    NoValidator,
    /// The reward is no amount.
    #[error("subsidy and fees exceed 21 million coins")]
    Reward,
}

impl BlockTemplate {
    /// Builds a block for the place that `context` describes. Its time is `now`, or the least that
    /// it may be if the clock is behind that.
    ///
    /// # Errors
    /// The payout script is unusable.
    pub fn build(
        context: &BlockContext,
        mempool: &Mempool,
        spec: &ChainSpec,
        payout: Script,
        now: u32,
    ) -> Result<Self, TemplateError> {
        if !crate::utxo::is_spendable(&payout) || script::classify(&payout).is_none() {
            return Err(TemplateError::Payout);
        }
        if let Some(pbft) = spec.pbft()
            && !pbft.validators.iter().any(|it| it.payout.script_pubkey() == payout)
        {
            return Err(TemplateError::NoValidator);
        }
        let tag = coinbase::tag(spec.genesis_hash().as_bytes());
        let subsidy = spec.subsidy(context.height);
        let mut coinbase = build_coinbase(context.height, &tag, 0, subsidy, payout);
        let room = room_for_transactions(spec, &coinbase);
        let mut selection = Selection::new(mempool, room, subsidy);
        selection.run();
        let fees = selection.fees;
        let reward = subsidy.checked_add(fees).ok_or(TemplateError::Reward)?;
        if let Some(output) = coinbase.outputs.first_mut() {
            output.amount = reward;
        }
        let mut txids = vec![coinbase.txid()];
        let mut transactions = vec![coinbase];
        for entry in &selection.chosen {
            txids.push(entry.txid());
            transactions.push(Transaction::clone(entry.transaction()));
        }
        let branch = merkle::prove(&txids, 0).ok_or(TemplateError::Reward)?;
        let header = BlockHeader {
            version: coinbase::BLOCK_VERSION,
            prev_block_hash: context.prev_block_hash,
            merkle_root: merkle::root(&txids),
            time: now.max(context.min_time),
            bits: context.bits,
            nonce: 0,
        };
        let block = Block { header, transactions };
        let (height, min_time) = (context.height, context.min_time);
        let txids = txids.split_off(1);
        Ok(Self { block, txids, height, fees, min_time, tag, branch })
    }

    /// The block, its nonce 0.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Ids of its transactions in their order, the coinbase apart.
    #[must_use]
    pub fn txids(&self) -> &[Txid] {
        &self.txids
    }

    /// The block, to be solved.
    #[must_use]
    pub fn into_block(self) -> Block {
        self.block
    }

    /// Its height.
    #[must_use]
    pub fn height(&self) -> BlockHeight {
        self.height
    }

    /// What its transactions pay beside the subsidy.
    #[must_use]
    pub fn fees(&self) -> Amount {
        self.fees
    }

    /// The least time that the header may have, Unix seconds.
    #[must_use]
    pub fn min_time(&self) -> u32 {
        self.min_time
    }

    /// The target to meet.
    #[must_use]
    pub fn bits(&self) -> CompactTarget {
        self.block.header.bits
    }

    /// The path from the coinbase to the merkle root: what a miner needs to change the coinbase.
    #[must_use]
    pub fn branch(&self) -> &Proof {
        &self.branch
    }

    /// Where in the coinbase's scriptSig the 8 bytes of the extra nonce (little-endian) begin.
    #[must_use]
    pub fn extra_nonce_offset(&self) -> usize {
        let input = self.block.transactions.first().and_then(|coinbase| coinbase.inputs.first());
        let length = input.map_or(0, |input| input.script_sig.as_bytes().len());
        length.saturating_sub(EXTRA_NONCE_LEN)
    }

    /// Puts another number into the coinbase, for 2³² more nonces to try.
    pub fn set_extra_nonce(&mut self, extra_nonce: u64) {
        let script_sig = script_sig(self.height, &self.tag, extra_nonce);
        let Some(coinbase) = self.block.transactions.first_mut() else {
            return;
        };
        if let Some(input) = coinbase.inputs.first_mut() {
            input.script_sig = script_sig;
        }
        if let Some(root) = self.branch.root(&coinbase.txid()) {
            self.block.header.merkle_root = root;
        }
    }
}

fn build_coinbase(
    height: BlockHeight,
    tag: &[u8; coinbase::TAG_LEN],
    extra_nonce: u64,
    amount: Amount,
    script_pubkey: Script,
) -> Transaction {
    let output = TxOut { amount, script_pubkey };
    coinbase::transaction(script_sig(height, tag, extra_nonce), vec![output])
}

fn script_sig(height: BlockHeight, tag: &[u8; coinbase::TAG_LEN], extra_nonce: u64) -> Script {
    let mut push = vec![8];
    push.extend_from_slice(&extra_nonce.to_le_bytes());
    coinbase::script_sig(height, tag, &push)
}

/// Bytes that a block leaves for transactions beside header, count and coinbase.
fn room_for_transactions(spec: &ChainSpec, coinbase: &Transaction) -> usize {
    let count = CompactSize::new(u64::from(u32::MAX)).encoded_len();
    let taken = BlockHeader::LEN.saturating_add(count).saturating_add(coinbase.encoded_len());
    let max = usize::try_from(spec.limits().block_bytes).unwrap_or(usize::MAX);
    max.saturating_sub(taken)
}

/// The choice of transactions by the fee rate they have together with their ancestors, as in
/// Bitcoin Core: each step takes the best package, then counts its descendants without it.
struct Selection<'a> {
    mempool: &'a Mempool,
    room: usize,
    /// Subsidy: with the fees, it must stay an amount.
    subsidy: Amount,
    fees: Amount,
    chosen: Vec<&'a Entry>,
    chosen_ids: BTreeSet<Txid>,
    /// Transactions some of whose ancestors are chosen: what is left of their packages.
    changed: BTreeMap<Txid, Totals>,
    changed_by_score: BTreeSet<(Score, Txid)>,
    misfits: BTreeSet<Txid>,
}

impl<'a> Selection<'a> {
    fn new(mempool: &'a Mempool, room: usize, subsidy: Amount) -> Self {
        Self {
            mempool,
            room,
            subsidy,
            fees: Amount::ZERO,
            chosen: Vec::new(),
            chosen_ids: BTreeSet::new(),
            changed: BTreeMap::new(),
            changed_by_score: BTreeSet::new(),
            misfits: BTreeSet::new(),
        }
    }

    fn run(&mut self) {
        let mut unchanged = self.mempool.by_mining_score().peekable();
        while self.misfits.len() < MISFITS_MAX {
            let is_done = |txid: &Txid| {
                self.chosen_ids.contains(txid)
                    || self.misfits.contains(txid)
                    || self.changed.contains_key(txid)
            };
            while unchanged.next_if(|entry| is_done(&entry.txid())).is_some() {}
            let changed = self.changed_by_score.last().copied();
            let next = match (unchanged.peek(), changed) {
                (Some(entry), Some((score, _))) if entry.mining_score() >= score => entry,
                (_, Some((_, txid))) => match self.mempool.get(&txid) {
                    Some(entry) => entry,
                    None => return,
                },
                (Some(entry), None) => entry,
                (None, None) => return,
            };
            self.choose(next);
        }
    }

    /// Takes a transaction with the ancestors it still needs, or puts it aside if they do not fit.
    fn choose(&mut self, entry: &'a Entry) {
        self.forget_change(&entry.txid());
        let mut package = self.mempool.ancestors(entry);
        package.push(entry);
        package.retain(|entry| !self.chosen_ids.contains(&entry.txid()));
        // A parent has fewer ancestors than its child.
        package.sort_by_key(|entry| entry.ancestors().count);
        let totals = package.iter().map(|e| e.own()).fold(Totals::default(), Totals::plus);
        let fees = Amount::from_units(self.fees.units().saturating_add(totals.fees)).ok();
        let payable = fees.filter(|fees| fees.checked_add(self.subsidy).is_some());
        let (Some(fees), true) = (payable, totals.bytes <= self.room) else {
            self.misfits.insert(entry.txid());
            return;
        };
        self.fees = fees;
        self.room = self.room.saturating_sub(totals.bytes);
        for entry in package {
            self.forget_change(&entry.txid());
            self.chosen_ids.insert(entry.txid());
            self.chosen.push(entry);
            for descendant in self.mempool.descendants(entry) {
                self.reduce(descendant, entry.own());
            }
        }
    }

    /// One ancestor of this transaction is chosen: its package is smaller now.
    fn reduce(&mut self, entry: &Entry, ancestor: Totals) {
        let txid = entry.txid();
        if self.chosen_ids.contains(&txid) {
            return;
        }
        let before = self.forget_change(&txid).unwrap_or_else(|| entry.ancestors());
        let left = before.minus(ancestor);
        self.changed.insert(txid, left);
        if !self.misfits.contains(&txid) {
            self.changed_by_score.insert((package_score(entry, left), txid));
        }
    }

    fn forget_change(&mut self, txid: &Txid) -> Option<Totals> {
        let left = self.changed.remove(txid)?;
        if let Some(entry) = self.mempool.get(txid) {
            self.changed_by_score.remove(&(package_score(entry, left), *txid));
        }
        Some(left)
    }
}

/// What a miner gains by a transaction: no more than the rest of its package leaves of it.
fn package_score(entry: &Entry, package: Totals) -> Score {
    entry.own().score().min(package.score())
}
