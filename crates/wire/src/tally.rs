//! What went over a link, by class.

use crate::Class;

/// What went in one class and direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of chunks, without what encrypts them.
    pub bytes: u64,
    /// Whole frames.
    pub frames: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: usize, frames: usize) {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(wide(bytes));
        self.frames = self.frames.saturating_add(wide(frames));
    }
}

/// Tallies of all classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    consensus: Tally,
    announcements: Tally,
    bulk: Tally,
}

impl Tallies {
    pub(crate) const fn new() -> Self {
        const NONE: Tally = Tally { bytes: 0, frames: 0 };
        Self { consensus: NONE, announcements: NONE, bulk: NONE }
    }

    /// The tally of a class.
    #[must_use]
    pub const fn of(&self, class: Class) -> Tally {
        match class {
            Class::Consensus => self.consensus,
            Class::Announcements => self.announcements,
            Class::Bulk => self.bulk,
        }
    }

    pub(crate) const fn of_mut(&mut self, class: Class) -> &mut Tally {
        match class {
            Class::Consensus => &mut self.consensus,
            Class::Announcements => &mut self.announcements,
            Class::Bulk => &mut self.bulk,
        }
    }
}
