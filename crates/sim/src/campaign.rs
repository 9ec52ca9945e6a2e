//! Random faults from a seed: networks of any size, whatever up to f replicas, links, disks and
//! clocks do; then quiet, in which the network must make progress.

use std::fmt;

use pentad_pbft::Quorum;

use crate::byzantine;
use crate::checker::Violation;
use crate::network::{LinkModel, NodeId};
use crate::queue::Millis;
use crate::rng::Rng;
use crate::world::{Setup, Totals, World};

/// Blocks that every honest replica must add after the faults.
const BLOCKS_AFTER: u64 = 3;
/// The view timer is doubled so often at most (`pentad_pbft`, replica/timers.rs).
const VIEW_DOUBLINGS_MAX: u32 = 6;

/// What a seed came to.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    /// What the seed made of the network, for the reader of a failure.
    pub plan: String,
    pub height: u64,
    pub virtual_ms: Millis,
    pub totals: Totals,
    pub violations: Vec<Violation>,
}

impl Outcome {
    /// Of a world at its end.
    pub(crate) fn of(world: &World, plan: String) -> Self {
        Self {
            seed: world.setup.seed,
            plan,
            height: world.lowest_height(),
            virtual_ms: world.now(),
            totals: world.totals,
            violations: world.checker.violations.clone(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {}; height {}, {} steps in {} virtual s, {} view changes, {} crashes",
            self.seed,
            self.plan,
            self.height,
            self.totals.steps,
            self.virtual_ms / 1000,
            self.totals.view_changes,
            self.totals.crashes
        )?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  VIOLATED {violation}"))
    }
}

/// The setup that a seed stands for; the same for every caller.
#[must_use]
pub fn setup_of(seed: u64, traced: bool) -> Setup {
    let mut rng = Rng::new(seed);
    let replicas = match rng.below(100) {
        0 => 31,
        1..=3 => 13,
        4..=7 => 10,
        _ => *rng.pick(&[1, 2, 3, 4, 4, 4, 4, 4, 4, 5, 6, 7, 7]),
    };
    let setup = Setup::new(replicas).seed(seed).window(*rng.pick(&[1, 4]));
    with_hazards(setup, &mut rng, traced)
}

/// Links, disks, keys and twins of a network, as its seed has it.
pub(crate) fn with_hazards(mut setup: Setup, rng: &mut Rng, traced: bool) -> Setup {
    let Setup { seed, replicas, .. } = setup;
    setup.links = match rng.below(4) {
        0 => LinkModel::calm(),
        _ => LinkModel::rough(rng.below(300)),
    };
    setup.crash_at_sync_per_mille = *rng.pick(&[0, 0, 5, 30]);
    setup.real_keys = seed.is_multiple_of(97) && replicas <= 7;
    setup.traced = traced;
    if faulty_at_most(replicas) > 0 && rng.chance(100) {
        setup.twins = vec![u16::try_from(rng.below(u64::from(replicas))).expect("small")];
    }
    setup
}

pub(crate) fn faulty_at_most(replicas: u16) -> usize {
    Quorum::of(usize::from(replicas)).map_or(0, Quorum::max_faulty)
}

/// Runs a seed from its beginning to its end.
#[must_use]
pub fn run(seed: u64, traced: bool) -> Outcome {
    let setup = setup_of(seed, traced);
    let mut world = World::new(setup.clone());
    let mut rng = Rng::new(seed ^ 0xca3b_a161);
    let mut plan = format!("n={} W={}", setup.replicas, setup.window);
    if setup.real_keys {
        plan.push_str(" real keys");
    }
    for twin in &setup.twins {
        plan.push_str(&format!(" twin:{twin}"));
    }
    let free = faulty_at_most(setup.replicas) - setup.twins.len();
    for node in rng.sample_up_to(free, usize::from(setup.replicas)) {
        if world.nodes[node].is_honest() {
            let name = byzantine::corrupt_at_random(&mut world, node, &mut rng);
            plan.push_str(&format!(" {name}:{node}"));
        }
    }
    for node in &mut world.nodes {
        node.clock_offset_ms = i64::try_from(rng.below(600_000)).expect("small") - 300_000;
        node.clock_rate = rng.between(900, 1100);
    }
    let end = rng.between(3_000, 15_000);
    while world.now() < end && world.checker.violations.is_empty() {
        disturb(&mut world, &mut rng);
        let pause = rng.between(50, 1_500);
        world.run_for(pause);
    }
    leave(&mut world, &mut rng, &mut plan);
    world.heal(LinkModel::calm());
    let within = time_to_progress(&world);
    world.expect_progress(BLOCKS_AFTER, within);
    Outcome::of(&world, plan)
}

/// Of those that may be faulty and are not yet, some never say anything again: the others may need
/// every one of themselves.
pub(crate) fn leave(world: &mut World, rng: &mut Rng, plan: &mut String) {
    let count = world.nodes.len();
    let faulty = count - world.honest().len() - world.setup.twins.len();
    let free = faulty_at_most(world.setup.replicas).saturating_sub(faulty);
    for node in rng.sample_up_to(free, count) {
        if world.nodes[node].is_honest() {
            world.corrupt(node, byzantine::Silent);
            plan.push_str(&format!(" leaves:{node}"));
        }
    }
}

fn disturb(world: &mut World, rng: &mut Rng) {
    let count = world.nodes.len();
    let node: NodeId = rng.index(count);
    match rng.below(12) {
        0 => world.crash_for(node, rng.between(10, 3_000)),
        1 => world.pause_for(node, rng.between(10, 3_000)),
        2 => world.isolate(node),
        3 => world.network.cut_one_way(node, (node + 1 + rng.index(count.max(2) - 1)) % count),
        4 => {
            let order = rng.sample(count, count);
            let (left, right) = order.split_at(rng.index(count + 1));
            world.network.partition(&[left, right]);
        }
        5 => {
            for node in rng.sample_up_to(count, count) {
                world.crash_for(node, rng.between(10, 1_000));
            }
        }
        6 | 7 => world.network.heal(),
        8 => world.network.set_model(LinkModel::rough(rng.below(300))),
        _ => world.submit(rng.between(1, 9)),
    }
}

/// How long a healed network may take to add blocks.
///
/// A replica waits at most its present timer, T, before it leaves a view in which nothing happens.
/// From then on all honest replicas are at most one timer apart, and each faulty primary in a row
/// costs one timer twice as long as the one before: with b faulty ones at most
/// T (1 + 2 + … + 2^(b+1)) < T 2^(b+2). The rest is for pulling blocks and for clocks that
/// differ by a fifth.
#[must_use]
pub fn time_to_progress(world: &World) -> Millis {
    let faulty = world.nodes.len() - world.honest().len();
    let longest = world
        .nodes
        .iter()
        .filter_map(|node| node.core.as_ref())
        .map(|core| core.status().failed_views)
        .max()
        .map_or(0, |failed| failed.min(VIEW_DOUBLINGS_MAX));
    let longest = world.setup.view_timeout_ms << longest;
    longest * (1 << (faulty + 2).min(12)) * 6 / 5 + 10_000
}
