use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::{Amount, Block, BlockHash, BlockHeader, Decode as _, Encode as _, Target};
use tonic::Code;

use super::fixture::{
    COIN, Node, Person, alice, bob, directory, genesis_output, reason, reseal, spec,
};

fn bytes(hash: &BlockHash) -> Bytes {
    Bytes::copy_from_slice(hash.as_bytes())
}

async fn connect_bytes(node: &Node, blocks: Vec<Bytes>) -> Vec<proto::ConnectBlocksResponse> {
    let requests =
        blocks.into_iter().map(|block| proto::ConnectBlocksRequest { block, ..Default::default() });
    let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
    let answers = node.assembly.clone().connect_blocks(requests).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await.expect("no error") {
        all.push(answer);
    }
    all
}

async fn connect(node: &Node, blocks: &[Block]) -> Vec<proto::ConnectBlocksResponse> {
    connect_bytes(node, blocks.iter().map(|block| block.to_bytes().into()).collect()).await
}

async fn check_headers(node: &Node, headers: Vec<Bytes>) -> proto::CheckHeadersResponse {
    let request = proto::CheckHeadersRequest { headers, ..Default::default() };
    let checked = node.assembly.clone().check_headers(request).await;
    checked.expect("an answer").into_inner()
}

/// What a node asks a peer for: the headers behind its own chain.
async fn headers_from(peer: &Node, node: &Node) -> Vec<Bytes> {
    let locator = node.assembly.clone().get_locator(proto::GetLocatorRequest {}).await;
    let locator = locator.expect("a locator").into_inner().hashes;
    assert_eq!(locator.len(), 5);
    assert_eq!(locator[0], bytes(&node.tip().await));
    assert_eq!(locator[4], bytes(&spec().genesis_hash()));
    let stop = Bytes::new();
    let request = proto::LocateHeadersRequest { locator, stop, limit: 0 };
    let found = peer.assembly.clone().locate_headers(request).await.expect("headers");
    found.into_inner().headers
}

