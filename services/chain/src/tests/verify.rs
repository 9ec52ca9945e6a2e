//! Verification: what is sound is found sound, and whatever is damaged is named.

mod certificates;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::admin_service_client::AdminServiceClient;
use pentad_api::chain::v1::verify_damage::Place;
use pentad_api::chain::v1::verify_response::Event;
use pentad_api::chain::v1::{Remedy, VerifyLevel};
use pentad_ledger::verify::CheckedBlock;
use pentad_primitives::{
    Amount, Block, BlockHeight, Encode as _, MerkleRoot, OutPoint, Utxo, Work,
};
use pentad_store::log::LogPosition;
use pentad_store::{ChainStore, DataDir, DiskOptions, Pair, StoreOptions};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::{Code, Streaming};

use super::fixture::{
    COIN, FEE, Node, Person, alice, bob, directory, genesis_output, reason, reseal, solve, spec,
};
use super::set_hash;
use crate::Ended;
use crate::verify::{Event as Told, Level, Phase, Plan, Verification};

const PATIENCE: Duration = Duration::from_secs(20);

fn admin(node: &Node) -> AdminServiceClient<pentad_api::Connection> {
    AdminServiceClient::new(node.connection.clone())
}

fn request(level: VerifyLevel) -> proto::VerifyRequest {
    proto::VerifyRequest { level: level.into(), ..Default::default() }
}

/// What a verification said.
struct Outcome {
    phases: Vec<i32>,
    damages: Vec<proto::VerifyDamage>,
    report: proto::VerifyReport,
}

impl Outcome {
    fn rows(&self) -> BTreeSet<String> {
        let row = |damage: &proto::VerifyDamage| match damage.place.clone() {
            Some(Place::Row(row)) => row,
            other => panic!("{other:?}: {}", damage.problem),
        };
        self.damages.iter().map(row).collect()
    }
}

async fn read(mut events: Streaming<proto::VerifyResponse>) -> Outcome {
    let (mut phases, mut damages, mut report) = (Vec::new(), Vec::new(), None);
    while let Some(message) =
        timeout(PATIENCE, events.message()).await.expect("in time").expect("ok")
    {
        assert_eq!(report, None, "a report ends the stream");
        match message.event.expect("an event") {
            Event::Progress(progress) => {
                assert!(progress.done <= progress.total, "{progress:?}");
                phases.push(progress.phase);
            }
            Event::Damage(damage) => damages.push(damage),
            Event::Report(found) => report = Some(found),
        }
    }
    phases.dedup();
    let report = report.expect("a report");
    assert_eq!((report.ok, report.damages), (damages.is_empty(), damages.len() as u64));
    Outcome { phases, damages, report }
}

async fn verify(node: &Node, level: VerifyLevel) -> Outcome {
    let events = admin(node).verify(request(level)).await.expect("a stream");
    read(events.into_inner()).await
}

