//! A ledger small enough to be checked by eye: blocks chained by their parent's digest, holding
//! numbers that may each be spent once.

use std::collections::BTreeSet;
use std::sync::Arc;

use pentad_pbft::CommitCertificate;
use pentad_primitives::{Hash256, sha256d};

/// A transaction: a number that may be included once.
pub type Transaction = u64;

/// A transaction with this bit is invalid (think of a signature by another's key).
pub const INVALID: Transaction = 1 << 63;
/// Transactions a block has room for.
pub const BLOCK_TRANSACTIONS_MAX: usize = 4;
/// How far a first proposal's time may lie ahead of a validator's clock, as in the chain's rules.
pub const FUTURE_MS_MAX: i64 = 2 * 60 * 60 * 1000;

/// What the opaque body of a proposal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub parent: Hash256,
    pub height: u64,
    /// Whose payout the coinbase pays.
    pub proposer: u16,
    /// Milliseconds, by the proposer's clock but never before the parent's.
    pub time_ms: i64,
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// The block before all others; its digest is the chain id.
    #[must_use]
    pub fn genesis() -> Self {
        Self { parent: Hash256::ZERO, height: 0, proposer: 0, time_ms: 0, transactions: Vec::new() }
    }

    #[must_use]
    pub fn encode(&self) -> Arc<[u8]> {
        let mut bytes = self.parent.as_bytes().to_vec();
        bytes.extend(self.height.to_le_bytes());
        bytes.extend(self.proposer.to_le_bytes());
        bytes.extend(self.time_ms.to_le_bytes());
        for transaction in &self.transactions {
            bytes.extend(transaction.to_le_bytes());
        }
        bytes.into()
    }

    /// Strict: there is one encoding of each block.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (parent, rest) = bytes.split_first_chunk::<32>()?;
        let (height, rest) = rest.split_first_chunk::<8>()?;
        let (proposer, rest) = rest.split_first_chunk::<2>()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (transactions, []) = rest.as_chunks::<8>() else {
            return None;
        };
        Some(Self {
            parent: Hash256::from_bytes(*parent),
            height: u64::from_le_bytes(*height),
            proposer: u16::from_le_bytes(*proposer),
            time_ms: i64::from_le_bytes(*time),
            transactions: transactions.iter().map(|tx| u64::from_le_bytes(*tx)).collect(),
        })
    }
}

/// The id of a block: the hash of its body.
#[must_use]
pub fn digest_of(body: &[u8]) -> Hash256 {
    sha256d(body)
}

#[must_use]
pub fn genesis_digest() -> Hash256 {
    digest_of(&Block::genesis().encode())
}

/// A block that is final here, with what proves it.
#[derive(Clone, Debug)]
pub struct FinalBlock {
    pub digest: Hash256,
    pub body: Arc<[u8]>,
    pub certificate: CommitCertificate,
    /// Hash of the state after it.
    pub root: Hash256,
}

/// The chain of one replica: durable, as the block log is.
#[derive(Clone, Debug)]
pub struct Ledger {
    blocks: Vec<FinalBlock>,
    included: BTreeSet<Transaction>,
    root: Hash256,
    tip_time_ms: i64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            included: BTreeSet::new(),
            root: Hash256::ZERO,
            tip_time_ms: Block::genesis().time_ms,
        }
    }
}

/// Who may be paid and which bound on the time holds: what a check depends on.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The only one a first proposal may pay.
    pub proposer: Option<u16>,
    /// The local clock, where the bound on the future holds.
    pub now_ms: Option<i64>,
    /// Replicas of the network: a payout to anyone else is invalid.
    pub replicas: u16,
}

impl Ledger {
    #[must_use]
    pub fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    #[must_use]
    pub fn tip(&self) -> Hash256 {
        self.blocks.last().map_or_else(genesis_digest, |block| block.digest)
    }

    #[must_use]
    pub const fn tip_time_ms(&self) -> i64 {
        self.tip_time_ms
    }

    /// The hash of the state after the last block.
    #[must_use]
    pub const fn root(&self) -> Hash256 {
        self.root
    }

    /// The final block at `height`; none at 0 and above the tip.
    #[must_use]
    pub fn block(&self, height: u64) -> Option<&FinalBlock> {
        self.blocks.get(usize::try_from(height.checked_sub(1)?).ok()?)
    }

