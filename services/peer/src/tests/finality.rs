//! Engine hybrid: certificates of final blocks reach everybody, once.

use pentad_primitives::hash::sha256d;
use pentad_wire::sync::HeaderBatch;

use super::fake_chain::finality::certificate;
use super::*;

async fn node(bootstrap: &[&Node]) -> Node {
    start(FakeChain::hybrid("test"), bootstrap).await
}

async fn start(chain: FakeChain, bootstrap: &[&Node]) -> Node {
    let bootstrap = bootstrap.iter().map(|node| node.address.to_string()).collect();
    Node::start_with(chain, PeerConfig { bootstrap, outbound_max: 0, ..config() }).await
}

async fn until_final(node: &Node, height: usize) {
    until("it is final", async || node.chain.final_height() == height).await;
}

async fn assert_all_behaved(nodes: &[&Node]) {
    for node in nodes {
        assert!(node.peers().await.iter().all(|peer| peer.misbehavior == 0));
    }
}

/// A reorganisation between heartbeat and answer can look like a lie.
async fn assert_nobody_is_blamed_for_more_than_a_reorganisation(nodes: &[&Node]) {
    let most = pentad_wire::Offence::UnprovenWork.score();
    for node in nodes {
        let peers = node.peers().await;
        assert!(!peers.is_empty() && peers.iter().all(|peer| peer.misbehavior <= most));
    }
}

/// A node with eight blocks.
async fn alone() -> Node {
    let anna = node(&[]).await;
    anna.chain.mine(8, 0, 300);
    anna
}

/// Three nodes in a row with the same eight blocks.
async fn row() -> [Node; 3] {
    let anna = alone().await;
    let bert = node(&[]).await;
    let carl = node(&[]).await;
    bert.add(&anna).await;
    carl.add(&bert).await;
    until_tip(&carl, anna.chain.tip()).await;
    [anna, bert, carl]
}

/// The next certificate that comes.
async fn received(session: &mut Session) -> (u32, Bytes) {
    loop {
        if let Message::Certificate { height, certificate } = session.receive().await.expect("open")
        {
            return (height.get(), certificate);
        }
    }
}

fn stranger(node: &Node, final_height: u32) -> Stranger {
    let mut stranger = Stranger::new(&node.chain, "test");
    stranger.claim.final_height = Some(BlockHeight::new(final_height));
    stranger
}

fn message(hash: BlockHash, height: usize) -> Message {
    let certificate = certificate(hash, height);
    let height = BlockHeight::new(u32::try_from(height).expect("a short chain"));
    Message::Certificate { height, certificate }
}

#[tokio::test]
async fn a_certificate_reaches_the_third_node() {
    let [anna, bert, carl] = row().await;
    for height in 1..=4 {
        anna.chain.make_final(height);
        until_final(&carl, height).await;
    }
    for node in [&bert, &carl] {
        assert_eq!(node.chain.certificates(), 4, "a certificate came twice");
    }
    assert_eq!(anna.chain.certificates(), 0, "an echo");
    assert_all_behaved(&[&anna, &bert]).await;
}

#[tokio::test]
async fn a_certificate_goes_once_to_whoever_lacks_it() {
    let anna = alone().await;
    anna.chain.make_final(1);
    // A node that was away, and one that is as far.
    let mut away = stranger(&anna, 0).connect(anna.address).await;
    let mut as_far = stranger(&anna, 1).connect(anna.address).await;
    assert_eq!(received(&mut away).await, (1, anna.chain.certificate_at(1)));
    until("both are peers", async || anna.peers().await.len() == 2).await;
    // Two more come from one of them: they go to the other one only.
    for height in [2, 3] {
        let sent = anna.chain.certificate_at(height);
        away.send(&message(hash_at(&anna, height), height)).await;
        assert_eq!(received(&mut as_far).await, (u32::try_from(height).unwrap(), sent));
    }
    anna.chain.make_final(4);
    assert_eq!(received(&mut away).await.0, 4, "it is told what it sent, or once more");
    assert_eq!(received(&mut as_far).await.0, 4);
}

