//! Blocks and transactions reach everybody, once.

use pentad_primitives::Txid;

use super::fake_chain::transaction;
use super::*;

/// Three nodes in a row: the ends are not linked.
async fn row() -> [Node; 3] {
    let lonely = || PeerConfig { outbound_max: 0, ..config() };
    let anna = Node::start_with(FakeChain::new("test"), lonely()).await;
    let bert = Node::start_with(FakeChain::new("test"), lonely()).await;
    let carl = Node::start_with(FakeChain::new("test"), lonely()).await;
    bert.add(&anna).await;
    bert.add(&carl).await;
    until_linked(&anna, &bert).await;
    until_linked(&bert, &carl).await;
    assert!(!anna.is_linked_to(&carl).await);
    [anna, bert, carl]
}

#[tokio::test]
async fn a_block_reaches_the_third_node() {
    let [anna, bert, carl] = row().await;
    for height in 1..=5 {
        anna.chain.mine(1, height, 1000);
        until_tip(&carl, anna.chain.tip()).await;
    }
    for node in [&bert, &carl] {
        assert_eq!(node.chain.connects(), 5, "a block came twice");
    }
    until("claims follow", async || {
        anna.peers().await.iter().all(|peer| peer.tip == anna.chain.tip().to_string())
    })
    .await;
}

#[tokio::test]
async fn transactions_reach_the_third_node_in_order() {
    let [anna, _bert, carl] = row().await;
    let mut parent = Txid::ZERO;
    for salt in 0..100 {
        let (txid, bytes) = transaction(parent, salt);
        anna.chain.submit(&bytes);
        parent = txid;
    }
    until("all", async || carl.chain.mempool() == anna.chain.mempool()).await;
}

#[tokio::test]
async fn a_late_joiner_learns_what_is_pending() {
    let anna = Node::start("test", &[]).await;
    for salt in 0..50 {
        anna.chain.submit(&transaction(Txid::ZERO, salt).1);
    }
    let bert = Node::start("test", &[&anna]).await;
    bert.chain.submit(&transaction(Txid::ZERO, 99).1);
    let same = async || {
        let (one, other) = (anna.chain.mempool(), bert.chain.mempool());
        one.len() == 51 && one == other
    };
    until("the mempools are one", same).await;
}

/// The chain service restarts: its streams break, nothing is lost.
#[tokio::test]
async fn broken_streams_are_opened_again() {
    let [anna, bert, carl] = row().await;
    for round in 0..10_u8 {
        anna.chain.mine(1, u32::from(round), 500);
        anna.chain.submit(&transaction(Txid::ZERO, round).1);
        for node in [&anna, &bert, &carl] {
            node.chain.break_streams();
        }
    }
    until_tip(&carl, anna.chain.tip()).await;
    until("transactions", async || carl.chain.mempool() == anna.chain.mempool()).await;
}
