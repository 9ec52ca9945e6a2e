//! An answered payment is made, whatever process dies.

use std::collections::HashSet;

use pentad_api::wallet::v1::SendRequest;
use pentad_primitives::Txid;
use pentad_store::open_sled;

use crate::bed::{Bed, COIN, from_address, from_wallet, until};

fn txids(bed: &Bed) -> HashSet<Txid> {
    bed.chain.mempool().iter().map(|transaction| transaction.txid()).collect()
}

/// Node and wallet are killed together: the mempool is gone, the wallet's memory, too.
#[tokio::test]
async fn payments_are_submitted_again_when_the_mempool_is_lost() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    for turn in 0..4 {
        // Each spends the change of the one before; with and without a key.
        let key = if turn % 2 == 0 { String::new() } else { turn.to_string() };
        let request = from_address(&alice, &bob, COIN);
        let request = SendRequest { idempotency_key: key, ..request };
        bed.send(request).await.expect("paid");
    }
    let paid = txids(&bed);
    bed.stop().await;
    bed.chain.forget_mempool();
    bed.restart().await;
    until("all four again", async || txids(&bed) == paid).await;
}

/// The block that held a payment is undone, and the mempool did not take it back.
#[tokio::test]
async fn payments_are_submitted_again_when_they_vanish_while_the_wallet_runs() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    bed.send(from_wallet("alice", &bob, COIN)).await.expect("paid");
    let paid = txids(&bed);
    bed.chain.forget_mempool();
    bed.chain.mine(1);
    until("the payment", async || txids(&bed) == paid).await;
}

#[tokio::test]
async fn coins_of_a_payment_that_vanished_are_not_spent_again() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    for _ in 0..10 {
        bed.chain.pay(&alice, 2 * COIN);
    }
    for _ in 0..5 {
        bed.send(from_wallet("alice", &bob, COIN)).await.expect("paid");
    }
    let paid = txids(&bed);
    bed.stop().await;
    bed.chain.forget_mempool();
    bed.restart().await;
    // At once, before the others are back; a coin in common would make one of them impossible.
    for _ in 0..5 {
        bed.send(from_wallet("alice", &bob, COIN)).await.expect("paid");
    }
    until("the first five", async || txids(&bed).is_superset(&paid)).await;
    assert_eq!(txids(&bed).len(), 10);
}

#[tokio::test]
async fn settled_payments_are_left_alone() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    bed.send(from_wallet("alice", &bob, COIN)).await.expect("paid");
    bed.chain.mine(6);
    // What is settled leaves the journal: after that nothing is claimed, not even by a restart.
    let journal = bed.data_dir().join("payments");
    until("an empty journal", async || {
        bed.stop().await;
        let empty = open_sled(&sled::Config::new().path(&journal))
            .expect("nobody else has it open")
            .is_empty();
        bed.restart().await;
        empty
    })
    .await;
    assert_eq!(bed.chain.submissions().len(), 1);
}
