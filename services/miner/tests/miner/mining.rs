use std::collections::HashSet;
use std::time::Duration;

use pentad_api::miner::v1::StopMiningRequest;
use pentad_miner::MinerConfig;
use pentad_primitives::{CompactTarget, Target};
use tokio::time::Instant;

use crate::bed::{Bed, PAYOUT, RESTLESS, until};
use crate::fake_chain::{EASY, HOPELESS};
use crate::fake_keystore::ADDRESS;

/// About 65,000 hashes a block.
const MODERATE: CompactTarget = CompactTarget(0x1f00_ffff);
/// A loaded machine may be slow; the miner itself needs a millisecond.
const PROMPTLY: Duration = Duration::from_secs(2);

#[tokio::test]
async fn finds_blocks_that_meet_the_target() {
    let bed = Bed::start(MODERATE);
    let started = bed.mine(2).await;
    assert_eq!((started.threads, started.payout_address.as_str()), (2, PAYOUT));
    until("three blocks", async || bed.chain.state().blocks.len() >= 3).await;
    let status = bed.status().await;
    assert!(status.mining && status.height >= 3 && status.hash_rate > 0.0, "{status:?}");
    bed.miner().stop_mining(StopMiningRequest {}).await.expect("stopped");
    let status = bed.status().await;
    let state = bed.chain.state();
    // The chain checked their work; they are a chain, and pay whom they should.
    assert_eq!(status.blocks_found, state.blocks.len() as u64);
    let target = Target::from_compact(MODERATE).expect("a constant");
    for block in &state.blocks {
        assert!(target.is_met_by(&block.block_hash()));
    }
}

#[tokio::test]
async fn every_thread_searches_another_block() {
    let bed = Bed::start(HOPELESS);
    bed.mine(4).await;
    let state = bed.chain.state();
    let extra_nonces: HashSet<u64> =
        state.templates.iter().map(|given| given.extra_nonce).collect();
    assert_eq!((state.templates.len(), extra_nonces.len()), (4, 4));
}

#[tokio::test]
async fn a_new_tip_brings_new_work() {
    let bed = Bed::start(HOPELESS);
    bed.mine(2).await;
    until("hashing", async || bed.status().await.hashes > 0).await;
    let started = Instant::now();
    let tip = bed.chain.advance();
    until("work on the new tip", async || {
        bed.chain.state().templates.iter().filter(|given| given.parent == tip).count() == 2
    })
    .await;
    assert!(started.elapsed() < PROMPTLY, "{:?}", started.elapsed());
    assert_eq!(bed.status().await.height, 2);
    // The work is real: with a target in reach the next block stands on that tip.
    bed.chain.state().bits = EASY;
    let tip = bed.chain.advance();
    until("a block", async || bed.chain.state().blocks.len() >= 3).await;
    assert_eq!(bed.chain.state().blocks[2].header.prev_block_hash, tip);
}

#[tokio::test]
async fn stops_at_once_and_for_good() {
    let bed = Bed::start(HOPELESS);
    bed.mine(2).await;
    until("hashing", async || bed.status().await.hashes > 0).await;
    let started = Instant::now();
    bed.miner().stop_mining(StopMiningRequest {}).await.expect("stopped");
    assert!(started.elapsed() < PROMPTLY, "{:?}", started.elapsed());
    let status = bed.status().await;
    assert!(!status.mining && status.threads == 0 && status.height == 0);
    // The threads are gone: the counter stands still.
    assert_eq!(bed.status().await.hashes, status.hashes);
    // Stopping twice is no error.
    bed.miner().stop_mining(StopMiningRequest {}).await.expect("stopped");
}

#[tokio::test]
async fn shutdown_ends_the_threads() {
    let bed = Bed::start(HOPELESS);
    bed.mine(2).await;
    until("hashing", async || bed.status().await.hashes > 0).await;
    let took = bed.stop().await;
    assert!(took < PROMPTLY, "{took:?}");
}

#[tokio::test]
async fn starting_again_changes_threads_and_payout() {
    let bed = Bed::start(HOPELESS);
    bed.mine(1).await;
    let request = pentad_api::miner::v1::StartMiningRequest {
        threads: 3,
        payout_address: ADDRESS.to_owned(),
    };
    bed.miner().start_mining(request).await.expect("changed");
    let status = bed.status().await;
    assert_eq!((status.threads, status.payout_address.as_str()), (3, ADDRESS));
}

#[tokio::test]
async fn new_transactions_get_into_the_work() {
    let bed = Bed::start(HOPELESS);
    bed.mine(1).await;
    bed.chain.state().mempool_transactions = 1;
    until("a fresh template", async || bed.chain.state().templates.len() == 2).await;
}

#[tokio::test]
async fn lost_races_count_as_stale() {
    let bed = Bed::start(EASY);
    bed.chain.state().races_lost = 2;
    bed.mine(1).await;
    until("a block in spite of it", async || bed.status().await.blocks_found > 0).await;
    assert!(bed.status().await.blocks_stale >= 2);
}

#[tokio::test]
async fn mining_goes_on_after_an_outage_of_the_chain_service() {
    let bed = Bed::start(EASY);
    bed.chain.state().outages = 2;
    bed.mine(1).await;
    until("a block", async || !bed.chain.state().blocks.is_empty()).await;
}

#[tokio::test]
async fn mines_from_the_start_if_told_to() {
    let config = MinerConfig { mine: true, threads: 1, ..RESTLESS };
    let bed = Bed::configured(EASY, config, true);
    until("a block", async || !bed.chain.state().blocks.is_empty()).await;
    assert_eq!(bed.status().await.payout_address, ADDRESS);
}

#[tokio::test]
async fn mines_nothing_unasked() {
    let bed = Bed::start(EASY);
    let status = bed.status().await;
    assert!(!status.mining && status.hashes == 0 && status.hash_rate == 0.0);
    assert!(bed.chain.state().templates.is_empty());
}

/// Two hashes make a block there: without a rest nodes would never agree on a tip.
#[tokio::test]
async fn rests_after_each_block_of_a_development_network() {
    let config = MinerConfig { development_pause_ms: 200, ..RESTLESS };
    let bed = Bed::configured(EASY, config, true);
    let started = Instant::now();
    bed.mine(1).await;
    until("four blocks", async || bed.chain.state().blocks.len() >= 4).await;
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    // A block on request does not wait.
    let before = Instant::now();
    bed.generate(20).await.expect("generated");
    assert!(before.elapsed() < PROMPTLY, "{:?}", before.elapsed());
}

/// A miner that is refused must not try as fast as it can.
#[tokio::test]
async fn refused_blocks_are_followed_by_a_rest() {
    let bed = Bed::start(EASY);
    bed.chain.state().refusing = true;
    bed.mine(1).await;
    until("a refusal", async || bed.chain.state().refused > 0).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let refused = bed.chain.state().refused;
    assert!((1..=4).contains(&refused), "{refused} in a second");
    bed.chain.state().refusing = false;
    until("a block", async || !bed.chain.state().blocks.is_empty()).await;
}
