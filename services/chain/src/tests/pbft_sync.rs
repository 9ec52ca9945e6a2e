//! Under PBFT: following others by certificates, starting again, waiting for finality.

use std::time::Duration;

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::{BlockHash, BlockHeight, Encode as _, Transaction};
use pentad_proof::Membership;
use pentad_store::{ChainStore, DataDir, StoreError, StoreOptions};
use tonic::{Code, Status};

use super::fixture::{COIN, FEE, Node, alice, bob, directory, reason};
use super::validators::{
    certificate, extend, genesis_output, open, payment, pbft_options, proposed, signed, spec,
    submit,
};
use crate::OpenError;

fn bytes(hash: &BlockHash) -> Bytes {
    Bytes::copy_from_slice(hash.as_bytes())
}

async fn locate(node: &Node, limit: u32) -> proto::LocateHeadersResponse {
    let locator = vec![bytes(&spec().genesis_hash())];
    let request = proto::LocateHeadersRequest { locator, stop: Bytes::new(), limit };
    node.assembly.clone().locate_headers(request).await.expect("headers").into_inner()
}

async fn check(
    node: &Node,
    headers: Vec<Bytes>,
    certificate: Bytes,
) -> proto::CheckHeadersResponse {
    let request = proto::CheckHeadersRequest { headers, certificate };
    node.assembly.clone().check_headers(request).await.expect("an answer").into_inner()
}

async fn fetch(node: &Node, hashes: Vec<Bytes>) -> Vec<proto::ConnectBlocksRequest> {
    let request = proto::FetchBlocksRequest { hashes };
    let blocks = node.assembly.clone().fetch_blocks(request).await.expect("a stream");
    let mut blocks = blocks.into_inner();
    let mut fetched = Vec::new();
    while let Some(answer) = blocks.message().await.expect("no error") {
        let proto::FetchBlocksResponse { block, certificate, .. } = answer;
        fetched.push(proto::ConnectBlocksRequest { block, certificate, ..Default::default() });
    }
    fetched
}

