//! History, ranges, proofs, fees, supply.

use pentad_api::chain::v1 as proto;
use pentad_api::types::v1 as types;
use pentad_api::{proof_from_message, status};
use pentad_ledger::TransactionProof;
use pentad_ledger::proof::ProofError;
use pentad_primitives::Encode as _;
use tonic::Code;

use super::fixture::{
    ALLOCATIONS, COIN, FEE, Node, Person, alice, bob, directory, genesis_output, reason, spec,
};

#[tokio::test(flavor = "multi_thread")]
async fn history_is_paged_oldest_first() {
    let directory = directory();
    let node = Node::open(directory.path());
    let blocks = node.mine(5, &bob()).await;
    let payment = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    node.submit_transaction(&payment).await.expect("a valid payment");
    let last = node.mine(1, &Person::new(9)).await;
    let mut expected: Vec<_> = (1..)
        .zip(&blocks)
        .map(|(height, block)| (height, 0, block.transactions[0].txid().to_string()))
        .collect();
    expected.push((6, 1, payment.txid().to_string()));
    for page_size in [0, 1, 2, 6] {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::GetHistoryRequest { address: bob().text(), page_size, page_token };
            let page = node.reads.clone().get_history(request).await.expect("a page").into_inner();
            assert_eq!((page.height, page.tip), (6, last[0].block_hash().to_string()));
            found.extend(page.entries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let short = found.iter().map(|entry| (entry.height, entry.index, entry.txid.clone()));
        assert_eq!(short.collect::<Vec<_>>(), expected, "pages of {page_size}");
        let newest = found.last().expect("six");
        assert_eq!((newest.confirmations, newest.time), (1, last[0].header.time));
        assert_eq!(newest.block_hash, last[0].block_hash().to_string());
    }
    for (page_token, page_size, field) in [("x", 0, "page_token"), ("", 10_001, "page_size")] {
        let page_token = page_token.to_owned();
        let request = proto::GetHistoryRequest { address: bob().text(), page_size, page_token };
        let refused = node.reads.clone().get_history(request).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(status::explain(&refused).field.as_deref(), Some(field));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_streamed_whole() {
    let directory = directory();
    let node = Node::open(directory.path());
    let mut blocks = vec![spec().genesis_block().clone()];
    blocks.extend(node.mine(7, &bob()).await);
    for (from, to, expected) in [
        (0, None, 0..8),
        (3, Some(5), 3..6),
        (7, Some(900), 7..8),
        (5, Some(4), 5..5),
        (0, Some(0), 0..1),
    ] {
        let request = proto::StreamBlocksRequest { from_height: from, to_height: to };
        let stream = node.reads.clone().stream_blocks(request).await.expect("a stream");
        let mut stream = stream.into_inner();
        for block in &blocks[expected.clone()] {
            let message = stream.message().await.expect("no error").expect("no end");
            assert_eq!(message.raw, block.to_bytes());
            let header = message.header.expect("set");
            assert_eq!(header.hash, block.block_hash().to_string());
        }
        assert_eq!(stream.message().await.expect("a good end"), None);

        let request = proto::StreamHeadersRequest { from_height: from, to_height: to };
        let stream = node.reads.clone().stream_headers(request).await.expect("a stream");
        let mut stream = stream.into_inner();
        let mut hashes = Vec::new();
        while let Some(message) = stream.message().await.expect("no error") {
            hashes.extend(message.headers.into_iter().map(|header| header.hash));
        }
        let wanted = blocks[expected].iter().map(|block| block.block_hash().to_string());
        assert_eq!(hashes, wanted.collect::<Vec<_>>());
    }
    let request = proto::StreamBlocksRequest { from_height: 8, to_height: None };
    let mut stream = node.reads.clone().stream_blocks(request).await.expect("opens").into_inner();
    let refused = stream.message().await.expect_err("above the tip");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "UNKNOWN_HEIGHT"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_of_a_range_learns_of_a_reorganisation() {
    let (here, there) = (directory(), directory());
    let (node, other) = (Node::open(here.path()), Node::in_memory(there.path()));
    node.mine(60, &bob()).await;
    let request = proto::StreamBlocksRequest { from_height: 1, to_height: None };
    let mut stream = node.reads.clone().stream_blocks(request).await.expect("opens").into_inner();
    stream.message().await.expect("no error").expect("the first block");
    for block in other.mine(62, &alice()).await {
        node.submit_block(&block).await.expect("a valid block");
    }
    // What was on its way still comes; it belongs to one branch.
    let refused = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "ended as if nothing had happened"),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "REORGANISED"));
    node.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_holds_offline_and_nothing_else_does() {
    let directory = directory();
    let node = Node::open(directory.path());
    let payments =
        [0, 1, 2].map(|vout| alice().spend(&[genesis_output(vout)], &[(&bob(), 100 * COIN - FEE)]));
    let request = || proto::GetProofRequest { txid: payments[0].txid().to_string() };
    node.submit_transaction(&payments[0]).await.expect("valid");
    let refused = node.reads.clone().get_proof(request()).await.expect_err("not in a block");
    assert_eq!(reason(&refused), "UNCONFIRMED_TRANSACTION");
    for payment in &payments[1..] {
        node.submit_transaction(payment).await.expect("valid");
    }
    let block = node.mine(1, &bob()).await.remove(0);
    let answer = node.reads.clone().get_proof(request()).await.expect("in a block").into_inner();
    assert_eq!((answer.height, answer.confirmations), (1, 1));
    let message = answer.proof.expect("a proof");
    let (transaction, header, path) = proof_from_message(&message).expect("its own message");
    assert_eq!((&transaction, header), (&payments[0], block.header));
    let malformed: [(fn(&mut types::TransactionProof), _); 3] = [
        (|proof| proof.transaction = "x".into(), "proof.transaction"),
        (|proof| proof.header = vec![0; 79].into(), "proof.header"),
        (|proof| proof.siblings[0].truncate(63), "proof.siblings"),
    ];
    for (change, field) in malformed {
        let mut changed = message.clone();
        change(&mut changed);
        assert_eq!(proof_from_message(&changed).expect_err(field).field, field);
    }
    let proof = TransactionProof { transaction, header, path };
    let proved = proof.check(&spec()).expect("sound");
    assert_eq!((proved.txid, proved.block_hash), (payments[0].txid(), block.block_hash()));

    let foreign = TransactionProof { transaction: payments[1].clone(), ..proof.clone() };
    let txid = payments[1].txid();
    assert_eq!(foreign.check(&spec()), Err(ProofError::Path { txid }));
    let mut workless = proof.clone();
    while workless.check(&spec()).is_ok() {
        workless.header.nonce += 1;
    }
    assert!(matches!(workless.check(&spec()), Err(ProofError::Header(_))));
    let mut moved = proof;
    moved.path.index ^= 1;
    assert!(matches!(moved.check(&spec()), Err(ProofError::Path { .. })));
    // Genesis has no work, and needs none.
    let txid = spec().genesis_block().transactions[0].txid().to_string();
    let answer = node.reads.clone().get_proof(proto::GetProofRequest { txid }).await;
    let message = answer.expect("genesis").into_inner().proof.expect("a proof");
    let (transaction, header, path) = proof_from_message(&message).expect("its own message");
    TransactionProof { transaction, header, path }.check(&spec()).expect("sound");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn supply_counts_every_coin_that_the_utxo_set_holds() {
    let directory = directory();
    let node = Node::open(directory.path());
    node.mine(3, &bob()).await;
    let supply = node.reads.clone().get_supply(proto::GetSupplyRequest {}).await.expect("read");
    let supply = supply.into_inner();
    let held = node.utxo_set().await;
    let held: u64 = held.iter().map(|(_, utxo)| utxo.output.amount.units()).sum();
    assert_eq!(supply.issued, held);
    assert_eq!(supply.issued, (ALLOCATIONS as u64 * 100 + 3 * 1_000) * COIN);
    assert_eq!((supply.next_subsidy, supply.height), (1_000 * COIN, 3));
    assert_eq!(supply.tip, node.tip().await.to_string());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fee_estimate_of_a_quiet_chain_is_the_least_rate() {
    let directory = directory();
    let node = Node::open(directory.path());
    node.mine(2, &bob()).await;
    for target_blocks in [0, 1, 100] {
        let request = proto::EstimateFeeRequest { target_blocks };
        let fee = node.reads.clone().estimate_fee(request).await.expect("an estimate");
        let fee = fee.into_inner();
        assert_eq!((fee.fee_rate, fee.min_fee_rate), (1_000, 1_000));
    }
    let request = proto::EstimateFeeRequest { target_blocks: 101 };
    let refused = node.reads.clone().estimate_fee(request).await.expect_err("over the cap");
    assert_eq!(status::explain(&refused).field.as_deref(), Some("target_blocks"));
    node.stop().await;
}
