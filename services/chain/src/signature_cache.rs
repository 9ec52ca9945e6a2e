//! Transactions whose signatures have been verified, so that nobody verifies them again: in the
//! mempool, in a block, after a reorganisation.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pentad_primitives::hash::sha256;
use pentad_primitives::{TxOut, Txid};

/// Keys of one generation. Two of them take 9 MB and hold what a full mempool holds.
const GENERATION_LEN_MAX: usize = 114_000;
/// Bytes of a key: to hit one by chance takes 2¹²⁸ tries, to aim at one takes the salt.
const KEY_LEN: usize = 16;

/// A transaction and the outputs that it spends.
///
/// The txid covers what the signatures sign and the signatures themselves. The outputs are those
/// that the caller found at the transaction's outpoints: where they were others, the key is
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Verified([u8; KEY_LEN]);

/// A bounded set of [`Verified`]. What has not been asked for goes first.
#[derive(Debug)]
pub(crate) struct SignatureCache {
    salt: [u8; 32],
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Verified>,
    old: HashSet<Verified>,
}

impl SignatureCache {
    pub(crate) fn new() -> Self {
        // The standard library seeds its hash maps from the system's entropy.
        let random = RandomState::new();
        let mut salt = [0; 32];
        for (number, part) in (0_u8..).zip(salt.chunks_mut(8)) {
            part.copy_from_slice(&random.hash_one(number).to_le_bytes());
        }
        Self { salt, generations: Mutex::default() }
    }

    /// The key of a transaction that spends these outputs, in order.
    pub(crate) fn key<'a>(
        &self,
        txid: &Txid,
        spent: impl IntoIterator<Item = &'a TxOut>,
    ) -> Verified {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(txid.as_bytes());
        for output in spent {
            let script = output.script_pubkey.as_bytes();
            bytes.extend_from_slice(&output.amount.units().to_le_bytes());
            bytes.extend_from_slice(&(script.len() as u64).to_le_bytes());
            bytes.extend_from_slice(script);
        }
        let hash = sha256(&bytes);
        let (key, _) = hash.split_first_chunk().expect("a hash is longer than a key");
        Verified(*key)
    }

    /// Have all signatures of the transaction been verified?
    pub(crate) fn contains(&self, key: &Verified) -> bool {
        let mut generations = self.lock();
        if generations.young.contains(key) {
            return true;
        }
        let is_old = generations.old.remove(key);
        if is_old {
            generations.insert(*key);
        }
        is_old
    }

    /// Notes that all signatures of the transaction have been verified.
    pub(crate) fn insert(&self, key: Verified) {
        self.lock().insert(key);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, key: Verified) {
        if self.young.len() >= GENERATION_LEN_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{Amount, Script};

    use super::*;

    fn output(units: u64, script: &[u8]) -> TxOut {
        let amount = Amount::from_units(units).expect("small");
        TxOut { amount, script_pubkey: Script::from(script.to_vec()) }
    }

    #[test]
    fn key_names_the_transaction_and_every_output_it_spends() {
        let cache = SignatureCache::new();
        let txid = Txid::from_bytes([1; 32]);
        let (one, two) = (output(1, b"ab"), output(2, b"c"));
        let key = cache.key(&txid, [&one, &two]);
        assert_eq!(cache.key(&txid, [&one.clone(), &two.clone()]), key);
        let others = [
            cache.key(&Txid::from_bytes([2; 32]), [&one, &two]),
            cache.key(&txid, [&two, &one]),
            cache.key(&txid, [&one]),
            cache.key(&txid, [&output(1, b"a"), &output(2, b"bc")]),
            cache.key(&txid, [&output(3, b"ab"), &two]),
            cache.key(&txid, [&one, &output(2, b"d")]),
            SignatureCache::new().key(&txid, [&one, &two]),
        ];
        cache.insert(key);
        assert!(cache.contains(&key));
        for other in others {
            assert!(!cache.contains(&other));
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let cache = SignatureCache::new();
        let key = |number: u64| Verified(u128::from(number).to_le_bytes());
        let count = 4 * GENERATION_LEN_MAX as u64;
        for number in 1..count {
            cache.insert(key(number));
            if number % 1_000 == 0 {
                cache.insert(key(0));
                assert!(cache.contains(&key(0)));
            }
            let generations = cache.lock();
            assert!(generations.young.len() <= GENERATION_LEN_MAX);
            assert!(generations.old.len() <= GENERATION_LEN_MAX);
        }
        assert!(cache.contains(&key(count - 1)));
        assert!(!cache.contains(&key(1)));
    }
}