/// A few blocks with payments, one of them a side branch.
async fn busy(node: &Node) -> Vec<Block> {
    let first = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let received = OutPoint { txid: first.txid(), vout: 0 };
    let second = bob().spend(&[received], &[(&alice(), 50 * COIN), (&bob(), 49 * COIN)]);
    let third = alice().spend(&[genesis_output(1)], &[(&bob(), COIN), (&alice(), 98 * COIN)]);
    let mut blocks = Vec::new();
    for payments in [vec![], vec![&first, &second], vec![&third]] {
        for payment in payments {
            node.submit_transaction(payment).await.expect("valid");
        }
        blocks.extend(node.mine(1, &Person::new(9)).await);
    }
    let mut rival = blocks[2].clone();
    rival.header.time += 1;
    node.submit_block(&reseal(rival)).await.expect("a side branch");
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_store_is_found_sound_at_every_level() {
    use proto::VerifyPhase as On;
    let directory = directory();
    let node = Node::open(directory.path());
    let tip = busy(&node).await[2].block_hash().to_string();
    let phases = [
        (VerifyLevel::Records, vec![On::Records as i32]),
        (VerifyLevel::Unspecified, vec![On::Records as i32, On::Blocks as i32, On::Index as i32]),
        (VerifyLevel::Signatures, vec![On::Records as i32, On::Blocks as i32, On::Index as i32]),
    ];
    for (level, phases) in phases {
        let outcome = verify(&node, level).await;
        assert!(outcome.report.ok, "{:?}", outcome.damages);
        assert_eq!(outcome.phases, phases);
        assert_eq!((outcome.report.height, &outcome.report.tip), (3, &tip));
        assert_eq!(outcome.report.remedy(), Remedy::Unspecified);
        // Genesis, three blocks, a side branch; undo data of those that were connected.
        assert_eq!(outcome.report.records, 5 + 4);
        let is_records = level == VerifyLevel::Records;
        assert_eq!(outcome.report.blocks, if is_records { 0 } else { 4 });
        assert_eq!(outcome.report.rows > 0, !is_records);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_byte_of_the_block_log_is_named() {
    let directory = directory();
    let node = Node::open(directory.path());
    busy(&node).await;
    let segment = directory.path().join("blocks").join("000000.blocks");
    let sound = fs::read(&segment).expect("readable");
    let starts: Vec<usize> =
        (0..sound.len()).filter(|at| sound[*at..].starts_with(b"PNTR")).collect();
    // The block and the undo data of height 2, and a record's magic.
    for (record, at) in [(4, 200), (5, 30), (7, 1)] {
        let mut damaged = sound.clone();
        damaged[starts[record] + at] ^= 1;
        fs::write(&segment, &damaged).expect("writable");
        for level in [VerifyLevel::Records, VerifyLevel::Ledger] {
            let outcome = verify(&node, level).await;
            let places: Vec<_> = outcome.damages.iter().map(|it| it.place.clone()).collect();
            let (file, offset) = ("blocks/000000.blocks".to_owned(), starts[record] as u64);
            let place = Some(Place::Record(proto::LogPlace { file, offset }));
            // Once, although the log and the main chain are walked one after the other.
            assert_eq!(places.iter().filter(|it| **it == place).count(), 1, "record {record}");
            assert_eq!(outcome.report.remedy(), Remedy::Restore);
            // All others were read even so.
            assert_eq!(outcome.report.records, starts.len() as u64 - 1, "record {record}");
        }
    }
    fs::write(&segment, &sound).expect("writable");
    assert!(verify(&node, VerifyLevel::Signatures).await.report.ok);
    node.stop().await;
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Changes the index of a node that is not running.
fn change_index(directory: &Path, change: impl FnOnce(&[Pair]) -> Vec<(Vec<u8>, Option<Vec<u8>>)>) {
    let engine = DiskOptions::default().open(&directory.join("index")).expect("an index");
    let rows = engine.page(&[], None, 100_000).expect("readable");
    engine.write(change(&rows)).expect("writable");
    engine.flush().expect("a working disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_to_a_row_is_named_and_a_reindex_mends_it() {
    let directory = directory();
    let node = Node::open(directory.path());
    busy(&node).await;
    let waiting = alice().spend(&[genesis_output(2)], &[(&bob(), COIN)]);
    let before = node.utxo_set().await;
    node.stop().await;
    let mut expected = BTreeSet::new();
    change_index(directory.path(), |rows| {
        let mut changes = Vec::new();
        for table in *b"tuah" {
            let mut own = rows.iter().filter(|(key, _)| key[0] == table);
            let (missing, _) = own.next().expect("a row").clone();
            let (altered, mut value) = own.next().expect("another row").clone();
            value[0] ^= 1;
            let mut surplus = altered.clone();
            *surplus.last_mut().expect("a key") ^= 0x80;
            changes.push((missing, None));
            changes.push((altered, Some(value.clone())));
            changes.push((surplus, Some(value)));
        }
        changes.push((b"n\0\0\0\x63".to_vec(), Some(vec![0; 32])));
        changes.push((b"z".to_vec(), Some(vec![1])));
        // A block's row that leads to another block's record.
        let mut blocks = rows.iter().filter(|(key, _)| key[0] == b'b');
        let (key, _) = blocks.next().expect("a block");
        let (_, value) = blocks.next().expect("another block");
        let side = [b"b", &[7; 32][..]].concat();
        assert_ne!(*key, side);
        changes.push((side, Some(value.clone())));
        // The side branch's, which says that its certificate is where the genesis block is.
        let mains: Vec<_> = rows.iter().filter(|(key, _)| key[0] == b'n').collect();
        let mut blocks = rows.iter().filter(|(key, _)| key[0] == b'b');
        let (key, mut value) = blocks
            .find(|(key, _)| mains.iter().all(|(_, hash)| key[1..] != hash[..]))
            .expect("a side branch")
            .clone();
        value.extend_from_slice(&LogPosition::START.to_be_bytes());
        changes.push((key, Some(value)));
        expected.extend(changes.iter().map(|(key, _)| hex(key)));
        changes
    });
    let node = Node::open(directory.path());
    node.submit_transaction(&waiting).await.expect("valid");
    let outcome = verify(&node, VerifyLevel::Ledger).await;
    assert_eq!(outcome.rows(), expected);
    assert_eq!(outcome.report.remedy(), Remedy::Reindex);
    assert!(outcome.phases.contains(&(proto::VerifyPhase::Search as i32)));
    assert!(verify(&node, VerifyLevel::Records).await.report.ok);

    let reindex = async |end_now| {
        let answer = admin(&node).reindex(proto::ReindexRequest { end_now }).await.expect("taken");
        assert!(answer.into_inner().message.contains("started again"));
    };
    reindex(false).await;
    assert!(directory.path().join("REINDEX").exists());
    assert_eq!(node.mempool().await.len(), 1, "it serves on");
    reindex(true).await;
    let ended = timeout(PATIENCE, node.chain.ended()).await.expect("it ends");
    let Ended::Failed(reason) = ended else { panic!("it ended as if told to stop") };
    assert!(reason.contains("rebuilt"), "{reason}");
    assert!(directory.path().join("REINDEX").exists());
    drop(node);
    let node = Node::open(directory.path());
    assert!(!directory.path().join("REINDEX").exists());
    assert!(verify(&node, VerifyLevel::Signatures).await.report.ok);
    assert_eq!(node.utxo_set().await, before);
    assert_eq!(node.mempool().await, [waiting.txid().to_string()]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_hash_of_the_utxo_set_is_named_with_both_hashes_and_a_reindex_mends_it() {
    let directory = directory();
    let node = Node::open(directory.path());
    busy(&node).await;
    let right = set_hash::at_tip(&node).await;
    node.stop().await;
    // That of the empty set; and a coin is altered, which is another matter.
    let mut altered = String::new();
    change_index(directory.path(), |rows| {
        let (key, mut value) = rows.iter().find(|(key, _)| key[0] == b'u').expect("a coin").clone();
        *value.last_mut().expect("a script") ^= 1;
        altered = hex(&key);
        let wrong = pentad_crypto::MuHash::default().to_bytes();
        vec![(pentad_store::set_hash_key(), Some(wrong)), (key, Some(value))]
    });
    let node = Node::open(directory.path());
    let wrong = set_hash::at_tip(&node).await;
    assert_ne!(wrong, right);
    let outcome = verify(&node, VerifyLevel::Ledger).await;
    assert_eq!(outcome.rows(), BTreeSet::from([altered, hex(&pentad_store::set_hash_key())]));
    let problem = &outcome.damages.last().expect("a damage").problem;
    let has = |hash: &str| problem.contains(hash);
    assert!(has(&wrong.1.to_string()) && has(&right.1.to_string()), "{problem}");
    assert_eq!(outcome.report.remedy(), Remedy::Reindex);
    node.stop().await;
    let mut options = super::fixture::options(directory.path());
    options.store.reindex = true;
    let node = Node::try_open(options).expect("a sound log");
    assert_eq!(set_hash::at_tip(&node).await, right);
    assert!(verify(&node, VerifyLevel::Ledger).await.report.ok);
    node.stop().await;
}

/// Puts a block on the tip of a node that is not running, unchecked.
fn force(directory: &Path, blocks: &[(Block, Vec<Utxo>)]) {
    let data = DataDir::open(directory, &spec().spec_hash()).expect("a free directory");
    let (mut store, _) = ChainStore::open(&data, &StoreOptions::default()).expect("sound");
    for (block, spent) in blocks {
        let tip = store.tip().expect("genesis");
        let height = tip.height.next().expect("low");
        let work = store.block_entry(&tip.hash).expect("stored").chain_work;
        let work = work
            .saturating_add(Work::from_be_bytes(std::array::from_fn(|at| u8::from(at == 31) * 2)));
        store.append_block(block, height, work, None).expect("a working disk");
        let checked = CheckedBlock::assume_valid(block.clone());
        store.connect(block, checked.txids(), spent).expect("on the tip");
    }
    store.close().expect("a working disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_block_that_breaks_a_rule_is_named() {
    let utxo =
        |output, height| Utxo { output, height: BlockHeight::new(height), from_coinbase: true };
    let genesis_utxo = utxo(spec().genesis_block().transactions[0].outputs[0].clone(), 0);
    let payment = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let mut forged = payment.clone();
    forged.outputs[0].amount = Amount::from_units(COIN).expect("small");
    let template = {
        let directory = directory();
        let node = Node::in_memory(directory.path());
        node.template(&Person::new(9)).await
    };
    let with = |transactions: &[_]| {
        let mut block = template.clone();
        block.transactions.extend_from_slice(transactions);
        reseal(block)
    };
    let mut greedy = template.clone();
    greedy.transactions[0].outputs[0].amount = Amount::from_units(5_000 * COIN).expect("small");
    let greedy = reseal(greedy);
    let mut mixed = template.clone();
    mixed.header.merkle_root = MerkleRoot::ZERO;
    let undone = with(std::slice::from_ref(&payment));
    let mut wrong_utxo = genesis_utxo.clone();
    wrong_utxo.output.amount = Amount::from_units(200 * COIN).expect("small");
    let cases = [
        (greedy, vec![], VerifyLevel::Ledger, "coinbase"),
        (solve(mixed), vec![], VerifyLevel::Ledger, "merkle"),
        (undone, vec![wrong_utxo], VerifyLevel::Ledger, "not any more"),
        (with(&[forged]), vec![genesis_utxo.clone()], VerifyLevel::Signatures, "signature"),
    ];
    for (block, spent, level, problem) in cases {
        let directory = directory();
        Node::open(directory.path()).stop().await;
        force(directory.path(), &[(block.clone(), spent)]);
        let node = Node::open(directory.path());
        assert_eq!(node.tip().await, block.block_hash(), "{problem}");
        let lower =
            if level == VerifyLevel::Ledger { VerifyLevel::Records } else { VerifyLevel::Ledger };
        assert!(verify(&node, lower).await.report.ok, "{problem}");
        let outcome = verify(&node, level).await;
        let place = Some(Place::Block(block.block_hash().to_string()));
        let named = outcome.damages.iter().find(|it| it.place == place);
        let named = named.unwrap_or_else(|| panic!("{problem}: {:?}", outcome.damages));
        assert!(named.problem.contains(problem), "{}", named.problem);
        assert_eq!(outcome.report.remedy(), Remedy::Restore);
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_is_spent_twice_is_found() {
    let directory = directory();
    let node = Node::open(directory.path());
    let payment = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    node.submit_transaction(&payment).await.expect("valid");
    let first = node.mine(1, &Person::new(9)).await.remove(0);
    let template = node.template(&Person::new(9)).await;
    node.stop().await;
    let again = alice().spend(&[genesis_output(0)], &[(&alice(), 100 * COIN - FEE)]);
    let mut second = template;
    second.transactions.push(again);
    let second = reseal(second);
    let output = spec().genesis_block().transactions[0].outputs[0].clone();
    let spent = Utxo { output, height: BlockHeight::GENESIS, from_coinbase: true };
    force(directory.path(), &[(second.clone(), vec![spent])]);
    let node = Node::open(directory.path());
    let outcome = verify(&node, VerifyLevel::Ledger).await;
    let [damage] = &outcome.damages[..] else { panic!("{:?}", outcome.damages) };
    assert_eq!(damage.place, Some(Place::Block(second.block_hash().to_string())));
    assert!(damage.problem.contains("not any more"), "{}", damage.problem);
    assert_ne!(first.block_hash(), second.block_hash());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chain_may_move_on_and_reorganise_meanwhile() {
    let (here, there) = (directory(), directory());
    let (node, rival) = (Node::open(here.path()), Node::in_memory(there.path()));
    rival.clock.advance(3);
    // Several pages of rows.
    let own = node.mine(260, &alice()).await;
    let mut branch = Vec::new();
    for block in &own[..250] {
        rival.submit_block(block).await.expect("valid");
    }
    rival.clock.advance(2_600);
    let spend = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    rival.submit_transaction(&spend).await.expect("valid");
    branch.extend(rival.mine(15, &bob()).await);
    let (tip, handle) = (node.chain.published().tip(), Handle::current());
    let (reader, submitter) = (node.chain.reader().clone(), node.chain.submitter().clone());
    let verification = tokio::task::spawn_blocking(move || {
        let (mut damages, mut moved) = (Vec::new(), false);
        let tell = |event| {
            match event {
                Told::Damage(damage) => damages.push(damage),
                Told::Progress { phase: Phase::Index, done: 0, .. } => {
                    for block in &branch {
                        let bytes = block.to_bytes().into();
                        let ticket =
                            submitter.block(bytes, Default::default(), crate::Origin::Submitted);
                        let ticket = handle.block_on(ticket).expect("a working writer");
                        let answer = handle.block_on(ticket.answer()).expect("a working writer");
                        answer.expect("a valid block");
                    }
                    moved = true;
                }
                Told::Progress { .. } => {}
            }
            true
        };
        let plan = Plan { level: Level::Ledger, heights: None };
        let report = Verification::new(&reader, &tip, plan, tell).run();
        assert!(moved);
        (report.map_err(|stop| format!("{stop:?}")), damages)
    });
    let (report, damages) = verification.await.expect("no panic");
    let report = report.expect("a report");
    assert_eq!((report.damages(), damages), (0, vec![]));
    assert_eq!(report.blocks, 261);
    assert_eq!(node.tip().await, rival.tip().await, "it has reorganised meanwhile");
    node.stop().await;
    rival.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heights_can_be_chosen_and_are_checked() {
    let directory = directory();
    let node = Node::open(directory.path());
    busy(&node).await;
    let ask = async |level: VerifyLevel, from_height, to_height| {
        let request = proto::VerifyRequest { level: level.into(), from_height, to_height };
        admin(&node).verify(request).await
    };
    for (from, to, blocks) in [(Some(1), None, 3), (None, Some(1), 2), (Some(2), Some(2), 1)] {
        let events = ask(VerifyLevel::Signatures, from, to).await.expect("a stream");
        let outcome = read(events.into_inner()).await;
        assert!(outcome.report.ok, "{:?}", outcome.damages);
        assert_eq!((outcome.report.blocks, outcome.report.records), (blocks, 0));
        assert!(outcome.report.rows > 0);
    }
    for (level, from, to, field) in [
        (VerifyLevel::Ledger, Some(3), Some(2), "from_height"),
        (VerifyLevel::Ledger, None, Some(4), "to_height"),
        (VerifyLevel::Records, Some(1), None, "level"),
    ] {
        let refused = ask(level, from, to).await.expect_err("a wrong request");
        assert_eq!(pentad_api::status::explain(&refused).field.as_deref(), Some(field));
    }
    node.stop().await;
    let mut missing = Vec::new();
    change_index(directory.path(), |rows| {
        let history = rows.iter().filter(|(key, _)| key[0] == b'h');
        missing.extend(history.map(|(key, _)| key.clone()));
        missing.iter().map(|key| (key.clone(), None)).collect()
    });
    let node = Node::open(directory.path());
    let request = proto::VerifyRequest { from_height: Some(1), ..request(VerifyLevel::Ledger) };
    let events = admin(&node).verify(request).await.expect("a stream");
    let outcome = read(events.into_inner()).await;
    let of_genesis = |key: &Vec<u8>| key[key.len() - 8..][..4] == [0; 4];
    let expected = missing.iter().filter(|key| !of_genesis(key)).map(|key| hex(key));
    assert_eq!(outcome.rows(), expected.collect());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_verification_at_a_time_and_it_ends_with_its_client() {
    let directory = directory();
    let node = Node::open(directory.path());
    node.mine(30, &bob()).await;
    node.stop().await;
    change_index(directory.path(), |rows| {
        let history = rows.iter().filter(|(key, _)| key[0] == b'h');
        history.map(|(key, _)| (key.clone(), None)).collect()
    });
    let node = Node::open(directory.path());
    // More damage than events may wait for a client that takes none.
    let stalled = admin(&node).verify(request(VerifyLevel::Ledger)).await.expect("a stream");
    let busy = admin(&node).verify(request(VerifyLevel::Records)).await.expect_err("busy");
    assert_eq!((busy.code(), reason(&busy).as_str()), (Code::FailedPrecondition, "VERIFYING"));
    drop(stalled);
    let freed = async {
        while let Err(busy) = admin(&node).verify(request(VerifyLevel::Records)).await {
            assert_eq!(reason(&busy), "VERIFYING");
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.expect("the place is free again");
    node.stop().await;
}
