use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use pentad_primitives::{BlockHash, Work};

use super::{BLOCKS_PER_REQUEST_MAX, STALL_TIMEOUT};
use crate::Direction;
use crate::handshake::Claim;

/// Questions for blocks that one peer has open: 32 of all kinds are allowed, more are an offence.
const QUESTIONS_MAX: usize = 8;
/// Stalls after which a peer is left for good.
const STALLS_MAX: u32 = 3;
/// Bytes of blocks that a peer has to send in a second, or it stalls: one that sends a little now
/// and then would keep what it was asked for from everybody else.
const RATE_MIN: usize = 128 << 10;
/// What a block may take beside its bytes.
const BLOCK_TIME_MAX: Duration = Duration::from_millis(100);
/// How long a peer rests after its first stall; longer after more of them.
const REST_AFTER_STALL: Duration = Duration::from_secs(10);
/// After this time without headers a second peer is asked as well: a hundred liars that do not
/// answer cost a hundred times this, not a hundred stall timeouts.
const SLOW: Duration = Duration::from_secs(1);
/// How long a peer may be one block ahead before it is asked for headers: mostly the block itself
/// is on its way, pushed.
const GRACE: Duration = Duration::from_millis(400);
/// How long a peer rests whose answer was of no use: it lacks a block, or the chain service did not
/// take what it sent or could not be asked.
const REST_AFTER_MISS: Duration = Duration::from_secs(1);

/// A peer as a source of headers and blocks.
#[derive(Debug)]
pub(super) struct Source {
    pub direction: Direction,
    pub claim: Claim,
    claimed: Duration,
    /// Where its headers are.
    pub headers: Headers,
    /// Full batches in a row that did not lead to more work than was known.
    pub idle_batches: u32,
    /// Blocks of this peer with the chain service that nobody asked for.
    pub pushed: BTreeSet<BlockHash>,
    /// The claim that its headers did not show.
    refuted: Option<Work>,
    /// Where it said to stand when it was asked for headers.
    asked: Option<Claim>,
    /// All headers that led there have come.
    heard: Option<Claim>,
    /// They were not on the branch of the last final block here.
    outdated: Option<Claim>,
    /// Blocks it was asked for, in that order.
    requests: VecDeque<BlockHash>,
    /// How many of them each question asked for that is not answered in full.
    questions: VecDeque<usize>,
    /// When it stalls unless it sends a block asked for.
    deadline: Duration,
    resting_until: Duration,
    stalls: u32,
    /// Blocks sent since the last stall.
    sent: usize,
}

/// The exchange of headers with one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headers {
    /// None.
    Idle,
    /// Asked for, while the peer claimed this much work.
    Asked { since: Duration, claimed: Work },
    /// With the chain service: how many, and the last of them; `claimed` if they were asked for.
    Checking { count: usize, last: Option<BlockHash>, claimed: Option<Work> },
}

impl Source {
    pub const fn new(now: Duration, direction: Direction, claim: Claim) -> Self {
        Self {
            direction,
            claim,
            claimed: now,
            headers: Headers::Idle,
            idle_batches: 0,
            pushed: BTreeSet::new(),
            refuted: None,
            asked: None,
            heard: None,
            outdated: None,
            requests: VecDeque::new(),
            questions: VecDeque::new(),
            deadline: Duration::ZERO,
            resting_until: Duration::ZERO,
            stalls: 0,
            sent: 0,
        }
    }

    pub fn on_claim(&mut self, now: Duration, claim: Claim) {
        if claim != self.claim {
            self.claim = claim;
            self.claimed = now;
            // A peer that lacked a block may have it now; one that stalled goes on resting.
            if self.stalls == 0 {
                self.resting_until = Duration::ZERO;
            }
        }
    }

    /// Whether it is worth asking for headers while this node is at `own` and knows of a chain of
    /// `work`: for a chain of more of it, or for the one that validators chose.
    pub fn can_lead_beyond(&self, own: &Claim, work: Work, now: Duration) -> bool {
        if self.resting_until > now || self.is_outdated() {
            return false;
        }
        let settled = now.saturating_sub(self.claimed) >= GRACE;
        let far = self.claim.height.get() > own.height.get().saturating_add(1);
        let refuted = self.refuted == Some(self.claim.work);
        let leads_to_work = self.claim.work > work && !refuted && (far || settled);
        // Mostly only a certificate is on its way.
        let is_heard = self.heard == Some(self.claim);
        leads_to_work || (self.claim.is_final_beyond(own) && !is_heard && settled)
    }

    /// Whether it is worth asking for blocks while this node is at `own`. One that does not even
    /// answer with headers is not.
    pub fn can_serve_beyond(&self, own: &Claim, now: Duration) -> bool {
        let is_ahead = self.claim.work > own.work || self.claim.is_final_beyond(own);
        is_ahead && !self.is_outdated() && self.resting_until <= now && !self.is_slow(now)
    }

