//! MuHash3072: one hash of a whole set, kept up to date by multiplying what comes and dividing by
//! what goes, in any order. As in Bitcoin Core (`gettxoutsetinfo muhash`), so that a UTXO set of
//! the same outputs has the same hash there.
//!
//! An element is SHA-256, stretched by ChaCha20 to 3072 bits and taken modulo the prime
//! 2^3072 − 1103717.

mod number;

use pentad_primitives::encode::Encode as _;
use pentad_primitives::{Hash256, OutPoint, Utxo, sha256};

use number::{NUMBER_LEN, Number};

/// The hash of a set, as a fraction: division is dear, and is done once, in the end.
#[derive(Clone, Debug)]
pub struct MuHash {
    numerator: Number,
    denominator: Number,
}

impl Default for MuHash {
    /// The empty set.
    fn default() -> Self {
        Self { numerator: Number::ONE, denominator: Number::ONE }
    }
}

impl MuHash {
    /// Adds an element.
    pub fn insert(&mut self, element: &[u8]) {
        self.numerator = self.numerator.times(&number(element));
    }

    /// Takes an element out again; one that was never added may be added later.
    pub fn remove(&mut self, element: &[u8]) {
        self.denominator = self.denominator.times(&number(element));
    }

    /// Adds an unspent output.
    pub fn insert_utxo(&mut self, outpoint: &OutPoint, utxo: &Utxo) {
        self.insert(&utxo_element(outpoint, utxo));
    }

    /// Takes an output out that is spent.
    pub fn remove_utxo(&mut self, outpoint: &OutPoint, utxo: &Utxo) {
        self.remove(&utxo_element(outpoint, utxo));
    }

    /// Adds what another set holds; what that one lacks, this one loses.
    pub fn combine(&mut self, other: &Self) {
        self.numerator = self.numerator.times(&other.numerator);
        self.denominator = self.denominator.times(&other.denominator);
    }

    /// The hash of the set.
    #[must_use]
    pub fn hash(&self) -> Hash256 {
        // Every number below a prime, but zero, has an inverse; a product of such is not zero.
        let inverse = self.denominator.inverse().unwrap_or(Number::ONE);
        Hash256::from_bytes(sha256(&self.numerator.times(&inverse).to_bytes()))
    }

    /// Numerator and denominator, 384 bytes each, little-endian. Equal sets may differ here: only
    /// their hashes are the same.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.numerator.to_bytes(), self.denominator.to_bytes()].concat()
    }

    /// The inverse of [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<NUMBER_LEN>();
        match (numbers, rest) {
            ([numerator, denominator], []) => Some(Self {
                numerator: Number::from_bytes(numerator),
                denominator: Number::from_bytes(denominator),
            }),
            _ => None,
        }
    }
}

/// An output as Bitcoin Core hashes it: outpoint, height and coinbase flag in 32 bits, output.
fn utxo_element(outpoint: &OutPoint, utxo: &Utxo) -> Vec<u8> {
    let mut out = outpoint.to_bytes();
    // Heights above 2^31 would lose a bit; at a block a second they are 68 years off.
    let code = utxo.height.get().wrapping_shl(1) | u32::from(utxo.from_coinbase);
    out.extend_from_slice(&code.to_le_bytes());
    utxo.output.encode(&mut out);
    out
}

fn number(element: &[u8]) -> Number {
    let key = sha256(element);
    let mut bytes = [0; NUMBER_LEN];
    for (counter, block) in (0..).zip(bytes.as_chunks_mut().0) {
        *block = chacha20_block(&key, counter);
    }
    Number::from_bytes(&bytes)
}

/// A block of ChaCha20's key stream (RFC 8439) under nonce 0.
fn chacha20_block(key: &[u8; 32], counter: u32) -> [u8; 64] {
    let mut words = [0_u32; 16];
    let constants = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
    let (key_words, _) = key.as_chunks::<4>();
    let start = constants.into_iter().chain(key_words.iter().map(|it| u32::from_le_bytes(*it)));
    for (word, value) in words.iter_mut().zip(start.chain([counter])) {
        *word = value;
    }
    let [mut a, mut b, mut c, mut d] = rows(&words);
    for _ in 0..10 {
        quarter_rounds(&mut a, &mut b, &mut c, &mut d);
        (b, c, d) = (turned(b), turned(turned(c)), turned(turned(turned(d))));
        quarter_rounds(&mut a, &mut b, &mut c, &mut d);
        (b, c, d) = (turned(turned(turned(b))), turned(turned(c)), turned(d));
    }
    let mut block = [0; 64];
    let mixed = a.into_iter().chain(b).chain(c).chain(d);
    for ((bytes, word), mixed) in block.as_chunks_mut::<4>().0.iter_mut().zip(words).zip(mixed) {
        *bytes = word.wrapping_add(mixed).to_le_bytes();
    }
    block
}

