/// What a wallet holds, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Mature outputs at the tip, spent in the mempool or not.
    pub(crate) confirmed: u64,
    /// What the mempool adds or takes away.
    pub(crate) pending: i64,
    /// Coinbase outputs that have not matured.
    pub(crate) immature: u64,
}
