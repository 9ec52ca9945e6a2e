//! A process that works until it is killed, and says what was acknowledged.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use pentad_api::chain::v1::FinalityOutcome;
use pentad_primitives::{Amount, Block, BlockHash, OutPoint};
use pentad_store::log::LogOptions;
use pentad_store::{DiskEngine, DiskOptions, EngineKind, LsmOptions};

use super::script;
use crate::tests::fixture::{COIN, FEE, Node, Person, alice, options, reseal};
use crate::tests::validators::{hybrid_certificate, hybrid_spec, try_finalise};
use crate::{ChainError, Options};

/// What the process is to do; absent in a test that was not started as one.
const TASK: &str = "PENTAD_TEST_TASK";
/// The data directory.
const DIRECTORY: &str = "PENTAD_TEST_DIRECTORY";
/// The items to hand in.
const SCRIPT: &str = "PENTAD_TEST_SCRIPT";
/// SIGKILL.
const KILL: i32 = 9;

/// Segments and layers so small that all of the store's machinery turns within a few blocks.
pub fn small(directory: &Path) -> Options {
    let mut options = options(directory);
    options.store.log = LogOptions { segment_len: 12_000 };
    options.store.layer_bytes_max = 200_000;
    let lsm = LsmOptions { cache_bytes: 20_000, memtable_bytes: 10_000, table_bytes: 30_000 };
    options.store.engine = EngineKind::Disk(DiskOptions { lsm, ..DiskOptions::default() });
    options
}

/// The same on a network whose validators make blocks of work final.
pub fn small_hybrid(directory: &Path) -> Options {
    Options { spec: hybrid_spec(), ..small(directory) }
}

/// Has a new index kept by this engine: the directory remembers it.
pub fn choose(directory: &Path, engine: DiskEngine) {
    let index = directory.join("index");
    fs::create_dir_all(&index).expect("a writable directory");
    fs::write(index.join("ENGINE"), engine.name()).expect("a writable directory");
}

/// A running victim. It ends with its handle.
pub struct Victim {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

/// What a victim says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The chain is open.
    Open,
    /// So many items of the script were acknowledged.
    Item(usize),
    /// A block at a height was acknowledged.
    Block(u32, BlockHash),
    /// That a block at a height is final was acknowledged.
    Final(u32, BlockHash),
    /// It ended in good order.
    Done,
    /// The chain's writer ended with this reason.
    Failed(String),
}

impl Victim {
    /// Hands in a script, then ends in good order.
    pub fn of_script(directory: &Path, script: &Path, fault: Option<&str>) -> Self {
        let fault = fault.map(|fault| ("FAIL_POINT", fault.as_ref()));
        Self::start("script", directory, [(SCRIPT, script.as_os_str())].into_iter().chain(fault))
    }

    /// Mines and pays as fast as it can until it is killed.
    pub fn of_load(directory: &Path) -> Self {
        Self::start("load", directory, [])
    }

    /// Opens the chain, reports a damaged index and ends.
    #[cfg(feature = "fail-points")]
    pub fn of_damage(directory: &Path, fault: &str) -> Self {
        Self::start("damage", directory, [("FAIL_POINT", fault.as_ref())])
    }

    fn start<'a>(
        task: &str,
        directory: &Path,
        variables: impl IntoIterator<Item = (&'a str, &'a std::ffi::OsStr)>,
    ) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["tests::crash::victim::process", "--exact", "--nocapture"])
            .env(TASK, task)
            .env(DIRECTORY, directory)
            .envs(variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// The next thing it says; what it wrote before it was killed is still heard.
    pub fn hear(&mut self) -> Option<Said> {
        loop {
            let line = self.lines.next()?.expect("text");
            let mut words = line.splitn(2, ' ');
            let (first, rest) =
                (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            return Some(match first {
                "open" => Said::Open,
                "item" => Said::Item(rest.parse().expect("a number")),
                "block" | "final" => {
                    let (height, hash) = rest.split_once(' ').expect("height and hash");
                    let said = if first == "block" { Said::Block } else { Said::Final };
                    said(height.parse().expect("a height"), hash.parse().expect("a hash"))
                }
                "done" => Said::Done,
                "failed" => Said::Failed(rest.to_owned()),
                _ => continue,
            });
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed, dead or alive");
    }

    /// Waits for its end and says whether it was killed.
    pub fn was_killed(&mut self) -> bool {
        self.child.wait().expect("an end").signal() == Some(KILL)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
        self.child.wait().expect("an end");
    }
}

/// The victim's own side: a test that does nothing unless started as one.
#[test]
fn process() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let directory = std::env::var_os(DIRECTORY).expect("a directory");
    let options = small_hybrid(Path::new(&directory));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let node = match Node::try_open(options) {
            Ok(node) => node,
            Err(error) => return println!("\nfailed {error}"),
        };
        println!("\nopen");
        let ended = match task.as_str() {
            "script" => follow_script(&node).await,
            "damage" => report_damage(&node).await,
            _ => load(&node).await,
        };
        let stopped = match ended {
            Ok(()) => node.chain.stop().await.map_err(|error| error.to_string()),
            Err(status) => Err(status.message().to_owned()),
        };
        let Err(reason) = stopped else {
            return println!("\ndone");
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), node.chain.ended()).await;
        println!("\nfailed {reason}: {ended:?}");
    });
}

