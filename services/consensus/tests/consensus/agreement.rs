//! Blocks become final, whoever is silent, cut off or a censor.

use std::time::Duration;

use pentad_api::consensus::v1::Role;

use crate::bed::{Bed, VIEW_TIMEOUT_MS, spec, until};

#[tokio::test(flavor = "multi_thread")]
async fn four_validators_make_a_payment_final_and_then_no_blocks() {
    let bed = Bed::start(4).await;
    bed.pay(0).await;
    bed.agree(1).await;
    let info = bed.node(3).info().await;
    assert_eq!((info.final_height, info.mempool_transactions), (Some(1), 0));
    let mut before = Vec::new();
    for number in 0..4 {
        // The chain has the block before the replica hears of it.
        until("it knows that the block is final", async || {
            bed.node(number).status().await.last_final == 1
        })
        .await;
        let status = bed.node(number).status().await;
        assert_eq!(status.validator, format!("node{}", number + 1));
        assert_eq!(status.role() == Role::Primary, status.primary == status.validator);
        // On a busy machine, one may have left its view before the block was there.
        before.push(status.view);
    }
    // Longer than a view may be silent while something waits: nothing waits.
    tokio::time::sleep(Duration::from_millis(2 * u64::from(VIEW_TIMEOUT_MS))).await;
    for (number, view) in before.into_iter().enumerate() {
        let status = bed.node(number).status().await;
        assert_eq!((status.view, status.last_final), (view, 1), "{status:?}");
    }
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_validator_alone_agrees_with_itself() {
    let bed = Bed::start(1).await;
    for vout in 0..3 {
        bed.pay(vout).await;
        until("the payment is final", async || bed.node(0).info().await.mempool_transactions == 0)
            .await;
    }
    bed.agree(3).await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_2_silent_primary_is_left_and_the_payment_made() {
    let mut bed = Bed::start(4).await;
    bed.pay(0).await;
    bed.agree(1).await;
    bed.stop_node(0).await;
    bed.pay(1).await;
    bed.agree(2).await;
    let status = bed.node(1).status().await;
    assert_eq!((status.role(), status.view), (Role::Primary, 1));
    // It comes back, hears of the view it missed, and of the block.
    bed.start_node(0).await;
    bed.switch.cut(2);
    bed.pay(2).await;
    until("the one that was away votes again", async || {
        bed.node(0).info().await.height == 3 && bed.node(1).info().await.height == 3
    })
    .await;
    bed.switch.mend(2);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_4_censored_transaction_is_included_after_a_view_change() {
    let bed = Bed::start(4).await;
    let censored = bed.payment(0);
    for number in 1..4 {
        bed.node(number).submit(&censored).await;
    }
    // The primary never heard of it, and goes on with everything else.
    let mut next = 1;
    until("another primary includes it", async || {
        let txid = censored.txid().to_string();
        let waits = bed.node(1).waits_for(&txid).await;
        if waits && next < crate::bed::PAYMENTS {
            bed.pay(next).await;
            next += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        !waits
    })
    .await;
    let status = bed.node(1).status().await;
    assert!(status.view >= 1, "{status:?}");
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_with_a_heartbeat_makes_empty_blocks_when_it_is_idle() {
    let bed = Bed::of(spec(4, |pbft| pbft.heartbeat_ms = VIEW_TIMEOUT_MS), 4).await;
    bed.agree(2).await;
    let status = bed.node(2).status().await;
    assert_eq!(status.view, 0, "{status:?}");
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_keep_their_distance_where_the_spec_asks_for_it() {
    let bed = Bed::of(spec(4, |pbft| pbft.block_interval_ms_min = 300), 4).await;
    let started = std::time::Instant::now();
    for vout in 0..40 {
        bed.pay(vout).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("all payments are final", async || bed.node(0).info().await.mempool_transactions == 0)
        .await;
    let height = u128::from(bed.node(0).info().await.height);
    let room = started.elapsed().as_millis() / 300 + 2;
    assert!((2..=room).contains(&height), "{height} blocks in {:?}", started.elapsed());
    bed.stop().await;
}
