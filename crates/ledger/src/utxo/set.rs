use std::collections::BTreeMap;
use std::convert::Infallible;

use pentad_primitives::{OutPoint, Utxo};

use super::{UtxoChanges, UtxoView};

/// A UTXO set in memory, in outpoint order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UtxoSet {
    utxos: BTreeMap<OutPoint, Utxo>,
}

impl UtxoSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out what was spent and puts in what was created.
    pub fn apply(&mut self, changes: &UtxoChanges) {
        for (outpoint, _) in &changes.spent {
            self.utxos.remove(outpoint);
        }
        for (outpoint, utxo) in &changes.created {
            self.utxos.insert(*outpoint, utxo.clone());
        }
    }

    /// All entries, in outpoint order.
    pub fn iter(&self) -> impl Iterator<Item = (&OutPoint, &Utxo)> {
        self.utxos.iter()
    }

    /// Number of unspent outputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.utxos.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.utxos.is_empty()
    }
}

impl UtxoView for UtxoSet {
    type Error = Infallible;

    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, Infallible> {
        Ok(self.utxos.get(outpoint).cloned())
    }
}