async fn fetch(node: &Node, hashes: Vec<Bytes>) -> Vec<Block> {
    let request = proto::FetchBlocksRequest { hashes };
    let fetched = node.assembly.clone().fetch_blocks(request).await.expect("a stream");
    let mut fetched = fetched.into_inner();
    let mut blocks = Vec::new();
    while let Some(answer) = fetched.message().await.expect("no error") {
        blocks.push(Block::from_bytes(&answer.block).expect("a block"));
    }
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn node_syncs_headers_first_across_a_fork() {
    let (here, there) = (directory(), directory());
    let (node, peer) = (Node::open(here.path()), Node::open(there.path()));
    peer.clock.advance(3);
    node.mine(4, &bob()).await;
    let theirs = peer.mine(20, &Person::new(30)).await;

    let headers = headers_from(&peer, &node).await;
    assert_eq!(headers.len(), 20);
    let first = BlockHeader::from_bytes(&headers[0]).expect("a header");
    assert_eq!(first.block_hash(), theirs[0].block_hash());
    let checked = check_headers(&node, headers).await;
    assert_eq!((checked.accepted, checked.refusal, checked.best_height), (20, None, 20));
    let hashes: Vec<_> = theirs.iter().map(|block| bytes(&block.block_hash())).collect();
    assert_eq!(checked.wanted, hashes);

    let mut blocks = fetch(&peer, checked.wanted).await;
    assert_eq!(blocks, theirs);
    // Bodies from several peers come in any order.
    blocks.swap(2, 17);
    blocks.reverse();
    let answers = connect(&node, &blocks).await;
    assert_eq!(answers.len(), 20);
    assert!(answers.iter().all(|answer| answer.refusal.is_none()), "{answers:?}");
    assert_eq!(node.tip().await, peer.tip().await);
    assert_eq!(node.utxo_set().await, peer.utxo_set().await);
    peer.stop().await;
    node.stop().await;
    // What came out of order is found again.
    let node = Node::open(here.path());
    assert_eq!(node.tip().await, theirs[19].block_hash());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_bodies_of_the_best_headers_do_not_hide_an_honest_branch() {
    let (here, there, elsewhere) = (directory(), directory(), directory());
    let node = Node::open(here.path());
    let (withholder, honest) = (Node::open(there.path()), Node::open(elsewhere.path()));
    withholder.clock.advance(3);
    let withheld = withholder.mine(5, &Person::new(30)).await;
    let branch = honest.mine(4, &bob()).await;

    let headers = |blocks: &[Block]| blocks.iter().map(|it| it.header.to_bytes().into()).collect();
    assert_eq!(check_headers(&node, headers(&withheld)).await.wanted.len(), 5);
    let wanted = check_headers(&node, headers(&branch)).await.wanted;
    let hashes: Vec<_> = branch.iter().map(|block| bytes(&block.block_hash())).collect();
    assert_eq!(wanted[..4], hashes, "its sender has them");
    assert_eq!(wanted.len(), 9);
    connect(&node, &branch).await;
    assert_eq!(node.tip().await, branch[3].block_hash());
    for node in [node, withholder, honest] {
        node.stop().await;
    }
}

fn refused(refusal: Option<&proto::Refusal>, reason: &str, misbehavior: u32) {
    let refusal = refusal.expect(reason);
    assert_eq!((refusal.reason.as_str(), refusal.misbehavior), (reason, misbehavior));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_headers_say_how_badly_the_sender_behaved() {
    let (here, there) = (directory(), directory());
    let (node, peer) = (Node::open(here.path()), Node::open(there.path()));
    let blocks = peer.mine(3, &bob()).await;
    let mut headers: Vec<BlockHeader> = blocks.iter().map(|block| block.header).collect();
    let encode = |headers: &[BlockHeader]| headers.iter().map(|it| it.to_bytes().into()).collect();
    let checked = check_headers(&node, encode(&headers[1..])).await;
    refused(checked.refusal.as_ref(), "UNKNOWN_PARENT", 0);
    let target = Target::from_compact(headers[1].bits).expect("valid bits");
    while target.is_met_by(&headers[1].block_hash()) {
        headers[1].nonce += 1;
    }
    let checked = check_headers(&node, encode(&headers)).await;
    assert_eq!(checked.accepted, 1);
    refused(checked.refusal.as_ref(), "BAD_WORK", 100);
    peer.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_blocks_say_how_badly_the_sender_behaved() {
    let (here, there) = (directory(), directory());
    let (node, peer) = (Node::open(here.path()), Node::open(there.path()));
    let blocks = peer.mine(3, &bob()).await;
    let mut excess = blocks[0].clone();
    let amount = Amount::from_units(2_000 * COIN).expect("an amount");
    excess.transactions[0].outputs[0].amount = amount;
    let handed_in = [reseal(excess), blocks[0].clone(), blocks[2].clone()];
    let answers = connect(&node, &handed_in).await;
    refused(answers[0].refusal.as_ref(), "COINBASE_EXCESS", 100);
    assert_eq!(answers[1].outcome(), BlockOutcome::Connected);
    assert_eq!(answers[2].outcome(), BlockOutcome::Orphan);

    let garbage = Bytes::from_static(b"no block");
    let answers = connect_bytes(&node, vec![garbage, blocks[1].to_bytes().into()]).await;
    refused(answers[0].refusal.as_ref(), "MALFORMED", 100);
    assert!(answers[0].hash.is_empty());
    assert_eq!(answers[1].outcome(), BlockOutcome::Connected);
    peer.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_lesser_branches_are_not_kept_for_peers() {
    let (here, there) = (directory(), directory());
    let (node, peer) = (Node::open(here.path()), Node::open(there.path()));
    peer.clock.advance(3);
    node.mine(5, &bob()).await;
    let lesser = peer.mine(2, &Person::new(30)).await;
    let answers = connect(&node, &lesser[..1]).await;
    let refusal = answers[0].refusal.as_ref().expect("not wanted");
    assert_eq!((refusal.reason.as_str(), refusal.misbehavior), ("UNWANTED_BODY", 0));
    peer.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_differ_by_extra_nonce_and_say_what_they_ask() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    node.mine(3, &bob()).await;
    let ask = |payout_script: Vec<u8>, extra_nonce| {
        let request =
            proto::GetTemplateRequest { payout_script: payout_script.into(), extra_nonce };
        let mut assembly = node.assembly.clone();
        async move { assembly.get_template(request).await }
    };
    let one = ask(bob().script().into_bytes(), 1).await.expect("a template").into_inner();
    let two = ask(bob().script().into_bytes(), 2).await.expect("a template").into_inner();
    let block = Block::from_bytes(&one.block).expect("a block");
    let other = Block::from_bytes(&two.block).expect("a block");
    assert_ne!(block.header.merkle_root, other.header.merkle_root);
    assert_eq!((one.height, block.header.nonce), (4, 0));
    assert_eq!(one.reward, 1_000 * COIN);
    assert!(one.min_time > node.info().await.median_time_past);
    assert!(block.header.time >= one.min_time);
    assert_eq!(one.target[0], 0x7f);
    let status = ask(vec![0x51], 1).await.expect_err("anyone can spend");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "NO_TEMPLATE"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_follow_tip_and_mempool() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let payout_script = bob().script().into_bytes().into();
    let request = proto::FollowTemplatesRequest { payout_script };
    let templates = node.assembly.clone().follow_templates(request).await.expect("a stream");
    let mut templates = templates.into_inner();
    let mut next = async || {
        let message = templates.message().await.expect("no error").expect("no end");
        let template = message.template.expect("a template");
        let block = Block::from_bytes(&template.block).expect("a block");
        (template, block)
    };
    let (template, block) = next().await;
    assert_eq!((template.height, template.transactions), (1, 0));
    // The extra nonce is where it is said to be.
    let script_sig = block.transactions[0].inputs[0].script_sig.as_bytes();
    assert_eq!(script_sig[template.extra_nonce_offset as usize..], [0; 8]);
    // A transaction, on the same tip.
    let pay = alice().spend(&[genesis_output(0)], &[(&bob(), COIN)]);
    assert!(node.submit_transaction(&pay).await.expect("valid"));
    let (template, with_payment) = next().await;
    assert_eq!((template.height, template.transactions), (1, 1));
    assert_eq!(with_payment.header.prev_block_hash, block.header.prev_block_hash);
    // Another tip.
    let mined = node.mine(1, &bob()).await;
    let (template, block) = next().await;
    assert_eq!((template.height, template.transactions), (2, 0));
    assert_eq!(block.header.prev_block_hash, mined[0].block_hash());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locators_are_dense_first_and_end_in_genesis() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let blocks = node.mine(60, &bob()).await;
    let locator = node.assembly.clone().get_locator(proto::GetLocatorRequest {}).await;
    let locator = locator.expect("a locator").into_inner().hashes;
    let height_of = |hash: &Bytes| blocks.iter().position(|it| bytes(&it.block_hash()) == *hash);
    let heights: Vec<_> =
        locator.iter().map(|hash| height_of(hash).map_or(0, |at| at + 1)).collect();
    assert_eq!(heights[..14], [60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 48, 44, 36]);
    assert_eq!(heights[14..], [20, 0]);
    assert_eq!(locator[15], bytes(&spec().genesis_hash()));

    let locate = async |locator: &[BlockHash], stop: Option<BlockHash>, limit| {
        let locator = locator.iter().map(bytes).collect();
        let stop = stop.as_ref().map(bytes).unwrap_or_default();
        let request = proto::LocateHeadersRequest { locator, stop, limit };
        let found = node.assembly.clone().locate_headers(request).await.expect("headers");
        found.into_inner().headers
    };
    let headers = |blocks: &[Block]| -> Vec<Bytes> {
        blocks.iter().map(|it| it.header.to_bytes().into()).collect()
    };
    let hash = |height: usize| blocks[height - 1].block_hash();
    // From the first hash that is known, up to the stop or the limit.
    let unknown = BlockHash::from_bytes([7; 32]);
    assert_eq!(
        locate(&[unknown, hash(5), hash(2)], Some(hash(9)), 0).await,
        headers(&blocks[5..9])
    );
    assert_eq!(locate(&[hash(5)], None, 16).await, headers(&blocks[5..21]));
    // A peer that shares nothing begins at genesis; one that has all gets nothing.
    assert_eq!(locate(&[unknown], None, 1).await, headers(&blocks[..1]));
    assert_eq!(locate(&[hash(60)], None, 0).await, headers(&[]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_and_unknown_hashes() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let mut assembly = node.assembly.clone();
    let many = vec![Bytes::from(vec![0; 32]); 129];
    let request = proto::FetchBlocksRequest { hashes: many.clone() };
    let status = assembly.fetch_blocks(request).await.expect_err("over the cap");
    assert_eq!(reason(&status), "TOO_MANY");
    let request = proto::LocateHeadersRequest { locator: many, ..Default::default() };
    let status = assembly.locate_headers(request).await.expect_err("over the cap");
    assert_eq!(reason(&status), "TOO_MANY");
    let request = proto::FetchBlocksRequest { hashes: vec![Bytes::from_static(&[1; 31])] };
    let status = assembly.fetch_blocks(request).await.expect_err("31 bytes");
    assert_eq!(status.code(), Code::InvalidArgument);
    let request = proto::FetchBlocksRequest { hashes: vec![Bytes::from(vec![1; 32])] };
    let mut blocks = assembly.fetch_blocks(request).await.expect("a stream").into_inner();
    let answer = blocks.message().await.expect("no error").expect("an answer");
    assert_eq!((answer.hash.len(), answer.block.len()), (32, 0));
    let request = proto::FetchTransactionsRequest { txids: vec![Bytes::from(vec![1; 32])] };
    let found = assembly.fetch_transactions(request).await.expect("an answer").into_inner();
    assert!(found.transactions.is_empty());
    node.stop().await;
}
