use pentad_api::chain::v1::BlockOutcome;
use pentad_primitives::{Amount, Block, OutPoint};
use tempfile::TempDir;
use tonic::Code;

use super::fixture::{
    COIN, FEE, Node, Person, alice, bob, directory, genesis_output, options, reason, reseal, solve,
};

#[tokio::test(flavor = "multi_thread")]
async fn block_without_work_is_refused() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let mut block = node.template(&bob()).await;
    let target = pentad_primitives::Target::from_compact(block.header.bits).expect("valid");
    while target.is_met_by(&block.block_hash()) {
        block.header.nonce += 1;
    }
    let status = node.submit_block(&block).await.expect_err("no work");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BAD_WORK"));
    let mut easier = node.template(&bob()).await;
    easier.header.bits = pentad_primitives::CompactTarget(0x2100_ffff);
    let status = node.submit_block(&solve(easier)).await.expect_err("an easier target");
    assert_eq!(reason(&status), "TARGET_ABOVE_LIMIT");
    assert_eq!(node.info().await.height, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn block_that_pays_too_much_is_refused_and_remembered() {
    let directory = directory();
    let node = Node::open(directory.path());
    let mut block = node.template(&bob()).await;
    let reward = block.transactions[0].outputs[0].amount.units();
    block.transactions[0].outputs[0].amount = Amount::from_units(reward + 1).expect("an amount");
    let block = reseal(block);
    let status = node.submit_block(&block).await.expect_err("excess");
    assert_eq!(reason(&status), "COINBASE_EXCESS");
    let status = node.submit_block(&block).await.expect_err("excess, again");
    assert_eq!(reason(&status), "INVALID_BRANCH");
    assert_eq!(node.info().await.height, 0);
    node.mine(2, &bob()).await;
    assert_eq!(node.info().await.height, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_block_does_not_poison_its_hash() {
    let directory = directory();
    let node = Node::open(directory.path());
    let payment = |vout| alice().spend(&[genesis_output(vout)], &[(&bob(), 100 * COIN - FEE)]);
    for vout in 0..2 {
        node.submit_transaction(&payment(vout)).await.expect("a valid payment");
    }
    let odd = node.template(&bob()).await;
    assert_eq!(odd.transactions.len(), 3);
    // CVE-2012-2459: repeating the tail of an odd list keeps the merkle root.
    let mut repeated = odd.clone();
    repeated.transactions.push(odd.transactions[2].clone());
    assert_eq!(repeated.block_hash(), odd.block_hash());
    let status = node.submit_block(&repeated).await.expect_err("mutated");
    assert_eq!(reason(&status), "MERKLE_MUTATED");
    // Other transactions under the same header.
    let mut swapped = odd.clone();
    swapped.transactions[1] = payment(2);
    let status = node.submit_block(&swapped).await.expect_err("not its transactions");
    assert_eq!(reason(&status), "MERKLE_ROOT");
    let outcome = node.submit_block(&odd).await.expect("the honest block still arrives");
    assert_eq!(outcome, BlockOutcome::Connected);
    assert_eq!(node.mempool().await, Vec::<String>::new());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn block_with_a_tampered_transaction_is_refused() {
    let directory = directory();
    let node = Node::open(directory.path());
    let good = alice().spend(&[genesis_output(0)], &[(&bob(), 10 * COIN)]);
    let mut tampered = good.clone();
    tampered.outputs[0].script_pubkey = Person::new(7).script();
    let theft = Person::new(7).spend(&[genesis_output(1)], &[(&Person::new(7), COIN)]);
    let twice = alice().spend(&[genesis_output(0)], &[(&alice(), COIN)]);
    let excess = alice().spend(&[genesis_output(2)], &[(&bob(), 101 * COIN)]);
    let cases = [
        (vec![tampered], "BAD_SIGNATURE"),
        (vec![theft], "WRONG_KEY"),
        (vec![good.clone(), twice], "SPENT_IN_BLOCK"),
        (vec![excess], "OUTPUTS_EXCEED_INPUTS"),
    ];
    for (transactions, rule) in cases {
        let mut block = node.template(&bob()).await;
        block.transactions.extend(transactions);
        let status = node.submit_block(&reseal(block)).await.expect_err(rule);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, rule));
    }
    let mut block = node.template(&bob()).await;
    block.transactions.push(good);
    node.submit_block(&reseal(block)).await.expect("the untampered one is valid");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orphan_and_known_blocks() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let blocks = node.mine(2, &bob()).await;
    let outcome = node.submit_block(&blocks[0]).await.expect("known is no error");
    assert_eq!(outcome, BlockOutcome::AlreadyKnown);
    let mut orphan = node.template(&bob()).await;
    orphan.header.prev_block_hash = pentad_primitives::BlockHash::from_bytes([7; 32]);
    let outcome = node.submit_block(&solve(orphan)).await.expect("an orphan is no error");
    assert_eq!(outcome, BlockOutcome::Orphan);
    node.stop().await;
}

/// Two nodes that share a trunk, then mine apart.
async fn fork(left: usize, right: usize) -> (TempDir, Node, Vec<Block>, Vec<Block>) {
    let (directory, other) = (directory(), directory());
    let node = Node::open(directory.path());
    let trunk = node.mine(3, &alice()).await;
    let rival = Node::open(other.path());
    for block in &trunk {
        rival.submit_block(block).await.expect("a valid block");
    }
    rival.clock.advance(30);
    let left = node.mine(left, &Person::new(20)).await;
    let right = rival.mine(right, &Person::new(30)).await;
    rival.stop().await;
    (directory, node, left, right)
}

#[tokio::test(flavor = "multi_thread")]
async fn first_seen_wins_a_tie_and_more_work_wins_it_all() {
    let (_directory, node, left, right) = fork(2, 3).await;
    let outcomes = [BlockOutcome::SideBranch, BlockOutcome::SideBranch, BlockOutcome::Connected];
    for (block, expected) in right.iter().zip(outcomes) {
        assert_eq!(node.submit_block(block).await.expect("a valid block"), expected);
    }
    assert_eq!(node.tip().await, right[2].block_hash());
    assert_eq!(node.balance(&Person::new(20)).await, (0, 0, 0));
    assert_eq!(node.balance(&Person::new(30)).await, (3_000 * COIN, 0, 0));
    let text = node.metrics.encode().expect("text");
    assert!(text.contains("pentad_chain_reorganisations_total 1"), "{text}");
    assert!(text.contains("pentad_chain_undone_blocks_total 2"), "{text}");
    assert!(text.contains("pentad_chain_height_blocks 6"), "{text}");
    let request = pentad_api::chain::v1::GetHeaderRequest {
        block: Some(pentad_api::chain::v1::get_header_request::Block::Hash(
            left[0].block_hash().to_string(),
        )),
    };
    let header = node.reads.clone().get_header(request).await.expect("kept").into_inner();
    assert_eq!(header.header.expect("set").confirmations, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reorganisation_leaves_the_utxo_set_of_a_rebuild() {
    let (directory, node, left, right) = fork(4, 6).await;
    for block in &right {
        node.submit_block(block).await.expect("a valid block");
    }
    let after_reorganisation = node.utxo_set().await;
    node.stop().await;

    let mut rebuild = options(directory.path());
    rebuild.store.reindex = true;
    let node = Node::try_open(rebuild).expect("a sound log");
    assert_eq!(node.tip().await, right[5].block_hash());
    assert_eq!(node.utxo_set().await, after_reorganisation);
    node.stop().await;

    // And of a node that never saw the losing branch.
    let other = TempDir::new().expect("a temporary directory");
    let node = Node::open(directory.path());
    let fresh = Node::in_memory(other.path());
    for height in 1..=9 {
        let block = node.block_at(height).await;
        assert!(!left.contains(&block));
        fresh.submit_block(&block).await.expect("a valid block");
    }
    assert_eq!(fresh.utxo_set().await, after_reorganisation);
    fresh.stop().await;
    node.stop().await;
}

/// A reorganisation is bounded by the memory for changes, not by its depth.
#[tokio::test(flavor = "multi_thread")]
async fn reorganisation_that_exceeds_the_memory_is_made_in_parts() {
    let (directory, node, left, right) = fork(5, 7).await;
    node.stop().await;
    let mut small = options(directory.path());
    small.store.layer_bytes_max = 1;
    let node = Node::try_open(small).expect("a sound data directory");
    let payment = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    node.submit_transaction(&payment).await.expect("a valid payment");
    for block in &right {
        node.submit_block(block).await.expect("a valid block");
    }
    assert_eq!(node.tip().await, right[6].block_hash());
    assert_eq!(node.mempool().await, [payment.txid().to_string()]);
    let text = node.metrics.encode().expect("text");
    assert!(text.contains(&format!("pentad_chain_undone_blocks_total {}", left.len())), "{text}");
    assert!(text.contains(&format!("pentad_chain_reorganisations_total {}", left.len())), "{text}");
    let after_reorganisation = node.utxo_set().await;
    node.stop().await;
    let mut rebuild = options(directory.path());
    rebuild.store.reindex = true;
    let node = Node::try_open(rebuild).expect("a sound log");
    assert_eq!(node.utxo_set().await, after_reorganisation);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_the_losing_branch_are_back_in_the_mempool() {
    let (directory, other) = (directory(), directory());
    let node = Node::open(directory.path());
    let rival = Node::open(other.path());
    let stays = alice().spend(&[genesis_output(0)], &[(&bob(), 100 * COIN - FEE)]);
    let chained =
        bob().spend(&[OutPoint { txid: stays.txid(), vout: 0 }], &[(&Person::new(5), 99 * COIN)]);
    let loses = alice().spend(&[genesis_output(1)], &[(&bob(), 100 * COIN - FEE)]);
    let wins = alice().spend(&[genesis_output(1)], &[(&alice(), 100 * COIN - FEE)]);
    for transaction in [&stays, &chained, &loses] {
        node.submit_transaction(transaction).await.expect("a valid payment");
    }
    node.mine(1, &Person::new(20)).await;
    // The reward of the losing branch is gone with it, and what spends it.
    let coinbase_txid = node.block_at(1).await.transactions[0].txid();
    let of_reward = Person::new(20)
        .spend(&[OutPoint { txid: coinbase_txid, vout: 0 }], &[(&bob(), 1_000 * COIN - FEE)]);
    node.submit_transaction(&of_reward).await.expect("mature in the next block");

    rival.clock.advance(5);
    rival.submit_transaction(&wins).await.expect("a valid payment");
    for block in rival.mine(2, &Person::new(30)).await {
        node.submit_block(&block).await.expect("a valid block");
    }
    let mempool = node.mempool().await;
    assert_eq!(mempool, [stays.txid().to_string(), chained.txid().to_string()]);
    let status = node.submit_transaction(&loses).await.expect_err("its output is spent");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "MISSING_INPUT")
    );
    node.mine(1, &bob()).await;
    assert_eq!(node.mempool().await, Vec::<String>::new());
    assert_eq!(node.balance(&Person::new(5)).await, (99 * COIN, 0, 0));
    rival.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn branch_that_turns_out_invalid_leaves_the_chain_where_it_was() {
    let (directory, node, left, right) = fork(2, 2).await;
    let before = (node.tip().await, node.utxo_set().await);
    // Two good blocks of the branch, then one that pays too much: it has most work.
    for block in &right {
        assert_eq!(node.submit_block(block).await.expect("valid"), BlockOutcome::SideBranch);
    }
    let (other, tip) = (TempDir::new().expect("a temporary directory"), right[1].block_hash());
    let helper = Node::in_memory(other.path());
    for height in 1..=3 {
        let block = node.block_at(height).await;
        helper.submit_block(&block).await.expect("valid");
    }
    helper.clock.advance(200);
    for block in &right {
        helper.submit_block(block).await.expect("valid");
    }
    let mut bad = helper.template(&bob()).await;
    assert_eq!(bad.header.prev_block_hash, tip);
    bad.transactions[0].outputs[0].amount = Amount::from_units(5_000 * COIN).expect("an amount");
    let bad = reseal(bad);
    let status = node.submit_block(&bad).await.expect_err("excess");
    assert_eq!(reason(&status), "COINBASE_EXCESS");
    assert_eq!((node.tip().await, node.utxo_set().await), before);
    assert_eq!(before.0, left[1].block_hash());
    // Its good part can still win.
    for block in helper.mine(2, &bob()).await {
        node.submit_block(&block).await.expect("valid");
    }
    assert_eq!(node.tip().await, helper.tip().await);
    assert_eq!(node.utxo_set().await, helper.utxo_set().await);
    node.stop().await;
    helper.stop().await;

    let node = Node::open(directory.path());
    let status = node.submit_block(&bad).await.expect_err("still excess");
    assert!(["INVALID_BRANCH", "COINBASE_EXCESS"].contains(&reason(&status).as_str()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_on_and_see_side_branches_while_the_tip_stays() {
    let directory = directory();
    let node = Node::open(directory.path());
    let mut sibling = node.template(&bob()).await;
    let tip = node.mine(1, &alice()).await[0].block_hash();
    // Far more commits than layers that a snapshot outlives.
    for _ in 0..40 {
        sibling.header.time += 1;
        sibling = solve(sibling);
        let outcome = node.submit_block(&sibling).await.expect("a valid block");
        assert_eq!(outcome, BlockOutcome::SideBranch);
    }
    let hash = sibling.block_hash();
    let read = node.chain.reader().read(move |view| {
        let (_, entry) = view.block(crate::BlockRef::Hash(hash))?;
        Ok((entry.height.get(), view.tip.hash))
    });
    let read = tokio::time::timeout(std::time::Duration::from_secs(10), read).await;
    let read = read.expect("reads do not hang");
    assert_eq!(read.expect("the branch is visible"), (1, tip));
    node.stop().await;
}
