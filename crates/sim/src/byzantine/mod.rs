//! Adversaries, each one way of being faulty.

mod equivocator;
mod forger;
mod view_changes;
mod withholder;

use pentad_pbft::Recipient;

pub use equivocator::{Colluder, Equivocator, InvalidProposer};
pub use forger::{CheckpointLiar, Forger};
pub use view_changes::{FalseNewView, FalseViewChange, Stormer, omitted};
pub use withholder::{Censor, Chaos, Silent, Slow};

use crate::adversary::Adversary;
use crate::network::NodeId;
use crate::rng::Rng;
use crate::world::World;

/// One of two nodes under one key (Twins): each of them behaves.
#[derive(Debug)]
pub struct Twin;

impl Adversary for Twin {}

/// Gives `node` a random adversary; returns its name.
pub fn corrupt_at_random(world: &mut World, node: NodeId, rng: &mut Rng) -> &'static str {
    let timeout_ms = world.setup.view_timeout_ms;
    match rng.below(12) {
        0 => set(world, node, "equivocator", Equivocator::default()),
        1 => set(world, node, "silent", Silent),
        2 => set(world, node, "slow", Slow { delay_ms: timeout_ms * 4 / 5 }),
        3 => set(world, node, "forger", Forger),
        4 => set(world, node, "false-view-change", FalseViewChange),
        5 => set(world, node, "false-new-view", FalseNewView),
        6 => set(world, node, "checkpoint-liar", CheckpointLiar),
        7 => set(world, node, "censor", Censor { every: 3 }),
        8 => set(world, node, "invalid-proposer", InvalidProposer),
        9 => set(world, node, "colluder", Colluder::default()),
        10 => set(world, node, "stormer", Stormer { views_ahead: 3 }),
        _ => set(world, node, "chaos", Chaos::default()),
    }
}

fn set(
    world: &mut World,
    node: NodeId,
    name: &'static str,
    adversary: impl Adversary + 'static,
) -> &'static str {
    world.corrupt(node, adversary);
    name
}

/// The replicas a message was for.
fn recipients(forge: &crate::adversary::Forge<'_>, to: Recipient) -> Vec<pentad_pbft::ReplicaId> {
    match to {
        Recipient::All => forge.others(),
        Recipient::One(replica) => vec![replica],
    }
}
