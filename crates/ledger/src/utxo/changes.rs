use std::collections::BTreeMap;

use pentad_crypto::script;
use pentad_primitives::{BlockHeight, OutPoint, Script, Utxo};
use thiserror::Error;

use super::BlockUndo;
use crate::verify::CheckedBlock;

/// What a block does to the UTXO set, net: outputs created and spent within it are in neither list.
/// Applied in this order: take out `spent`, then put in `created`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UtxoChanges {
    /// Taken out.
    pub spent: Vec<(OutPoint, Utxo)>,
    /// Put in.
    pub created: Vec<(OutPoint, Utxo)>,
}

/// Why undo data does not belong to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UndoError {
    /// One spent output per input, no more, no less.
    #[error("undo data holds {found} outputs, the block spends {expected}")]
    Count {
        /// Inputs of the block's transactions, coinbase aside.
        expected: usize,
        /// Outputs in the undo data.
        found: usize,
    },
}

impl UtxoChanges {
    /// The changes of connecting a block. Disconnecting it is their [`inverse`](Self::inverse):
    /// there is no other path.
    ///
    /// # Errors
    /// The undo data is another block's.
    pub fn of_block(
        block: &CheckedBlock,
        height: BlockHeight,
        undo: &BlockUndo,
    ) -> Result<Self, UndoError> {
        let transactions = &block.block().transactions;
        let expected = transactions.iter().skip(1).map(|t| t.inputs.len()).sum();
        let found = undo.spent.len();
        if expected != found {
            return Err(UndoError::Count { expected, found });
        }
        Ok(Self::of_resolved(block, height, undo))
    }

    /// As [`of_block`](Self::of_block), for undo data that is known to fit.
    pub(crate) fn of_resolved(block: &CheckedBlock, height: BlockHeight, undo: &BlockUndo) -> Self {
        let transactions = &block.block().transactions;
        let mut spent = BTreeMap::new();
        let mut created = BTreeMap::new();
        let mut undo = undo.spent.iter();
        for (index, (transaction, txid)) in transactions.iter().zip(block.txids()).enumerate() {
            let from_coinbase = index == 0;
            if !from_coinbase {
                for (input, utxo) in transaction.inputs.iter().zip(undo.by_ref()) {
                    if created.remove(&input.previous_output).is_none() {
                        spent.insert(input.previous_output, utxo.clone());
                    }
                }
            }
            for (vout, output) in (0..).zip(&transaction.outputs) {
                if is_spendable(&output.script_pubkey) {
                    let outpoint = OutPoint { txid: *txid, vout };
                    let utxo = Utxo { output: output.clone(), height, from_coinbase };
                    created.insert(outpoint, utxo);
                }
            }
        }
        Self { spent: spent.into_iter().collect(), created: created.into_iter().collect() }
    }

    /// The changes that take these back.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self { spent: self.created, created: self.spent }
    }
}

/// Data outputs never enter the UTXO set.
#[must_use]
pub fn is_spendable(script_pubkey: &Script) -> bool {
    !matches!(script::classify(script_pubkey), Some(script::ScriptTemplate::Data(_)))
}
