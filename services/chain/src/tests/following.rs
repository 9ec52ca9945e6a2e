//! Followers that are slow, away or on another branch, and what is final.

use std::sync::Arc;
use std::time::Duration;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::follow_addresses_response::Event as AddressEvent;
use pentad_api::chain::v1::follow_mempool_response::Event as MempoolMessage;
use pentad_api::chain::v1::follow_tip_response::Event as TipEvent;
use pentad_ledger::ChainSpec;
use pentad_primitives::{Encode as _, OutPoint, Transaction, Txid};
use tokio::time::timeout;
use tonic::Streaming;

use super::fixture::{
    COIN, FEE, Node, Person, START, alice, bob, directory, genesis_output, reason, spec,
};
use super::validators::{self, hybrid_spec, make_final, open_hybrid};
use crate::MempoolEvent;
use crate::view::MEMPOOL_EVENTS_MAX;

const PATIENCE: Duration = Duration::from_secs(20);

type TipStream = Streaming<proto::FollowTipResponse>;
type AddressStream = Streaming<proto::FollowAddressesResponse>;

async fn follow_tip(node: &Node, cursor: &str) -> TipStream {
    let request = proto::FollowTipRequest {
        cursor: cursor.to_owned(),
        with_blocks: false,
        ..Default::default()
    };
    node.events.clone().follow_tip(request).await.expect("a stream").into_inner()
}

async fn follow(node: &Node, person: &Person, cursor: &str) -> AddressStream {
    let addresses = vec![person.text()];
    let request = proto::FollowAddressesRequest { addresses, cursor: cursor.to_owned() };
    node.events.clone().follow_addresses(request).await.expect("a stream").into_inner()
}

async fn message<T>(events: &mut Streaming<T>) -> T {
    let message = timeout(PATIENCE, events.message()).await.expect("an event in time");
    message.expect("no error").expect("no end")
}

fn height(header: Option<pentad_api::types::v1::BlockHeader>) -> u32 {
    header.expect("set").height
}

/// The next event in short, and its cursor.
async fn next_tip(events: &mut TipStream) -> (String, String) {
    let message = message(events).await;
    let hash = |header: Option<pentad_api::types::v1::BlockHeader>| header.expect("set").hash;
    let event = match message.event.expect("an event") {
        TipEvent::Apply(apply) => format!("apply {}", hash(apply.header)),
        TipEvent::Undo(undo) => format!("undo {}", hash(undo.header)),
        TipEvent::Reset(reset) => format!("reset {}", hash(reset.header)),
        TipEvent::Final(block) => format!("final {}", height(block.header)),
        TipEvent::Added(added) => format!("waiting {}", added.txid),
        TipEvent::Removed(removed) => {
            format!("removed {} {}", removed.txid, removed.reason().as_str_name())
        }
        TipEvent::MempoolReset(reset) => format!("mempool reset, {} present", reset.present),
    };
    (event, message.cursor)
}

async fn next(events: &mut AddressStream) -> (String, String) {
    let message = message(events).await;
    let txids = |touched: proto::AddressesTouched| {
        touched.transactions.into_iter().map(|tx| tx.txid).collect::<Vec<_>>().join(" ")
    };
    let event = match message.event.expect("an event") {
        AddressEvent::Apply(touched) => format!("apply {}", txids(touched)),
        AddressEvent::Undo(touched) => format!("undo {}", txids(touched)),
        AddressEvent::Reset(reset) => format!("reset {}", height(reset.header)),
        AddressEvent::Pass(pass) => format!("pass {}", pass.height),
        AddressEvent::Final(block) => format!("final {}", height(block.header)),
        AddressEvent::Waiting(waiting) => {
            format!("waiting {}", waiting.transaction.expect("set").txid)
        }
        AddressEvent::Removed(removed) => {
            format!("removed {} {}", removed.txid, removed.reason().as_str_name())
        }
        AddressEvent::MempoolReset(_) => "mempool reset".to_owned(),
    };
    (event, message.cursor)
}

async fn expect(events: &mut AddressStream, expected: &[String]) {
    for expected in expected {
        assert_eq!(next(events).await.0, *expected);
    }
}

