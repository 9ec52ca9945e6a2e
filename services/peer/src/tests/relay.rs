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

/// The bytes of a transaction come from the node that it was handed in to; whoever has it from a
/// peer only tells of it.
#[tokio::test]
async fn what_a_peer_sent_is_told_of_and_what_was_handed_in_is_sent() {
    let anna = Node::start("test", &[]).await;
    let mut giver = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    let mut other = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    until("both are peers", async || anna.peers().await.len() == 2).await;
    let (given, bytes) = transaction(Txid::ZERO, 1);
    giver.send(&Message::Transactions(vec![(given, bytes.clone())])).await;
    loop {
        match other.receive().await.expect("the link is open") {
            Message::Inventory(txids) => break assert_eq!(txids, [given]),
            Message::Transactions(transactions) => panic!("unasked: {transactions:?}"),
            _ => {}
        }
    }
    let (own, _) = transaction(Txid::ZERO, 2);
    anna.chain.submit(&transaction(Txid::ZERO, 2).1);
    for session in [&mut giver, &mut other] {
        loop {
            if let Message::Transactions(transactions) = session.receive().await.expect("open") {
                break assert_eq!(transactions, [(own, transaction(Txid::ZERO, 2).1)]);
            }
        }
    }
    // Whoever lacks it asks.
    other.send(&Message::GetTransactions(vec![given])).await;
    loop {
        if let Message::Transactions(transactions) = other.receive().await.expect("open") {
            break assert_eq!(transactions, [(given, bytes)]);
        }
    }
}
