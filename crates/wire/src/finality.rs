//! Certificates that make blocks of work final: which to check, and whom to tell.
//!
//! A certificate proves its block and all below it, so the newest one is all that anybody needs:
//! of each peer one waits to be checked, and each peer is told of the newest one, at most once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pentad_primitives::BlockHeight;

use crate::PeerId;
use crate::rate::{Meter, Rate};

/// Certificates of one peer that are checked: four a second, 40 at once. One costs as many
/// signature checks as a quorum has validators, milliseconds if they are many.
const PER_PEER: Rate = Rate { interval: TOLD_PAUSE, burst: 40 };
/// The same of all peers: 20 a second, 100 at once.
const OVERALL: Rate = Rate { interval: Duration::from_millis(50), burst: 100 };
/// A peer is told of a certificate at once, but no more often than this: where many blocks become
/// final in a row, the newest will do.
const TOLD_PAUSE: Duration = Duration::from_millis(250);

/// The height of the block that a commit certificate makes final: its sequence, which stands in
/// bytes 8 to 15, the lowest first (docs/protocol/pbft.md). `None` where there is none.
#[must_use]
pub fn height(certificate: &[u8]) -> Option<BlockHeight> {
    let sequence = certificate.get(8..16)?.first_chunk().copied()?;
    u32::try_from(u64::from_le_bytes(sequence)).ok().map(BlockHeight::new)
}

/// What became of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its block is final now.
    Final,
    /// Its block was final before.
    AlreadyFinal,
    /// Its block is not here yet.
    Awaited,
    /// It does not hold: how badly its sender behaved (0 to 100).
    Refused(u32),
    /// It could not be checked; it is tried again.
    Failed,
}

impl Outcome {
    /// One of each kind.
    pub const ALL: [Self; 5] =
        [Self::Final, Self::AlreadyFinal, Self::Awaited, Self::Refused(0), Self::Failed];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::AlreadyFinal => "already_final",
            Self::Awaited => "awaited",
            Self::Refused(_) => "refused",
            Self::Failed => "failed",
        }
    }
}

/// A certificate to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Who sent it.
    pub peer: PeerId,
    /// Of its block.
    pub height: BlockHeight,
    /// As it came.
    pub certificate: Bytes,
}

/// What is final here and at the peers. Times count from any fixed start.
#[derive(Debug, Default)]
pub struct Finality {
    /// The last final block here.
    own: BlockHeight,
    /// What makes it so; empty: nobody is told.
    certificate: Bytes,
    /// All below is final here, as the last checks say.
    known: BlockHeight,
    peers: BTreeMap<PeerId, Party>,
    overall: Meter,
    /// One at a time: what it leads to makes others needless.
    checking: Option<Check>,
}

#[derive(Debug, Default)]
struct Party {
    /// All below is final there, by its word, or it has what makes it so.
    reached: BlockHeight,
    told_at: Option<Duration>,
    /// The highest that it sent.
    sent: BlockHeight,
    waiting: Option<(BlockHeight, Bytes)>,
    meter: Meter,
}

impl Finality {
    /// Nothing is final.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A peer is there; it says how far all is final there.
    pub fn connect(&mut self, peer: PeerId, claimed: Option<BlockHeight>) {
        let reached = claimed.unwrap_or(BlockHeight::GENESIS);
        self.peers.insert(peer, Party { reached, ..Party::default() });
    }

    /// A peer is gone, and what it sent with it.
    pub fn disconnect(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// A peer says how far all is final there.
    pub fn on_claim(&mut self, peer: PeerId, claimed: Option<BlockHeight>) {
        if let Some((party, claimed)) = self.peers.get_mut(&peer).zip(claimed) {
            party.reached = party.reached.max(claimed);
        }
    }

    /// The last final block here, and what makes it so.
    pub fn on_final(&mut self, height: BlockHeight, certificate: Bytes) {
        (self.own, self.certificate) = (height, certificate);
        self.known = self.known.max(height);
    }

    /// A peer sent a certificate. False if it is of no use and dropped unread: its block is final,
    /// or the peer has sent it, or a higher one, before.
    pub fn on_certificate(
        &mut self,
        peer: PeerId,
        height: BlockHeight,
        certificate: Bytes,
    ) -> bool {
        let Some(party) = self.peers.get_mut(&peer) else {
            return false;
        };
        party.reached = party.reached.max(height);
        if height <= party.sent || height <= self.known {
            return false;
        }
        party.sent = height;
        party.waiting = Some((height, certificate));
        true
    }

    /// The next certificate to be checked, if none is being checked and the rates allow it: the
    /// highest, for it makes the others needless.
    pub fn next_check(&mut self, now: Duration) -> Option<Check> {
        if self.checking.is_some() {
            return None;
        }
        let known = self.known;
        for party in self.peers.values_mut() {
            party.waiting.take_if(|(height, _)| *height <= known);
        }
        let ready = |(_, party): &(&PeerId, &mut Party)| {
            party.waiting.is_some() && party.meter.has_room(&PER_PEER, now)
        };
        let highest = |(_, party): &(&PeerId, &mut Party)| party.waiting.as_ref().map(|it| it.0);
        let (peer, party) = self.peers.iter_mut().filter(ready).max_by_key(highest)?;
        if !self.overall.allows(&OVERALL, now) || !party.meter.allows(&PER_PEER, now) {
            return None;
        }
        let (height, certificate) = party.waiting.take()?;
        self.checking = Some(Check { peer: *peer, height, certificate });
        self.checking.clone()
    }

    /// The certificate of [`Finality::next_check`] was checked, or not. Returns it.
    pub fn on_checked(&mut self, outcome: Outcome) -> Option<Check> {
        let check = self.checking.take()?;
        match outcome {
            Outcome::Final | Outcome::AlreadyFinal => {
                self.known = self.known.max(check.height);
            }
            Outcome::Failed => {
                if let Some(party) = self.peers.get_mut(&check.peer) {
                    let again = || (check.height, check.certificate.clone());
                    party.waiting.get_or_insert_with(again);
                }
            }
            Outcome::Awaited | Outcome::Refused(_) => {}
        }
        Some(check)
    }

    /// Peers that are to be told now what is final here; none without a certificate of it.
    #[must_use]
    pub fn to_be_told(&self, now: Duration) -> Vec<PeerId> {
        let is_due = |party: &Party| {
            let rests = |at: Duration| now.saturating_sub(at) < TOLD_PAUSE;
            party.reached < self.own && !party.told_at.is_some_and(rests)
        };
        let due = self.peers.iter().filter(|(_, party)| is_due(party)).map(|(peer, _)| *peer);
        if self.certificate.is_empty() { Vec::new() } else { due.collect() }
    }

    /// The certificate to tell.
    #[must_use]
    pub fn certificate(&self) -> (BlockHeight, &Bytes) {
        (self.own, &self.certificate)
    }

    /// A peer was told.
    pub fn on_told(&mut self, peer: PeerId, now: Duration) {
        let own = self.own;
        if let Some(party) = self.peers.get_mut(&peer) {
            (party.reached, party.told_at) = (party.reached.max(own), Some(now));
        }
    }
}

#[cfg(test)]
mod tests;