fn removed(transaction: &Transaction, reason: &str) -> String {
    format!("removed {} REMOVAL_REASON_{reason}", transaction.txid())
}

fn waiting(transaction: &Transaction) -> String {
    format!("waiting {}", transaction.txid())
}

#[tokio::test(flavor = "multi_thread")]
async fn final_blocks_are_told_once_on_every_stream() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let blocks = node.mine(5, &bob()).await;
    assert_eq!(node.info().await.final_height, Some(0));
    let mut live = follow_tip(&node, "").await;
    let (_, cursor) = next_tip(&mut live).await;
    make_final(&node, &blocks[2], 3).await;
    assert_eq!(next_tip(&mut live).await, ("final 3".to_owned(), cursor.clone()));
    assert_eq!(node.info().await.final_height, Some(3));
    let more = node.mine(1, &bob()).await;
    assert_eq!(next_tip(&mut live).await.0, format!("apply {}", more[0].block_hash()));
    make_final(&node, &more[0], 6).await;
    assert_eq!(next_tip(&mut live).await.0, "final 6");

    // Who comes later is told at once; who is behind, never above where it stands.
    let mut late = follow_tip(&node, "").await;
    assert_eq!(next_tip(&mut late).await.0, format!("reset {}", more[0].block_hash()));
    assert_eq!(next_tip(&mut late).await.0, "final 6");
    let mut resumed = follow_tip(&node, &format!("0:{}", hybrid_spec().genesis_hash())).await;
    for block in blocks.iter().chain(&more) {
        assert_eq!(next_tip(&mut resumed).await.0, format!("apply {}", block.block_hash()));
    }
    assert_eq!(next_tip(&mut resumed).await.0, "final 6");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn final_blocks_are_told_to_followers_of_addresses_as_far_as_they_matter() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let mut events = follow(&node, &bob(), "").await;
    expect(&mut events, &["reset 0".to_owned(), "mempool reset".to_owned()]).await;
    let foreign = node.mine(2, &Person::new(9)).await;
    make_final(&node, &foreign[1], 2).await;
    let own = node.mine(1, &bob()).await.remove(0);
    let coinbase = own.transactions[0].txid();
    assert_eq!(next(&mut events).await.0, format!("apply {coinbase}"));
    // What lies below is final already; the block itself is not.
    assert_eq!(next(&mut events).await.0, "final 2");
    node.mine(1, &Person::new(9)).await;
    make_final(&node, &own, 3).await;
    assert_eq!(next(&mut events).await.0, "final 3");
    node.stop().await;
}

/// Under PBFT every block is final at once.
#[tokio::test(flavor = "multi_thread")]
async fn certified_blocks_are_told_as_final_and_stay_so_over_a_restart() {
    let directory = directory();
    let node = validators::open(directory.path());
    let mut live = follow_tip(&node, "").await;
    assert!(next_tip(&mut live).await.0.starts_with("reset"));
    let mut blocks = Vec::new();
    for vout in 0..3 {
        let block = validators::extend(&node, [vout]).await.remove(0);
        assert_eq!(next_tip(&mut live).await.0, format!("apply {}", block.block_hash()));
        assert_eq!(next_tip(&mut live).await.0, format!("final {}", vout + 1));
        blocks.push(block);
    }
    node.stop().await;

    let node = validators::open(directory.path());
    let mut resumed = follow_tip(&node, &format!("1:{}", blocks[0].block_hash())).await;
    for block in &blocks[1..] {
        assert_eq!(next_tip(&mut resumed).await.0, format!("apply {}", block.block_hash()));
    }
    assert_eq!(next_tip(&mut resumed).await.0, "final 3");
    node.stop().await;
}

