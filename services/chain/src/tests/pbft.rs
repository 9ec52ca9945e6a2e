//! Under PBFT: blocks only with certificates, final at once, proposals checked once.

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::BlockOutcome;
use pentad_api::proof_from_message;
use pentad_ledger::TransactionProof;
use pentad_ledger::verify::semantic::FUTURE_SECONDS_MAX;
use pentad_pbft::{CommitCertificate, ReplicaId};
use pentad_primitives::{Block, BlockHeight, Encode as _};
use pentad_proof::PortableProof;
use tonic::{Code, Status};

use super::fixture::{COIN, FEE, Node, alice, bob, directory, reason};
use super::validators::{
    certificate, connect, extend, genesis_output, open, payment, proposed, seal, signed, spec,
    submit,
};

async fn propose(
    node: &Node,
    block: &Block,
    proposer: Option<u32>,
    is_first: bool,
) -> Result<Option<proto::Refusal>, Status> {
    let block_bytes = block.to_bytes().into();
    let request = proto::CheckProposalRequest { block: block_bytes, proposer, is_first };
    let response = node.assembly.clone().check_proposal(request).await?.into_inner();
    assert_eq!(response.hash.as_ref(), block.block_hash().as_bytes());
    Ok(response.refusal)
}

fn metric(node: &Node, name: &str) -> f64 {
    let text = node.metrics.encode().expect("text");
    let line = text.lines().find(|line| line.starts_with(name)).expect("a metric");
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn certified_blocks_are_final_at_once() {
    let directory = directory();
    let node = open(directory.path());
    let info = node.info().await;
    assert_eq!((info.engine.as_str(), info.final_height), ("pbft", Some(0)));
    assert!(!info.development);
    let blocks = extend(&node, 0..3).await;
    let info = node.info().await;
    assert_eq!((info.height, info.final_height), (3, Some(3)));
    assert_eq!(info.tip, blocks[2].block_hash().to_string());
    assert_eq!(node.balance(&bob()).await.0, 3 * (100 * COIN - FEE));

    let ask = |height| {
        let block = Some(proto::get_certificate_request::Block::Height(height));
        let mut reads = node.reads.clone();
        async move { reads.get_certificate(proto::GetCertificateRequest { block }).await }
    };
    let found = ask(2).await.expect("a certificate").into_inner();
    assert_eq!(found.certificate, certificate(&blocks[1], 2));
    assert_eq!((found.height, found.view), (2, 0));
    assert_eq!(found.hash, blocks[1].block_hash().to_string());
    assert_eq!(found.signers, ["v0", "v1", "v2"]);
    let status = ask(0).await.expect_err("nobody signs genesis");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NO_CERTIFICATE"));
    node.stop().await;
}

/// The answer to GetProof, checked offline.
fn prove(found: &proto::GetProofResponse) -> pentad_proof::Proven {
    let message = found.proof.as_ref().expect("a proof");
    let (transaction, header, path) = proof_from_message(message).expect("a proof");
    let proof = PortableProof::new(
        spec().name().to_owned(),
        spec().spec_hash(),
        BlockHeight::new(found.height),
        TransactionProof { transaction, header, path },
        &found.certificate,
    );
    let proof = proof.expect("a certificate");
    PortableProof::from_json(&proof.to_json()).expect("its own text").check(&spec()).expect("sound")
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_carry_the_certificate() {
    let directory = directory();
    let node = open(directory.path());
    extend(&node, 0..2).await;
    let txid = payment(1).txid();
    let request = proto::GetProofRequest { txid: txid.to_string() };
    let found = node.reads.clone().get_proof(request).await.expect("a proof").into_inner();
    let proven = prove(&found);
    assert_eq!((proven.txid, proven.height), (txid, Some(BlockHeight::new(2))));
    assert_eq!(proven.signers(), ["v0", "v1", "v2"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_certificate_is_refused_and_the_block_stays_open() {
    let directory = directory();
    let node = open(directory.path());
    let first = extend(&node, [0]).await.remove(0);
    node.submit_transaction(&payment(1)).await.expect("a valid payment");
    let block = proposed(&node, 0).await;
    let sound = signed(&block, 2, 0, &[0, 1, 2]);
    let tampered = |change: &dyn Fn(&mut CommitCertificate)| {
        let mut certificate = sound.clone();
        change(&mut certificate);
        certificate.to_bytes()
    };
    let flipped = |at: usize| {
        let mut bytes = sound.to_bytes();
        bytes[at] ^= 1;
        bytes
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("NO_CERTIFICATE", vec![]),
        ("BAD_CERTIFICATE", vec![1, 2, 3]),
        ("BAD_CERTIFICATE", [sound.to_bytes(), vec![0]].concat()),
        // Too few, one twice, a stranger, another's signature.
        ("BAD_CERTIFICATE", signed(&block, 2, 0, &[0, 1]).to_bytes()),
        ("BAD_CERTIFICATE", tampered(&|it| it.signatures[1] = it.signatures[0])),
        ("BAD_CERTIFICATE", tampered(&|it| it.signatures[2].0 = ReplicaId::new(4))),
        ("BAD_CERTIFICATE", tampered(&|it| it.signatures[2].0 = ReplicaId::new(3))),
        // View, sequence, digest, a signature.
        ("BAD_CERTIFICATE", flipped(0)),
        ("BAD_CERTIFICATE", flipped(8)),
        ("BAD_CERTIFICATE", flipped(16)),
        ("BAD_CERTIFICATE", flipped(60)),
        // Signed in earnest, for another block or height.
        ("BAD_CERTIFICATE", certificate(&first, 1).to_vec()),
        ("BAD_CERTIFICATE", signed(&block, 3, 0, &[0, 1, 2]).to_bytes()),
    ];
    for (index, (expected, bytes)) in cases.into_iter().enumerate() {
        let answer = connect(&node, &block, bytes.clone().into()).await;
        let refusal = answer.refusal.unwrap_or_else(|| panic!("case {index} is accepted"));
        assert_eq!((refusal.reason.as_str(), refusal.misbehavior), (expected, 100), "{index}");
        let status = submit(&node, &block, bytes.into()).await.expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, expected));
    }
    assert_eq!(node.info().await.height, 1);
    let outcome = submit(&node, &block, sound.to_bytes().into()).await;
    assert_eq!(outcome.expect("nothing is held against the block"), BlockOutcome::Connected);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_under_proof_of_work_is_refused() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let block = node.template(&bob()).await;
    let status = submit(&node, &block, Bytes::from_static(&[1])).await.expect_err("unexpected");
    assert_eq!(reason(&status), "UNEXPECTED_CERTIFICATE");
    let status = propose(&node, &block, None, true).await.expect_err("nothing to agree on");
    let expected = (Code::FailedPrecondition, "NO_FINALITY");
    assert_eq!((status.code(), reason(&status).as_str()), expected);
    node.submit_block(&block).await.expect("a valid block");
    node.stop().await;
}

/// More than f validators sign twice: the node stays with what it had, whatever the others do.
#[tokio::test(flavor = "multi_thread")]
async fn no_reorganisation_ever() {
    let directory = directory();
    let node = open(directory.path());
    node.submit_transaction(&payment(0)).await.expect("a valid payment");
    let rival = proposed(&node, 1).await;
    let block = proposed(&node, 0).await;
    submit(&node, &block, certificate(&block, 1)).await.expect("a certified block");
    let answer = connect(&node, &rival, certificate(&rival, 1)).await;
    assert_eq!(answer.refusal.expect("refused").reason, "BELOW_FINALITY");
    assert_eq!(node.tip().await, block.block_hash());
    node.stop().await;
    let node = open(directory.path());
    let status = submit(&node, &rival, certificate(&rival, 1)).await.expect_err("still final");
    assert_eq!(reason(&status), "BELOW_FINALITY");
    assert_eq!(node.info().await.final_height, Some(1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal_is_checked_once() {
    let directory = directory();
    let node = open(directory.path());
    for vout in 0..2 {
        node.submit_transaction(&payment(vout)).await.expect("a valid payment");
    }
    let block = proposed(&node, 0).await;
    assert_eq!(propose(&node, &block, Some(0), true).await.expect("on the tip"), None);
    assert_eq!(propose(&node, &block, Some(0), true).await.expect("on the tip"), None);
    assert_eq!(node.info().await.height, 0);
    submit(&node, &block, certificate(&block, 1)).await.expect("a certified block");
    assert_eq!(metric(&node, "pentad_chain_prechecked_blocks_total"), 1.0);
    // A block that was not proposed here is checked when it comes.
    extend(&node, [2]).await;
    assert_eq!(metric(&node, "pentad_chain_prechecked_blocks_total"), 1.0);
    assert_eq!(node.info().await.height, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsound_proposals_are_refused_by_name() {
    let directory = directory();
    let node = open(directory.path());
    let empty = proposed(&node, 0).await;
    node.submit_transaction(&payment(0)).await.expect("a valid payment");
    let block = proposed(&node, 0).await;
    let mut ahead = block.clone();
    ahead.header.time = super::fixture::START + 1_000 + FUTURE_SECONDS_MAX + 1;
    let mut unsigned = block.clone();
    unsigned.transactions[1].inputs[0].script_sig =
        alice().spend(&[genesis_output(1)], &[(&bob(), COIN)]).inputs[0].script_sig.clone();
    let mut greedy = block.clone();
    greedy.transactions[0].outputs[0].script_pubkey = bob().script();
    let mut worked = block.clone();
    worked.header.nonce = 1;
    let cases = [
        (&block, Some(1), "COINBASE_PROPOSER", 0),
        (&block, Some(9), "UNKNOWN_PROPOSER", 0),
        (&empty, Some(0), "EMPTY_BLOCK", 100),
        (&ahead, None, "TIME_TOO_FAR_AHEAD", 0),
        (&seal(unsigned), None, "BAD_SIGNATURE", 100),
        (&seal(greedy), None, "COINBASE_PAYEE", 100),
        (&worked, None, "BAD_NONCE", 100),
    ];
    for (block, proposer, expected, misbehavior) in cases {
        let refusal = propose(&node, block, proposer, true).await.expect("on the tip");
        let refusal = refusal.unwrap_or_else(|| panic!("{expected} is accepted"));
        assert_eq!((refusal.reason.as_str(), refusal.misbehavior), (expected, misbehavior));
    }
    // A re-proposal is not held against the clock, nor against who proposes it.
    assert_eq!(propose(&node, &ahead, None, false).await.expect("on the tip"), None);
    let outcome = submit(&node, &block, certificate(&block, 1)).await;
    assert_eq!(outcome.expect("no proposal counts against it"), BlockOutcome::Connected);
    let status = propose(&node, &block, None, false).await.expect_err("not on the tip");
    let expected = (Code::FailedPrecondition, "NOT_ON_TIP");
    assert_eq!((status.code(), reason(&status).as_str()), expected);
    node.stop().await;
}
