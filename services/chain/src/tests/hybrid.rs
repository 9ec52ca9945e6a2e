//! Engine hybrid: work makes the blocks, certificates that come later make them final.

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::FinalityOutcome;
use pentad_primitives::{Block, Encode as _};
use tonic::{Code, Status};

use super::fixture::{COIN, FEE, Node, Person, alice, bob, directory, reason, reseal};
use super::validators::{
    certificate, connect, finalise, hybrid_certificate, hybrid_genesis_output, hybrid_spec,
    make_final, open, open_hybrid,
};

pub async fn final_height(node: &Node) -> u32 {
    node.info().await.final_height.expect("a network with finality")
}

pub async fn last_final(node: &Node) -> proto::GetFinalityResponse {
    let answer = node.assembly.clone().get_finality(proto::GetFinalityRequest {}).await;
    answer.expect("a network with finality").into_inner()
}

async fn candidate(node: &Node, height: u32) -> Result<Bytes, Status> {
    let request = proto::GetCandidateRequest { height };
    Ok(node.assembly.clone().get_candidate(request).await?.into_inner().header)
}

/// The reason of the refusal; empty: validators may make it final.
pub async fn check(node: &Node, block: &Block, is_first: bool) -> Result<String, Status> {
    let header = block.header.to_bytes().into();
    let request = proto::CheckCandidateRequest { header, is_first };
    let answer = node.assembly.clone().check_candidate(request).await?.into_inner();
    Ok(answer.refusal.map(|refusal| refusal.reason).unwrap_or_default())
}

pub async fn headers(node: &Node, blocks: &[Block]) -> proto::CheckHeadersResponse {
    let headers = blocks.iter().map(|block| block.header.to_bytes().into()).collect();
    let request = proto::CheckHeadersRequest { headers, ..Default::default() };
    node.assembly.clone().check_headers(request).await.expect("an answer").into_inner()
}

/// A chain of its own of so many blocks, on the first `shared` of another one.
pub async fn branch(shared: &[Block], count: usize) -> Vec<Block> {
    let directory = directory();
    let node = open_hybrid(directory.path());
    for block in shared {
        node.submit_block(block).await.expect("valid");
    }
    node.clock.advance(500);
    let blocks = node.mine(count, &Person::new(40)).await;
    node.stop().await;
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_make_blocks_final_and_last() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    assert_eq!(node.info().await.engine, "hybrid");
    assert_eq!((final_height(&node).await, last_final(&node).await.certificate.len()), (0, 0));
    let blocks = node.mine(4, &bob()).await;
    assert_eq!(final_height(&node).await, 0);
    // A higher one comes first, as to a node that was away: it proves all below.
    make_final(&node, &blocks[1], 2).await;
    let again = finalise(&node, hybrid_certificate(&blocks[1], 2)).await;
    assert_eq!(again, Ok(FinalityOutcome::AlreadyFinal));
    let below = finalise(&node, hybrid_certificate(&blocks[0], 1)).await;
    assert_eq!(below, Ok(FinalityOutcome::AlreadyFinal));
    node.stop().await;

    let node = open_hybrid(directory.path());
    let found = last_final(&node).await;
    assert_eq!((final_height(&node).await, found.height), (2, 2));
    assert_eq!(found.header, blocks[1].header.to_bytes());
    assert_eq!(found.certificate, hybrid_certificate(&blocks[1], 2));
    for height in [1, 2, 3] {
        let block = Some(proto::get_certificate_request::Block::Height(height));
        let request = proto::GetCertificateRequest { block };
        let answer = node.reads.clone().get_certificate(request).await;
        assert_eq!(answer.is_ok(), height < 3, "{height}");
    }
    make_final(&node, &blocks[2], 3).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_carry_the_next_certificate_and_the_headers_up_to_it() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let blocks = node.mine(4, &bob()).await;
    let ask = async |block: &Block| {
        let request = proto::GetProofRequest { txid: block.transactions[0].txid().to_string() };
        node.reads.clone().get_proof(request).await.expect("a proof").into_inner()
    };
    make_final(&node, &blocks[2], 3).await;
    for (block, count) in blocks.iter().zip([2, 1, 0]) {
        let found = ask(block).await;
        assert_eq!(found.certificate, hybrid_certificate(&blocks[2], 3));
        let headers: Vec<_> = blocks[3 - count..3].iter().map(|it| it.header.to_bytes()).collect();
        assert_eq!(found.successors, headers);
    }
    // Its own, once it has come and the next block is there.
    finalise(&node, hybrid_certificate(&blocks[0], 1)).await.expect("final before");
    node.mine(1, &bob()).await;
    let found = ask(&blocks[0]).await;
    assert_eq!(found.certificate, hybrid_certificate(&blocks[0], 1));
    assert!(found.successors.is_empty());
    // Not final.
    let found = ask(&blocks[3]).await;
    assert!(found.certificate.is_empty() && found.successors.is_empty());
    node.stop().await;
}

