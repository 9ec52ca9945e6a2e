//! Merkle trees over transaction ids.

use thiserror::Error;

use crate::hash::{Hash256, MerkleRoot, Txid, sha256d};

/// Deepest path a proof may have: more leaves than any block has bytes.
const DEPTH_MAX: usize = 32;

/// The list ends in a repetition that the tree cannot tell from padding (CVE-2012-2459): another
/// list has the same root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the transaction list repeats itself so that the merkle root stays the same")]
pub struct Mutated;

fn parent(left: &Hash256, right: &Hash256) -> Hash256 {
    let mut pair = [0; 64];
    let (first, second) = pair.split_at_mut(32);
    first.copy_from_slice(left.as_bytes());
    second.copy_from_slice(right.as_bytes());
    sha256d(&pair)
}

/// The level above; the last node of an odd level is paired with itself.
fn level_above(level: &[Hash256]) -> Vec<Hash256> {
    level.chunks(2).filter_map(|pair| Some(parent(pair.first()?, pair.last()?))).collect()
}

fn leaves(txids: &[Txid]) -> Vec<Hash256> {
    txids.iter().map(|txid| Hash256::from_bytes(txid.to_bytes())).collect()
}

/// The root; all zero for no transactions.
#[must_use]
pub fn root(txids: &[Txid]) -> MerkleRoot {
    let mut level = leaves(txids);
    while level.len() > 1 {
        level = level_above(&level);
    }
    level.first().copied().unwrap_or_default().into()
}

/// The root of a list that no other list shares.
///
/// # Errors
/// When two neighbours on some level are equal.
pub fn root_checked(txids: &[Txid]) -> Result<MerkleRoot, Mutated> {
    let mut level = leaves(txids);
    while level.len() > 1 {
        if level.chunks_exact(2).any(|pair| pair.first() == pair.last()) {
            return Err(Mutated);
        }
        level = level_above(&level);
    }
    Ok(level.first().copied().unwrap_or_default().into())
}

/// A path from a leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Index of the leaf in the block.
    pub index: u32,
    /// The neighbours, from the leaves up.
    pub siblings: Vec<Hash256>,
}

impl Proof {
    /// The root that the path leads to; none where the index does not fit the path, or lies in the
    /// tree's padding.
    ///
    /// An inner node has the length of a 64-byte transaction: blocks with such a transaction are
    /// invalid, so a path cannot pass an inner node off as a leaf.
    #[must_use]
    pub fn root(&self, txid: &Txid) -> Option<MerkleRoot> {
        if self.siblings.len() > DEPTH_MAX {
            return None;
        }
        let mut node = Hash256::from_bytes(txid.to_bytes());
        let mut index = self.index;
        for sibling in &self.siblings {
            node = match index & 1 {
                0 => parent(&node, sibling),
                // A right node is never the twin of its left: that is padding, at an index where
                // there is no leaf (CVE-2012-2459).
                _ if *sibling == node => return None,
                _ => parent(sibling, &node),
            };
            index >>= 1;
        }
        (index == 0).then(|| node.into())
    }
}

/// The path of the transaction at `index`; none when there is no such transaction.
#[must_use]
pub fn prove(txids: &[Txid], index: u32) -> Option<Proof> {
    let mut at = usize::try_from(index).ok().filter(|at| *at < txids.len())?;
    let mut level = leaves(txids);
    let mut siblings = Vec::new();
    while level.len() > 1 {
        let sibling = level.get(at ^ 1).or_else(|| level.get(at))?;
        siblings.push(*sibling);
        level = level_above(&level);
        at >>= 1;
    }
    Some(Proof { index, siblings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txids(count: u8) -> Vec<Txid> {
        (0..count).map(|n| sha256d(&[n]).into()).collect()
    }

    #[test]
    fn every_leaf_of_every_size_has_a_proof() {
        for count in 1..40 {
            let txids = txids(count);
            let root = root(&txids);
            assert_eq!(root_checked(&txids), Ok(root));
            for (index, txid) in (0..).zip(&txids) {
                let proof = prove(&txids, index).unwrap();
                assert_eq!(proof.root(txid), Some(root));
                assert_ne!(proof.root(&Txid::ZERO), Some(root));
                let moved = Proof { index: index + 64, ..proof };
                assert_eq!(moved.root(txid), None);
            }
            assert_eq!(prove(&txids, count.into()), None);
        }
    }

    #[test]
    fn cve_2012_2459_padding_has_no_proof() {
        // Of three leaves, the last is its own neighbour.
        let txids = self::txids(3);
        let proof = prove(&txids, 2).unwrap();
        assert_eq!(proof.siblings[0], Hash256::from_bytes(txids[2].to_bytes()));
        assert_eq!(Proof { index: 3, ..proof }.root(&txids[2]), None);
        // Of five, it is so two levels up.
        let txids = self::txids(5);
        let proof = prove(&txids, 4).unwrap();
        for index in 5..8 {
            let padding = Proof { index, ..proof.clone() };
            assert_eq!(padding.root(&txids[4]), None, "{index}");
        }
    }

    #[test]
    fn cve_2012_2459_a_repeated_tail_is_seen() {
        for count in 1..20_u8 {
            let list = txids(count);
            for width in [1, 2, 4, 8] {
                if list.len() > width && list.len() % (2 * width) == width {
                    let mut longer = list.clone();
                    longer.extend_from_slice(&list[list.len() - width..]);
                    assert_eq!(root(&longer), root(&list));
                    assert_eq!(root_checked(&longer), Err(Mutated));
                }
            }
        }
    }
}
