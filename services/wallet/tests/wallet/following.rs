//! The wallet follows the chain: reorganisations, restarts, transactions that vanish.

use pentad_api::wallet::v1::GetBalanceResponse;

use crate::bed::{Bed, COIN, from_address, from_wallet, until};

fn balance(confirmed: u64, pending: i64, immature: u64) -> GetBalanceResponse {
    GetBalanceResponse { confirmed, pending, immature }
}

#[tokio::test]
async fn a_reorganisation_takes_coins_and_gives_them_back() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    let sent = bed.send(from_address(&alice, &bob, COIN)).await.expect("paid");
    bed.chain.mine(1);
    assert_eq!(bed.balance("alice").await, balance(9 * COIN - sent.fee, 0, 0));
    assert_eq!(bed.balance("bob").await, balance(COIN, 0, 0));
    // The payment waits again; then the coin that it spends does so, too.
    bed.chain.undo(1);
    let pending = -i64::try_from(COIN + sent.fee).expect("small");
    let before = balance(10 * COIN, pending, 0);
    until("alice's coin", async || bed.balance("alice").await == before).await;
    until("bob's wait", async || bed.balance("bob").await == balance(0, COIN.cast_signed(), 0))
        .await;
    bed.chain.undo(1);
    let left = i64::try_from(9 * COIN - sent.fee).expect("small");
    until("all waits", async || bed.balance("alice").await == balance(0, left, 0)).await;
    bed.chain.mine(2);
    assert_eq!(bed.balance("alice").await, balance(9 * COIN - sent.fee, 0, 0));
    assert_eq!(bed.balance("bob").await, balance(COIN, 0, 0));
}

#[tokio::test]
async fn what_happens_while_the_wallet_is_away_is_caught_up_with() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    bed.chain.reward(&bob, 5 * COIN);
    assert_eq!(bed.balance("alice").await, balance(10 * COIN, 0, 0));
    bed.stop().await;
    // Another branch, where bob's reward is gone.
    bed.chain.undo(1);
    bed.chain.pay(&alice, COIN);
    bed.chain.reward(&bob, 3 * COIN);
    bed.chain.announce(&bob, COIN);
    bed.restart().await;
    assert_eq!(bed.balance("alice").await, balance(11 * COIN, 0, 0));
    let bobs = balance(0, COIN.cast_signed(), 3 * COIN);
    until("bob's coins", async || bed.balance("bob").await == bobs).await;
}

#[tokio::test]
async fn a_payment_of_others_that_vanishes_leaves_nothing_behind() {
    let bed = Bed::start().await;
    let alice = bed.create("alice").await;
    bed.chain.announce(&alice, COIN);
    until("it waits", async || bed.balance("alice").await == balance(0, COIN.cast_signed(), 0))
        .await;
    let txid = bed.chain.mempool()[0].txid();
    bed.chain.expire(&txid);
    until("it is gone", async || bed.balance("alice").await == balance(0, 0, 0)).await;
}

#[tokio::test]
async fn coins_ripen_and_a_reorganisation_makes_them_unripe() {
    let bed = Bed::start().await;
    let alice = bed.create("alice").await;
    bed.chain.reward(&alice, COIN);
    bed.chain.mine(98);
    assert_eq!(bed.balance("alice").await, balance(0, 0, COIN));
    bed.chain.mine(1);
    assert_eq!(bed.balance("alice").await, balance(COIN, 0, 0));
    bed.chain.undo(1);
    until("unripe", async || bed.balance("alice").await == balance(0, 0, COIN)).await;
}

/// The ledger is made anew from the blocks where it is lost, and where the chain is another one.
#[tokio::test]
async fn a_lost_ledger_is_made_anew() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    for _ in 0..3 {
        bed.chain.pay(&alice, COIN);
    }
    bed.send(from_wallet("alice", &bob, 2 * COIN)).await.expect("paid");
    bed.chain.mine(1);
    let (alices, bobs) = (bed.balance("alice").await, bed.balance("bob").await);
    bed.stop().await;
    std::fs::remove_dir_all(bed.data_dir().join("wallet-ledger")).expect("it was there");
    bed.restart().await;
    assert_eq!((bed.balance("alice").await, bed.balance("bob").await), (alices, bobs));
    bed.stop().await;
    bed.chain = Default::default();
    bed.chain.pay(&bob, 7 * COIN);
    bed.restart().await;
    assert_eq!(bed.balance("alice").await, balance(0, 0, 0));
    assert_eq!(bed.balance("bob").await, balance(7 * COIN, 0, 0));
}
