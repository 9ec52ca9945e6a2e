use std::time::Duration;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::follow_mempool_response::Event as MempoolEvent;
use pentad_api::chain::v1::follow_tip_response::Event;
use pentad_primitives::{Block, Encode as _};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use super::fixture::{COIN, FEE, Node, Person, alice, bob, directory, genesis_output};

const PATIENCE: Duration = Duration::from_secs(20);

async fn follow(node: &Node, cursor: &str) -> Streaming<proto::FollowTipResponse> {
    let request = proto::FollowTipRequest {
        cursor: cursor.to_owned(),
        with_blocks: true,
        ..Default::default()
    };
    node.events.clone().follow_tip(request).await.expect("a stream").into_inner()
}

/// The next event in short, and its cursor.
async fn next(events: &mut Streaming<proto::FollowTipResponse>) -> (String, String) {
    let message = timeout(PATIENCE, events.message()).await.expect("an event in time");
    let message = message.expect("no error").expect("no end");
    let name = |header: Option<pentad_api::types::v1::BlockHeader>| header.expect("set").hash;
    let event = match message.event.expect("an event") {
        Event::Apply(apply) => format!("apply {}", name(apply.header)),
        Event::Undo(undo) => format!("undo {}", name(undo.header)),
        Event::Reset(reset) => format!("reset {}", name(reset.header)),
        Event::Final(block) => format!("final {}", name(block.header)),
        Event::Added(_) | Event::Removed(_) | Event::MempoolReset(_) => panic!("not asked for"),
    };
    (event, message.cursor)
}

fn apply(block: &Block) -> String {
    format!("apply {}", block.block_hash())
}

fn undo(block: &Block) -> String {
    format!("undo {}", block.block_hash())
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_sees_every_block_and_resumes() {
    let directory = directory();
    let node = Node::open(directory.path());
    let early = node.mine(2, &bob()).await;
    let mut events = follow(&node, "").await;
    let (reset, cursor) = next(&mut events).await;
    assert_eq!(reset, format!("reset {}", early[1].block_hash()));
    assert_eq!(cursor, format!("2:{}", early[1].block_hash()));
    let late = node.mine(3, &bob()).await;
    for block in &late {
        assert_eq!(next(&mut events).await.0, apply(block));
    }
    drop(events);
    // On the main chain: everything since, nothing before.
    let mut events = follow(&node, &cursor).await;
    for block in &late {
        assert_eq!(next(&mut events).await.0, apply(block));
    }
    // From the very beginning.
    let genesis = format!("0:{}", super::fixture::spec().genesis_hash());
    let mut events = follow(&node, &genesis).await;
    for block in early.iter().chain(&late) {
        let request = timeout(PATIENCE, events.message()).await.expect("in time");
        let Some(Event::Apply(event)) = request.expect("no error").expect("no end").event else {
            panic!("expected an apply")
        };
        assert_eq!(event.raw, block.to_bytes());
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_cursor_is_led_over_the_crossing_point() {
    let (directory, other) = (directory(), directory());
    let node = Node::open(directory.path());
    let rival = Node::open(other.path());
    rival.clock.advance(3);
    let left = node.mine(2, &bob()).await;
    let mut live = follow(&node, "").await;
    let (_, stale) = next(&mut live).await;
    let right = rival.mine(3, &Person::new(30)).await;
    for block in &right {
        node.submit_block(block).await.expect("a valid block");
    }
    let expected = [undo(&left[1]), undo(&left[0]), apply(&right[0]), apply(&right[1])];
    let mut resumed = follow(&node, &stale).await;
    for events in [&mut live, &mut resumed] {
        for expected in &expected {
            assert_eq!(next(events).await.0, *expected);
        }
        let (last, cursor) = next(events).await;
        assert_eq!(last, apply(&right[2]));
        assert_eq!(cursor, format!("3:{}", right[2].block_hash()));
    }
    // A cursor between an undo and the next: the parent of the undone block.
    let between = format!("1:{}", left[0].block_hash());
    let mut events = follow(&node, &between).await;
    let (event, cursor) = next(&mut events).await;
    assert_eq!(event, undo(&left[0]));
    assert_eq!(cursor, format!("0:{}", super::fixture::spec().genesis_hash()));
    rival.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_cursor_resets_and_malformed_is_refused() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let blocks = node.mine(2, &bob()).await;
    let tip = blocks[1].block_hash();
    for cursor in [format!("1:{}", "ab".repeat(32)), format!("7:{tip}")] {
        let mut events = follow(&node, &cursor).await;
        assert_eq!(next(&mut events).await, (format!("reset {tip}"), format!("2:{tip}")));
    }
    let request = proto::FollowTipRequest {
        cursor: "what".to_owned(),
        with_blocks: false,
        ..Default::default()
    };
    let status = node.events.clone().follow_tip(request).await.expect_err("no cursor");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(pentad_api::status::explain(&status).field.as_deref(), Some("cursor"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_client_misses_nothing() {
    let directory = directory();
    let node = Node::open(directory.path());
    let mut events = follow(&node, "").await;
    next(&mut events).await;
    // Far more than any buffer between the two holds.
    let blocks = node.mine(60, &bob()).await;
    for block in &blocks {
        assert_eq!(next(&mut events).await.0, apply(block));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mempool_is_followed_from_its_present_state() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let first = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let second = alice().spend(&[genesis_output(1)], &[(&bob(), 100 * COIN - FEE)]);
    node.submit_transaction(&first).await.expect("a valid payment");
    let request = proto::FollowMempoolRequest { with_transactions: true };
    let events = node.events.clone().follow_mempool(request).await.expect("a stream");
    let mut events = events.into_inner();
    let mut next = async || {
        let message = timeout(PATIENCE, events.message()).await.expect("an event in time");
        message.expect("no error").expect("no end").event.expect("an event")
    };
    let added = |transaction: &pentad_primitives::Transaction| {
        MempoolEvent::Added(proto::MempoolAdded {
            txid: transaction.txid().to_string(),
            transaction: transaction.to_bytes().into(),
            traceparent: String::new(),
        })
    };
    assert_eq!(next().await, added(&first));
    node.submit_transaction(&second).await.expect("a valid payment");
    assert_eq!(next().await, added(&second));
    node.mine(1, &bob()).await;
    for _ in 0..2 {
        let MempoolEvent::Removed(removed) = next().await else { panic!("expected a removal") };
        assert_eq!(removed.reason(), proto::RemovalReason::Confirmed);
    }
    node.stop().await;
}
