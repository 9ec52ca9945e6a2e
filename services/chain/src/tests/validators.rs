//! A network of four validators: their keys, their blocks, their certificates.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_ledger::ChainSpec;
use pentad_ledger::spec::{Allocation, Engine, Validator};
use pentad_pbft::secp::SecpKeys;
use pentad_pbft::{CommitCertificate, Keys as _, Sequence, Statement, View};
use pentad_primitives::{
    Amount, Block, BlockHeight, Decode as _, Encode as _, Hash256, OutPoint, Transaction, Txid,
    merkle,
};
use pentad_proof::Membership;
use tonic::Status;

use super::fixture::{ALLOCATIONS, COIN, FEE, Node, Person, START, alice, bob, options};
use crate::Options;

/// Validator `place`; its payout is its own key's.
pub fn validator(place: u8) -> Person {
    Person::new(100 + place)
}

fn allocations() -> Vec<Allocation> {
    let amount = Amount::from_units(100 * COIN).expect("an amount");
    vec![Allocation { address: alice().address(), amount }; ALLOCATIONS]
}

pub fn spec() -> ChainSpec {
    let validators = (0..4).map(|place| Validator {
        name: format!("v{place}"),
        key: validator(place).0.public_key(),
        payout: validator(place).address(),
    });
    ChainSpec::development_pbft("consortium", START, allocations(), validators.collect())
        .expect("a valid spec")
}

/// Work makes the blocks, and the validators make final what two blocks stand on.
pub fn hybrid_spec() -> ChainSpec {
    let voters = (0..4).map(|place| (format!("v{place}"), validator(place).0.public_key()));
    let spec = ChainSpec::development_hybrid("consortium", START, allocations(), voters);
    let mut parameters = spec.expect("a valid spec").parameters().clone();
    if let Engine::Hybrid(hybrid) = &mut parameters.engine {
        hybrid.finality_depth = 2;
    }
    ChainSpec::new(parameters).expect("a valid spec")
}

pub fn hybrid_options(directory: &Path) -> Options {
    Options { spec: hybrid_spec(), ..options(directory) }
}

pub fn open_hybrid(directory: &Path) -> Node {
    Node::try_open(hybrid_options(directory)).expect("a sound data directory")
}

pub fn pbft_options(directory: &Path) -> Options {
    Options { spec: spec(), ..options(directory) }
}

pub fn open(directory: &Path) -> Node {
    Node::try_open(pbft_options(directory)).expect("a sound data directory")
}

/// Output `vout` of genesis, which is Alice's.
pub fn genesis_output(vout: u32) -> OutPoint {
    OutPoint { txid: spec().genesis_block().transactions[0].txid(), vout }
}

/// The same under engine hybrid.
pub fn hybrid_genesis_output(vout: u32) -> OutPoint {
    OutPoint { txid: hybrid_spec().genesis_block().transactions[0].txid(), vout }
}

/// Alice pays Bob by one of her genesis outputs.
pub fn payment(vout: u32) -> Transaction {
    alice().spend(&[genesis_output(vout)], &[(&bob(), 100 * COIN - FEE)])
}

/// What validators of these places sign for a block.
pub fn signed(block: &Block, height: u32, view: u64, signers: &[u8]) -> CommitCertificate {
    signed_under(&spec(), block, height, view, signers)
}

fn signed_under(
    spec: &ChainSpec,
    block: &Block,
    height: u32,
    view: u64,
    signers: &[u8],
) -> CommitCertificate {
    let membership = Membership::of(spec).expect("a set").expect("validators");
    let sequence = Sequence::from_height(BlockHeight::new(height));
    let digest = Hash256::from_bytes(block.block_hash().to_bytes());
    let view = View::new(view);
    let statement = Statement::commit(view, sequence, digest);
    let sign = |place: &u8| {
        let keys = SecpKeys::new(validator(*place).0, Arc::clone(membership.validators()));
        let keys = keys.expect("a validator");
        (keys.own(), keys.sign(&statement.signing_hash(membership.domain(), keys.own())))
    };
    let signatures = signers.iter().map(sign).collect();
    CommitCertificate { view, sequence, digest, signatures }
}

/// A certificate of a block as it should be.
pub fn certificate(block: &Block, height: u32) -> Bytes {
    signed(block, height, 0, &[0, 1, 2]).to_bytes().into()
}

/// The same under engine hybrid.
pub fn hybrid_certificate(block: &Block, height: u32) -> Bytes {
    signed_under(&hybrid_spec(), block, height, 0, &[0, 1, 2]).to_bytes().into()
}

/// What becomes of a block that a peer hands in.
pub async fn connect(
    node: &Node,
    block: &Block,
    certificate: Bytes,
) -> proto::ConnectBlocksResponse {
    let block = block.to_bytes().into();
    let request = proto::ConnectBlocksRequest { block, certificate, ..Default::default() };
    let answers = node.assembly.clone().connect_blocks(tokio_stream::iter([request])).await;
    let mut answers = answers.expect("a stream").into_inner();
    answers.message().await.expect("no error").expect("an answer")
}

/// What becomes of a certificate that comes by itself.
pub async fn finalise(
    node: &Node,
    certificate: Bytes,
) -> Result<proto::FinalityOutcome, proto::Refusal> {
    try_finalise(node, certificate).await.expect("a hybrid network")
}

/// The same on a node that may be about to die.
pub async fn try_finalise(
    node: &Node,
    certificate: Bytes,
) -> Result<Result<proto::FinalityOutcome, proto::Refusal>, Status> {
    let request = proto::FinaliseBlockRequest { certificate };
    let response = node.assembly.clone().finalise_block(request).await?.into_inner();
    Ok(match response.refusal {
        Some(refusal) => Err(refusal),
        None => Ok(response.outcome()),
    })
}

/// Has a block made final.
pub async fn make_final(node: &Node, block: &Block, height: u32) {
    let outcome = finalise(node, hybrid_certificate(block, height)).await;
    assert_eq!(outcome, Ok(proto::FinalityOutcome::Final));
}

/// Sets the merkle root again; nobody works.
pub fn seal(mut block: Block) -> Block {
    let txids: Vec<Txid> = block.transactions.iter().map(Transaction::txid).collect();
    block.header.merkle_root = merkle::root(&txids);
    block
}

/// What the validator of this place would propose on the tip.
pub async fn proposed(node: &Node, place: u8) -> Block {
    let payout_script = validator(place).script().into_bytes().into();
    let request = proto::GetTemplateRequest { payout_script, extra_nonce: 0 };
    let template = node.assembly.clone().get_template(request).await.expect("a template");
    Block::from_bytes(&template.into_inner().block).expect("a block")
}

pub async fn submit(
    node: &Node,
    block: &Block,
    certificate: Bytes,
) -> Result<proto::BlockOutcome, Status> {
    let request = proto::SubmitBlockRequest { block: block.to_bytes().into(), certificate };
    Ok(node.submit.clone().submit_block(request).await?.into_inner().outcome())
}

/// Puts a block with a payment on top of each other, one for each output given.
pub async fn extend(node: &Node, outputs: impl IntoIterator<Item = u32>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for vout in outputs {
        node.submit_transaction(&payment(vout)).await.expect("a valid payment");
        let block = proposed(node, 0).await;
        let height = node.info().await.height + 1;
        let outcome = submit(node, &block, certificate(&block, height)).await;
        assert_eq!(outcome.expect("a certified block"), proto::BlockOutcome::Connected);
        blocks.push(block);
    }
    blocks
}
