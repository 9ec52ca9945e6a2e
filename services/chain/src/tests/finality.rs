//! What certificates may do to the chain of engine hybrid, what they may not, and what is left of
//! it after a crash.

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::FinalityOutcome;
use pentad_primitives::{Block, BlockHash};

use super::crash::copy;
use super::fixture::{Node, alice, bob, directory, reseal};
use super::hybrid::{branch, check, final_height, headers, last_final};
use super::validators::{
    connect, finalise, hybrid_certificate, hybrid_options, make_final, open_hybrid, submit,
};

async fn refused(node: &Node, block: &Block, height: u32) -> String {
    let refusal = finalise(node, hybrid_certificate(block, height)).await;
    refusal.expect_err("no certificate that holds").reason
}

async fn at(node: &Node) -> (BlockHash, u32) {
    (node.tip().await, final_height(node).await)
}

/// A node on a branch of five blocks, and another branch of three that it has stored.
async fn forked(node: &Node) -> (Vec<Block>, Vec<Block>) {
    let own = node.mine(5, &bob()).await;
    let rival = branch(&[], 3).await;
    for block in &rival {
        assert_eq!(node.submit_block(block).await.unwrap(), proto::BlockOutcome::SideBranch);
    }
    (own, rival)
}

/// The index lags behind the log, or is made anew: the branch of more work is there, and is not
/// the chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_final_branch_of_less_work_stays_after_a_kill_and_a_rebuild() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let (_, rival) = forked(&node).await;
    make_final(&node, &rival[1], 2).await;
    let expected = (rival[2].block_hash(), 2);
    assert_eq!(at(&node).await, expected);
    let (set, found) = (node.utxo_set().await, last_final(&node).await);
    assert_eq!(found.certificate, hybrid_certificate(&rival[1], 2));
    for reindex in [false, true] {
        let killed = super::fixture::directory();
        copy(directory.path(), killed.path());
        let mut options = hybrid_options(killed.path());
        options.store.reindex = reindex;
        let again = Node::try_open(options).expect("a sound log");
        assert_eq!(at(&again).await, expected, "reindex: {reindex}");
        assert_eq!(
            (again.utxo_set().await, last_final(&again).await),
            (set.clone(), found.clone())
        );
        let next = again.mine(1, &alice()).await;
        assert_eq!(next[0].header.prev_block_hash, expected.0);
        again.stop().await;
    }
    node.stop().await;
}

/// More validators are faulty than the network bears: what was final first stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_branch_without_the_final_block_changes_nothing() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let (own, rival) = forked(&node).await;
    make_final(&node, &own[0], 1).await;
    let expected = (own[4].block_hash(), 1);
    for (height, block) in (1..).zip(&rival) {
        assert_eq!(refused(&node, block, height).await, "CONFLICTING_FINALITY", "{height}");
        assert_eq!(at(&node).await, expected);
    }
    node.mine(1, &bob()).await;
    node.stop().await;
}

/// As before, and the certificate comes with its block, whose header was known in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflicting_certificate_that_a_block_brought_is_not_kept() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let own = node.mine(2, &bob()).await;
    let rival = branch(&[], 3).await;
    headers(&node, &rival).await;
    make_final(&node, &own[0], 1).await;
    for (height, block) in (1..).zip(&rival) {
        let outcome = submit(&node, block, hybrid_certificate(block, height)).await;
        assert_eq!(
            outcome.expect("it says nothing about the block"),
            proto::BlockOutcome::SideBranch
        );
    }
    let expected = (own[1].block_hash(), 1);
    assert_eq!(at(&node).await, expected);
    let killed = super::fixture::directory();
    copy(directory.path(), killed.path());
    node.stop().await;
    for directory in [&directory, &killed] {
        let node = open_hybrid(directory.path());
        assert_eq!(at(&node).await, expected);
        node.stop().await;
    }
}

/// Whatever a quorum is said to have prepared: a validator must not help undo what is final.
#[tokio::test(flavor = "multi_thread")]
async fn no_candidate_stands_beside_the_final_block() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let (own, rival) = forked(&node).await;
    make_final(&node, &own[0], 1).await;
    for block in &rival {
        assert_eq!(check(&node, block, false).await.unwrap(), "BELOW_FINALITY");
    }
    node.stop().await;
}

/// The certificate of a block that turned out to be invalid is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_block_is_not_awaited() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    node.mine(2, &bob()).await;
    let mut chosen = branch(&[], 2).await;
    // Its own bytes break a rule: a transaction pays something.
    chosen[0].transactions[0].outputs.clear();
    chosen[0] = reseal(chosen[0].clone());
    chosen[1].header.prev_block_hash = chosen[0].block_hash();
    chosen[1] = reseal(chosen[1].clone());
    assert_eq!(headers(&node, &chosen).await.accepted, 2);
    let awaited = finalise(&node, hybrid_certificate(&chosen[1], 2)).await;
    assert_eq!(awaited, Ok(FinalityOutcome::Awaited));
    let refusal = connect(&node, &chosen[0], Bytes::new()).await.refusal.expect("invalid");
    assert_eq!(refusal.misbehavior, 100);
    assert_eq!(refused(&node, &chosen[1], 2).await, "CERTIFIED_INVALID");
    let next = node.mine(1, &bob()).await;
    assert_eq!(headers(&node, &next).await.wanted, Vec::<Bytes>::new());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_block_may_bring_its_certificate() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let (own, rival) = forked(&node).await;
    let answer = connect(&node, &own[0], hybrid_certificate(&own[0], 1)).await;
    assert_eq!((answer.outcome(), answer.refusal), (proto::BlockOutcome::AlreadyKnown, None));
    assert_eq!(final_height(&node).await, 1);
    let answer = connect(&node, &rival[2], hybrid_certificate(&rival[2], 3)).await;
    assert_eq!((answer.outcome(), answer.refusal), (proto::BlockOutcome::AlreadyKnown, None));
    assert_eq!(at(&node).await, (own[4].block_hash(), 1));
    node.stop().await;
}
