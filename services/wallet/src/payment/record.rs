use pentad_primitives::encode::{Decode as _, Encode as _, Reader};
use pentad_primitives::{Transaction, Txid};
use pentad_service_kit::since_1970;

use pentad_keystore::WalletName;

/// First byte of every record.
const RECORD_VERSION: u8 = 2;
/// First byte of records that do not say how to raise their fee.
const RECORD_VERSION_1: u8 = 1;
/// In the place of an index: there is no change.
const NO_CHANGE: u32 = u32::MAX;
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
    pub(crate) made: Made,
}

/// The transaction of a payment, with what it takes to put another one in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) transaction: Transaction,
    /// Units.
    pub(crate) fee: u64,
    /// Which output is change.
    pub(crate) change: Option<u32>,
    /// It spends coins of one address alone, as it was asked to.
    pub(crate) of_address: bool,
    /// The payment in whose place it stands.
    pub(crate) replaces: Option<Txid>,
}

impl Record {
    pub(crate) fn new(progress: Progress, fingerprint: [u8; 32], made: Made) -> Self {
        Self { progress, time: unix_time(), fingerprint, made }
    }

    /// `version: u8 | progress: u8 | time: u64 | fingerprint: 32 | fee: u64 | change: u32 |
    /// of one address: u8 | replaces: 32 | transaction`; numbers little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Made { transaction, fee, change, of_address, replaces } = &self.made;
        let mut bytes = vec![RECORD_VERSION, self.progress.byte()];
        bytes.extend_from_slice(&self.time.to_le_bytes());
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(&fee.to_le_bytes());
        bytes.extend_from_slice(&change.unwrap_or(NO_CHANGE).to_le_bytes());
        bytes.push(u8::from(*of_address));
        bytes.extend_from_slice(replaces.unwrap_or(Txid::ZERO).as_bytes());
        transaction.encode(&mut bytes);
        bytes
    }

    /// `None` when the bytes are not what [`Record::to_bytes`] makes, or made in version 1: there
    /// the fee was followed by the transaction.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8().ok()?;
        let progress = Progress::from_byte(reader.u8().ok()?)?;
        let (time, fingerprint) = (reader.u64().ok()?, reader.array().ok()?);
        let fee = reader.u64().ok()?;
        let (change, of_address, replaces) = match version {
            RECORD_VERSION_1 => (NO_CHANGE, false, Txid::ZERO),
            RECORD_VERSION => {
                let (change, of_address) = (reader.u32().ok()?, reader.u8().ok()? != 0);
                (change, of_address, Txid::from_bytes(reader.array().ok()?))
            }
            _ => return None,
        };
        let transaction = Transaction::decode(&mut reader).ok()?;
        let change = Some(change).filter(|change| *change != NO_CHANGE);
        let replaces = Some(replaces).filter(|txid| *txid != Txid::ZERO);
        let made = Made { transaction, fee, change, of_address, replaces };
        (reader.remaining() == 0).then_some(Self { progress, time, fingerprint, made })
    }
}

pub(crate) fn unix_time() -> u64 {
    since_1970().as_secs()
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
        Record::new(progress, [9; 32], made(transaction))
    }

    pub(in crate::payment) fn made(transaction: Transaction) -> Made {
        Made { transaction, fee: 226, change: None, of_address: false, replaces: None }
    }

    #[test]
    fn records_survive_their_encoding() {
        for byte in 0..=3 {
            let record = record(Progress::from_byte(byte).expect("known"));
            let replaces = Some(Txid::from_bytes([8; 32]));
            let made = Made { change: Some(1), of_address: true, replaces, ..record.made.clone() };
            for record in [Record { made, ..record.clone() }, record] {
                assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
            }
        }
    }

    #[test]
    fn records_of_version_1_are_read() {
        let record = record(Progress::Submitted);
        let bytes = record.to_bytes();
        let fixed = 2 + 8 + 32 + 8;
        let old = [&[1], &bytes[1..fixed], &bytes[fixed + 4 + 1 + 32..]].concat();
        assert_eq!(Record::from_bytes(&old), Some(record));
    }

    #[test]
    fn damaged_records_are_refused() {
        let bytes = record(Progress::Submitted).to_bytes();
        for cut in [0, 1, 20, 50, bytes.len() - 1] {
            assert_eq!(Record::from_bytes(&bytes[..cut]), None);
        }
        assert_eq!(Record::from_bytes(&[&[3, 1], &bytes[2..]].concat()), None);
        assert_eq!(Record::from_bytes(&[&[2, 4], &bytes[2..]].concat()), None);
        assert_eq!(Record::from_bytes(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn keys_of_callers_and_of_transactions_never_meet() {
        let wallet = "a".parse().expect("a name");
        assert!(PaymentKey::of_caller(&wallet, "").is_callers());
        assert!(!PaymentKey::of_transaction(&Txid::from_bytes([7; 32])).is_callers());
    }
}
