//! Transactions in Bitcoin's legacy serialization.

use std::fmt;

use crate::amount::Amount;
use crate::encode::{
    CompactSize, Decode, DecodeError, Encode, Reader, compact_size_len, encode_list, list_len,
};
use crate::hash::{Txid, sha256d};
use crate::height::BlockHeight;

/// A reference to one output of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutPoint {
    /// The transaction.
    pub txid: Txid,
    /// Index of the output in it.
    pub vout: u32,
}

impl OutPoint {
    /// What the input of a coinbase refers to.
    pub const NULL: Self = Self { txid: Txid::ZERO, vout: u32::MAX };
    /// Length of the encoding in bytes.
    pub const LEN: usize = 36;

    /// Refers to nothing: only a coinbase may.
    #[must_use]
    pub fn is_null(&self) -> bool {
        *self == Self::NULL
    }
}

impl fmt::Display for OutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.txid, self.vout)
    }
}

impl Encode for OutPoint {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.txid.as_bytes());
        out.extend_from_slice(&self.vout.to_le_bytes());
    }

    fn encoded_len(&self) -> usize {
        Self::LEN
    }
}

impl Decode for OutPoint {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { txid: Txid::from_bytes(reader.array()?), vout: reader.u32()? })
    }
}

/// The bytes of a script; what they mean is for `pentad_crypto::script` to say.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Script(Vec<u8>);

impl Script {
    /// No bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Length in bytes, without a length prefix.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// It has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Script {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({})", hex::encode(&self.0))
    }
}

impl Encode for Script {
    fn encode(&self, out: &mut Vec<u8>) {
        CompactSize::of(self.0.len()).encode(out);
        out.extend_from_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        compact_size_len(self.0.len()).saturating_add(self.0.len())
    }
}

impl Decode for Script {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = CompactSize::decode(reader)?.get();
        let length = usize::try_from(length).map_err(|_| DecodeError::CountTooLarge(length))?;
        reader.take(length).map(|bytes| Self(bytes.to_vec()))
    }
}

/// What a transaction spends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxIn {
    /// The output.
    pub previous_output: OutPoint,
    /// What unlocks it.
    pub script_sig: Script,
    /// nSequence: `u32::MAX` switches the lock time off; below `u32::MAX - 1` it allows
    /// replacement (BIP125).
    pub sequence: u32,
}

impl Encode for TxIn {
    fn encode(&self, out: &mut Vec<u8>) {
        self.previous_output.encode(out);
        self.script_sig.encode(out);
        out.extend_from_slice(&self.sequence.to_le_bytes());
    }

    fn encoded_len(&self) -> usize {
        self.script_sig.encoded_len().saturating_add(OutPoint::LEN + 4)
    }
}

impl Decode for TxIn {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            previous_output: OutPoint::decode(reader)?,
            script_sig: Script::decode(reader)?,
            sequence: reader.u32()?,
        })
    }
}

/// What a transaction creates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxOut {
    /// How much.
    pub amount: Amount,
    /// What locks it.
    pub script_pubkey: Script,
}

impl Encode for TxOut {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.amount.units().to_le_bytes());
        self.script_pubkey.encode(out);
    }

    fn encoded_len(&self) -> usize {
        self.script_pubkey.encoded_len().saturating_add(8)
    }
}

impl Decode for TxOut {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            amount: Amount::from_units(reader.u64()?)?,
            script_pubkey: Script::decode(reader)?,
        })
    }
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Format version.
    pub version: i32,
    /// What it spends.
    pub inputs: Vec<TxIn>,
    /// What it creates.
    pub outputs: Vec<TxOut>,
    /// nLockTime: a height below [`Self::LOCK_TIME_THRESHOLD`], Unix seconds from there on.
    pub lock_time: u32,
}

impl Transaction {
    /// Lock times below are heights, the others Unix times.
    pub const LOCK_TIME_THRESHOLD: u32 = 500_000_000;

    /// Its id.
    #[must_use]
    pub fn txid(&self) -> Txid {
        sha256d(&self.to_bytes()).into()
    }

    /// It creates coins: one input that refers to nothing.
    #[must_use]
    pub fn is_coinbase(&self) -> bool {
        matches!(self.inputs.as_slice(), [input] if input.previous_output.is_null())
    }
}

impl Encode for Transaction {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        encode_list(&self.inputs, out);
        encode_list(&self.outputs, out);
        out.extend_from_slice(&self.lock_time.to_le_bytes());
    }

    fn encoded_len(&self) -> usize {
        list_len(&self.inputs).saturating_add(list_len(&self.outputs)).saturating_add(8)
    }
}

impl Decode for Transaction {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.i32()?,
            inputs: reader.list()?,
            outputs: reader.list()?,
            lock_time: reader.u32()?,
        })
    }
}

/// An unspent output and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utxo {
    /// The output.
    pub output: TxOut,
    /// Height of the block that created it.
    pub height: BlockHeight,
    /// Created by a coinbase: spendable only once mature.
    pub from_coinbase: bool,
}
