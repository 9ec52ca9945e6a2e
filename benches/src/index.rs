//! What an index engine costs as the chain grows: memory, processor time, disk, reads of cold coins
//! and opening it again. Blocks of payments go through the index as in the chain service; nothing
//! else of a node is there.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use mimalloc::MiMalloc;
use pentad_bench::meter::{cpu, resident_bytes};
use pentad_primitives::{
    Amount, Block, BlockHash, BlockHeader, BlockHeight, CompactTarget, MerkleRoot, OutPoint,
    Script, Transaction, TxIn, TxOut, Txid, Utxo, sha256d,
};
use pentad_store::{
    CoinCache, DiskEngine, DiskOptions, Index, IndexRead as _, Step, StoreOptions, Tip, rows,
};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Payments of a block.
const BLOCK_LEN: u64 = 500;
/// Each payment spends an output of the one so many before it; its other output stays.
const AGE: u64 = 50_000;
/// Reads of coins all over the set for a line.
const READS: u64 = 2_000;
/// Lines that are printed.
const LINES: u64 = 10;

/// Measures an engine of the index.
#[derive(Parser)]
struct Args {
    /// The engine, lsm or sled
    engine: DiskEngine,
    /// Payments of one input and two outputs; each leaves one unspent output more
    #[arg(long, default_value_t = 1_000_000)]
    payments: u64,
}

fn main() {
    let Args { engine, payments } = Args::parse();
    let directory = TempDir::new().expect("a temporary directory");
    let disk = DiskOptions { engine: Some(engine), ..DiskOptions::default() };
    let mut index = open(disk, directory.path());
    println!("   payments   memory MB   disk MB   CPU µs each   time µs each   read µs");
    let (started, cpu_before) = (Instant::now(), cpu());
    let blocks = payments.div_ceil(BLOCK_LEN);
    let step = blocks.div_ceil(LINES);
    for height in 0..blocks {
        connect(&mut index, height);
        if height % step == step - 1 {
            let done = (height + 1) * BLOCK_LEN;
            let each = |time: Duration| time.as_secs_f64() * 1e6 / done as f64;
            let (time, cpu) = (each(started.elapsed()), each(cpu() - cpu_before));
            let memory = resident_bytes(std::process::id()) >> 20;
            let (disk, read) = (bytes_of(directory.path()) >> 20, read(&index, done));
            println!("{done:>11}{memory:>12}{disk:>10}{cpu:>14.1}{time:>15.1}{read:>10.1}");
        }
    }
    let started = Instant::now();
    index.descend_all().expect("a working disk");
    drop(index);
    println!("closed in {:.2?}", started.elapsed());
    let started = Instant::now();
    let index = open(disk, directory.path());
    println!("opened again in {:.2?}", started.elapsed());
    let read = read(&index, blocks * BLOCK_LEN);
    println!("read µs: {read:.1}; memory: {} MB", resident_bytes(std::process::id()) >> 20);
}

/// The index, with the coins above it as in a node.
fn open(disk: DiskOptions, directory: &Path) -> Index {
    let engine = disk.open(&directory.join("index")).expect("what was written, if anything");
    let coins = CoinCache::new(engine, StoreOptions::default().coin_cache_bytes_max);
    let (index, interrupted) = Index::open(Arc::new(coins)).expect("a sound index");
    assert_eq!(interrupted, None);
    index
}

fn txid(number: u64) -> Txid {
    Txid::from_bytes(*sha256d(&number.to_le_bytes()).as_bytes())
}

/// P2PKH; each output has a key hash of its own.
fn output(number: u64, vout: u8) -> TxOut {
    let hash = sha256d(&[&number.to_le_bytes()[..], &[vout]].concat());
    let script = [&[0x76, 0xa9, 20], &hash.as_bytes()[..20], &[0x88, 0xac]].concat();
    TxOut { amount: Amount::from_units(number + 1).expect("small"), script_pubkey: script.into() }
}

fn transaction(previous_output: OutPoint, outputs: Vec<TxOut>) -> Transaction {
    let input = TxIn { previous_output, script_sig: Script::new(), sequence: u32::MAX };
    Transaction { version: 1, inputs: vec![input], outputs, lock_time: 0 }
}

/// Connects a block of the next payments.
fn connect(index: &mut Index, number: u64) {
    let height = BlockHeight::new(u32::try_from(number).expect("a short chain"));
    let first = number * BLOCK_LEN;
    // Numbers from the end are those of the coinbases.
    let mut txids = vec![txid(u64::MAX - number)];
    let mut transactions = vec![transaction(OutPoint::NULL, vec![output(u64::from(u32::MAX), 0)])];
    let mut spent = Vec::new();
    for payment in first..first + BLOCK_LEN {
        let previous_output = match payment.checked_sub(AGE) {
            Some(old) => {
                let height = BlockHeight::new(u32::try_from(old / BLOCK_LEN).expect("lower"));
                spent.push(Utxo { output: output(old, 0), height, from_coinbase: false });
                OutPoint { txid: txid(old), vout: 0 }
            }
            None => {
                spent.push(Utxo { output: output(payment, 2), height, from_coinbase: false });
                OutPoint { txid: txid(payment), vout: 2 }
            }
        };
        txids.push(txid(payment));
        transactions
            .push(transaction(previous_output, vec![output(payment, 0), output(payment, 1)]));
    }
    let header = BlockHeader {
        version: 1,
        prev_block_hash: BlockHash::ZERO,
        merkle_root: MerkleRoot::ZERO,
        time: height.get(),
        bits: CompactTarget(0x207f_ffff),
        nonce: 0,
    };
    let block = Block { header, transactions };
    let hash = block.block_hash();
    let rows = rows(&block, &txids, height, &spent).expect("an output for each input");
    index.step(Step::Connect(hash), rows, Some(Tip { hash, height }));
    drop(index.seal());
    index.descend_if_due(StoreOptions::default().layer_bytes_max).expect("a working disk");
}

/// Microseconds that reading an old coin takes.
fn read(index: &Index, payments: u64) -> f64 {
    let started = Instant::now();
    for number in 0..READS {
        // A stride that meets every part of the set.
        let payment = number * 7_919 * 104_729 % (payments - BLOCK_LEN);
        let outpoint = OutPoint { txid: txid(payment), vout: 1 };
        assert!(index.utxo(&outpoint).expect("a working disk").is_some(), "payment {payment}");
    }
    started.elapsed().as_secs_f64() * 1e6 / READS as f64
}

fn bytes_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("a readable directory");
    let of = |path: &Path| match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => bytes_of(path),
        Ok(metadata) => metadata.len(),
        // The engine has removed it meanwhile.
        Err(_) => 0,
    };
    entries.map(|entry| of(&entry.expect("a readable directory").path())).sum()
}
