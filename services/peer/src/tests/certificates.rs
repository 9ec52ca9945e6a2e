//! Under PBFT a block is nothing without its certificate: both travel together, everywhere.

use pentad_wire::sync::Body;

use super::fake_chain::block;
use super::*;

async fn node(bootstrap: &[&Node]) -> Node {
    let bootstrap = bootstrap.iter().map(|node| node.address.to_string()).collect();
    Node::start_with(FakeChain::certified("test"), PeerConfig { bootstrap, ..config() }).await
}

/// Several batches of headers, and bodies from two peers.
#[tokio::test]
async fn a_new_node_catches_up_on_certified_blocks() {
    let anna = node(&[]).await;
    anna.chain.mine(4500, 0, 300);
    let bert = node(&[&anna]).await;
    until_tip(&bert, anna.chain.tip()).await;
    let carl = node(&[&anna, &bert]).await;
    until_tip(&carl, anna.chain.tip()).await;
    for node in [&bert, &carl] {
        assert!(node.peers().await.iter().all(|peer| peer.misbehavior == 0));
    }
}

#[tokio::test]
async fn new_blocks_are_pushed_with_their_certificates() {
    let anna = node(&[]).await;
    let bert = node(&[&anna]).await;
    let carl = node(&[&bert]).await;
    until_linked(&anna, &bert).await;
    until_linked(&bert, &carl).await;
    for height in 1..=5 {
        anna.chain.mine(1, height, 1000);
        until_tip(&carl, anna.chain.tip()).await;
    }
    for node in [&anna, &bert, &carl] {
        assert!(node.peers().await.iter().all(|peer| peer.misbehavior == 0));
    }
}

/// Attack 40: what a block lacks in certificates does not stop it from arriving whole.
#[tokio::test]
async fn a_block_without_its_certificate_is_refused_and_welcome_with_it() {
    let anna = node(&[]).await;
    let (hash, block) = block(anna.chain.genesis(), 1, 50);
    let push = |certificate: Bytes| {
        let body = Body { block: block.clone(), certificate };
        Message::Block { hash, body }
    };
    let mut wrong = anna.chain.certificate(hash).to_vec();
    wrong[100] ^= 1;
    for certificate in [Bytes::new(), wrong.into()] {
        let mut session = Stranger::new(&anna.chain, "test").connect(anna.address).await;
        session.send(&push(certificate)).await;
        assert_eq!(session.end().await.as_deref(), Some("MISBEHAVIOR"));
    }
    let mut honest = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    honest.send(&push(anna.chain.certificate(hash))).await;
    until_tip(&anna, hash).await;
}

#[tokio::test]
async fn the_largest_block_travels_with_the_largest_certificate() {
    let anna = node(&[]).await;
    // 8 MiB with the header.
    anna.chain.mine(1, 0, (8 << 20) - 80);
    let bert = node(&[&anna]).await;
    until_tip(&bert, anna.chain.tip()).await;
}
