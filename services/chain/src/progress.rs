/// How far opening a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Blocks dealt with in this phase.
    pub done: u64,
    /// Blocks to deal with in this phase; 0 where that is not known.
    pub total: u64,
}

/// What opening a chain is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The files are opened and mended.
    Opening,
    /// The index was thrown away: every block is verified again, signatures included.
    Verifying,
    /// The chain is open.
    Open,
}

impl Progress {
    /// Nothing done yet.
    pub const BEGIN: Self = Self { phase: Phase::Opening, done: 0, total: 0 };
}
