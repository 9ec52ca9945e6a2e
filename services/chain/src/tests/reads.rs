use std::collections::HashSet;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::get_block_request::Block as BlockField;
use pentad_api::status;
use pentad_api::types::v1::Utxo;
use pentad_crypto::AddressVersions;
use pentad_primitives::{Encode as _, OutPoint};
use tonic::{Code, Status};

use super::fixture::{
    ALLOCATIONS, COIN, FEE, Node, Person, alice, bob, directory, genesis_output, reason, spec,
};

#[tokio::test(flavor = "multi_thread")]
async fn fresh_chain_shows_its_genesis() {
    let directory = directory();
    let node = Node::open(directory.path());
    let info = node.info().await;
    assert_eq!((info.network.as_str(), info.engine.as_str(), info.height), ("test", "pow", 0));
    assert_eq!(info.tip, spec().genesis_hash().to_string());
    assert_eq!(info.genesis_hash, info.tip);
    assert_eq!(info.spec_hash, spec().spec_hash().to_string());
    assert!(info.development);
    assert_eq!(info.coinbase_maturity, 1);
    assert_eq!(node.balance(&alice()).await, (ALLOCATIONS as u64 * 100 * COIN, 0, 0));
    assert_eq!(node.balance(&bob()).await, (0, 0, 0));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_is_pending_then_confirmed() {
    let directory = directory();
    let node = Node::open(directory.path());
    let all = ALLOCATIONS as u64 * 100 * COIN;
    let payment =
        alice().spend(&[genesis_output(0)], &[(&bob(), 30 * COIN), (&alice(), 70 * COIN - FEE)]);
    assert!(node.submit_transaction(&payment).await.expect("a valid payment"));
    assert!(!node.submit_transaction(&payment).await.expect("known is no error"));
    let spent = i64::try_from(30 * COIN + FEE).expect("small");
    assert_eq!(node.balance(&alice()).await, (all, -spent, 0));
    assert_eq!(node.balance(&bob()).await, (0, 30 * 100_000_000, 0));
    assert_eq!(node.mempool().await, [payment.txid().to_string()]);

    let miner = Person::new(9);
    let blocks = node.mine(1, &miner).await;
    assert_eq!(blocks[0].transactions[1], payment);
    assert_eq!(node.balance(&alice()).await, (all - 30 * COIN - FEE, 0, 0));
    assert_eq!(node.balance(&bob()).await, (30 * COIN, 0, 0));
    // Maturity 1: the reward can be spent in the next block. The fee is the miner's.
    assert_eq!(node.balance(&miner).await, (1_000 * COIN + FEE, 0, 0));
    assert_eq!(node.mempool().await, Vec::<String>::new());

    let request = proto::GetTransactionRequest { txid: payment.txid().to_string() };
    let found = node.reads.clone().get_transaction(request).await.expect("indexed").into_inner();
    assert_eq!((found.height, found.confirmations), (1, 1));
    assert_eq!(found.block_hash, blocks[0].block_hash().to_string());
    let message = found.transaction.expect("a transaction");
    assert_eq!(message.raw, payment.to_bytes());
    assert_eq!(message.outputs[0].address, bob().text());
    assert!(!node.submit_transaction(&payment).await.expect("confirmed is no error"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_and_headers_by_hash_and_height() {
    let directory = directory();
    let node = Node::open(directory.path());
    let blocks = node.mine(5, &bob()).await;
    for (height, block) in (1..).zip(&blocks) {
        let hash = block.block_hash().to_string();
        for wanted in [BlockField::Height(height), BlockField::Hash(hash.clone())] {
            let request = proto::GetBlockRequest { block: Some(wanted) };
            let found = node.reads.clone().get_block(request).await.expect("stored").into_inner();
            let found = found.block.expect("a block");
            assert_eq!(found.raw, block.to_bytes());
            assert_eq!(found.txids, [block.transactions[0].txid().to_string()]);
            let header = found.header.expect("a header");
            assert_eq!((header.height, header.confirmations), (height, 6 - height));
            assert_eq!((header.hash.as_str(), header.bits.as_str()), (hash.as_str(), "207fffff"));
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_name_the_field() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let mut reads = node.reads.clone();
    let refused = |status: Status, field: &str| {
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        assert_eq!(status::explain(&status).field.as_deref(), Some(field));
    };

    for (block, field) in [(None, "block"), (Some(BlockField::Hash("xyz".to_owned())), "hash")] {
        let request = proto::GetBlockRequest { block };
        refused(reads.get_block(request).await.expect_err(field), field);
    }
    let foreign = AddressVersions { p2pkh: 0x6f, p2sh: 0xc4 };
    for address in ["", "nonsense", &bob().address().encode(&foreign)] {
        let address = address.to_owned();
        let balance = reads.get_balance(proto::GetBalanceRequest { address }).await;
        refused(balance.expect_err("no address of ours"), "address");
    }
    let request = proto::GetUtxosRequest { page_token: "?".to_owned(), ..Default::default() };
    refused(reads.get_utxos(request).await.expect_err("no token"), "page_token");
    let request = proto::GetUtxosRequest { page_size: 10_001, ..Default::default() };
    let status = reads.get_utxos(request).await.expect_err("over the cap");
    assert_eq!(reason(&status), "TOO_MANY");
    refused(status, "page_size");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_is_not_found() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let mut reads = node.reads.clone();
    let not_found = |status: Status, expected: &str| {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, expected));
    };
    let cases = [
        (BlockField::Height(7), "UNKNOWN_HEIGHT"),
        (BlockField::Hash("ab".repeat(32)), "UNKNOWN_BLOCK"),
    ];
    for (block, expected) in cases {
        let request = proto::GetBlockRequest { block: Some(block) };
        not_found(reads.get_block(request).await.expect_err(expected), expected);
    }
    let request = proto::GetTransactionRequest { txid: "00".repeat(32) };
    let status = reads.get_transaction(request).await.expect_err("no such transaction");
    not_found(status, "UNKNOWN_TRANSACTION");
    node.stop().await;
}

/// Bob's and Alice's unspent outputs at height 1, page by page.
async fn utxos(
    node: &Node,
    include_mempool: bool,
    exclude_spent_in_mempool: bool,
    page_size: u32,
) -> Vec<Utxo> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::GetUtxosRequest {
            addresses: vec![bob().text(), alice().text(), bob().text()],
            include_mempool,
            exclude_spent_in_mempool,
            page_size,
            page_token,
        };
        let page = node.reads.clone().get_utxos(request).await.expect("a page").into_inner();
        assert!(page.utxos.len() <= page_size as usize);
        assert_eq!(page.height, 1);
        all.extend(page.utxos);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unspent_outputs_come_in_pages_and_know_the_mempool() {
    let directory = directory();
    let node = Node::open(directory.path());
    let fan_out = alice().spend(&[genesis_output(0)], &[(&bob(), COIN); 25]);
    node.submit_transaction(&fan_out).await.expect("a valid payment");
    node.mine(1, &bob()).await;
    // Unconfirmed: Bob spends one of them back to himself.
    let spent = OutPoint { txid: fan_out.txid(), vout: 3 };
    let again = bob().spend(&[spent], &[(&bob(), COIN / 2)]);
    node.submit_transaction(&again).await.expect("a valid payment");

    // 25 outputs, a coinbase, and what Alice has left.
    let confirmed = 25 + 1 + ALLOCATIONS - 1;
    let whole = utxos(&node, false, false, 1_000).await;
    assert_eq!(whole.len(), confirmed);
    let outpoint = |utxo: &Utxo| {
        let outpoint = utxo.outpoint.clone().expect("set");
        (outpoint.txid, outpoint.vout)
    };
    assert_eq!(whole.iter().map(outpoint).collect::<HashSet<_>>().len(), confirmed);
    assert_eq!(whole.iter().filter(|utxo| utxo.spent_in_mempool).count(), 1);
    let coinbase = whole.iter().find(|utxo| utxo.from_coinbase && utxo.height == 1);
    assert!(coinbase.is_some_and(|utxo| utxo.mature));
    for page_size in [1, 2, 7, 28, 29] {
        assert_eq!(utxos(&node, false, false, page_size).await, whole, "pages of {page_size}");
    }
    assert_eq!(utxos(&node, false, true, 4).await.len(), confirmed - 1);
    let with_mempool = utxos(&node, true, true, 5).await;
    assert_eq!(with_mempool.len(), confirmed);
    let unconfirmed: Vec<_> = with_mempool.iter().filter(|it| it.confirmations == 0).collect();
    assert_eq!(unconfirmed.len(), 1);
    assert_eq!(outpoint(unconfirmed[0]), (again.txid().to_string(), 0));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_stay_whole_while_blocks_connect() {
    // Every block moves all of Alice's coins to a new output: a torn read would see none or two.
    let directory = directory();
    let node = Node::open(directory.path());
    let reading = {
        let mut reads = node.reads.clone();
        tokio::spawn(async move {
            let mut seen = HashSet::new();
            loop {
                let request = proto::GetUtxosRequest {
                    addresses: vec![alice().text()],
                    ..Default::default()
                };
                let page = reads.get_utxos(request).await.expect("a page").into_inner();
                let units: u64 =
                    page.utxos.iter().map(|utxo| utxo.output.as_ref().expect("set").amount).sum();
                let fees = u64::from(page.height) * FEE;
                assert_eq!(units, ALLOCATIONS as u64 * 100 * COIN - fees, "at {}", page.height);
                seen.insert(page.height);
                if page.height == 60 {
                    return seen.len();
                }
            }
        })
    };
    let genesis: Vec<_> = (0..).take(ALLOCATIONS).map(genesis_output).collect();
    let mut units = ALLOCATIONS as u64 * 100 * COIN - FEE;
    let mut coins = alice().spend(&genesis, &[(&alice(), units)]);
    for _ in 0..60 {
        node.submit_transaction(&coins).await.expect("a valid payment");
        node.mine(1, &bob()).await;
        units -= FEE;
        let outpoint = pentad_primitives::OutPoint { txid: coins.txid(), vout: 0 };
        coins = alice().spend(&[outpoint], &[(&alice(), units)]);
    }
    assert!(reading.await.expect("no torn read") > 3);
    node.stop().await;
}
