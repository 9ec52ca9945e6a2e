use std::time::Duration;

use pentad_api::miner::v1::{PauseMiningRequest, ResumeMiningRequest, StopMiningRequest};
use pentad_api::status::explain;
use pentad_miner::MinerConfig;
use pentad_primitives::{CompactTarget, Target};
use tokio::time::Instant;

use crate::bed::{Bed, PAYOUT, RESTLESS, until};
use crate::fake_chain::{EASY, HOPELESS};
use crate::fake_keystore::ADDRESS;

/// About 65,000 hashes a block.
const MODERATE: CompactTarget = CompactTarget(0x1f00_ffff);
/// Headers that a thread hashes between two looks at the outside world.
const BATCH: u64 = 4096;
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
async fn a_new_tip_brings_new_work() {
    let bed = Bed::start(HOPELESS);
    bed.mine(2).await;
    until("hashing", async || bed.status().await.hashes > 0).await;
    let started = Instant::now();
    let tip = bed.chain.advance();
    until("work on the new tip", async || {
        bed.chain.state().templates.iter().any(|given| given.parent == tip)
            && bed.status().await.height == 2
    })
    .await;
    assert!(started.elapsed() < PROMPTLY, "{:?}", started.elapsed());
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
        ..Default::default()
    };
    bed.miner().start_mining(request).await.expect("changed");
    let status = bed.status().await;
    assert_eq!((status.threads, status.payout_address.as_str()), (3, ADDRESS));
}

/// A template that was replaced on the same tip is as good as the one that replaced it.
#[tokio::test]
async fn blocks_of_the_template_before_count() {
    let bed = Bed::start(MODERATE);
    bed.mine(1).await;
    until("blocks, through many templates", async || {
        // The thread looks up after each: it is never several templates behind.
        let height = bed.chain.renew();
        until("the new template", async || bed.status().await.height > height).await;
        let hashes = bed.status().await.hashes;
        until("a batch", async || bed.status().await.hashes > hashes).await;
        bed.chain.state().blocks.len() >= 5
    })
    .await;
    assert_eq!(bed.status().await.blocks_stale, 0);
}

#[tokio::test]
async fn pauses_and_goes_on() {
    let bed = Bed::start(HOPELESS);
    let paused = bed.miner().pause_mining(PauseMiningRequest {}).await;
    assert_eq!(explain(&paused.expect_err("idle")).reason, "NOT_MINING");
    bed.mine(2).await;
    until("hashing", async || bed.status().await.hashes > 0).await;
    bed.miner().pause_mining(PauseMiningRequest {}).await.expect("paused");
    let at_pause = bed.status().await.hashes;
    // New work does not wake them.
    bed.chain.advance();
    until("the new height", async || bed.status().await.height == 2).await;
    let status = bed.status().await;
    assert!(status.mining && status.paused && status.threads == 2, "{status:?}");
    // A thread ends the batch that it is in.
    assert!(status.hashes <= at_pause + 2 * BATCH, "{at_pause} {status:?}");
    bed.miner().resume_mining(ResumeMiningRequest {}).await.expect("resumed");
    until("hashing again", async || bed.status().await.hashes > at_pause + 2 * BATCH).await;
    assert!(!bed.status().await.paused);
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