    #[must_use]
    pub fn includes(&self, transaction: Transaction) -> bool {
        self.included.contains(&transaction)
    }

    /// Whether `block` may follow `ancestors`, which follow the tip and are not final yet.
    pub fn validate(
        &self,
        ancestors: &[Block],
        block: &Block,
        terms: Terms,
    ) -> Result<(), &'static str> {
        let (height, time_ms) = ancestors
            .last()
            .map_or((self.height(), self.tip_time_ms), |last| (last.height, last.time_ms));
        if block.height != height + 1 {
            return Err("wrong height");
        }
        if block.time_ms < time_ms {
            return Err("time before the parent's");
        }
        if terms.now_ms.is_some_and(|now| block.time_ms > now + FUTURE_MS_MAX) {
            return Err("time too far ahead");
        }
        if block.proposer >= terms.replicas || terms.proposer.is_some_and(|id| id != block.proposer)
        {
            return Err("pays to the wrong validator");
        }
        if block.transactions.is_empty() || block.transactions.len() > BLOCK_TRANSACTIONS_MAX {
            return Err("empty or too large");
        }
        let mut seen = BTreeSet::new();
        for transaction in &block.transactions {
            let spent = self.includes(*transaction)
                || ancestors.iter().any(|other| other.transactions.contains(transaction));
            if transaction & INVALID != 0 || spent || !seen.insert(transaction) {
                return Err("invalid or spent transaction");
            }
        }
        Ok(())
    }

    /// Appends a block, which has been validated or is certified.
    pub fn append(&mut self, block: &Block, body: Arc<[u8]>, certificate: CommitCertificate) {
        let digest = digest_of(&body);
        self.included.extend(&block.transactions);
        let mut state = self.root.as_bytes().to_vec();
        state.extend(digest.as_bytes());
        self.root = sha256d(&state);
        self.tip_time_ms = block.time_ms;
        self.blocks.push(FinalBlock { digest, body, certificate, root: self.root });
    }

    /// Bit rot: from now on the state differs from everybody else's.
    pub fn damage_state(&mut self) {
        self.root = sha256d(self.root.as_bytes());
    }

    /// Loses the newest block: what a disk that lies about fsync does. Only to show that the
    /// checkers see it.
    pub fn forget_tip(&mut self) {
        if let Some(lost) = self.blocks.pop()
            && let Some(block) = Block::decode(&lost.body)
        {
            for transaction in block.transactions {
                self.included.remove(&transaction);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(transactions: Vec<Transaction>) -> Block {
        Block { parent: genesis_digest(), height: 1, proposer: 2, time_ms: 5, transactions }
    }

    const ANY: Terms = Terms { proposer: None, now_ms: None, replicas: 4 };

    #[test]
    fn blocks_are_encoded_in_one_way() {
        let one = block(vec![7, 8]);
        let bytes = one.encode();
        assert_eq!(Block::decode(&bytes), Some(one));
        assert_eq!(Block::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn what_the_rules_forbid_is_invalid() {
        let ledger = Ledger::default();
        let check = |block: &Block, terms| ledger.validate(&[], block, terms);
        assert_eq!(check(&block(vec![7]), ANY), Ok(()));
        assert!(check(&block(vec![]), ANY).is_err());
        assert!(check(&block(vec![7, 7]), ANY).is_err());
        assert!(check(&block(vec![7 | INVALID]), ANY).is_err());
        assert!(check(&block(vec![1, 2, 3, 4, 5]), ANY).is_err());
        assert!(check(&block(vec![7]), Terms { proposer: Some(1), ..ANY }).is_err());
        assert!(check(&block(vec![7]), Terms { replicas: 2, ..ANY }).is_err());
        let early = Terms { now_ms: Some(4 - FUTURE_MS_MAX), ..ANY };
        assert!(check(&block(vec![7]), early).is_err());
        let second = Block { height: 2, ..block(vec![7]) };
        assert_eq!(ledger.validate(&[block(vec![8])], &second, ANY), Ok(()));
        assert!(ledger.validate(&[block(vec![7])], &second, ANY).is_err());
    }
}