/// Attack 49: the branch of most work loses against one that validators made final.
#[tokio::test(flavor = "multi_thread")]
async fn a_final_branch_of_less_work_wins_and_stays() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let shared = node.mine(1, &bob()).await;
    let lost = node.mine(5, &bob()).await;
    let chosen = branch(&shared, 2).await;
    for block in &chosen {
        assert_eq!(node.submit_block(block).await.unwrap(), proto::BlockOutcome::SideBranch);
    }
    make_final(&node, &chosen[0], 2).await;
    assert_eq!(node.tip().await, chosen[1].block_hash());
    assert_eq!((node.info().await.height, final_height(&node).await), (3, 2));
    // Validators ask for it at checkpoints, however little stands on it.
    assert_eq!(candidate(&node, 2).await.unwrap(), chosen[0].header.to_bytes());
    // Coins of the branch that lost are gone; nobody is to blame for it.
    assert_eq!(node.balance(&bob()).await.0, 1_000 * COIN);
    let more = branch(&[&shared[..], &lost[..]].concat(), 3).await;
    let refused = connect(&node, &more[0], Bytes::new()).await.refusal.expect("below finality");
    assert_eq!((refused.reason.as_str(), refused.misbehavior), ("BELOW_FINALITY", 0));
    // Who follows them still has headers that are all known here, and leads nowhere with them.
    for (blocks, is_refused) in [(&lost[..], true), (&shared[..], false), (&chosen[..], false)] {
        let answer = headers(&node, blocks).await;
        let refused = answer.refusal.map(|it| (it.reason, it.misbehavior));
        assert_eq!(refused, is_refused.then(|| ("BELOW_FINALITY".to_owned(), 0)));
        assert!(answer.wanted.is_empty());
    }
    node.stop().await;

    let node = open_hybrid(directory.path());
    assert_eq!((node.tip().await, final_height(&node).await), (chosen[1].block_hash(), 2));
    let next = node.mine(1, &alice()).await;
    assert_eq!(next[0].header.prev_block_hash, chosen[1].block_hash());
    node.stop().await;
}

/// A certificate may come before its block, and before the header.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_waits_for_its_block() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let own = node.mine(4, &bob()).await;
    let chosen = branch(&[], 3).await;
    let awaited = Ok(FinalityOutcome::Awaited);
    assert_eq!(finalise(&node, hybrid_certificate(&chosen[1], 2)).await, awaited);
    assert_eq!(finalise(&node, hybrid_certificate(&chosen[0], 1)).await, awaited);
    // The bodies are wanted though their branch has less work.
    let answer = headers(&node, &chosen).await;
    let wanted: Vec<_> = chosen[..2].iter().map(|it| it.block_hash().to_bytes().to_vec()).collect();
    assert_eq!(
        (answer.accepted, answer.wanted),
        (3, wanted.into_iter().map(Bytes::from).collect())
    );
    let answer = connect(&node, &chosen[1], Bytes::new()).await;
    assert_eq!((answer.outcome(), answer.refusal), (proto::BlockOutcome::SideBranch, None));
    assert_eq!((node.tip().await, final_height(&node).await), (own[3].block_hash(), 0));
    let answer = connect(&node, &chosen[0], Bytes::new()).await;
    assert_eq!((answer.outcome(), answer.refusal), (proto::BlockOutcome::Connected, None));
    assert_eq!((node.tip().await, final_height(&node).await), (chosen[1].block_hash(), 2));
    connect(&node, &chosen[2], Bytes::new()).await;
    assert_eq!(node.tip().await, chosen[2].block_hash());
    node.stop().await;
}

