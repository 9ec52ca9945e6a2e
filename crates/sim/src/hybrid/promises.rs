//! What must hold of the chains of honest nodes, beside what holds of their votes.

use pentad_pbft::CommitCertificate;
use pentad_primitives::Hash256;

use crate::checker::{Checker, Violation};
use crate::network::NodeId;
use crate::queue::Millis;
use crate::world::World;

impl Checker {
    /// An honest node holds this block of work to be final.
    fn on_final_block(&mut self, node: NodeId, height: u64, digest: Hash256) {
        let first = *self.final_blocks.entry(height).or_insert((node, digest));
        if first.1 != digest {
            self.report(Violation::Fork { height, one: first, other: (node, digest) });
        }
        if !self.deep.contains(&digest) {
            self.report(Violation::Shallow { node, height, digest });
        }
    }
}

impl World {
    /// A block was found: the one so far below it is deep enough from now on.
    pub(crate) fn note_depth(&mut self, node: NodeId) {
        let Some(work) = &self.setup.work else { return };
        let deep = self.nodes[node].chain.as_ref().and_then(|it| it.block_below_tip(work.depth));
        self.checker.deep.extend(deep);
    }

    /// More is final at `node`: the block of a certificate, and all below it.
    pub(crate) fn watch_final(&mut self, node: NodeId) {
        let it = &self.nodes[node];
        let Some(chain) = it.chain.as_ref().filter(|_| it.is_honest()) else { return };
        let told = self.checker.told[node];
        let height = chain.final_height();
        if height < told {
            return self.checker.report(Violation::LostBlock { node, told, kept: height });
        }
        for height in told + 1..=height {
            let digest = chain.block_at(height).unwrap_or(Hash256::ZERO);
            self.checker.on_final_block(node, height, digest);
        }
        self.checker.told[node] = height;
        self.watch_chain(node);
    }

    /// What is final is on the main chain.
    pub(crate) fn watch_chain(&mut self, node: NodeId) {
        let it = &self.nodes[node];
        let Some(chain) = it.chain.as_ref().filter(|_| it.is_honest()) else { return };
        let told = self.checker.told[node];
        let digest = chain.block_at(told);
        let final_there = self.checker.final_blocks.get(&told).map(|(_, digest)| *digest);
        if told > 0 && digest != final_there {
            self.checker.report(Violation::OffMainChain { node, height: told });
        }
    }

    /// The core of an honest node says that a block is certified.
    pub(crate) fn watch_certificate(
        &mut self,
        node: NodeId,
        certificate: &CommitCertificate,
        body: &[u8],
    ) {
        let it = &self.nodes[node];
        let height = certificate.sequence.get();
        let is_proved = it.keys.proves(certificate, height, body, &self.domain, &self.validators);
        if it.is_honest() && !is_proved {
            let reason = "its certificate does not prove it".to_owned();
            self.checker.report(Violation::InvalidBlock { node, height, reason });
        }
    }

    /// A true certificate was refused.
    pub(crate) fn watch_refusal(&mut self, node: NodeId, certificate: &CommitCertificate) {
        if self.nodes[node].is_honest() {
            let height = certificate.sequence.get();
            let reason = "its certificate is true, yet the chain refuses it".to_owned();
            self.checker.report(Violation::InvalidBlock { node, height, reason });
        }
    }

    /// Whether all honest nodes have one tip, and all that is deep enough is final with them.
    #[must_use]
    pub fn has_converged(&self) -> bool {
        let Some(work) = &self.setup.work else { return false };
        let mut chains = self.honest().into_iter().map(|node| self.nodes[node].chain.as_ref());
        let first = chains.next().flatten().map(|chain| (chain.tip(), chain.height()));
        let Some((tip, height)) = first else { return false };
        self.honest().into_iter().all(|node| {
            self.nodes[node].is_up()
                && self.nodes[node].chain.as_ref().is_some_and(|chain| {
                    chain.tip() == tip && chain.final_height() + work.depth == height
                })
        })
    }

    /// Runs until `blocks` more than the highest final block are final everywhere, on one tip, σ
    /// below it. A stall is a violation.
    pub fn expect_convergence(&mut self, blocks: u64, within: Millis) {
        let since_ms = self.now();
        let goal = self.highest_height() + blocks;
        let done = |world: &Self| world.lowest_height() >= goal && world.has_converged();
        if !self.run_until(within, done) {
            let heights = self.honest().into_iter().map(|node| self.height(node)).collect();
            let now_ms = self.now();
            self.checker.report(Violation::Stalled { since_ms, now_ms, heights });
        }
    }
}