/// Attack 49.
#[tokio::test(flavor = "multi_thread")]
async fn reorganisation_below_finality_is_refused() {
    let (here, there) = (directory(), directory());
    let (node, rival) = (open_hybrid(here.path()), open_hybrid(there.path()));
    rival.clock.advance(3);
    let own = node.mine(3, &bob()).await;
    let before = node.utxo_set().await;
    let theirs = rival.mine(6, &Person::new(30)).await;
    // A side branch that was known before, and blocks that come later.
    node.submit_block(&theirs[0]).await.expect("a side branch");
    make_final(&node, &own[1], 2).await;
    let refused = node.submit_block(&theirs[1]).await.expect_err("it would undo a final block");
    assert_eq!(reason(&refused), "BELOW_FINALITY");
    for block in &theirs[2..] {
        let outcome = node.submit_block(block).await.expect("its parent was not kept");
        assert_eq!(outcome, proto::BlockOutcome::Orphan);
    }
    assert_eq!(node.tip().await, own[2].block_hash());
    assert_eq!(node.utxo_set().await, before);
    // Above the final block, most work wins as before.
    let elsewhere = directory();
    let third = open_hybrid(elsewhere.path());
    for block in &own[..2] {
        third.submit_block(block).await.expect("valid");
    }
    third.clock.advance(50);
    for block in third.mine(3, &alice()).await {
        node.submit_block(&block).await.expect("above the final block");
    }
    assert_eq!(node.tip().await, third.tip().await);
    assert_eq!(node.utxo_set().await, third.utxo_set().await);
    third.stop().await;
    rival.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mempool_changes_of_addresses_are_told_with_their_reasons() {
    let (here, there) = (directory(), directory());
    let (node, other) = (Node::open(here.path()), Node::in_memory(there.path()));
    let miner = Person::new(9);
    let present = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let received = OutPoint { txid: present.txid(), vout: 0 };
    let onward = bob().spend(&[received], &[(&alice(), 99 * COIN)]);
    for payment in [&present, &onward] {
        node.submit_transaction(payment).await.expect("valid");
    }
    // What waits already comes first, parents before children.
    let mut events = follow(&node, &bob(), "").await;
    let begin = ["reset 0".to_owned(), "mempool reset".to_owned()];
    expect(&mut events, &begin).await;
    expect(&mut events, &[waiting(&present), waiting(&onward)]).await;

    let foreign = alice().spend(&[genesis_output(1)], &[(&alice(), 99 * COIN)]);
    node.submit_transaction(&foreign).await.expect("valid");
    node.mine(1, &miner).await;
    let both = format!("{} {}", present.txid(), onward.txid());
    // The block first, so that no transaction is ever missing from both.
    assert_eq!(next(&mut events).await.0, format!("apply {both}"));
    let mut gone = [next(&mut events).await.0, next(&mut events).await.0];
    gone.sort();
    let mut expected = [removed(&present, "CONFIRMED"), removed(&onward, "CONFIRMED")];
    expected.sort();
    assert_eq!(gone, expected);

    // A reorganisation returns them; one of them conflicts with a block of the new branch.
    let rival = alice().spend(&[genesis_output(2)], &[(&alice(), 99 * COIN)]);
    let loser = alice().spend(&[genesis_output(2)], &[(&bob(), 98 * COIN)]);
    other.submit_transaction(&rival).await.expect("valid");
    let branch = other.mine(3, &alice()).await;
    node.submit_transaction(&loser).await.expect("valid");
    assert_eq!(next(&mut events).await.0, waiting(&loser));
    for block in &branch {
        node.submit_block(block).await.expect("a valid block");
    }
    assert_eq!(next(&mut events).await.0, format!("undo {both}"));
    let mut changes = Vec::new();
    for _ in 0..3 {
        changes.push(next(&mut events).await.0);
    }
    changes.sort();
    let mut expected = [removed(&loser, "CONFLICT"), waiting(&present), waiting(&onward)];
    expected.sort();
    assert_eq!(changes, expected);
    // Who comes back stands where it stood on the chain, and is told anew what waits.
    let mut resumed = follow(&node, &bob(), &format!("3:{}", branch[2].block_hash())).await;
    assert_eq!(next(&mut resumed).await.0, "mempool reset");
    expect(&mut resumed, &[waiting(&present), waiting(&onward)]).await;
    other.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mempool_is_told_beside_the_tip_in_the_order_in_which_it_happened() {
    let (here, there) = (directory(), directory());
    let (node, other) = (Node::open(here.path()), Node::in_memory(there.path()));
    let first = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let received = OutPoint { txid: first.txid(), vout: 0 };
    let second = bob().spend(&[received], &[(&alice(), 99 * COIN)]);
    for payment in [&first, &second] {
        node.submit_transaction(payment).await.expect("valid");
    }
    let request = proto::FollowTipRequest { with_mempool: true, ..Default::default() };
    let mut events = node.events.clone().follow_tip(request).await.expect("a stream").into_inner();
    let genesis = spec().genesis_hash();
    for expected in [
        format!("reset {genesis}"),
        "mempool reset, 2 present".to_owned(),
        waiting(&first),
        waiting(&second),
    ] {
        assert_eq!(next_tip(&mut events).await, (expected, format!("0:{genesis}")));
    }
    // The block first, so that no transaction is ever missing from both.
    let block = node.mine(1, &Person::new(9)).await.remove(0);
    assert_eq!(next_tip(&mut events).await.0, format!("apply {}", block.block_hash()));
    let mut gone = [next_tip(&mut events).await.0, next_tip(&mut events).await.0];
    gone.sort();
    let mut expected = [removed(&first, "CONFIRMED"), removed(&second, "CONFIRMED")];
    expected.sort();
    assert_eq!(gone, expected);
    // A reorganisation returns them, after the block that held them is undone.
    let branch = other.mine(2, &alice()).await;
    for block in &branch {
        node.submit_block(block).await.expect("a valid block");
    }
    assert_eq!(next_tip(&mut events).await.0, format!("undo {}", block.block_hash()));
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(next_tip(&mut events).await.0);
    }
    let applied = |told: &String| told.starts_with("apply ");
    let blocks: Vec<_> = told.extract_if(.., |it| applied(it)).collect();
    assert_eq!(
        blocks,
        branch.iter().map(|it| format!("apply {}", it.block_hash())).collect::<Vec<_>>()
    );
    assert_eq!(told, [waiting(&first), waiting(&second)]);
    other.stop().await;
    node.stop().await;
}

/// Tells followers of more changes than may wait for one of them.
fn overrun(node: &Node, event: &MempoolEvent) {
    for _ in 0..=MEMPOOL_EVENTS_MAX + 64 {
        node.chain.published().change(|_| ((), None, vec![event.clone()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_follower_of_the_mempool_is_told_to_start_over() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let first = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    node.submit_transaction(&first).await.expect("valid");
    let request = proto::FollowMempoolRequest { with_transactions: true };
    let events = node.events.clone().follow_mempool(request).await.expect("a stream");
    let mut events = events.into_inner();
    let added = |transaction: &Transaction| {
        MempoolMessage::Added(proto::MempoolAdded {
            txid: transaction.txid().to_string(),
            transaction: transaction.to_bytes().into(),
            traceparent: String::new(),
        })
    };
    assert_eq!(message(&mut events).await.event, Some(added(&first)));
    // The client takes nothing while far more happens than anybody keeps for it.
    let noise = MempoolEvent::Removed(Txid::ZERO, proto::RemovalReason::Expired);
    overrun(&node, &noise);
    let second = alice().spend(&[genesis_output(1)], &[(&bob(), 100 * COIN - FEE)]);
    node.submit_transaction(&second).await.expect("valid");
    let mut skipped = 0;
    loop {
        match message(&mut events).await.event.expect("an event") {
            MempoolMessage::Removed(_) => skipped += 1,
            MempoolMessage::Reset(_) => break,
            MempoolMessage::Added(added) => panic!("{added:?} before the reset"),
        }
    }
    assert!(skipped < MEMPOOL_EVENTS_MAX, "nothing was skipped");
    let mut present = [message(&mut events).await.event, message(&mut events).await.event];
    present.sort_by_key(|event| format!("{event:?}"));
    let mut expected = [Some(added(&first)), Some(added(&second))];
    expected.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(present, expected);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_follower_of_addresses_misses_no_block_and_is_told_of_lost_changes() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let mut events = follow(&node, &bob(), "").await;
    let begin = ["reset 0".to_owned(), "mempool reset".to_owned()];
    expect(&mut events, &begin).await;
    let first = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let noise = MempoolEvent::Added {
        txid: first.txid(),
        transaction: Arc::new(first.clone()),
        spent: Arc::new([]),
    };
    overrun(&node, &noise);
    let blocks = node.mine(40, &bob()).await;
    node.submit_transaction(&first).await.expect("valid");
    let (mut applied, mut resets) = (Vec::new(), 0);
    while applied.len() < blocks.len() || resets == 0 {
        let (event, _) = next(&mut events).await;
        match event.split_once(' ').expect("two words") {
            ("apply", txid) => applied.push(txid.to_owned()),
            ("mempool", _) => resets += 1,
            _ => assert_eq!(event, waiting(&first)),
        }
    }
    let expected: Vec<_> =
        blocks.iter().map(|block| block.transactions[0].txid().to_string()).collect();
    assert_eq!(applied, expected);
    assert_eq!(resets, 1);
    assert_eq!(next(&mut events).await.0, waiting(&first));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_follower_of_the_tip_is_led_through_a_reorganisation() {
    let (here, there) = (directory(), directory());
    let (node, rival) = (Node::open(here.path()), Node::open(there.path()));
    rival.clock.advance(3);
    let mut events = follow_tip(&node, &format!("0:{}", spec().genesis_hash())).await;
    // Far more than any buffer between the two holds, then all of it turns out to be a side branch.
    node.mine(40, &bob()).await;
    for block in rival.mine(42, &Person::new(30)).await {
        node.submit_block(&block).await.expect("a valid block");
    }
    let tip = format!("42:{}", rival.tip().await);
    let mut chain = Vec::new();
    loop {
        let (event, cursor) = next_tip(&mut events).await;
        match event.split_once(' ').expect("two words") {
            ("apply", hash) => chain.push(hash.to_owned()),
            ("undo", hash) => assert_eq!(chain.pop().as_deref(), Some(hash)),
            _ => panic!("{event}"),
        }
        if cursor == tip {
            break;
        }
    }
    for (at, hash) in (1..).zip(&chain) {
        assert_eq!(node.block_at(at).await.block_hash().to_string(), *hash);
    }
    assert_eq!(chain.len(), 42);
    rival.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_resumes_after_a_restart_and_a_reorganisation() {
    let (here, there) = (directory(), directory());
    let (node, rival) = (Node::open(here.path()), Node::open(there.path()));
    rival.clock.advance(3);
    let left = node.mine(2, &bob()).await;
    let (mut tip, mut addresses) = (follow_tip(&node, "").await, follow(&node, &bob(), "").await);
    let (_, cursor) = next_tip(&mut tip).await;
    assert_eq!(next(&mut addresses).await, ("reset 2".to_owned(), cursor.clone()));
    drop((tip, addresses));
    node.stop().await;

    let node = Node::open(here.path());
    let right = rival.mine(3, &bob()).await;
    for block in &right {
        node.submit_block(block).await.expect("a valid block");
    }
    let (mut tip, mut addresses) =
        (follow_tip(&node, &cursor).await, follow(&node, &bob(), &cursor).await);
    for block in left.iter().rev() {
        assert_eq!(next_tip(&mut tip).await.0, format!("undo {}", block.block_hash()));
        let coinbase = block.transactions[0].txid();
        assert_eq!(next(&mut addresses).await.0, format!("undo {coinbase}"));
    }
    for block in &right {
        assert_eq!(next_tip(&mut tip).await.0, format!("apply {}", block.block_hash()));
        let coinbase = block.transactions[0].txid();
        assert_eq!(next(&mut addresses).await.0, format!("apply {coinbase}"));
    }
    rival.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_of_another_network_starts_over() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let blocks = node.mine(2, &bob()).await;
    let other = ChainSpec::development("other", START, vec![]).expect("a valid spec");
    let cursor = format!("0:{}", other.genesis_hash());
    let tip = format!("2:{}", blocks[1].block_hash());
    let reset = format!("reset {}", blocks[1].block_hash());
    assert_eq!(next_tip(&mut follow_tip(&node, &cursor).await).await, (reset, tip.clone()));
    let mut events = follow(&node, &bob(), &cursor).await;
    assert_eq!(next(&mut events).await, ("reset 2".to_owned(), tip));
    node.stop().await;
}
