/// What a broken rule says about the item and about whoever delivered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It can never be valid: remember its hash, blame its sender.
    Invalid,
    /// Its bytes are not those its hash stands for, or its certificate does not hold: blame the
    /// sender, keep the hash open.
    Mutation,
    /// It may become valid: blame nobody, forget it.
    Premature,
}

impl Fault {
    /// Score at which a peer is banned.
    pub const BAN_SCORE: u32 = 100;

    /// What its sender is charged; a peer is banned at [`BAN_SCORE`](Self::BAN_SCORE).
    #[must_use]
    pub const fn misbehavior(self) -> u32 {
        match self {
            Self::Invalid | Self::Mutation => Self::BAN_SCORE,
            Self::Premature => 0,
        }
    }
}
