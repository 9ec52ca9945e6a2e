//! Held against rust-bitcoin: the same bytes mean the same on both sides.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash as _;
use pentad_primitives::encode::{CompactSize, Reader};
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{
    Amount, Block, BlockHash, BlockHeader, CompactTarget, Decode as _, DecodeError, Encode as _,
    MerkleRoot, OutPoint, Script, Target, Transaction, TxIn, TxOut, Txid, Work, merkle,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// The number 1 in 32 bytes, the most significant first.
const ONE: [u8; 32] = {
    let mut one = [0; 32];
    one[31] = 1;
    one
};

fn config() -> Config {
    Config { failure_persistence: None, ..Config::with_cases(256) }
}

fn script() -> impl Strategy<Value = Script> {
    vec(any::<u8>(), 0..300).prop_map(Script::from)
}

prop_compose! {
    fn input()(txid: [u8; 32], vout: u32, script_sig in script(), sequence: u32) -> TxIn {
        let previous_output = OutPoint { txid: Txid::from_bytes(txid), vout };
        TxIn { previous_output, script_sig, sequence }
    }
}

prop_compose! {
    fn output()(
        units in 0..=Amount::MAX_MONEY.units(),
        script_pubkey in script(),
    ) -> TxOut {
        TxOut { amount: Amount::from_units(units).unwrap(), script_pubkey }
    }
}

prop_compose! {
    // No inputs at all read as a segregated witness marker on the other side.
    fn transaction()(
        version: i32,
        inputs in vec(input(), 1..4),
        outputs in vec(output(), 0..4),
        lock_time: u32,
    ) -> Transaction {
        Transaction { version, inputs, outputs, lock_time }
    }
}

prop_compose! {
    fn header()(
        version: i32,
        prev: [u8; 32],
        root: [u8; 32],
        time: u32,
        bits: u32,
        nonce: u32,
    ) -> BlockHeader {
        BlockHeader {
            version,
            prev_block_hash: BlockHash::from_bytes(prev),
            merkle_root: MerkleRoot::from_bytes(root),
            time,
            bits: CompactTarget(bits),
            nonce,
        }
    }
}

fn oracle(transaction: &Transaction) -> bitcoin::Transaction {
    bitcoin::Transaction {
        version: bitcoin::transaction::Version(transaction.version),
        lock_time: LockTime::from_consensus(transaction.lock_time),
        input: transaction
            .inputs
            .iter()
            .map(|input| bitcoin::TxIn {
                previous_output: bitcoin::OutPoint {
                    txid: bitcoin::Txid::from_byte_array(input.previous_output.txid.to_bytes()),
                    vout: input.previous_output.vout,
                },
                script_sig: input.script_sig.as_bytes().to_vec().into(),
                sequence: bitcoin::Sequence(input.sequence),
                witness: bitcoin::Witness::new(),
            })
            .collect(),
        output: transaction
            .outputs
            .iter()
            .map(|output| bitcoin::TxOut {
                value: bitcoin::Amount::from_sat(output.amount.units()),
                script_pubkey: output.script_pubkey.as_bytes().to_vec().into(),
            })
            .collect(),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn transactions_and_their_ids(transaction in transaction()) {
        let bytes = transaction.to_bytes();
        prop_assert_eq!(bytes.len(), transaction.encoded_len());
        prop_assert_eq!(&bytes, &encode::serialize(&oracle(&transaction)));
        prop_assert_eq!(&Transaction::from_bytes(&bytes).unwrap(), &transaction);
        let back: bitcoin::Transaction = encode::deserialize(&bytes).unwrap();
        prop_assert_eq!(back.compute_txid().to_string(), transaction.txid().to_string());
    }

    #[test]
    fn blocks_and_their_hashes(header in header(), transactions in vec(transaction(), 1..4)) {
        let block = Block { header, transactions };
        let bytes = block.to_bytes();
        prop_assert_eq!(bytes.len(), block.encoded_len());
        let other: bitcoin::Block = encode::deserialize(&bytes).unwrap();
        prop_assert_eq!(&encode::serialize(&other), &bytes);
        prop_assert_eq!(other.block_hash().to_string(), block.block_hash().to_string());
        prop_assert_eq!(&Block::from_bytes(&bytes).unwrap(), &block);
        let txids: Vec<_> = block.transactions.iter().map(Transaction::txid).collect();
        prop_assert_eq!(
            other.compute_merkle_root().unwrap().to_string(),
            merkle::root(&txids).to_string()
        );
        for index in 0..block.transactions.len() {
            let path = merkle::prove(&txids, u32::try_from(index).unwrap()).unwrap();
            prop_assert_eq!(path.root(&txids[index]), Some(merkle::root(&txids)));
        }
    }

    #[test]
    fn sighash_of_every_input(transaction in transaction(), code in script()) {
        let other = oracle(&transaction);
        let cache = bitcoin::sighash::SighashCache::new(&other);
        let code_bytes: bitcoin::ScriptBuf = code.as_bytes().to_vec().into();
        for index in 0..transaction.inputs.len() {
            let theirs = cache.legacy_signature_hash(index, &code_bytes, 1).unwrap();
            let ours = sighash_all(&transaction, index, &code).unwrap();
            prop_assert_eq!(theirs.to_byte_array(), ours.to_bytes());
        }
        prop_assert_eq!(sighash_all(&transaction, transaction.inputs.len(), &code), None);
    }

    #[test]
    fn compact_targets(mantissa in 1..0x0080_0000_u32, exponent in 1..=32_u32) {
        let bits = CompactTarget(exponent << 24 | mantissa);
        let theirs = bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(bits.0));
        match Target::from_compact(bits) {
            Ok(ours) => {
                prop_assert_eq!(ours.to_be_bytes(), theirs.to_be_bytes());
                prop_assert_eq!(ours.to_compact().0, theirs.to_compact_lossy().to_consensus());
                // Of target 1 they say 2²⁵⁶ - 1, where Bitcoin Core's formula gives 2²⁵⁵.
                if theirs != bitcoin::Target::from_be_bytes(ONE) {
                    let work = Work::from_target(&ours);
                    prop_assert_eq!(work.to_be_bytes(), theirs.to_work().to_be_bytes());
                }
            }
            Err(_) => prop_assert_eq!(theirs, bitcoin::Target::ZERO),
        }
    }

    /// Refused is what Bitcoin Core's `CheckProofOfWork` refuses (`arith_uint256::SetCompact`):
    /// rust-bitcoin wraps around instead.
    #[test]
    fn compact_targets_out_of_range(
        exponent in prop_oneof![0..6_u32, 30..38_u32, 0..=255_u32],
        low in prop_oneof![0..4_u32, 0xfe..0x102_u32, 0xfffe..0x1_0002_u32, 0..0x0100_0000_u32],
    ) {
        let bits = exponent << 24 | low;
        let mantissa = low & 0x007f_ffff;
        let word = if exponent <= 3 { mantissa >> (8 * (3 - exponent)) } else { mantissa };
        let is_negative = word != 0 && low & 0x0080_0000 != 0;
        let overflows = word != 0
            && (exponent > 34 || word > 0xff && exponent > 33 || word > 0xffff && exponent > 32);
        let refused = word == 0 || is_negative || overflows;
        let target = Target::from_compact(CompactTarget(bits));
        prop_assert_eq!(target.is_err(), refused, "{:08x}", bits);
    }

    #[test]
    fn any_target_survives_its_compact_form(bytes: [u8; 32]) {
        let target = Target::from_be_bytes(bytes);
        let theirs = bitcoin::Target::from_be_bytes(bytes).to_compact_lossy();
        prop_assert_eq!(target.to_compact().0, theirs.to_consensus());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        if let Ok(transaction) = Transaction::from_bytes(&bytes) {
            prop_assert_eq!(transaction.to_bytes(), bytes.clone());
        }
        if let Ok(block) = Block::from_bytes(&bytes) {
            prop_assert_eq!(block.to_bytes(), bytes);
        }
    }

    #[test]
    fn every_cut_of_a_transaction_is_refused(transaction in transaction()) {
        let mut bytes = transaction.to_bytes();
        for length in 0..bytes.len() {
            prop_assert!(Transaction::from_bytes(&bytes[..length]).is_err());
        }
        bytes.push(0);
        prop_assert_eq!(Transaction::from_bytes(&bytes), Err(DecodeError::TrailingBytes(1)));
    }

    #[test]
    fn compact_sizes(value: u64) {
        for value in [value, value >> 32, value >> 48, value >> 56] {
            let bytes = CompactSize::new(value).to_bytes();
            prop_assert_eq!(&bytes, &encode::serialize(&bitcoin::VarInt(value)));
            prop_assert_eq!(CompactSize::from_bytes(&bytes), Ok(CompactSize::new(value)));
        }
    }

    #[test]
    fn amounts_read_what_they_write(units in 0..=Amount::MAX_MONEY.units()) {
        let amount = Amount::from_units(units).unwrap();
        prop_assert_eq!(amount.to_string().parse(), Ok(amount));
    }
}

#[test]
fn longer_compact_sizes_than_needed_are_refused() {
    for bytes in [
        &[0xfd, 0xfc, 0x00][..],
        &[0xfe, 0xff, 0xff, 0x00, 0x00],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    ] {
        assert_eq!(CompactSize::from_bytes(bytes), Err(DecodeError::NonMinimalCompactSize));
    }
}

#[test]
fn a_count_that_cannot_be_is_refused_before_allocation() {
    // A version, then a count of 2⁶⁴ - 1 inputs.
    let bytes = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(Transaction::from_bytes(&bytes), Err(DecodeError::CountTooLarge(u64::MAX)));
}

#[test]
fn an_output_above_21_million_coins_is_refused() {
    let mut bytes = (Amount::MAX_MONEY.units() + 1).to_le_bytes().to_vec();
    bytes.push(0);
    assert!(matches!(TxOut::from_bytes(&bytes), Err(DecodeError::Amount(_))));
}

#[test]
fn bitcoins_genesis_block_reads_the_same() {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Bitcoin);
    let block = Block::from_bytes(&encode::serialize(&genesis)).unwrap();
    assert_eq!(
        block.block_hash().to_string(),
        "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    );
    assert_eq!(block.header.bits.to_string(), "1d00ffff");
    assert!(Target::from_compact(block.header.bits).unwrap().is_met_by(&block.block_hash()));
    assert!(block.transactions[0].is_coinbase());
}

#[test]
fn hashes_are_displayed_reversed() {
    let mut bytes = [0; 32];
    bytes[0] = 0xab;
    let hash = BlockHash::from_bytes(bytes);
    assert!(hash.to_string().ends_with("ab"));
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert!("ab".parse::<BlockHash>().is_err());
    assert!("zz".repeat(32).parse::<BlockHash>().is_err());
}

#[test]
fn a_reader_takes_no_more_than_there_is() {
    let mut reader = Reader::new(&[1, 2, 3]);
    assert_eq!(reader.take(4), Err(DecodeError::UnexpectedEnd));
    assert_eq!(reader.u16(), Ok(0x0201));
    assert_eq!(reader.u16(), Err(DecodeError::UnexpectedEnd));
    assert_eq!(reader.remaining(), 1);
}
