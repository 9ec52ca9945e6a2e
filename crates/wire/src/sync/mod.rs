//! Catching up: headers first, then bodies from several peers at once.
//!
//! [`Sync::step`] takes what happened and returns what to do; it knows no IO and no clock. It
//! judges nothing itself: headers and blocks go to the chain service, whose answers come back as
//! inputs.
//!
//! 1. A peer that claims more work than the best header chain known is asked for headers after a
//!    locator, batch by batch. Each batch is checked before the next one is asked for.
//! 2. The check says which bodies are wanted. They are asked for in runs from every peer that is
//!    ahead, within a window of bytes, and handed on in the order of the chain.
//! 3. Where validators make blocks of work final, a peer at which more is final leads on too, also
//!    with less work; one whose chain is not that of the last final block here does not.
//! 4. A peer that stalls rests, its blocks are asked for elsewhere; one whose headers do not show
//!    the work it claimed is not asked again until it claims something else.

mod bodies;
mod headers;
mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pentad_primitives::{BlockHash, BlockHeight, Work};

use crate::handshake::Claim;
use crate::{Direction, Offence, PeerId, Recent};

use bodies::Bodies;
use source::Source;

/// Most headers in one message; a full batch means that there may be more.
pub const HEADERS_MAX: usize = 2000;
/// Most headers that a peer may send unasked, to announce blocks.
pub const ANNOUNCED_MAX: usize = 16;
/// Most hashes in one request for blocks.
pub const BLOCKS_PER_REQUEST_MAX: usize = 128;
/// Most hashes of wanted bodies that the chain service names at a time.
pub const WANTED_MAX: usize = 1024;
/// How long a peer may take to answer a request for headers, or to send the next block.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often [`Input::Tick`] should come.
pub const TICK_INTERVAL: Duration = Duration::from_millis(250);
/// Blocks connected lately, so that a late second copy is dropped here.
const CONNECTED_REMEMBERED: usize = 4 * WANTED_MAX;

/// A block with what makes it final, as a peer sent both. Whether a certificate has to be there is
/// the chain service's judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// In Bitcoin's serialization.
    pub block: Bytes,
    /// Its commit certificate; empty: none.
    pub certificate: Bytes,
}

impl Body {
    /// Bytes of both.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.block.len().saturating_add(self.certificate.len())
    }

    /// There is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Consecutive headers, as a peer sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderBatch {
    /// 80 bytes each.
    pub headers: Vec<Bytes>,
    /// The commit certificate of the last one, which names all before it; empty: none.
    pub certificate: Bytes,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A peer is there.
    Connected {
        /// Which.
        peer: PeerId,
        /// Who opened the connection.
        direction: Direction,
        /// Where it says it stands.
        claim: Claim,
    },
    /// A peer says where it stands now.
    Claimed {
        /// Which.
        peer: PeerId,
        /// Where it says it stands.
        claim: Claim,
    },
    /// A peer is gone.
    Disconnected {
        /// Which.
        peer: PeerId,
    },
    /// This node's own tip.
    Tip {
        /// Where it is.
        claim: Claim,
    },
    /// A peer sent headers.
    Headers {
        /// Which.
        peer: PeerId,
        /// As they came.
        batch: HeaderBatch,
    },
    /// The chain service checked headers, or was asked for the wanted bodies only.
    Checked {
        /// Whose headers; `None` for [`Output::RefreshWanted`].
        peer: Option<PeerId>,
        /// What it said.
        report: HeaderReport,
    },
    /// The chain service could not be asked; what was to be checked is lost.
    CheckFailed {
        /// As in `Checked`.
        peer: Option<PeerId>,
    },
    /// A peer sent a block.
    Block {
        /// Which.
        peer: PeerId,
        /// Hash of its header, computed here.
        hash: BlockHash,
        /// As it came.
        body: Body,
    },
    /// A peer does not have a block that it was asked for.
    NotFound {
        /// Which.
        peer: PeerId,
        /// Which block.
        hash: BlockHash,
    },
    /// The chain service took or refused a block of [`Output::Connect`].
    Answered {
        /// Who had sent it.
        peer: PeerId,
        /// Which block.
        hash: BlockHash,
        /// What became of it.
        outcome: Outcome,
    },
    /// A peer sent a certificate whose block is not here yet.
    Awaited {
        /// Which.
        peer: PeerId,
    },
    /// Time passed.
    Tick,
}

/// What the chain service says about headers.
#[derive(Clone, Debug)]
pub struct HeaderReport {
    /// Valid ones from the start, new or known.
    pub accepted: usize,
    /// Present if one was refused: how badly its sender behaved (0 to 100).
    pub misbehavior: Option<u32>,
    /// They are refused because they are not on the branch of the last final block.
    pub is_below_finality: bool,
    /// Bodies wanted, lowest first.
    pub wanted: Vec<BlockHash>,
    /// Work of the best header chain.
    pub best_work: Work,
    /// Height of the best header chain.
    pub best_height: BlockHeight,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is part of the ledger, of a side branch, or was before.
    Kept,
    /// Its parent is unknown.
    Orphan,
    /// It was refused: how badly its sender behaved (0 to 100).
    Refused(u32),
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send `GetHeaders`: the locator is `after`, if there is one, and then the main chain's.
    RequestHeaders {
        /// To whom.
        peer: PeerId,
        /// The last header that came from there.
        after: Option<BlockHash>,
    },
    /// Let the chain service check headers.
    CheckHeaders {
        /// Who sent them.
        peer: PeerId,
        /// As they came.
        batch: HeaderBatch,
    },
    /// Ask the chain service which bodies are wanted.
    RefreshWanted,
    /// Send `GetBlocks`.
    RequestBlocks {
        /// To whom.
        peer: PeerId,
        /// Which, in this order; [`BLOCKS_PER_REQUEST_MAX`] at most.
        hashes: Vec<BlockHash>,
    },
    /// Hand a block to the chain service.
    Connect {
        /// Who sent it.
        peer: PeerId,
        /// Which.
        hash: BlockHash,
        /// The block.
        body: Body,
    },
    /// A peer misbehaved.
    Penalize {
        /// Which.
        peer: PeerId,
        /// How.
        offence: Offence,
    },
    /// Close the connection to a peer that stalls again and again.
    Leave {
        /// Which.
        peer: PeerId,
    },
}

