//! Verification of certificates, in their blocks' records and in records of their own.

use std::fs;
use std::path::Path;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::verify_damage::Place;
use pentad_api::chain::v1::{Remedy, VerifyLevel};
use pentad_ledger::HeaderTree;
use pentad_ledger::verify::CheckedBlock;
use pentad_primitives::{Block, BlockHeight, Utxo};
use pentad_store::log::LogPosition;
use pentad_store::{BlockEntry, ChainStore, DataDir, StoreOptions, block_key};

use super::{change_index, hex, verify};
use crate::tests::fixture::directory;
use crate::tests::validators;

/// Blocks on genesis.
async fn blocks() -> Vec<Block> {
    let directory = directory();
    let node = validators::open(directory.path());
    let blocks = validators::extend(&node, 0..3).await;
    assert!(verify(&node, VerifyLevel::Signatures).await.report.ok);
    node.stop().await;
    blocks
}

fn sound(blocks: &[Block]) -> Vec<Vec<u8>> {
    let certificates = (1..).zip(blocks);
    certificates.map(|(height, block)| validators::certificate(block, height).to_vec()).collect()
}

/// Writes blocks and their certificates, unchecked, as a node that was started once; gives the
/// entries of the blocks.
async fn plant(
    directory: &Path,
    blocks: &[Block],
    certificates: &[Vec<u8>],
    is_later: bool,
) -> Vec<BlockEntry> {
    validators::open(directory).stop().await;
    let data = DataDir::open(directory, &validators::spec().spec_hash()).expect("free");
    let (mut store, _) = ChainStore::open(&data, &StoreOptions::default()).expect("sound");
    let mut tree = HeaderTree::new(&validators::spec());
    for (at, (block, certificate)) in blocks.iter().zip(certificates).enumerate() {
        let inserted = tree.insert(&block.header, block.header.time).expect("a valid header");
        let work = tree.chain_work(&inserted.hash).expect("just inserted");
        let with_it = (!is_later).then_some(&certificate[..]);
        store.append_block(block, inserted.height, work, with_it).expect("a working disk");
        let output = validators::spec().genesis_block().transactions[0].outputs[at].clone();
        let spent = Utxo { output, height: BlockHeight::GENESIS, from_coinbase: true };
        let checked = CheckedBlock::assume_valid(block.clone());
        store.connect(block, checked.txids(), &[spent]).expect("on the tip");
    }
    for (block, certificate) in blocks.iter().zip(certificates).filter(|_| is_later) {
        store.append_certificate(&block.block_hash(), certificate).expect("a stored block");
    }
    let entry = |block: &Block| store.block_entry(&block.block_hash()).expect("stored");
    let entries = blocks.iter().map(entry).collect();
    store.close().expect("a working disk");
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_block_without_a_sound_certificate_is_named() {
    let blocks = blocks().await;
    let sound = sound(&blocks);
    let few = validators::signed(&blocks[1], 2, 0, &[0, 1]).to_bytes();
    let higher = validators::signed(&blocks[1], 3, 0, &[0, 1, 2]).to_bytes();
    let wrongs = [Vec::new(), few, sound[0].clone(), higher];
    for (wrong, is_later) in wrongs.iter().flat_map(|it| [(it, false), (it, true)]) {
        let directory = directory();
        let certificates = [sound[0].clone(), wrong.clone(), sound[2].clone()];
        plant(directory.path(), &blocks, &certificates, is_later).await;
        // A start looks at the tip's certificate, which proves all below it; this looks at each.
        let node = validators::open(directory.path());
        assert!(verify(&node, VerifyLevel::Records).await.report.ok);
        let outcome = verify(&node, VerifyLevel::Ledger).await;
        let [damage] = &outcome.damages[..] else { panic!("{:?}", outcome.damages) };
        assert_eq!(damage.place, Some(Place::Block(blocks[1].block_hash().to_string())));
        assert!(damage.problem.contains("certificate"), "{}", damage.problem);
        assert_eq!(outcome.report.remedy(), Remedy::Restore);
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_record_of_a_certificate_is_named() {
    let blocks = blocks().await;
    let directory = directory();
    let entries = plant(directory.path(), &blocks, &sound(&blocks), true).await;
    let node = validators::open(directory.path());
    let outcome = verify(&node, VerifyLevel::Signatures).await;
    assert!(outcome.report.ok, "{:?}", outcome.damages);
    // Four blocks with undo data, three of them with certificates.
    assert_eq!(outcome.report.records, 4 + 4 + 3);
    let LogPosition { offset, .. } = entries[1].certificate.expect("a record of its own");
    let segment = directory.path().join("blocks").join("000000.blocks");
    let mut bytes = fs::read(&segment).expect("readable");
    bytes[offset as usize + 17 + 32 + 9] ^= 1;
    fs::write(&segment, &bytes).expect("writable");
    for level in [VerifyLevel::Records, VerifyLevel::Ledger] {
        let outcome = verify(&node, level).await;
        let [damage] = &outcome.damages[..] else { panic!("{:?}", outcome.damages) };
        let (file, offset) = ("blocks/000000.blocks".to_owned(), u64::from(offset));
        assert_eq!(damage.place, Some(Place::Record(proto::LogPlace { file, offset })));
        assert_eq!(outcome.report.remedy(), Remedy::Restore);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_does_not_lead_to_the_certificate_is_named() {
    let blocks = blocks().await;
    let key = block_key(&blocks[1].block_hash());
    // Nowhere, to another block's, to a block; what a walk along the chain alone sees of it.
    for case in 0..3 {
        let directory = directory();
        let entries = plant(directory.path(), &blocks, &sound(&blocks), true).await;
        let wrong = [None, entries[0].certificate, Some(entries[1].body)][case];
        let entry = BlockEntry { certificate: wrong, ..entries[1].clone() };
        change_index(directory.path(), |_| vec![(key.clone(), Some(entry.to_bytes()))]);
        let node = validators::open(directory.path());
        for level in [VerifyLevel::Records, VerifyLevel::Ledger] {
            let outcome = verify(&node, level).await;
            let places: Vec<_> = outcome.damages.iter().map(|it| it.place.clone()).collect();
            assert!(places.contains(&Some(Place::Row(hex(&key)))), "case {case}: {places:?}");
            // Without the certificate that it is said to lack, the block breaks a rule too.
            let others = usize::from(case == 0 && level == VerifyLevel::Ledger);
            assert_eq!(places.len(), 1 + others, "case {case}: {places:?}");
        }
        node.stop().await;
    }
}