async fn connect(
    node: &Node,
    blocks: Vec<proto::ConnectBlocksRequest>,
) -> Vec<proto::ConnectBlocksResponse> {
    let answers = node.assembly.clone().connect_blocks(tokio_stream::iter(blocks)).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await.expect("no error") {
        all.push(answer);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn node_follows_by_certificates() {
    let (here, there) = (directory(), directory());
    let (node, peer) = (open(here.path()), open(there.path()));
    let blocks = extend(&peer, 0..4).await;
    let located = locate(&peer, 0).await;
    assert_eq!(located.headers.len(), 4);
    assert_eq!(located.certificate, certificate(&blocks[3], 4));
    // A batch that is cut comes with the certificate of its own last header.
    assert_eq!(locate(&peer, 2).await.certificate, certificate(&blocks[1], 2));

    let checked = check(&node, located.headers, located.certificate).await;
    assert_eq!((checked.accepted, checked.refusal, checked.best_height), (4, None, 4));
    assert_eq!(checked.wanted.len(), 4);
    assert_eq!(node.info().await.final_height, Some(0));
    let mut bodies = fetch(&peer, checked.wanted).await;
    // Bodies come in any order, and each with its own certificate.
    bodies.swap(0, 2);
    let bare = proto::ConnectBlocksRequest { certificate: Bytes::new(), ..bodies[1].clone() };
    let answers = connect(&node, vec![bare]).await;
    assert_eq!(answers[0].refusal.as_ref().expect("refused").reason, "NO_CERTIFICATE");
    let answers = connect(&node, bodies).await;
    assert!(answers.iter().all(|answer| answer.refusal.is_none()), "{answers:?}");
    assert_eq!(node.tip().await, peer.tip().await);
    assert_eq!(node.info().await.final_height, Some(4));
    assert_eq!(node.utxo_set().await, peer.utxo_set().await);
    // It has become a source for others.
    assert_eq!(locate(&node, 0).await, locate(&peer, 0).await);
    peer.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_nobody_certified_are_refused_whole() {
    let (here, there) = (directory(), directory());
    let (node, peer) = (open(here.path()), open(there.path()));
    let blocks = extend(&peer, 0..4).await;
    let located = locate(&peer, 0).await;
    let headers = located.headers.clone();
    let without_third = [&headers[..2], &headers[3..]].concat();
    let above = signed(&blocks[3], 5, 0, &[0, 1, 2]).to_bytes().into();
    let cases: [(&[Bytes], Bytes, &str); 6] = [
        (&headers, Bytes::new(), "NO_CERTIFICATE"),
        (&headers, Bytes::from_static(b"?"), "BAD_CERTIFICATE"),
        (&headers, certificate(&blocks[2], 3), "BAD_CERTIFICATE"),
        (&headers[..3], located.certificate.clone(), "BAD_CERTIFICATE"),
        (&without_third, located.certificate.clone(), "NOT_CONSECUTIVE"),
        (&headers, above, "BAD_CERTIFICATE"),
    ];
    for (headers, certificate, expected) in cases {
        let checked = check(&node, headers.to_vec(), certificate).await;
        let refusal = checked.refusal.unwrap_or_else(|| panic!("{expected} is accepted"));
        assert_eq!((refusal.reason.as_str(), refusal.misbehavior), (expected, 100));
        // Nothing is kept of them.
        assert_eq!((checked.accepted, checked.best_height, checked.wanted.len()), (0, 0, 0));
    }
    // Certified headers above a gap wait for those between, and nobody is blamed.
    let checked = check(&node, headers[2..].to_vec(), located.certificate.clone()).await;
    let refusal = checked.refusal.expect("its parent is missing");
    assert_eq!((refusal.reason.as_str(), refusal.misbehavior), ("UNKNOWN_PARENT", 0));
    assert_eq!(check(&node, headers, located.certificate).await.accepted, 4);
    peer.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_and_reindex_find_the_same_final_chain() {
    let directory = directory();
    let node = open(directory.path());
    let blocks = extend(&node, 0..3).await;
    let before = (node.tip().await, node.utxo_set().await);
    node.stop().await;
    for reindex in [false, true] {
        let mut options = pbft_options(directory.path());
        options.store.reindex = reindex;
        let node = Node::try_open(options).expect("a sound data directory");
        assert_eq!((node.tip().await, node.utxo_set().await), before, "reindex {reindex}");
        assert_eq!(node.info().await.final_height, Some(3));
        assert_eq!(locate(&node, 0).await.certificate, certificate(&blocks[2], 3));
        node.stop().await;
    }
    let node = open(directory.path());
    extend(&node, [3]).await;
    assert_eq!(node.info().await.final_height, Some(4));
    node.stop().await;
}

/// Blocks in the block log are trusted no more than a peer's.
#[tokio::test(flavor = "multi_thread")]
async fn stored_blocks_with_a_bad_certificate_stop_the_start() {
    let source = directory();
    let node = open(source.path());
    let blocks = extend(&node, 0..2).await;
    node.stop().await;
    let few = signed(&blocks[0], 1, 0, &[0, 1]).to_bytes();
    let other_height = signed(&blocks[0], 2, 0, &[0, 1, 2]).to_bytes();
    let sound = certificate(&blocks[0], 1).to_vec();
    for (stored, is_later, reindex, is_opened) in [
        (Some(sound), true, true),
        (Some(few), false, false),
        (Some(other_height), true, false),
        (None, false, false),
    ]
    .into_iter()
    .flat_map(|(stored, reindex, is_opened)| {
        [false, true].map(|is_later| (stored.clone(), is_later, reindex, is_opened))
    }) {
        let directory = directory();
        let data = DataDir::open(directory.path(), &spec().spec_hash()).expect("a new directory");
        let (mut store, _) =
            ChainStore::open(&data, &StoreOptions::default()).expect("a new store");
        let tree = pentad_ledger::HeaderTree::new(&spec());
        let work = tree.chain_work(&spec().genesis_hash()).expect("genesis");
        let genesis = spec().genesis_block().clone();
        store.append_block(&genesis, BlockHeight::GENESIS, work, None).expect("a working disk");
        let txids: Vec<_> = genesis.transactions.iter().map(Transaction::txid).collect();
        store.connect(&genesis, &txids, &[]).expect("a working disk");
        let work = work.saturating_add(work);
        for stored in [stored.as_deref().filter(|_| !is_later), stored.as_deref()] {
            store.append_block(&blocks[0], BlockHeight::new(1), work, stored).expect("works");
        }
        store.commit().expect("a working disk");
        store.close().expect("a working disk");
        drop(data);
        let mut options = pbft_options(directory.path());
        options.store.reindex = reindex;
        match Node::try_open(options) {
            Ok(node) => {
                assert!(is_opened, "{stored:?} is trusted");
                assert_eq!(node.info().await.height, 1);
                node.stop().await;
            }
            Err(OpenError::Store(StoreError::Record { problem, .. })) => {
                assert!(!is_opened, "{problem}");
                assert!(problem.contains("certificate"), "{problem}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn submit_and_wait(
    node: &Node,
    transaction: &Transaction,
    patience: Duration,
) -> Result<proto::SubmitTransactionResponse, Status> {
    let mut request = tonic::Request::new(proto::SubmitTransactionRequest {
        transaction: transaction.to_bytes().into(),
        wait: proto::Wait::Final.into(),
    });
    request.set_timeout(patience);
    Ok(node.submit.clone().submit_transaction(request).await?.into_inner())
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_final_ends_with_a_certificate_that_verifies() {
    let directory = directory();
    let node = open(directory.path());
    let transaction = payment(0);
    let waiting = submit_and_wait(&node, &transaction, PATIENCE);
    let deciding = async {
        while node.mempool().await.is_empty() {
            tokio::task::yield_now().await;
        }
        let block = proposed(&node, 3).await;
        submit(&node, &block, certificate(&block, 1)).await.expect("a certified block");
        block
    };
    let (answer, block) = tokio::join!(waiting, deciding);
    let answer = answer.expect("final");
    assert_eq!(answer.txid, transaction.txid().to_string());
    assert_eq!((answer.height, answer.already_known), (1, false));
    assert_eq!(answer.block_hash, block.block_hash().to_string());
    let membership = Membership::of(&spec()).expect("a set").expect("validators");
    let certificate = membership.check(&answer.certificate, &block.block_hash());
    assert_eq!(membership.signers(&certificate.expect("a sound one")), ["v0", "v1", "v2"]);
    // Handed in again, it is final already.
    let again = submit_and_wait(&node, &transaction, PATIENCE).await.expect("final");
    assert!(again.already_known);
    assert_eq!((again.height, again.certificate), (1, answer.certificate));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_final_ends_when_the_transaction_cannot_be_final() {
    let directory = directory();
    let node = open(directory.path());
    // Somebody else's block holds another spend of the same output.
    let elsewhere = super::fixture::directory();
    let other = open(elsewhere.path());
    let rival = alice().spend(&[genesis_output(0)], &[(&alice(), 100 * COIN - 2 * FEE)]);
    other.submit_transaction(&rival).await.expect("a valid payment");
    let block = proposed(&other, 0).await;
    let transaction = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let waiting = submit_and_wait(&node, &transaction, PATIENCE);
    let deciding = async {
        while node.mempool().await.is_empty() {
            tokio::task::yield_now().await;
        }
        submit(&node, &block, certificate(&block, 1)).await.expect("a certified block")
    };
    let (answer, outcome) = tokio::join!(waiting, deciding);
    assert_eq!(outcome, BlockOutcome::Connected);
    let status = answer.expect_err("never final");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "LEFT_MEMPOOL"));
    assert!(status.message().contains("CONFLICT"), "{}", status.message());
    // And what is refused is refused at once.
    let status = submit_and_wait(&node, &transaction, PATIENCE).await.expect_err("spent");
    assert_eq!(reason(&status), "MISSING_INPUT");
    other.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_final_ends_at_the_deadline_of_the_call() {
    let directory = directory();
    let node = open(directory.path());
    let patience = Duration::from_millis(200);
    let status = submit_and_wait(&node, &payment(0), patience).await.expect_err("nobody decides");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    assert_eq!(node.mempool().await.len(), 1);
    node.stop().await;
}
