//! A block's place in the UTXO set: connecting and disconnecting.

use std::collections::{HashMap, HashSet};

use pentad_primitives::hash::Txid;
use pentad_primitives::{Amount, BlockHeight, OutPoint, Transaction, Utxo};
use thiserror::Error;

use crate::coinbase;
use crate::spec::{ChainSpec, Pbft};
use crate::utxo::{BlockUndo, UndoError, UtxoChanges, UtxoView, is_spendable};
use crate::verify::CheckedBlock;
use crate::verify::contextual::{self, BlockContext, BlockError, TransactionError};

/// What connecting a block yields. Its signatures are still to be checked
/// ([`block_signatures`](crate::verify::block_signatures)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// What it takes to disconnect the block again, and ([`UtxoChanges::of_block`]) what the block
    /// does to the UTXO set.
    pub undo: BlockUndo,
    /// Sum of the fees.
    pub fees: Amount,
}

/// Why a block cannot be connected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConnectError<E> {
    /// The block breaks a rule.
    #[error(transparent)]
    Rule(#[from] BlockError),
    /// The UTXO set cannot be read; nothing is said about the block.
    #[error("cannot read the UTXO set: {0}")]
    View(E),
}

/// Checks a block against the UTXO set at its parent: every rule but the signatures.
///
/// # Errors
/// The first rule broken, or the view's own error.
pub fn connect<V: UtxoView>(
    block: &CheckedBlock,
    context: &BlockContext,
    spec: &ChainSpec,
    view: &V,
) -> Result<Connected, ConnectError<V::Error>> {
    check_coinbase_height(block, context.height)?;
    check_coinbase_is_new(block, view)?;
    let inputs = block.block().transactions.iter().skip(1).map(|tx| tx.inputs.len());
    let inputs = inputs.fold(0, usize::saturating_add);
    let mut resolver = Resolver::new(block, context.height, view, inputs);
    let mut undo = BlockUndo { spent: Vec::with_capacity(inputs) };
    let mut fees = Amount::ZERO;
    for (index, transaction) in block.block().transactions.iter().enumerate() {
        let at = |source| BlockError::Transaction { index, source };
        contextual::check_final(transaction, context.height, context.median_time_past)
            .map_err(at)?;
        if index > 0 {
            let start = undo.spent.len();
            resolver.resolve(index, transaction, &mut undo.spent)?;
            let spent = undo.spent.get(start..).unwrap_or_default();
            let maturity = spec.coinbase_maturity();
            let fee = contextual::check_spends(transaction, spent, context.height, maturity)
                .map_err(at)?;
            fees = fees.checked_add(fee).ok_or(BlockError::FeeOverflow)?;
        }
        resolver.add(index);
    }
    let reward = spec.subsidy(context.height).checked_add(fees).ok_or(BlockError::FeeOverflow)?;
    match spec.pbft() {
        None => check_coinbase_amount(block, reward)?,
        Some(pbft) => check_coinbase_pays_validator(block, pbft, reward)?,
    }
    Ok(Connected { undo, fees })
}

/// The changes that take a block off the chain again.
///
/// # Errors
/// The undo data is another block's.
pub fn disconnect(
    block: &CheckedBlock,
    height: BlockHeight,
    undo: &BlockUndo,
) -> Result<UtxoChanges, UndoError> {
    UtxoChanges::of_block(block, height, undo).map(UtxoChanges::inverse)
}

/// The genesis block's changes: its outputs, for which nobody had to answer.
#[must_use]
pub fn genesis(spec: &ChainSpec) -> UtxoChanges {
    let block = CheckedBlock::assume_valid(spec.genesis_block().clone());
    UtxoChanges::of_resolved(&block, BlockHeight::GENESIS, &BlockUndo::default())
}

/// Finds what transactions spend: outputs of the view, or of the same block further up.
struct Resolver<'a, V> {
    block: &'a CheckedBlock,
    height: BlockHeight,
    view: &'a V,
    /// Transactions passed so far, by id: position in the block.
    passed: HashMap<Txid, usize>,
    spent: HashSet<OutPoint>,
}

impl<'a, V: UtxoView> Resolver<'a, V> {
    /// For a block with so many inputs.
    fn new(block: &'a CheckedBlock, height: BlockHeight, view: &'a V, inputs: usize) -> Self {
        let passed = HashMap::with_capacity(block.txids().len());
        Self { block, height, view, passed, spent: HashSet::with_capacity(inputs) }
    }

