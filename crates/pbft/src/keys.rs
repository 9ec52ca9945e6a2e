//! Signatures as the core sees them.

use std::fmt;

use pentad_primitives::Hash256;

use crate::identifiers::ReplicaId;

/// A signature in its one compact form: r then s, 32 bytes each, big-endian, low S.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; Self::LEN]);

impl Signature {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// From its bytes; whether they are a signature, verification says.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

/// The keys of a network as one replica holds them: its own secret one, everyone's public ones.
///
/// The core signs and checks through it, so that a simulation can forge, and a model checker can
/// use names for keys.
pub trait Keys {
    /// Signs with the replica's own key. The same hash must always give the same signature, so
    /// that a message sent again is the same message.
    fn sign(&self, hash: &Hash256) -> Signature;

    /// Whether `signature` is `signer`'s for `hash`; false for one who is no replica.
    fn verify(&self, signer: ReplicaId, hash: &Hash256, signature: &Signature) -> bool;
}