type Row = [u32; 4];

fn rows(words: &[u32; 16]) -> [Row; 4] {
    let mut rows = [[0; 4]; 4];
    for (row, words) in rows.iter_mut().zip(words.as_chunks::<4>().0) {
        *row = *words;
    }
    rows
}

/// By one place; `rotate_left` of a slice is a call, and copies.
const fn turned([first, second, third, fourth]: Row) -> Row {
    [second, third, fourth, first]
}

/// The quarter round of each column.
fn quarter_rounds(a: &mut Row, b: &mut Row, c: &mut Row, d: &mut Row) {
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        for (first, second) in [(16, 12), (8, 7)] {
            *a = a.wrapping_add(*b);
            *d = (*d ^ *a).rotate_left(first);
            *c = c.wrapping_add(*d);
            *b = (*b ^ *c).rotate_left(second);
        }
    }
}

#[cfg(test)]
mod tests {
    use pentad_primitives::{Amount, BlockHeight, Script, TxOut, Txid};

    use super::*;

    fn element(first: u8) -> [u8; 32] {
        let mut element = [0; 32];
        element[0] = first;
        element
    }

    /// RFC 8439, appendix A.1, test vectors 1 and 2.
    #[test]
    fn key_stream_is_chacha20() {
        let block = hex::encode(chacha20_block(&[0; 32], 0));
        assert!(
            block.starts_with("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
        );
        let block = hex::encode(chacha20_block(&[0; 32], 1));
        assert!(
            block.starts_with("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed")
        );
    }

    /// `muhash_tests` of Bitcoin Core's src/test/crypto_tests.cpp.
    #[test]
    fn bitcoin_cores_vector() {
        let mut set = MuHash::default();
        set.insert(&element(0));
        set.insert(&element(1));
        set.remove(&element(2));
        let expected = "10d312b100cbd32ada024a6646e40d3482fcff103668d2625f10002a607d5863";
        assert_eq!(set.hash().to_string(), expected);
    }

    #[test]
    fn order_does_not_matter_and_what_goes_leaves_nothing() {
        let (mut one, mut two) = (MuHash::default(), MuHash::default());
        for first in 0..5 {
            one.insert(&element(first));
            two.insert(&element(4 - first));
        }
        assert_eq!(one.hash(), two.hash());
        two.remove(&element(9));
        assert_ne!(one.hash(), two.hash());
        two.insert(&element(9));
        assert_eq!(one.hash(), two.hash());
        (0..5).for_each(|first| one.remove(&element(first)));
        assert_eq!(one.hash(), MuHash::default().hash());
    }

    #[test]
    fn parts_combine_and_bytes_come_back() {
        let (mut whole, mut one, mut other) =
            (MuHash::default(), MuHash::default(), MuHash::default());
        for first in 0..4 {
            whole.insert(&element(first));
            if first < 2 { &mut one } else { &mut other }.insert(&element(first));
        }
        whole.remove(&element(1));
        other.remove(&element(1));
        one.combine(&other);
        assert_eq!(one.hash(), whole.hash());
        let bytes = one.to_bytes();
        assert_eq!(MuHash::from_bytes(&bytes).expect("its own bytes").hash(), whole.hash());
        assert!(MuHash::from_bytes(&bytes[1..]).is_none());
        // The empty set is one over one.
        let one_le = [&[1][..], &[0; 383]].concat();
        assert_eq!(MuHash::default().to_bytes(), [&one_le[..], &one_le].concat());
    }

    /// Computed with the reference code of Bitcoin Core's test framework (Python).
    #[test]
    fn outputs_are_serialized_as_in_bitcoin_core() {
        let outpoint = OutPoint { txid: Txid::from_bytes([7; 32]), vout: 3 };
        let amount = Amount::from_units(5_000_000_000).expect("an amount");
        let output = TxOut { amount, script_pubkey: Script::from(vec![0x51, 0x52]) };
        let utxo = Utxo { output, height: BlockHeight::new(100), from_coinbase: true };
        let mut set = MuHash::default();
        set.insert_utxo(&outpoint, &utxo);
        assert_eq!(
            set.hash().to_string(),
            "8c31d2359ad3053363414b53dc8180c0a9a45274dacd948237ce7cdc2978fe4b"
        );
        let not_coinbase = Utxo { from_coinbase: false, ..utxo.clone() };
        set.remove_utxo(&outpoint, &not_coinbase);
        set.insert_utxo(&outpoint, &not_coinbase);
        set.remove_utxo(&outpoint, &utxo);
        assert_eq!(set.hash(), MuHash::default().hash());
    }
}
