use std::time::{SystemTime, UNIX_EPOCH};

use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::{Transaction, Txid};

use pentad_keystore::WalletName;

/// First byte of every record.
const RECORD_VERSION: u8 = 1;
/// Between the wallet's name and the idempotency key; names do not contain it, and none is empty.
const SEPARATOR: u8 = 0;

/// What a payment is filed under: its idempotency key in its wallet (two wallets may use one key
/// for two payments), or its transaction id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PaymentKey(Vec<u8>);

impl PaymentKey {
    pub(crate) fn of_caller(wallet: &WalletName, idempotency_key: &str) -> Self {
        let mut bytes = wallet.as_str().as_bytes().to_vec();
        bytes.push(SEPARATOR);
        bytes.extend_from_slice(idempotency_key.as_bytes());
        Self(bytes)
    }

    pub(crate) fn of_transaction(txid: &Txid) -> Self {
        let mut bytes = vec![SEPARATOR];
        bytes.extend_from_slice(txid.as_bytes());
        Self(bytes)
    }

    /// A caller may ask for this payment again.
    pub(super) fn is_callers(&self) -> bool {
        self.0.first().is_some_and(|&first| first != SEPARATOR)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// How far a payment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Written down; the chain service may or may not have it.
    Recorded,
    /// The chain service has taken it.
    Submitted,
    /// Deep in the chain.
    Settled,
    /// It can never be made: others spent its coins.
    Failed,
}

impl Progress {
    const fn byte(self) -> u8 {
        match self {
            Self::Recorded => 0,
            Self::Submitted => 1,
            Self::Settled => 2,
            Self::Failed => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Recorded),
            1 => Some(Self::Submitted),
            2 => Some(Self::Settled),
            3 => Some(Self::Failed),
            _ => None,
        }
    }

    /// Nothing more will happen to the payment.
    pub(super) const fn is_final(self) -> bool {
        matches!(self, Self::Settled | Self::Failed)
    }
}

/// One payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) progress: Progress,
    /// Unix seconds.
    pub(crate) time: u64,
    /// Hash of what was asked for.
    pub(crate) fingerprint: [u8; 32],
    /// Units.
    pub(crate) fee: u64,
    pub(crate) transaction: Transaction,
}

impl Record {
    pub(crate) fn new(
        progress: Progress,
        fingerprint: [u8; 32],
        fee: u64,
        transaction: Transaction,
    ) -> Self {
        Self { progress, time: unix_time(), fingerprint, fee, transaction }
    }

    /// `version: u8 | progress: u8 | time: u64 | fingerprint: 32 | fee: u64 | transaction`;
    /// numbers little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![RECORD_VERSION, self.progress.byte()];
        bytes.extend_from_slice(&self.time.to_le_bytes());
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(&self.fee.to_le_bytes());
        self.transaction.encode(&mut bytes);
        bytes
    }

    /// `None` when the bytes are not what [`Record::to_bytes`] makes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[RECORD_VERSION, progress], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (time, rest) = rest.split_first_chunk()?;
        let (&fingerprint, rest) = rest.split_first_chunk()?;
        let (fee, rest) = rest.split_first_chunk()?;
        Some(Self {
            progress: Progress::from_byte(progress)?,
            time: u64::from_le_bytes(*time),
            fingerprint,
            fee: u64::from_le_bytes(*fee),
            transaction: Transaction::from_bytes(rest).ok()?,
        })
    }
}

pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
pub(super) mod tests {
    use pentad_primitives::{Amount, OutPoint, Script, TxIn, TxOut};

    use super::*;

    pub(in crate::payment) fn record(progress: Progress) -> Record {
        let input = TxIn {
            previous_output: OutPoint { txid: Txid::from_bytes([3; 32]), vout: 1 },
            script_sig: Script::from(vec![1, 2]),
            sequence: u32::MAX,
        };
        let output = TxOut {
            amount: Amount::from_units(5).expect("in range"),
            script_pubkey: Script::from(vec![3]),
        };
        let transaction =
            Transaction { version: 1, inputs: vec![input], outputs: vec![output], lock_time: 0 };
        Record::new(progress, [9; 32], 226, transaction)
    }

    #[test]
    fn records_survive_their_encoding() {
        for byte in 0..=3 {
            let record = record(Progress::from_byte(byte).expect("known"));
            assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        let bytes = record(Progress::Submitted).to_bytes();
        for cut in [0, 1, 20, 50, bytes.len() - 1] {
            assert_eq!(Record::from_bytes(&bytes[..cut]), None);
        }
        assert_eq!(Record::from_bytes(&[&[2, 1], &bytes[2..]].concat()), None);
        assert_eq!(Record::from_bytes(&[&[1, 4], &bytes[2..]].concat()), None);
    }

    #[test]
    fn keys_of_callers_and_of_transactions_never_meet() {
        let wallet = "a".parse().expect("a name");
        assert!(PaymentKey::of_caller(&wallet, "").is_callers());
        assert!(!PaymentKey::of_transaction(&Txid::from_bytes([7; 32])).is_callers());
    }
}
