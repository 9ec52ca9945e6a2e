//! Distance from the genesis block.

use std::fmt;

/// Distance of a block from genesis, in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHeight(u32);

impl BlockHeight {
    /// Height of the genesis block.
    pub const GENESIS: Self = Self(0);

    /// From a number of blocks.
    #[must_use]
    pub const fn new(height: u32) -> Self {
        Self(height)
    }

    /// As a number of blocks.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Height of a child.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// Height of the parent; none for genesis.
    #[must_use]
    pub fn prev(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

impl fmt::Display for BlockHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
