//! Work that was given out, and where what comes back belongs.

use std::collections::VecDeque;
use std::sync::Arc;

use pentad_primitives::BlockHeader;
use pentad_primitives::pow::Target;

use crate::extra_nonce::ExtraNonce;
use crate::job::{Found, Job};

/// Work that can still be answered: the present one, and the ones before it that may have been
/// answered while the present one was on its way.
const KEPT: usize = 4;

/// One piece of work: a header for each slot.
#[derive(Debug)]
pub(crate) struct Gift {
    /// Tells it from any other that the same one was given.
    pub(crate) id: u64,
    pub(crate) job: Arc<Job>,
    /// The largest hash worth telling.
    pub(crate) target: Target,
    extra_nonces: Vec<u64>,
}

impl Gift {
    /// The headers to search, one for each slot.
    pub(crate) fn headers(&self) -> impl Iterator<Item = BlockHeader> {
        self.extra_nonces.iter().map(|extra_nonce| self.job.header(*extra_nonce))
    }

    /// What a slot found; `None` when there is no such slot.
    pub(crate) fn found(&self, slot: u32, time: u32, nonce: u32) -> Option<Found> {
        let extra_nonce = *self.extra_nonces.get(slot as usize)?;
        Some(Found { extra_nonce, time, nonce })
    }
}

/// What one worker, or the threads here, were given last.
#[derive(Debug, Default)]
pub(crate) struct Given {
    gifts: VecDeque<Gift>,
    last: u64,
}

impl Given {
    /// New work: `slots` headers that nobody else has.
    pub(crate) fn give(
        &mut self,
        job: &Arc<Job>,
        target: Target,
        slots: usize,
        numbers: &ExtraNonce,
    ) -> &Gift {
        self.last += 1;
        let extra_nonces = (0..slots).map(|_| numbers.next()).collect();
        let gift = Gift { id: self.last, job: Arc::clone(job), target, extra_nonces };
        self.gifts.truncate(KEPT - 1);
        self.gifts.push_front(gift);
        &self.gifts[0]
    }

    /// The work of this id, if it is not too long ago.
    pub(crate) fn find(&self, id: u64) -> Option<&Gift> {
        self.gifts.iter().find(|gift| gift.id == id)
    }

    /// Was there ever work of this id?
    pub(crate) const fn knew(&self, id: u64) -> bool {
        id >= 1 && id <= self.last
    }

    /// The id of the oldest work that can still be answered.
    pub(crate) fn oldest(&self) -> u64 {
        self.gifts.back().map_or(0, |gift| gift.id)
    }
}