async fn follow_script(node: &Node) -> Result<(), tonic::Status> {
    let script = std::env::var_os(SCRIPT).expect("a script");
    node.clock.advance(1_000);
    for (index, item) in script::read(Path::new(&script)).iter().enumerate() {
        item.hand_in(node).await?;
        println!("\nitem {}", index + 1);
    }
    Ok(())
}

async fn report_damage(node: &Node) -> Result<(), tonic::Status> {
    let read = node.chain.reader().read(|_| -> Result<(), _> {
        let damage = pentad_store::IndexError::Reported("a test says so".to_owned());
        Err(ChainError::Store(damage.into()))
    });
    Err(read.await.expect_err("it was damaged").into())
}

/// A block of the coinbase alone that could stand on `parent` instead of its own.
pub fn move_to(mut block: Block, parent: BlockHash) -> Block {
    block.transactions.truncate(1);
    let subsidy = Amount::from_units(1_000 * COIN).expect("an amount");
    block.transactions[0].outputs[0].amount = subsidy;
    block.header.prev_block_hash = parent;
    reseal(block)
}

/// Mines, forks and pays without end.
async fn load(node: &Node) -> Result<(), tonic::Status> {
    node.clock.advance(node.info().await.height * 10);
    let (miner, payer) = (mine(node), pay(node));
    tokio::select! {
        ended = miner => ended,
        ended = payer => ended,
    }
}

async fn mine(node: &Node) -> Result<(), tonic::Status> {
    for round in 0_u64.. {
        node.clock.advance(10);
        let block = node.template(&alice()).await;
        let rival = node.template(&Person::new(50)).await;
        let height = node.info().await.height + 1;
        node.submit_block(&block).await?;
        println!("\nblock {height} {}", block.block_hash());
        let sibling = move_to(rival, block.header.prev_block_hash);
        node.clock.advance(10);
        let child = node.template(&Person::new(51)).await;
        match round % 8 {
            2 => certify(node, &block, height).await?,
            // A child of the block, and validators choose its sibling.
            5 => {
                node.submit_block(&child).await?;
                println!("\nblock {} {}", height + 1, child.block_hash());
                node.submit_block(&sibling).await?;
                certify(node, &sibling, height).await?;
            }
            // A sibling and its child overtake the block.
            7 => {
                let child = move_to(child, sibling.block_hash());
                node.submit_block(&sibling).await?;
                node.submit_block(&child).await?;
                println!("\nblock {height} {}", sibling.block_hash());
                println!("\nblock {} {}", height + 1, child.block_hash());
            }
            _ => {}
        }
    }
    Ok(())
}

async fn certify(node: &Node, block: &Block, height: u32) -> Result<(), tonic::Status> {
    let outcome = try_finalise(node, hybrid_certificate(block, height)).await?;
    assert_eq!(outcome, Ok(FinalityOutcome::Final));
    println!("\nfinal {height} {}", block.block_hash());
    Ok(())
}

/// Spends what Alice mined; what a reorganisation takes away again is refused, and that is fine.
async fn pay(node: &Node) -> Result<(), tonic::Status> {
    loop {
        // By its hash: meanwhile the main chain may have become shorter.
        let tip = node.tip().await;
        let reward = node.block_of(&tip).await.transactions[0].clone();
        if reward.outputs[0].script_pubkey == alice().script() {
            let mut coin = OutPoint { txid: reward.txid(), vout: 0 };
            for n in 1..=10_u64 {
                let rest = reward.outputs[0].amount.units() - n * (COIN + FEE);
                let payment = alice().spend(&[coin], &[(&alice(), rest), (&Person::new(52), COIN)]);
                coin = OutPoint { txid: payment.txid(), vout: 0 };
                if let Err(status) = node.submit_transaction(&payment).await
                    && status.code() == tonic::Code::Unavailable
                {
                    return Err(status);
                }
            }
        }
        while node.tip().await == tip {
            tokio::task::yield_now().await;
        }
    }
}