/// The block of the main chain at this height.
fn hash_at(node: &Node, height: usize) -> BlockHash {
    let certificate = node.chain.certificate_at(height);
    BlockHash::from_bytes(certificate[16..48].try_into().expect("32 bytes"))
}

/// Beside the certificate the heartbeat tells how far all is final.
#[tokio::test]
async fn the_heartbeat_tells_what_is_final() {
    let anna = alone().await;
    let mut session = stranger(&anna, 9).connect(anna.address).await;
    for height in [0, 1, 2] {
        if height > 0 {
            anna.chain.make_final(height as usize);
        }
        loop {
            if let Message::Handshake(handshake) = session.receive().await.expect("open") {
                let told = handshake.claim.final_height;
                if told == Some(BlockHeight::new(height)) {
                    break;
                }
                assert!(told < Some(BlockHeight::new(height)) && told.is_some());
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_an_offence() {
    let anna = alone().await;
    let mut liar = stranger(&anna, 0).connect(anna.address).await;
    let wrong = certificate(anna.chain.tip(), 3);
    let height = BlockHeight::new(3);
    liar.send(&Message::Certificate { height, certificate: wrong }).await;
    assert_eq!(liar.end().await.as_deref(), Some("MISBEHAVIOR"));
    let mut liar = stranger(&anna, 0).connect(anna.address).await;
    let short = Bytes::from_static(&[0; 15]);
    liar.send(&Message::Certificate { height, certificate: short }).await;
    liar.end().await;
    until("banned", async || anna.peers().await.is_empty()).await;
    assert_eq!(anna.chain.final_height(), 0);
}

/// The chain service restarts just then.
#[tokio::test]
async fn a_certificate_that_finds_the_chain_away_is_tried_again() {
    let [anna, bert, _carl] = row().await;
    bert.chain.fail_certificates(3);
    anna.chain.make_final(2);
    until_final(&bert, 2).await;
    assert_eq!(bert.chain.certificates(), 4);
}

/// In sync a block comes with its certificate, where it has one.
#[tokio::test]
async fn a_new_node_learns_what_is_final_with_the_blocks() {
    let anna = node(&[]).await;
    anna.chain.mine(300, 0, 300);
    (1..=290).for_each(|height| anna.chain.make_final(height));
    let bert = node(&[]).await;
    bert.add(&anna).await;
    until_tip(&bert, anna.chain.tip()).await;
    until_final(&bert, 290).await;
    for height in 1..=300 {
        assert_eq!(bert.chain.kept_certificate(height), anna.chain.kept_certificate(height));
    }
    // A block at the tip has none yet, and is pushed all the same.
    anna.chain.mine(1, 1, 300);
    until_tip(&bert, anna.chain.tip()).await;
    assert_all_behaved(&[&anna, &bert]).await;
}

/// Where work alone, or PBFT alone, makes blocks final, nobody speaks of certificates alone.
#[tokio::test]
async fn elsewhere_no_certificate_travels_alone() {
    for chain in [FakeChain::new("test"), FakeChain::certified("test")] {
        let anna = start(chain, &[]).await;
        anna.chain.mine(3, 0, 300);
        let mut session = stranger(&anna, 0).connect(anna.address).await;
        session.send(&message(anna.chain.tip(), 3)).await;
        until("a peer", async || anna.peers().await.len() == 1).await;
        session
            .send(&Message::GetHeaders { locator: vec![anna.chain.genesis()], stop: None })
            .await;
        loop {
            match session.receive().await.expect("it is no offence") {
                Message::Handshake(handshake) => {
                    assert_eq!(handshake.claim.final_height, None);
                }
                Message::Certificate { .. } => panic!("unasked"),
                Message::Headers(HeaderBatch { headers, .. }) => {
                    let last = headers.last().map(|last| BlockHash::from(sha256d(last)));
                    break assert_eq!(last, Some(anna.chain.tip()));
                }
                _ => {}
            }
        }
        assert_eq!(anna.chain.certificates(), 0);
        assert!(anna.peers().await.iter().all(|peer| peer.misbehavior == 0));
    }
}

/// Everybody is linked to everybody: no certificate goes round in circles.
#[tokio::test]
async fn in_a_mesh_each_link_carries_a_certificate_once_at_most() {
    let anna = alone().await;
    let bert = node(&[]).await;
    let carl = node(&[]).await;
    let dora = node(&[]).await;
    let nodes = [&anna, &bert, &carl, &dora];
    for (place, one) in nodes.iter().enumerate() {
        for other in &nodes[place + 1..] {
            one.add(other).await;
            until_linked(one, other).await;
        }
    }
    for node in nodes {
        until_tip(node, anna.chain.tip()).await;
    }
    for height in 1..=4 {
        nodes[height % 4].chain.make_final(height);
        for node in nodes {
            until_final(node, height).await;
        }
    }
    // Two may send each other the same at the same time.
    let sent = nodes.map(|node| node.counter("pentad_peer_certificates_sent_total"));
    assert!(sent.iter().all(|sent| *sent <= 4 * 3), "{sent:?}");
    for node in nodes {
        let name = "pentad_peer_certificates_received_total{outcome=\"final\"}";
        assert_eq!(node.counter(name), 3, "all but its own, each checked once");
        let name = "pentad_peer_certificates_received_total{outcome=\"refused\"}";
        assert_eq!(node.counter(name), 0);
    }
}

/// A node of `common` blocks and `own` more of its kind.
async fn on_branch(common: usize, own: usize, salt: u32) -> Node {
    let anna = node(&[]).await;
    anna.chain.mine(common, 0, 300);
    anna.chain.mine(own, salt, 300);
    anna
}

/// Attack 49: the branch that validators chose has less work than another.
#[tokio::test]
async fn both_end_on_the_branch_that_validators_chose() {
    let anna = on_branch(4, 20, 1).await;
    let bert = on_branch(4, 6, 2).await;
    bert.chain.make_final(7);
    let tip = bert.chain.tip();
    bert.add(&anna).await;
    for node in [&anna, &bert] {
        until_tip(node, tip).await;
        until_final(node, 7).await;
    }
    // It goes on from there, on both sides.
    anna.chain.mine(1, 3, 300);
    until_tip(&bert, anna.chain.tip()).await;
    bert.chain.mine(1, 4, 300);
    until_tip(&anna, bert.chain.tip()).await;
    anna.chain.make_final(8);
    until_final(&bert, 8).await;
    assert_nobody_is_blamed_for_more_than_a_reorganisation(&[&anna, &bert]).await;
}

/// The validators choose while the nodes are linked; the third one has it from the second.
#[tokio::test]
async fn a_whole_network_moves_to_the_branch_that_validators_choose() {
    let anna = on_branch(4, 20, 1).await;
    let bert = node(&[]).await;
    let carl = on_branch(4, 6, 2).await;
    bert.add(&anna).await;
    until_tip(&bert, anna.chain.tip()).await;
    carl.chain.make_final(6);
    let tip = carl.chain.tip();
    carl.add(&bert).await;
    for node in [&anna, &bert, &carl] {
        until_tip(node, tip).await;
        until_final(node, 6).await;
    }
    assert_nobody_is_blamed_for_more_than_a_reorganisation(&[&anna, &bert, &carl]).await;
}

/// Thousands of blocks lie between the two, several batches of headers.
#[tokio::test]
async fn a_long_branch_of_less_work_is_fetched_whole() {
    let anna = on_branch(4, 4_000, 1).await;
    let bert = on_branch(4, 2_500, 2).await;
    bert.chain.make_final(2_500);
    let tip = bert.chain.tip();
    bert.add(&anna).await;
    until_tip(&anna, tip).await;
    assert_nobody_is_blamed_for_more_than_a_reorganisation(&[&anna, &bert]).await;
}
