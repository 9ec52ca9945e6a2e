use std::collections::HashSet;
use std::future::poll_fn;
use std::task::Poll;

use tokio::task::JoinSet;

use crate::bed::{Bed, COIN, from_address, from_wallet, until};
use crate::fake_chain::Mishap;

/// Attack 55.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_sends_never_share_an_outpoint() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    for _ in 0..20 {
        bed.chain.pay(&alice, COIN);
    }
    let mut sends = JoinSet::new();
    for turn in 0..20 {
        let mut wallet = bed.wallet();
        let request = if turn % 2 == 0 {
            from_wallet("alice", &bob, COIN / 2)
        } else {
            from_address(&alice, &bob, COIN / 2)
        };
        sends.spawn(async move { wallet.send(request).await.map(|sent| sent.into_inner().txid) });
    }
    let txids: HashSet<String> =
        sends.join_all().await.into_iter().map(|sent| sent.expect("paid")).collect();
    assert_eq!(txids.len(), 20);
    // The chain would have refused a double spend; so no send failed, and each used other coins.
    let mempool = bed.chain.mempool();
    let inputs = mempool.iter().flat_map(|transaction| &transaction.inputs);
    let outpoints: Vec<_> = inputs.map(|input| input.previous_output).collect();
    let distinct: HashSet<_> = outpoints.iter().collect();
    assert_eq!(distinct.len(), outpoints.len());
    assert_eq!(bed.balance("bob").await.pending, i64::try_from(10 * COIN).expect("small"));
}

#[tokio::test]
async fn coins_of_a_refused_payment_are_free_again() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, COIN);
    for mishap in [Mishap::Refused, Mishap::Lost] {
        bed.chain.begin(mishap);
        bed.send(from_address(&alice, &bob, COIN / 2)).await.expect_err("a mishap");
    }
    bed.chain.end();
    bed.send(from_address(&alice, &bob, COIN / 2)).await.expect("paid");
    assert_eq!(bed.chain.mempool().len(), 1);
}

/// A caller that leaves in mid-call must not stop a payment half-way.
#[tokio::test]
async fn a_payment_goes_on_when_its_caller_leaves() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, COIN);
    // One poll starts the payment; then the caller is gone.
    let mut wallet = bed.wallet();
    let mut call = Box::pin(wallet.send(from_address(&alice, &bob, COIN / 2)));
    poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending(), "paid within one poll");
        Poll::Ready(())
    })
    .await;
    drop(call);
    until("the payment", async || !bed.chain.mempool().is_empty()).await;
}

#[tokio::test]
async fn change_addresses_of_refused_payments_are_used_again() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, COIN);
    bed.chain.begin(Mishap::Refused);
    for _ in 0..5 {
        bed.send(from_wallet("alice", &bob, COIN / 2)).await.expect_err("refused");
    }
    bed.chain.end();
    bed.send(from_wallet("alice", &bob, COIN / 2)).await.expect("paid");
    assert_eq!(bed.list().await[0].addresses.len(), 2);
}

/// Change addresses are handed out some at a time; those that a restart finds unused go first.
#[tokio::test]
async fn change_addresses_kept_ready_are_used_after_a_restart() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    for expected in 2..=4 {
        bed.chain.pay(&alice, COIN);
        bed.send(from_wallet("alice", &bob, COIN / 2)).await.expect("paid");
        if expected == 3 {
            // This payment is in the journal alone, by then.
            bed.chain.forget_mempool();
        }
        bed.restart().await;
        assert_eq!(bed.list().await[0].addresses.len(), expected);
        bed.chain.mine(1);
    }
}

#[tokio::test]
async fn the_metrics_tell_of_leases() {
    const HELD: &str = "pentad_wallet_leased_coins";
    const GRANTED: &str = "pentad_wallet_leases_granted_total";
    let refused = |cause| format!("pentad_wallet_leases_refused_total{{cause=\"{cause}\"}}");
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, COIN);
    assert_eq!([bed.metric(HELD), bed.metric(GRANTED)], [0, 0]);
    bed.chain.begin(Mishap::Refused);
    bed.send(from_address(&alice, &bob, COIN / 2)).await.expect_err("refused");
    assert_eq!([bed.metric(HELD), bed.metric(GRANTED)], [0, 1], "given back");
    bed.chain.end();
    bed.send(from_address(&alice, &bob, COIN / 2)).await.expect("paid");
    assert_eq!([bed.metric(HELD), bed.metric(GRANTED)], [1, 2]);
    assert_eq!(bed.metric("pentad_wallet_payments_unsettled"), 1);
    bed.send(from_wallet("bob", &alice, 10 * COIN)).await.expect_err("not so rich");
    assert_eq!(bed.metric(&refused("poor")), 1);
    bed.send(from_wallet("bob", &alice, COIN / 4)).await.expect_err("not in a block yet");
    assert_eq!(bed.metric(&refused("unconfirmed")), 1);
    assert_eq!(bed.metric(&refused("leased")), 0);
}
