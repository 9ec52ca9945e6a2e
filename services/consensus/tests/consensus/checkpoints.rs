//! What validators sign at checkpoints is the UTXO set that they really have (attack 18).

use std::path::Path;

use pentad_api::consensus::v1::Role;
use pentad_primitives::OutPoint;
use pentad_store::{DiskOptions, request_reindex};

use crate::bed::{Bed, spec, until};

/// Blocks between checkpoints.
const INTERVAL: u32 = 4;

/// Four validators that miss nothing from the first block on: here are no peers that bring blocks.
async fn four() -> Bed {
    let bed = Bed::of(spec(4, |pbft| pbft.checkpoint_interval = INTERVAL), 4).await;
    until("all are there", async || (0..4).all(|number| bed.switch.arrivals(number) > 0)).await;
    bed
}

/// Makes payments, a block each, until the chain is so high.
async fn grow(bed: &Bed, next: &mut u8, height: u32) {
    for height in bed.node(0).info().await.height + 1..=height {
        bed.pay(*next).await;
        *next += 1;
        bed.agree(height).await;
    }
}

async fn stable(bed: &Bed, number: usize, height: u32) {
    until(&format!("node {number} has a stable checkpoint at {height}"), async || {
        bed.node(number).status().await.low_watermark >= u64::from(height)
    })
    .await;
}

/// Stops a node, does something to what it left behind, and starts it; it misses nothing after.
async fn restart(bed: &mut Bed, number: usize, meanwhile: impl FnOnce(&Bed)) {
    bed.stop_node(number).await;
    meanwhile(bed);
    let arrivals = bed.switch.arrivals(number);
    bed.start_node(number).await;
    until("it is back", async || bed.switch.arrivals(number) > arrivals).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_have_one_root_and_agree_on_it() {
    let mut bed = four().await;
    let mut next = 0;
    grow(&bed, &mut next, 2 * INTERVAL).await;
    let tip = bed.node(0).info().await.tip;
    let mut hashes = Vec::new();
    for number in 0..4 {
        stable(&bed, number, 2 * INTERVAL).await;
        let answer = bed.node(number).utxo_set_hash().await;
        assert_eq!(answer.tip, tip);
        hashes.push(answer.utxo_set_hash);
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    // After a restart the state is the same: without the word of that one there is no quorum.
    restart(&mut bed, 3, |_| {}).await;
    bed.stop_node(2).await;
    grow(&bed, &mut next, 3 * INTERVAL).await;
    for number in [0, 1, 3] {
        stable(&bed, number, 3 * INTERVAL).await;
    }
    bed.stop().await;
}

/// Changes a coin in the index of a node that is not running, so that spending it is valid still.
fn alter_coin(chain: &Path, coin: &OutPoint) {
    let engine = DiskOptions::default().open(&chain.join("index")).expect("an index");
    let key = [b"u", &coin.txid.as_bytes()[..], &coin.vout.to_be_bytes()].concat();
    let mut value = engine.get(&key).expect("readable").expect("it is unspent");
    // Whether it is from a coinbase: nobody asks about outputs of genesis.
    value[4] ^= 1;
    engine.write(vec![(key, Some(value))]).expect("writable");
    engine.flush().expect("a working disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_18_validator_whose_index_was_altered_halts_at_the_next_checkpoint_and_says_so() {
    let mut bed = four().await;
    let mut next = 0;
    grow(&bed, &mut next, 1).await;
    let coin = bed.payment(next).inputs[0].previous_output;
    restart(&mut bed, 3, |bed| alter_coin(&bed.chain_path(3), &coin)).await;
    // The first of these spends the coin.
    grow(&bed, &mut next, INTERVAL).await;
    until("node 4 halts", async || bed.node(3).status().await.role() == Role::Halted).await;
    let status = bed.node(3).status().await;
    let words = format!("after sequence {INTERVAL} this replica's UTXO set has root");
    assert!(status.halted.contains(&words), "{}", status.halted);
    assert!(status.halted.contains("store.reindex"), "no remedy: {}", status.halted);
    let (ours, theirs) = (bed.node(3).utxo_set_hash().await, bed.node(0).utxo_set_hash().await);
    assert_ne!(ours.utxo_set_hash, theirs.utxo_set_hash);
    // The remedy that it names helps: it votes again, and its word is needed.
    restart(&mut bed, 3, |bed| request_reindex(&bed.chain_path(3)).expect("writable")).await;
    bed.stop_node(2).await;
    grow(&bed, &mut next, 2 * INTERVAL).await;
    for number in [0, 1, 3] {
        stable(&bed, number, 2 * INTERVAL).await;
    }
    bed.stop().await;
}
