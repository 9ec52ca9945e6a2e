//! Random faults from a seed where work makes the blocks: forks, long branches in cut-off parts,
//! miners of most work; then quiet, in which all must come to one chain, final up to σ below its
//! tip.

use std::fmt::Write as _;

use super::Work;
use pentad_pbft::Message;

use crate::byzantine;
use crate::campaign::{Outcome, faulty_at_most, leave, time_to_progress, with_hazards};
use crate::network::LinkModel;
use crate::queue::Millis;
use crate::rng::Rng;
use crate::world::{Setup, World};

/// Blocks that must become final everywhere after the faults.
const BLOCKS_AFTER: u64 = 2;
/// Blocks of the time with faults.
const BLOCKS_WITH_FAULTS: (u64, u64) = (10, 50);
/// Longest decision about one height where nobody is in the way: checks, syncs and three messages.
const DECISION_MS: Millis = 200;

/// The setup that a seed stands for; the same for every caller.
#[must_use]
pub fn setup_of(seed: u64, traced: bool) -> Setup {
    let mut rng = Rng::new(seed);
    let replicas = match rng.below(100) {
        0 => 13,
        1..=4 => 10,
        _ => *rng.pick(&[1, 2, 3, 4, 4, 4, 4, 4, 4, 5, 6, 7, 7]),
    };
    let mut work = Work::new(*rng.pick(&[1, 2, 3, 6]));
    // Messages without end pass in the time of a large network.
    let slow = if replicas > 7 { 1_000 } else { 10_000 };
    work.block_ms = *rng.pick(&[1_000, 1_000, 3_000.min(slow), slow]);
    with_hazards(Setup::hybrid(replicas, work).seed(seed), &mut rng, traced)
}

/// Runs a seed from its beginning to its end.
#[must_use]
pub fn run(seed: u64, traced: bool) -> Outcome {
    let setup = setup_of(seed, traced);
    let work = setup.work.clone().unwrap_or_else(|| Work::new(1));
    let mut world = World::new(setup);
    let mut rng = Rng::new(seed ^ 0xca3b_a161);
    let mut plan = prepare(&mut world, &work, &mut rng);
    let (least, most) = BLOCKS_WITH_FAULTS;
    let end = rng.between(least, most) * work.block_ms;
    while world.now() < end && world.checker.violations.is_empty() {
        disturb(&mut world, &mut rng);
        let pause = rng.between(work.block_ms / 20, work.block_ms * 4);
        world.run_for(pause);
    }
    leave(&mut world, &mut rng, &mut plan);
    world.heal(LinkModel::calm());
    let within = time_to_converge(&world, &work);
    world.expect_convergence(BLOCKS_AFTER, within);
    Outcome::of(&world, plan)
}

/// Chooses who is faulty, who has how much work, and whose clock is wrong.
fn prepare(world: &mut World, work: &Work, rng: &mut Rng) -> String {
    let replicas = usize::from(world.setup.replicas);
    let mut plan = format!("hybrid n={replicas} σ={} block {} ms", work.depth, work.block_ms);
    // Writing to a string does not fail.
    for twin in &world.setup.twins {
        write!(plan, " twin:{twin}").ok();
    }
    let free = faulty_at_most(world.setup.replicas) - world.setup.twins.len();
    for node in rng.sample_up_to(free, replicas) {
        if world.nodes[node].is_honest() {
            let name = byzantine::corrupt_at_random(world, node, rng);
            write!(plan, " {name}:{node}").ok();
        }
    }
    for node in &mut world.nodes {
        node.hash_power = rng.between(1, 3);
        node.clock_offset_ms = i64::try_from(rng.below(600_000)).expect("small") - 300_000;
        node.clock_rate = rng.between(900, 1100);
    }
    if rng.chance(500) {
        let miner = rng.index(world.nodes.len());
        let others: u64 = world.nodes.iter().map(|node| node.hash_power).sum();
        world.nodes[miner].hash_power = 2 * others;
        write!(plan, " most-work:{miner}").ok();
    }
    plan
}

fn disturb(world: &mut World, rng: &mut Rng) {
    let count = world.nodes.len();
    let node = rng.index(count);
    match rng.below(14) {
        0 => world.crash_for(node, rng.between(10, 5_000)),
        1 => world.pause_for(node, rng.between(10, 5_000)),
        2 => world.isolate(node),
        3 => world.network.cut_one_way(node, (node + 1 + rng.index(count.max(2) - 1)) % count),
        4..=6 => {
            let order = rng.sample(count, count);
            let (left, right) = order.split_at(rng.index(count + 1));
            world.network.partition(&[left, right]);
        }
        7 => {
            for node in rng.sample_up_to(count, count) {
                world.crash_for(node, rng.between(10, 1_000));
            }
        }
        8 | 9 => {
            world.network.heal();
            world.filter = None;
        }
        // What is prepared stays so, and nothing is final.
        10 | 11 => world.filter(|_, _, message| !matches!(message, Message::Commit(_))),
        _ => world.network.set_model(LinkModel::rough(rng.below(300))),
    }
}

/// How long a healed network may take to come to one chain, final up to σ below its tip: until
/// enough blocks are found, were they six times as rare; for the decisions that are due; and for
/// the views with faulty primaries.
fn time_to_converge(world: &World, work: &Work) -> Millis {
    let chains = world.nodes.iter().filter_map(|node| node.chain.as_ref());
    let highest = chains.map(super::Chain::height).max().unwrap_or(0);
    let due = highest - world.lowest_height().min(highest);
    let found = (work.depth + BLOCKS_AFTER + 2) * 6 * work.block_ms;
    found + due * DECISION_MS + time_to_progress(world)
}
