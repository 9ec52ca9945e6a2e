use pentad_api::miner::v1::StartMiningRequest;
use pentad_api::status::explain;
use pentad_miner::MinerConfig;
use tonic::Code;

use crate::bed::{Bed, PAYOUT, RESTLESS};
use crate::fake_chain::HOPELESS;
use crate::fake_keystore::ADDRESS;

fn start(payout_address: &str) -> StartMiningRequest {
    StartMiningRequest {
        threads: 1,
        payout_address: payout_address.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn rewards_go_to_wallet_miner_which_is_made_once() {
    let bed = Bed::start(HOPELESS);
    for _ in 0..2 {
        let started = bed.miner().start_mining(start("")).await.expect("started").into_inner();
        assert_eq!(started.payout_address, ADDRESS);
    }
}

#[tokio::test]
async fn the_configured_address_stands_unless_the_call_names_one() {
    let config = MinerConfig { payout_address: Some(PAYOUT.to_owned()), ..RESTLESS };
    let bed = Bed::configured(HOPELESS, config, true);
    let started = bed.miner().start_mining(start("")).await.expect("started").into_inner();
    assert_eq!(started.payout_address, PAYOUT);
    let started = bed.miner().start_mining(start(ADDRESS)).await.expect("started").into_inner();
    assert_eq!(started.payout_address, ADDRESS);
}

#[tokio::test]
async fn addresses_that_cannot_be_paid() {
    let bed = Bed::configured(HOPELESS, MinerConfig::default(), false);
    for (address, code, reason) in [
        ("", Code::FailedPrecondition, "NO_PAYOUT_ADDRESS"),
        ("rubbish", Code::InvalidArgument, "INVALID_ADDRESS"),
        ("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", Code::InvalidArgument, "WRONG_NETWORK"),
    ] {
        let error = bed.miner().start_mining(start(address)).await.expect_err(address);
        assert_eq!((error.code(), explain(&error).reason.as_str()), (code, reason));
    }
    let request = StartMiningRequest { threads: 1025, ..start(PAYOUT) };
    let error = bed.miner().start_mining(request).await.expect_err("too many");
    assert_eq!(explain(&error).field.as_deref(), Some("threads"));
    assert!(!bed.status().await.mining);
}