    /// Its chain, as far as it says, is not that of the last final block here.
    pub fn is_outdated(&self) -> bool {
        self.outdated == Some(self.claim)
    }

    /// It is asked for headers.
    pub const fn ask(&mut self, now: Duration) {
        self.asked = Some(self.claim);
        self.headers = Headers::Asked { since: now, claimed: self.claim.work };
    }

    /// All headers that it was asked for have come.
    pub const fn on_heard(&mut self) {
        self.heard = self.asked;
    }

    /// Its headers are not on the branch of the last final block here, and it may not have heard of
    /// that. It is not asked again until it says to stand elsewhere.
    pub const fn on_outdated(&mut self) {
        self.outdated = self.asked;
    }

    /// It sent a certificate: what was said of its branch is over.
    pub const fn forget_outdated(&mut self) {
        self.outdated = None;
    }

    /// It has owed headers for longer than an honest peer usually needs.
    pub fn is_slow(&self, now: Duration) -> bool {
        matches!(self.headers, Headers::Asked { since, .. } if now.saturating_sub(since) >= SLOW)
    }

    /// Its headers did not show this much work.
    pub const fn refute(&mut self, claimed: Work) {
        self.refuted = Some(claimed);
    }

    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Whether it may be asked for more blocks while at most half of `window` blocks are on their
    /// way: it is refilled at half, so that questions are runs and not single blocks. Where blocks
    /// become free one by one, they wait until it has answered some questions.
    pub fn has_room(&self, window: usize) -> bool {
        self.in_flight() <= window / 2 && self.questions.len() < QUESTIONS_MAX
    }

    pub fn is_asked(&self, hash: &BlockHash) -> bool {
        self.requests.contains(hash)
    }

    pub fn request(&mut self, now: Duration, hashes: &[BlockHash]) {
        if self.requests.is_empty() {
            self.deadline = now.saturating_add(STALL_TIMEOUT);
        }
        self.requests.extend(hashes);
        self.questions.push_back(hashes.len());
    }

    /// A block of `bytes` arrived, or word that it is not there. Returns the blocks in front of it,
    /// which the peer has skipped; `None` if it was not asked for.
    pub fn answer(
        &mut self,
        now: Duration,
        hash: &BlockHash,
        bytes: usize,
    ) -> Option<Vec<BlockHash>> {
        let position = self.requests.iter().position(|asked| asked == hash)?;
        let skipped = self.requests.drain(..position).collect();
        self.requests.pop_front();
        self.close_questions(position.saturating_add(1));
        // Each block buys the time that it may take at the least rate, and no more than a stall
        // timeout is ever left.
        let millis = bytes.saturating_mul(1000).checked_div(RATE_MIN).unwrap_or_default();
        let bought = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        let deadline = self.deadline.saturating_add(bought).saturating_add(BLOCK_TIME_MAX);
        self.deadline = deadline.min(now.saturating_add(STALL_TIMEOUT));
        Some(skipped)
    }

    /// So many blocks less are waited for.
    fn close_questions(&mut self, mut answered: usize) {
        while let Some(open) = self.questions.front_mut() {
            if let Some(left) = open.checked_sub(answered)
                && left > 0
            {
                *open = left;
                return;
            }
            answered = answered.saturating_sub(*open);
            self.questions.pop_front();
        }
    }

    pub fn take_requests(&mut self) -> Vec<BlockHash> {
        self.questions.clear();
        self.requests.drain(..).collect()
    }

    pub fn is_stalled(&self, now: Duration) -> bool {
        let late = |since: Duration| now.saturating_sub(since) >= STALL_TIMEOUT;
        let headers = matches!(self.headers, Headers::Asked { since, .. } if late(since));
        headers || (!self.requests.is_empty() && now >= self.deadline)
    }

    /// True if the peer is to be left.
    pub const fn on_stall(&mut self, now: Duration) -> bool {
        self.headers = Headers::Idle;
        self.stalls = self.stalls.saturating_add(1);
        self.sent = 0;
        let rest = REST_AFTER_STALL.saturating_mul(self.stalls);
        self.resting_until = now.saturating_add(rest);
        self.stalls >= STALLS_MAX
    }

    /// Its headers were of no use, perhaps only for now.
    pub fn rest(&mut self, now: Duration) {
        self.resting_until = self.resting_until.max(now.saturating_add(REST_AFTER_STALL));
    }

    pub fn on_miss(&mut self, now: Duration) {
        self.resting_until = self.resting_until.max(now.saturating_add(REST_AFTER_MISS));
    }

    /// It sent a block that it was asked for. A whole run of them makes up for a stall.
    pub fn on_success(&mut self) {
        self.sent = self.sent.saturating_add(1);
        if self.requests.is_empty() || self.sent >= BLOCKS_PER_REQUEST_MAX {
            self.stalls = 0;
        }
    }
}
