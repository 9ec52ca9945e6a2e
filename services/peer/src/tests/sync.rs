//! A node that is behind catches up.

use super::*;

#[tokio::test]
async fn a_new_node_catches_up() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(5000, 0, 300);
    let bert = Node::start("test", &[&anna]).await;
    until_tip(&bert, anna.chain.tip()).await;
    assert_eq!(bert.chain.connects(), 5000, "a block came twice");
    assert!(bert.peers().await.iter().all(|peer| peer.misbehavior == 0));
}

#[tokio::test]
async fn bodies_come_from_several_peers() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(2000, 0, 1_000);
    let bert = Node::start("test", &[&anna]).await;
    until_tip(&bert, anna.chain.tip()).await;
    let carl = Node::start("test", &[&anna, &bert]).await;
    until_linked(&anna, &carl).await;
    until_linked(&bert, &carl).await;
    until_tip(&carl, anna.chain.tip()).await;
}

#[tokio::test]
async fn the_longer_branch_wins_on_both_sides() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(20, 0, 300);
    let bert = Node::start("test", &[&anna]).await;
    until_tip(&bert, anna.chain.tip()).await;
    let (directory, chain) = (Arc::clone(&bert.directory), bert.chain.clone());
    bert.stop().await;
    anna.chain.mine(10, 1, 300);
    chain.mine(15, 2, 300);
    let bert = Node::start_in(
        directory,
        chain,
        PeerConfig { bootstrap: vec![anna.address.to_string()], ..config() },
    )
    .await;
    let tip = bert.chain.tip();
    until_tip(&anna, tip).await;
    anna.chain.mine(1, 3, 300);
    until_tip(&bert, anna.chain.tip()).await;
    for node in [&anna, &bert] {
        assert!(node.peers().await.iter().all(|peer| peer.misbehavior == 0));
    }
}

#[tokio::test]
async fn large_blocks_pass() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(2, 0, 4_000_000);
    let bert = Node::start("test", &[&anna]).await;
    until_tip(&bert, anna.chain.tip()).await;
    anna.chain.mine(1, 1, 8 << 19);
    until_tip(&bert, anna.chain.tip()).await;
}

/// The chain service of the node that serves restarts in the middle of its answers.
#[tokio::test]
async fn a_node_whose_chain_was_away_is_not_penalised() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(500, 0, 1_000);
    anna.chain.break_off(5);
    let bert = Node::start("test", &[&anna]).await;
    let synced = async || {
        bert.chain.tip() == anna.chain.tip()
            || bert.peers().await.iter().any(|peer| peer.misbehavior > 0)
    };
    until("the tip or a penalty", synced).await;
    let penalised = bert.peers().await.iter().any(|peer| peer.misbehavior > 0);
    assert!(!penalised, "an honest peer is penalised");
}

/// A question to the chain service that panics is like one without an answer.
#[tokio::test]
async fn a_panic_in_a_check_does_not_end_the_sync() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(50, 0, 300);
    let chain = FakeChain::new("test");
    chain.panic_at_headers(1);
    let bootstrap = vec![anna.address.to_string()];
    let bert = Node::start_with(chain, PeerConfig { bootstrap, ..config() }).await;
    until_tip(&bert, anna.chain.tip()).await;
}
