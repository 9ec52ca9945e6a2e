//! How many headers a second one core hashes, beside the loop of two compressions by `sha2` for
//! each nonce, the midstate kept. `cargo bench -p pentad-primitives`

use std::hint::black_box;
use std::time::Instant;

use pentad_primitives::pow::{HeaderHasher, Target};
use pentad_primitives::{BlockHash, BlockHeader, CompactTarget, MerkleRoot};
use sha2::block_api::compress256;

/// Headers of a round: about a fifth of a second.
const HEADERS: u32 = 2_000_000;
const ROUNDS: usize = 9;

fn main() {
    let (mut raw, mut search) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(rate(raw_loop));
        search.push(rate(search_loop));
    }
    let ratios: Vec<f64> = search.iter().zip(&raw).map(|(search, raw)| search / raw).collect();
    println!("two compressions by sha2 a nonce, one core   {:>6.2} MH/s", median(raw));
    println!("the miner's search, one core                 {:>6.2} MH/s", median(search));
    println!("ratio, round by round                        {:>6.3}", median(ratios));
}

fn rate(run: fn()) -> f64 {
    let begun = Instant::now();
    run();
    f64::from(HEADERS) / begun.elapsed().as_secs_f64() / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn raw_loop() {
    let midstate = black_box([1_u32; 8]);
    let (mut inner, mut outer) = (black_box([2_u8; 64]), black_box([3_u8; 64]));
    for nonce in 0..HEADERS {
        inner[12..16].copy_from_slice(&nonce.to_le_bytes());
        let mut state = midstate;
        compress256(&mut state, &[inner]);
        for (to, word) in outer.as_chunks_mut().0.iter_mut().zip(state) {
            *to = word.to_be_bytes();
        }
        let mut state = midstate;
        compress256(&mut state, &[outer]);
        black_box(state);
    }
}

fn search_loop() {
    let header = BlockHeader {
        version: 1,
        prev_block_hash: BlockHash::ZERO,
        merkle_root: MerkleRoot::ZERO,
        time: 1_800_000_000,
        bits: CompactTarget(0x1d00_ffff),
        nonce: 0,
    };
    let hasher = HeaderHasher::new(black_box(&header));
    let nothing = Target::from_be_bytes([0; 32]);
    black_box(hasher.find(0..=HEADERS - 1, black_box(&nothing)));
}
