//! What was verified once is not verified again; what was not never passes.

use pentad_crypto::script::p2pkh_script_sig;
use pentad_ledger::verify::CheckedTransaction;
use pentad_primitives::Transaction;
use pentad_primitives::sighash::sighash_all;

use super::fixture::{
    COIN, FEE, Node, Person, alice, bob, directory, genesis_output, reason, reseal,
};
use crate::ahead;

fn payment(vout: u32) -> Transaction {
    alice().spend(&[genesis_output(vout)], &[(&bob(), 100 * COIN - FEE)])
}

#[tokio::test(flavor = "multi_thread")]
async fn verified_transaction_lends_nothing_to_its_forged_twin() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let honest = payment(0);
    node.submit_transaction(&honest).await.expect("valid");
    let block = node.template(&Person::new(9)).await;
    assert_eq!(block.transactions[1], honest);
    // The same inputs and outputs, signed by the same key over something else.
    let mut forged = honest.clone();
    let hash = sighash_all(&payment(1), 0, &alice().script()).expect("in range");
    let key = alice().0;
    forged.inputs[0].script_sig = p2pkh_script_sig(&key.sign(&hash), &key.public_key());
    let mut twin = block.clone();
    twin.transactions[1] = forged;
    let refused = node.submit_block(&reseal(twin)).await.expect_err("forged");
    assert_eq!(reason(&refused), "BAD_SIGNATURE");
    node.submit_block(&block).await.expect("valid");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn block_of_replaced_and_of_unseen_transactions_is_connected_and_undone() {
    let (here, there) = (directory(), directory());
    let (node, other) = (Node::in_memory(here.path()), Node::in_memory(there.path()));
    let replaced = alice().spend_with(&[genesis_output(0)], &[(&bob(), 99 * COIN)], 0);
    let better = alice().spend_with(&[genesis_output(0)], &[(&bob(), 98 * COIN)], 0);
    for transaction in [&replaced, &better] {
        node.submit_transaction(transaction).await.expect("valid");
    }
    // The miner chose the one that left the mempool, and one that nobody has seen.
    let mut block = other.template(&Person::new(9)).await;
    block.transactions.extend([replaced.clone(), payment(1)]);
    let block = reseal(block);
    node.submit_block(&block).await.expect("valid");
    assert_eq!(node.mempool().await, Vec::<String>::new());
    // Undone, both are in the mempool again and in the next block.
    for block in other.mine(2, &alice()).await {
        node.submit_block(&block).await.expect("a valid block");
    }
    assert_eq!(node.mempool().await.len(), 2);
    let next = node.mine(1, &Person::new(9)).await.remove(0);
    assert_eq!(next.transactions.len(), 3);
    for node in [node, other] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_ahead_of_an_older_tip_lets_no_spent_coin_through() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let limits = node.chain.published().spec.limits();
    let late = alice().spend(&[genesis_output(0)], &[(&alice(), 99 * COIN)]);
    let late = CheckedTransaction::check(late, &limits).expect("well formed");
    let ready = ahead::check(node.chain.published(), vec![late]).remove(0);
    assert!(matches!(ready.verdict, ahead::Verdict::Sound(_)), "{ready:?}");
    // Before the writer gets to it, a block spends the coin.
    node.submit_transaction(&payment(0)).await.expect("valid");
    node.mine(1, &Person::new(9)).await;
    let ticket = node.chain.submitter().ready(ready).await.expect("a live writer");
    let refused = ticket.answer().await.expect("a live writer").expect_err("spent");
    assert_eq!(refused.reason, "MISSING_INPUT");

    // What is known to be unsound breaks the first rule that it breaks, and is not taken in.
    let mut forged = payment(1);
    forged.outputs[0].amount = pentad_primitives::Amount::from_units(COIN).expect("small");
    let forged = CheckedTransaction::check(forged, &limits).expect("well formed");
    let ready = ahead::check(node.chain.published(), vec![forged.clone()]).remove(0);
    assert!(matches!(ready.verdict, ahead::Verdict::Unsound(_)), "{ready:?}");
    let ticket = node.chain.submitter().ready(ready).await.expect("a live writer");
    let refused = ticket.answer().await.expect("a live writer").expect_err("forged");
    assert_eq!(refused.reason, "BAD_SIGNATURE");
    assert_eq!(node.mempool().await, Vec::<String>::new());
    node.stop().await;
}
