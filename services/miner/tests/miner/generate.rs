use pentad_api::status::explain;
use pentad_crypto::{Address, AddressVersions};
use tonic::Code;

use crate::bed::{Bed, PAYOUT};
use crate::fake_chain::{EASY, HOPELESS, NOW};

#[tokio::test]
async fn blocks_come_in_order_and_pay_the_address() {
    let bed = Bed::start(EASY);
    let hashes = bed.generate(20).await.expect("generated");
    let state = bed.chain.state();
    let mined: Vec<String> = state.blocks.iter().map(|b| b.block_hash().to_string()).collect();
    assert_eq!(hashes, mined);
    let payout = Address::decode(PAYOUT, &AddressVersions::default()).expect("an address");
    assert!(state.templates.iter().all(|given| given.payout == payout.script_pubkey()));
}

/// Twenty blocks within one second of the clock: their times run ahead as the rules demand.
#[tokio::test]
async fn times_roll_ahead_of_the_clock() {
    let bed = Bed::start(EASY);
    bed.generate(20).await.expect("generated");
    let state = bed.chain.state();
    let times: Vec<u32> = state.blocks.iter().map(|block| block.header.time).collect();
    let expected: Vec<u32> = (NOW..NOW + 20).collect();
    assert_eq!(times, expected);
}

#[tokio::test]
async fn a_lost_race_is_run_again() {
    let bed = Bed::start(EASY);
    bed.chain.state().races_lost = 2;
    let hashes = bed.generate(3).await.expect("generated");
    assert_eq!(hashes.len(), 3);
    assert_eq!(bed.chain.state().blocks.len(), 5);
    let status = bed.status().await;
    assert_eq!((status.blocks_found, status.blocks_stale), (3, 2));
}

#[tokio::test]
async fn only_on_development_networks_of_proof_of_work() {
    let bed = Bed::start(EASY);
    bed.chain.state().development = false;
    let error = bed.generate(1).await.expect_err("refused");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(explain(&error).reason, "NOT_A_DEVELOPMENT_NETWORK");
    assert!(explain(&error).hint.is_some());
    bed.chain.state().engine = "pbft";
    let error = bed.generate(1).await.expect_err("refused");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(explain(&error).reason, "NOT_PROOF_OF_WORK");
}

#[tokio::test]
async fn blocks_that_validators_make_final_are_mined_as_well() {
    let bed = Bed::start(EASY);
    bed.chain.state().engine = "hybrid";
    assert_eq!(bed.generate(2).await.expect("generated").len(), 2);
}

#[tokio::test]
async fn numbers_out_of_range() {
    let bed = Bed::start(EASY);
    for blocks in [0, 1001] {
        let error = bed.generate(blocks).await.expect_err("out of range");
        assert_eq!(explain(&error).field.as_deref(), Some("blocks"));
    }
    assert!(bed.chain.state().templates.is_empty());
}

#[tokio::test]
async fn shutdown_ends_a_hopeless_search() {
    let bed = Bed::start(HOPELESS);
    let mut miner = bed.miner();
    let request =
        pentad_api::miner::v1::GenerateRequest { blocks: 1, payout_address: PAYOUT.to_owned() };
    let call = tokio::spawn(async move { miner.generate(request).await });
    crate::bed::until("a search", async || !bed.chain.state().templates.is_empty()).await;
    bed.stop().await;
    let error = call.await.expect("no panic").expect_err("ended");
    assert_eq!(error.code(), Code::Unavailable);
}
