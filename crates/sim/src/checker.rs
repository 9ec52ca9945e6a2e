//! What must hold after every step, whatever up to f replicas, the network and the disks do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use pentad_pbft::{CommitCertificate, Domain, Size, ValidatorSet};
use pentad_primitives::Hash256;

use crate::claim::{Claim, Kind};
use crate::keys::SimulatedKeys;
use crate::ledger::{Block, Ledger, Terms, digest_of};
use crate::network::NodeId;

/// Broken promises that are kept: the first ones tell the story.
const VIOLATIONS_MAX: usize = 100;
/// Records of a safety log at most: it is rewritten at a stable checkpoint, or by the thousand
/// where there is no progress.
const RECORDS_MAX: usize = 1_024 + 256;

/// Most votes, certificates and notes of a replica among `n` with a window of `w`. Votes are kept
/// for 2w sequences: with proposal, certificates and two votes of each replica that is 2w(5 + 2n);
/// of each other replica, votes for a view not entered (4w), a VIEW-CHANGE, two checkpoints, what
/// it was helped with (2 + 8w), late votes (6w), that it was heard, what it is accused of (4w + 2);
/// beside that recent blocks, early proposals, bodies asked for, own checkpoints.
const fn items_max(n: usize, w: usize) -> usize {
    2 * w * (5 + 2 * n) + n * (22 * w + 8) + 10 * w + 3
}

/// A broken promise, with what a reader needs to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    Fork { height: u64, one: (NodeId, Hash256), other: (NodeId, Hash256) },
    InvalidBlock { node: NodeId, height: u64, reason: String },
    LostBlock { node: NodeId, told: u64, kept: u64 },
    OffMainChain { node: NodeId, height: u64 },
    Shallow { node: NodeId, height: u64, digest: Hash256 },
    Contradiction { node: NodeId, claim: Claim, before: Hash256 },
    BelowLeftView { node: NodeId, left: u64, claim: Claim },
    Unbounded { node: NodeId, what: &'static str, size: usize, limit: usize },
    Encoding { node: NodeId, message: String },
    Halted { node: NodeId, reason: String },
    Endless { now_ms: u64 },
    Stalled { since_ms: u64, now_ms: u64, heights: Vec<u64> },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Sees everything that honest replicas send and execute.
#[derive(Debug)]
pub struct Checker {
    domain: Domain,
    validators: Arc<ValidatorSet>,
    keys: SimulatedKeys,
    /// The chain that honest replicas finalised, each block as it first was.
    chain: Ledger,
    first_by: Vec<NodeId>,
    /// The highest block each node told its clients to be final.
    pub(crate) told: Vec<u64>,
    /// Where work makes the blocks: those that honest nodes hold to be final, each as it first was.
    pub(crate) final_blocks: BTreeMap<u64, (NodeId, Hash256)>,
    /// Blocks on which enough others have stood somewhere to make them final.
    pub(crate) deep: BTreeSet<Hash256>,
    said: BTreeMap<(NodeId, Kind, u64, u64), Hash256>,
    left: Vec<u64>,
    pub violations: Vec<Violation>,
}

impl Checker {
    #[must_use]
    pub fn new(
        domain: Domain,
        validators: Arc<ValidatorSet>,
        keys: SimulatedKeys,
        nodes: usize,
    ) -> Self {
        Self {
            domain,
            validators,
            keys,
            chain: Ledger::default(),
            first_by: Vec::new(),
            told: vec![0; nodes],
            final_blocks: BTreeMap::new(),
            deep: BTreeSet::new(),
            said: BTreeMap::new(),
            left: vec![0; nodes],
            violations: Vec::new(),
        }
    }

    pub fn report(&mut self, violation: Violation) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    /// Blocks that some honest replica holds to be final.
    #[must_use]
    pub const fn chain(&self) -> &Ledger {
        &self.chain
    }

    /// An honest replica holds a block to be final, and says so to its clients.
    pub fn on_final(
        &mut self,
        node: NodeId,
        height: u64,
        body: &Arc<[u8]>,
        certificate: &CommitCertificate,
    ) {
        let digest = digest_of(body);
        self.told[node] = self.told[node].max(height);
        if let Some(first) = self.chain.block(height) {
            if first.digest != digest {
                let by = usize::try_from(height - 1).map_or(node, |place| self.first_by[place]);
                let one = (by, first.digest);
                self.report(Violation::Fork { height, one, other: (node, digest) });
            }
            return;
        }
        match self.judge(height, body, certificate) {
            Ok(block) => {
                self.chain.append(&block, Arc::clone(body), certificate.clone());
                self.first_by.push(node);
            }
            Err(reason) => self.report(Violation::InvalidBlock { node, height, reason }),
        }
    }

    fn judge(
        &self,
        height: u64,
        body: &[u8],
        certificate: &CommitCertificate,
    ) -> Result<Block, String> {
        if height != self.chain.height() + 1 {
            return Err(format!("it leaves a gap above {}", self.chain.height()));
        }
        let block = Block::decode(body).ok_or("not a block")?;
        if block.parent != self.chain.tip() {
            return Err("its parent is not the final block below".to_owned());
        }
        let replicas = self.validators.quorum().replicas();
        let terms = Terms { proposer: None, now_ms: None, replicas };
        self.chain.validate(&[], &block, terms)?;
        if !self.keys.proves(certificate, height, body, &self.domain, &self.validators) {
            return Err("its certificate does not prove it".to_owned());
        }
        Ok(block)
    }

    /// An honest replica came back with `kept` blocks.
    pub fn on_restart(&mut self, node: NodeId, kept: u64) {
        let told = self.told[node];
        if kept < told {
            self.report(Violation::LostBlock { node, told, kept });
        }
    }

    /// An honest replica holds this much.
    pub fn on_size(&mut self, node: NodeId, size: Size, records: usize, window: u64) {
        let replicas = usize::from(self.validators.quorum().replicas());
        let window = usize::try_from(window).expect("at most 8");
        let bounds = [
            ("items", size.items, items_max(replicas, window)),
            ("bodies", size.bodies, 10 * window),
            ("records", records, RECORDS_MAX),
        ];
        for (what, size, limit) in bounds {
            if size > limit {
                self.report(Violation::Unbounded { node, what, size, limit });
            }
        }
    }

    /// Whether an honest `node` ever said this kind of thing of this view and sequence.
    #[must_use]
    pub fn has_said(&self, node: NodeId, kind: Kind, view: u64, sequence: u64) -> Option<Hash256> {
        self.said.get(&(node, kind, view, sequence)).copied()
    }

    /// An honest replica signed `claim`.
    pub fn on_claim(&mut self, node: NodeId, claim: Claim) {
        let key = (node, claim.kind, claim.view, claim.sequence);
        match self.said.get(&key) {
            Some(before) if *before != claim.digest => {
                let before = *before;
                self.report(Violation::Contradiction { node, claim, before });
            }
            _ => {
                self.said.insert(key, claim.digest);
            }
        }
        match claim.kind {
            Kind::ViewChange => self.left[node] = self.left[node].max(claim.view),
            Kind::PrePrepare | Kind::Prepare | Kind::Commit => {
                let left = self.left[node];
                if claim.view < left {
                    self.report(Violation::BelowLeftView { node, left, claim });
                }
            }
            Kind::Checkpoint | Kind::NewView => {}
        }
    }
}
