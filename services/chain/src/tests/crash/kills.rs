//! SIGKILL at random instants under load.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pentad_primitives::BlockHash;
use pentad_store::{DiskEngine, IndexRead as _};

use super::consistency::assert_sound;
use super::script::Script;
use super::victim::{Said, Victim, choose, small_hybrid};
use crate::tests::fixture::{Node, bob, directory};
use crate::tests::hybrid::last_final;

/// Kills of one directory, before its chain gets so long that checking it takes longer than it
/// is worth.
const KILLS_PER_DIRECTORY: u32 = 10;
/// The longest that a victim works.
const WORK_MICROS_MAX: u64 = 700_000;

/// A small generator, so that a seed makes the instants again (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
    }
}

/// A number from the environment.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

pub fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    variable("PENTAD_TEST_SEED").unwrap_or(u64::from(now.subsec_nanos()) ^ now.as_secs() << 30)
}

#[tokio::test(flavor = "multi_thread")]
async fn case_28_killed_after_any_item_it_goes_on_to_the_same_end() {
    let seed = seed();
    println!("PENTAD_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let script = Script::new().await;
    let folder = directory();
    let items = folder.path().join("items");
    script.write(&items);
    for _ in 0..6 {
        let directory = directory();
        let mut victim = Victim::of_script(directory.path(), &items, None);
        let last = random.below(script.items.len() as u64);
        let mut acknowledged = 0;
        while let Some(said) = victim.hear() {
            match said {
                Said::Item(item) => acknowledged = item,
                Said::Open => {}
                Said::Block(..) | Said::Final(..) | Said::Done | Said::Failed(_) => {
                    panic!("{said:?}")
                }
            }
            if acknowledged as u64 >= last {
                victim.kill();
            }
        }
        assert!(victim.was_killed(), "it ended by itself");
        script.assert_recovers(directory.path(), acknowledged, "killed").await;
    }
}

#[derive(Default)]
struct Total {
    blocks: usize,
    finals: usize,
    checked: u32,
    within_opening: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn case_28_killed_at_random_under_load_nothing_acknowledged_is_lost() {
    let kills = variable("PENTAD_TEST_KILLS").unwrap_or(20);
    let seed = seed();
    println!("PENTAD_TEST_SEED={seed} PENTAD_TEST_KILLS={kills}");
    let mut random = Random::new(seed);
    let mut total = Total::default();
    let started = Instant::now();
    // By turns: a chain is one directory's.
    let mut engines = DiskEngine::ALL.iter().cycle();
    while u64::from(total.checked) < kills {
        let directory = directory();
        choose(directory.path(), *engines.next().expect("a cycle"));
        let mut acknowledged = Acknowledged::default();
        let rounds = u64::from(KILLS_PER_DIRECTORY).min(kills - u64::from(total.checked));
        for _ in 0..rounds {
            let wait = Duration::from_micros(random.below(WORK_MICROS_MAX));
            if !work_and_die(directory.path(), wait, &mut acknowledged) {
                total.within_opening += 1;
            }
            check(directory.path(), &acknowledged).await;
            total.checked += 1;
        }
        total.blocks += acknowledged.blocks.len();
        total.finals += acknowledged.finals;
    }
    println!(
        "{} kills, {} of them before the chain was open, {} blocks acknowledged, {} of them to be \
         final, {:?}",
        total.checked,
        total.within_opening,
        total.blocks,
        total.finals,
        started.elapsed()
    );
    assert!(total.blocks as u64 > kills, "only {} blocks", total.blocks);
}

/// What a directory's victims had acknowledged.
#[derive(Default)]
struct Acknowledged {
    blocks: HashSet<BlockHash>,
    finals: usize,
    last_final: Option<(u32, BlockHash)>,
    /// The highest block; what validators left with another branch does not count.
    height: u32,
}

/// Lets a victim work for so long; false if it was killed before its chain was open. Every fourth
/// wait begins with the process, the others with the open chain.
fn work_and_die(directory: &Path, wait: Duration, acknowledged: &mut Acknowledged) -> bool {
    let mut victim = Victim::of_load(directory);
    let mut opened = false;
    if !wait.as_micros().is_multiple_of(4) {
        opened = victim.hear() == Some(Said::Open);
        assert!(opened, "the victim does not open");
    }
    // The instant is what is random here, not what a condition could tell.
    std::thread::sleep(wait);
    victim.kill();
    while let Some(said) = victim.hear() {
        match said {
            Said::Block(height, hash) => {
                acknowledged.blocks.insert(hash);
                acknowledged.height = acknowledged.height.max(height);
            }
            Said::Final(height, hash) => {
                acknowledged.finals += 1;
                acknowledged.last_final = Some((height, hash));
                acknowledged.height = height;
            }
            Said::Open => opened = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(victim.was_killed(), "it ended by itself");
    opened
}

async fn check(directory: &Path, acknowledged: &Acknowledged) {
    let options = small_hybrid(directory);
    let node = Node::try_open(options.clone()).expect("a sound data directory");
    let height = node.info().await.height;
    // One certificate may have been under way, which takes a block off the tip.
    assert!(height + 1 >= acknowledged.height, "height {height} of {}", acknowledged.height);
    if let Some((height, hash)) = acknowledged.last_final {
        assert_eq!(node.block_at(height).await.block_hash(), hash, "what is final stays");
        let found = last_final(&node).await;
        assert!(found.height >= height, "final at {}, {height} was acknowledged", found.height);
        assert!(!found.certificate.is_empty());
    }
    let blocks = acknowledged.blocks.clone();
    let read = node.chain.reader().read(move |view| {
        for hash in &blocks {
            let entry = view.tip.snapshot.block(hash)?;
            assert!(entry.is_some(), "block {hash} was acknowledged and is gone");
        }
        Ok(())
    });
    read.await.expect("a working index");
    assert_sound(&node, &options).await;
    node.clock.advance(height * 10 + 1_000);
    node.mine(1, &bob()).await;
    node.stop().await;
}