    /// From now on, this transaction's outputs can be spent.
    fn add(&mut self, index: usize) {
        if let Some(txid) = self.block.txids().get(index) {
            self.passed.insert(*txid, index);
        }
    }

    /// Appends the outputs that the inputs of transaction `index` name, in order.
    fn resolve(
        &mut self,
        index: usize,
        transaction: &Transaction,
        spent: &mut Vec<Utxo>,
    ) -> Result<(), ConnectError<V::Error>> {
        for (input, tx_in) in transaction.inputs.iter().enumerate() {
            let outpoint = tx_in.previous_output;
            let at = |source| BlockError::Transaction { index, source };
            if !self.spent.insert(outpoint) {
                return Err(at(TransactionError::SpentInBlock { input, outpoint }).into());
            }
            let utxo = match self.passed.get(&outpoint.txid) {
                Some(&parent) => self.output_in_block(parent, &outpoint),
                None => self.view.utxo(&outpoint).map_err(ConnectError::View)?,
            };
            let missing = || at(TransactionError::MissingInput { input, outpoint });
            spent.push(utxo.ok_or_else(missing)?);
        }
        Ok(())
    }

    fn output_in_block(&self, parent: usize, outpoint: &OutPoint) -> Option<Utxo> {
        let transaction = self.block.block().transactions.get(parent)?;
        let output = transaction.outputs.get(usize::try_from(outpoint.vout).ok()?)?;
        is_spendable(&output.script_pubkey).then(|| Utxo {
            output: output.clone(),
            height: self.height,
            from_coinbase: parent == 0,
        })
    }
}

fn check_coinbase_height(block: &CheckedBlock, height: BlockHeight) -> Result<(), BlockError> {
    let input = block.block().transactions.first().and_then(|coinbase| coinbase.inputs.first());
    let commitment = input.and_then(|input| coinbase::commitment(&input.script_sig));
    if commitment.is_none_or(|commitment| commitment.height != height) {
        return Err(BlockError::CoinbaseHeight { expected: height });
    }
    Ok(())
}

/// BIP30. The height in the coinbase makes it true already; one read per block keeps it so should
/// that ever break. Other transactions spend what only they can spend, so they cannot repeat.
fn check_coinbase_is_new<V: UtxoView>(
    block: &CheckedBlock,
    view: &V,
) -> Result<(), ConnectError<V::Error>> {
    if let Some(txid) = block.txids().first() {
        let outpoint = OutPoint { txid: *txid, vout: 0 };
        if view.utxo(&outpoint).map_err(ConnectError::View)?.is_some() {
            return Err(BlockError::DuplicateCoinbase { outpoint }.into());
        }
    }
    Ok(())
}

fn check_coinbase_amount(block: &CheckedBlock, allowed: Amount) -> Result<(), BlockError> {
    let outputs = block.block().transactions.first().map(|coinbase| coinbase.outputs.as_slice());
    // Its form was checked: the outputs have a sum. Were it not, it would not be allowed.
    let paid = outputs.and_then(contextual::sum).unwrap_or(Amount::MAX_MONEY);
    if paid > allowed {
        return Err(BlockError::CoinbaseExcess { paid, allowed });
    }
    Ok(())
}

/// Under PBFT: who proposed the block gets all of the reward; nobody mines for it, so an empty
/// block has no reason to be but a heartbeat.
fn check_coinbase_pays_validator(
    block: &CheckedBlock,
    pbft: &Pbft,
    expected: Amount,
) -> Result<(), BlockError> {
    let transactions = &block.block().transactions;
    let outputs = transactions.first().map_or(&[][..], |coinbase| &coinbase.outputs);
    let [output] = outputs else {
        return Err(BlockError::CoinbaseOutputs { found: outputs.len() });
    };
    if !pbft.validators.iter().any(|it| it.payout.script_pubkey() == output.script_pubkey) {
        return Err(BlockError::CoinbasePayee);
    }
    if output.amount != expected {
        return Err(BlockError::CoinbaseAmount { paid: output.amount, expected });
    }
    if transactions.len() == 1 && pbft.heartbeat_ms == 0 {
        return Err(BlockError::Empty);
    }
    Ok(())
}
