use std::collections::BTreeMap;

use pentad_primitives::{OutPoint, Utxo};

use super::{UtxoChanges, UtxoView};

/// Changes on top of a view: a reorganisation is tried here, and reaches the base whole or not.
#[derive(Debug)]
pub struct UtxoOverlay<V> {
    base: V,
    above: BTreeMap<OutPoint, Delta>,
}

/// One outpoint in the base and above it. Both are kept, for a reorganisation may put an output
/// back at another height.
#[derive(Debug, Default)]
struct Delta {
    base: Option<Utxo>,
    now: Option<Utxo>,
}

impl<V: UtxoView> UtxoOverlay<V> {
    /// Nothing above `base` yet.
    pub fn new(base: V) -> Self {
        Self { base, above: BTreeMap::new() }
    }

    /// Adds the changes of one block, connected or disconnected.
    pub fn apply(&mut self, changes: &UtxoChanges) {
        for (outpoint, utxo) in &changes.spent {
            let in_base = || Delta { base: Some(utxo.clone()), now: None };
            self.above.entry(*outpoint).or_insert_with(in_base).now = None;
        }
        for (outpoint, utxo) in &changes.created {
            self.above.entry(*outpoint).or_default().now = Some(utxo.clone());
        }
        let touched = changes.spent.iter().chain(&changes.created);
        for (outpoint, _) in touched {
            if self.above.get(outpoint).is_some_and(|delta| delta.base == delta.now) {
                self.above.remove(outpoint);
            }
        }
    }

    /// All changes together, net, in outpoint order.
    #[must_use]
    pub fn into_changes(self) -> UtxoChanges {
        let mut changes = UtxoChanges::default();
        for (outpoint, delta) in self.above {
            changes.spent.extend(delta.base.map(|utxo| (outpoint, utxo)));
            changes.created.extend(delta.now.map(|utxo| (outpoint, utxo)));
        }
        changes
    }
}

impl<V: UtxoView> UtxoView for UtxoOverlay<V> {
    type Error = V::Error;

    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, V::Error> {
        match self.above.get(outpoint) {
            Some(delta) => Ok(delta.now.clone()),
            None => self.base.utxo(outpoint),
        }
    }
}