/// In sync a block may come with what makes it final.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_may_bring_its_certificate() {
    let (here, there) = (directory(), directory());
    let (node, other) = (open_hybrid(here.path()), open_hybrid(there.path()));
    let blocks = other.mine(3, &bob()).await;
    make_final(&other, &blocks[1], 2).await;
    let hashes = blocks.iter().map(|it| it.block_hash().to_bytes().to_vec().into()).collect();
    let request = proto::FetchBlocksRequest { hashes };
    let fetched = other.assembly.clone().fetch_blocks(request).await.expect("a stream");
    let mut fetched = fetched.into_inner();
    for (height, block) in (1..).zip(&blocks) {
        let found = fetched.message().await.expect("no error").expect("a block");
        assert_eq!(found.certificate.is_empty(), height != 2);
        let answer = connect(&node, block, found.certificate).await;
        assert_eq!(answer.outcome(), proto::BlockOutcome::Connected);
    }
    assert_eq!(final_height(&node).await, 2);
    assert_eq!(last_final(&node).await, last_final(&other).await);
    // One for another height than the block's says nothing against the block.
    let next = other.mine(1, &bob()).await.remove(0);
    let refused = connect(&node, &next, hybrid_certificate(&next, 9)).await.refusal;
    assert_eq!(refused.expect("a wrong height").reason, "BAD_CERTIFICATE");
    let answer = connect(&node, &next, Bytes::new()).await;
    assert_eq!(answer.outcome(), proto::BlockOutcome::Connected);
    other.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_hold_are_refused() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let blocks = node.mine(3, &bob()).await;
    let rival = branch(&[], 2).await;
    let refused = async |certificate: Bytes| {
        let refusal = finalise(&node, certificate).await.expect_err("no certificate");
        (refusal.reason, refusal.misbehavior)
    };
    let bad = ("BAD_CERTIFICATE".to_owned(), 100);
    assert_eq!(refused(Bytes::new()).await, bad);
    assert_eq!(refused(hybrid_certificate(&blocks[0], 2)).await, bad);
    // Of another network, though of the same validators.
    assert_eq!(refused(certificate(&blocks[0], 1)).await, bad);
    // Two quorums for two blocks of one height: more are faulty than the network bears. One block
    // is here, the other is not.
    node.submit_block(&rival[0]).await.expect("a side branch");
    make_final(&node, &blocks[1], 2).await;
    let conflict = ("CONFLICTING_FINALITY".to_owned(), 0);
    assert_eq!(refused(hybrid_certificate(&rival[0], 1)).await, conflict);
    assert_eq!(refused(hybrid_certificate(&rival[1], 2)).await, conflict);
    assert_eq!(final_height(&node).await, 2);
    node.stop().await;
}

