//! Views, sequences and replicas: numbers that must not be mistaken for each other.

use std::fmt;

use pentad_primitives::BlockHeight;

/// A configuration in which one replica, `view mod n`, is the primary (section 4.1 of the paper).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View(u64);

impl View {
    /// The view that a network starts in.
    pub const ZERO: Self = Self(0);

    /// From its number.
    #[must_use]
    pub const fn new(view: u64) -> Self {
        Self(view)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The view after it; none after the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Place of a proposal in the order. Under engine pbft it is the block's height; 0 is genesis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// Genesis: agreed on before anything was said.
    pub const GENESIS: Self = Self(0);

    /// From its number.
    #[must_use]
    pub const fn new(sequence: u64) -> Self {
        Self(sequence)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sequence of the block at a height: the one conversion, for engine pbft only.
    #[must_use]
    pub fn from_height(height: BlockHeight) -> Self {
        Self(u64::from(height.get()))
    }

    /// Height of its block; none above the last height that there can be.
    #[must_use]
    pub fn to_height(self) -> Option<BlockHeight> {
        u32::try_from(self.0).map(BlockHeight::new).ok()
    }

    /// The one after it; none after the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The one before it; none before genesis.
    #[must_use]
    pub fn prev(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// `distance` further on, or the last one there is.
    #[must_use]
    pub const fn plus(self, distance: u64) -> Self {
        Self(self.0.saturating_add(distance))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A replica: its place in the validator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(u16);

impl ReplicaId {
    /// From its place in the validator set, the first being 0.
    #[must_use]
    pub const fn new(place: u16) -> Self {
        Self(place)
    }

    /// Its place in the validator set.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
