//! What may happen to a message on its way.

use std::collections::BTreeSet;

use crate::queue::Millis;
use crate::rng::Rng;

/// A process of the simulation: its index in the world. Twins share a replica id, not a node.
pub type NodeId = usize;

/// Delays and faults of every link.
#[derive(Clone, Debug)]
pub struct LinkModel {
    pub delay_ms_min: Millis,
    pub delay_ms_max: Millis,
    /// Messages of 1000 that take up to `tail_ms` longer: they are overtaken by later ones.
    pub tail_per_mille: u64,
    pub tail_ms: Millis,
    pub loss_per_mille: u64,
    pub duplicate_per_mille: u64,
}

impl LinkModel {
    /// A quiet local network.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            delay_ms_min: 1,
            delay_ms_max: 5,
            tail_per_mille: 0,
            tail_ms: 0,
            loss_per_mille: 0,
            duplicate_per_mille: 0,
        }
    }

    /// Loss, duplicates and reordering.
    #[must_use]
    pub const fn rough(loss_per_mille: u64) -> Self {
        Self {
            delay_ms_min: 1,
            delay_ms_max: 40,
            tail_per_mille: 50,
            tail_ms: 400,
            loss_per_mille,
            duplicate_per_mille: 100,
        }
    }
}

/// Which links carry what: directed, so that a partition may be one-way.
#[derive(Clone, Debug)]
pub struct Network {
    model: LinkModel,
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    #[must_use]
    pub const fn new(model: LinkModel) -> Self {
        Self { model, cut: BTreeSet::new() }
    }

    pub fn set_model(&mut self, model: LinkModel) {
        self.model = model;
    }

    /// Nothing from `from` reaches `to` any more; the other direction is left as it is.
    pub fn cut_one_way(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Cuts every link between the groups, both ways. Nodes in no group keep their links.
    pub fn partition(&mut self, groups: &[&[NodeId]]) {
        for (place, group) in groups.iter().enumerate() {
            for other in &groups[place + 1..] {
                for &one in *group {
                    for &two in *other {
                        self.cut.insert((one, two));
                        self.cut.insert((two, one));
                    }
                }
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    #[must_use]
    pub fn connects(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// When the copies of one message arrive: none if it is lost, two if it is duplicated.
    pub fn arrivals(&self, from: NodeId, to: NodeId, rng: &mut Rng) -> Vec<Millis> {
        let model = &self.model;
        if !self.connects(from, to) || rng.chance(model.loss_per_mille) {
            return Vec::new();
        }
        let copies = if rng.chance(model.duplicate_per_mille) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let tail =
                    if rng.chance(model.tail_per_mille) { rng.below(model.tail_ms) } else { 0 };
                rng.between(model.delay_ms_min, model.delay_ms_max) + tail
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_way_cut_leaves_the_other_direction() {
        let mut network = Network::new(LinkModel::calm());
        let mut rng = Rng::new(1);
        network.cut_one_way(0, 1);
        assert!(network.arrivals(0, 1, &mut rng).is_empty());
        assert_eq!(network.arrivals(1, 0, &mut rng).len(), 1);
        network.heal();
        assert_eq!(network.arrivals(0, 1, &mut rng).len(), 1);
    }

    #[test]
    fn a_partition_cuts_between_groups_only() {
        let mut network = Network::new(LinkModel::calm());
        network.partition(&[&[0, 1], &[2], &[3]]);
        assert!(network.connects(0, 1));
        assert!(!network.connects(1, 2) && !network.connects(3, 0) && !network.connects(2, 3));
    }

    #[test]
    fn loss_and_duplicates_come_as_often_as_stated() {
        let network = Network::new(LinkModel::rough(300));
        let mut rng = Rng::new(9);
        let counts = (0..10_000).map(|_| network.arrivals(0, 1, &mut rng).len());
        let (mut lost, mut doubled) = (0, 0);
        for count in counts {
            lost += usize::from(count == 0);
            doubled += usize::from(count == 2);
        }
        assert!((2_700..3_300).contains(&lost), "{lost} of 10000 lost");
        assert!((500..900).contains(&doubled), "{doubled} of 10000 doubled");
    }
}