/// How far the sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Height of this node's tip.
    pub height: BlockHeight,
    /// Height of the best header chain known.
    pub best_height: BlockHeight,
    /// Blocks asked for and not there yet.
    pub in_flight: usize,
    /// Bytes of blocks that wait for their turn.
    pub buffered_bytes: usize,
}

/// The state of catching up with the network.
#[derive(Debug)]
pub struct Sync {
    own: Claim,
    best_work: Work,
    best_height: BlockHeight,
    sources: BTreeMap<PeerId, Source>,
    bodies: Bodies,
    connected: Recent,
    refresh: Refresh,
    /// A certificate waits for its block.
    is_awaiting: bool,
}

/// Whether the chain service is to be asked which bodies are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refresh {
    Idle,
    Due,
    Asked { since: Duration },
}

impl Sync {
    /// At start; `own` is this node's tip.
    #[must_use]
    pub const fn new(own: Claim) -> Self {
        Self {
            own,
            best_work: own.work,
            best_height: own.height,
            sources: BTreeMap::new(),
            bodies: Bodies::new(),
            connected: Recent::new(CONNECTED_REMEMBERED),
            refresh: Refresh::Idle,
            is_awaiting: false,
        }
    }

    /// Takes what happened at `now`, counted from any fixed start, and returns what to do.
    #[must_use]
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            Input::Connected { peer, direction, claim } => {
                self.sources.insert(peer, Source::new(now, direction, claim));
            }
            Input::Claimed { peer, claim } => self.on_claim(now, peer, claim),
            Input::Disconnected { peer } => self.on_disconnect(peer),
            Input::Tip { claim } => self.on_tip(claim),
            Input::Headers { peer, batch } => self.on_headers(peer, batch, &mut outputs),
            Input::Checked { peer, report } => self.on_checked(now, peer, report, &mut outputs),
            Input::CheckFailed { peer } => self.on_check_failed(now, peer),
            Input::Block { peer, hash, body } => {
                self.on_block(now, peer, hash, body, &mut outputs);
            }
            Input::NotFound { peer, hash } => self.on_not_found(now, peer, hash, &mut outputs),
            Input::Answered { peer, hash, outcome } => {
                self.on_answer(now, peer, hash, outcome, &mut outputs);
            }
            Input::Awaited { peer } => self.on_awaited(now, peer, &mut outputs),
            Input::Tick => self.on_tick(now, &mut outputs),
        }
        self.seek_wanted(now, &mut outputs);
        self.seek_headers(now, &mut outputs);
        self.seek_bodies(now, &mut outputs);
        outputs
    }

    /// Whether a block that is pushed would be handed to the chain service, or kept for its turn.
    #[must_use]
    pub fn takes(&self, hash: &BlockHash) -> bool {
        !self.connected.contains(hash.as_bytes()) && self.bodies.lacks(hash)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            height: self.own.height,
            best_height: self.best_height.max(self.own.height),
            in_flight: self.sources.values().map(Source::in_flight).sum(),
            buffered_bytes: self.bodies.buffered(),
        }
    }

    fn on_claim(&mut self, now: Duration, peer: PeerId, claim: Claim) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.on_claim(now, claim);
        }
    }

    fn on_disconnect(&mut self, peer: PeerId) {
        if let Some(mut source) = self.sources.remove(&peer) {
            self.bodies.release(peer, &source.take_requests());
        }
    }

    fn on_tip(&mut self, claim: Claim) {
        if claim.work < self.own.work {
            // The chain service has lost blocks, so it has to take them again.
            self.connected.clear();
            // Or what is final has less of it: the best chain is another one now.
            self.refresh = Refresh::Due;
        }
        self.is_awaiting &= !claim.is_final_beyond(&self.own);
        self.own = claim;
        self.connected.insert(claim.tip.as_bytes());
        if claim.work > self.best_work {
            (self.best_work, self.best_height) = (claim.work, claim.height);
        }
    }

    fn on_tick(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        for (peer, source) in &mut self.sources {
            if source.is_stalled(now) {
                self.bodies.release(*peer, &source.take_requests());
                if source.on_stall(now) {
                    outputs.push(Output::Leave { peer: *peer });
                }
            }
        }
        // A lost answer, or headers that were here before this node started.
        let is_behind = self.own.work < self.best_work || self.is_awaiting;
        let starved = self.bodies.is_empty() && is_behind;
        match self.refresh {
            Refresh::Idle if starved => self.refresh = Refresh::Due,
            Refresh::Asked { since } if now.saturating_sub(since) >= STALL_TIMEOUT => {
                self.refresh = Refresh::Due;
            }
            Refresh::Idle | Refresh::Due | Refresh::Asked { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
