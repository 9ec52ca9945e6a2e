use pentad_primitives::{OutPoint, Utxo};

/// A readable set of unspent outputs at one tip.
pub trait UtxoView {
    /// Why a read can fail (storage); `Infallible` for memory.
    type Error: std::error::Error;

    /// The unspent output at this outpoint, if there is one.
    ///
    /// # Errors
    /// The storage's own.
    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, Self::Error>;
}

impl<V: UtxoView + ?Sized> UtxoView for &V {
    type Error = V::Error;

    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, Self::Error> {
        (**self).utxo(outpoint)
    }
}