/// A quorum that signs what breaks a rule moves nobody who keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_block_is_never_final() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let own = node.mine(3, &bob()).await;
    let mut greedy = branch(&[], 1).await.remove(0);
    let amount = &mut greedy.transactions[0].outputs[0].amount;
    *amount = amount.checked_add(pentad_primitives::Amount::COIN).expect("an amount");
    let greedy = reseal(greedy);
    let outcome = node.submit_block(&greedy).await.expect("not checked on a side branch");
    assert_eq!(outcome, proto::BlockOutcome::SideBranch);
    for _ in 0..2 {
        let refusal = finalise(&node, hybrid_certificate(&greedy, 1)).await.expect_err("invalid");
        assert_eq!(refusal.reason, "CERTIFIED_INVALID");
        assert_eq!((node.tip().await, final_height(&node).await), (own[2].block_hash(), 0));
    }
    assert_eq!(check(&node, &greedy, false).await.unwrap(), "INVALID_BLOCK");
    node.mine(1, &bob()).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_are_deep_enough() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let not_deep = |status: Status| {
        assert_eq!(status.code(), Code::FailedPrecondition);
        reason(&status)
    };
    let blocks = node.mine(3, &bob()).await;
    assert_eq!(candidate(&node, 1).await.unwrap(), blocks[0].header.to_bytes());
    assert_eq!(not_deep(candidate(&node, 2).await.unwrap_err()), "NOT_DEEP");
    assert_eq!(not_deep(candidate(&node, u32::MAX).await.unwrap_err()), "NOT_DEEP");
    assert_eq!(check(&node, &blocks[0], true).await.unwrap(), "");
    assert_eq!(not_deep(check(&node, &blocks[1], true).await.unwrap_err()), "NOT_DEEP");
    // What a quorum has prepared, it found deep enough.
    assert_eq!(check(&node, &blocks[1], false).await.unwrap(), "");
    // Another branch is only for those who have it as their main chain.
    let rival = branch(&[], 2).await;
    assert_eq!(not_deep(check(&node, &rival[1], true).await.unwrap_err()), "NOT_DEEP");
    assert_eq!(check(&node, &rival[1], false).await.unwrap(), "");
    node.submit_block(&rival[0]).await.expect("a side branch");
    node.submit_block(&rival[1]).await.expect("a side branch");
    assert_eq!(not_deep(check(&node, &rival[1], true).await.unwrap_err()), "NOT_DEEP");
    assert_eq!(check(&node, &rival[1], false).await.unwrap(), "");
    make_final(&node, &blocks[0], 1).await;
    for is_first in [true, false] {
        assert_eq!(check(&node, &rival[0], is_first).await.unwrap(), "BELOW_FINALITY");
    }
    let request = proto::CheckCandidateRequest { header: Bytes::new(), is_first: true };
    let malformed = node.assembly.clone().check_candidate(request).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_have_no_candidates() {
    let (here, there) = (directory(), directory());
    for node in [Node::open(here.path()), open(there.path())] {
        let header = hybrid_spec().genesis_block().header.to_bytes();
        let request = proto::CheckCandidateRequest { header: header.into(), is_first: true };
        // It does not know the block, whatever its engine.
        let checked = node.assembly.clone().check_candidate(request).await.unwrap_err();
        assert_eq!(checked.code(), Code::FailedPrecondition);
        let request = proto::FinaliseBlockRequest::default();
        let refused = node.assembly.clone().finalise_block(request).await.unwrap_err();
        for status in [candidate(&node, 0).await.unwrap_err(), refused] {
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert_eq!(reason(&status), "NOT_HYBRID");
        }
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_can_be_waited_for_until_it_is_final() {
    let directory = directory();
    let node = open_hybrid(directory.path());
    let payment = alice().spend(&[hybrid_genesis_output(3)], &[(&bob(), 100 * COIN - FEE)]);
    let request = proto::SubmitTransactionRequest {
        transaction: payment.to_bytes().into(),
        wait: proto::Wait::Final.into(),
    };
    let mut submit = node.submit.clone();
    let mut waiting = tokio::spawn(async move { submit.submit_transaction(request).await });
    while node.mempool().await.is_empty() {
        tokio::task::yield_now().await;
    }
    let block = node.mine(3, &alice()).await.remove(0);
    // Deep, and not final: whoever waits does so still.
    let patience = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(patience, &mut waiting).await.is_err());
    make_final(&node, &block, 1).await;
    let found = waiting.await.expect("no panic").expect("final").into_inner();
    assert_eq!((found.height, found.block_hash), (1, block.block_hash().to_string()));
    assert_eq!(found.certificate, hybrid_certificate(&block, 1));
    node.stop().await;
}
