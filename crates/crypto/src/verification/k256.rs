use ::k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use ::k256::ecdsa::{Signature, VerifyingKey};
use pentad_primitives::Hash256;

use crate::keys::PublicKey;

/// A point on the curve other than infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point(VerifyingKey);

impl Point {
    /// From the compressed form, whose first byte is 2 or 3; `None` off the curve.
    pub(crate) fn from_compressed(bytes: &[u8; PublicKey::LEN]) -> Option<Self> {
        VerifyingKey::from_sec1_bytes(bytes).map(Self).ok()
    }

    /// The compressed form.
    pub(crate) fn to_compressed(self) -> [u8; PublicKey::LEN] {
        let point = self.0.to_sec1_point(true);
        let mut bytes = [0; PublicKey::LEN];
        bytes.iter_mut().zip(point.as_bytes()).for_each(|(target, byte)| *target = *byte);
        bytes
    }

    /// Whether a signature with low S is this key's for this hash.
    pub(crate) fn verifies(&self, signature: &Signature, hash: &Hash256) -> bool {
        self.0.verify_prehash(hash.as_bytes(), signature).is_ok()
    }
}

impl From<&VerifyingKey> for Point {
    fn from(key: &VerifyingKey) -> Self {
        Self(*key)
    }
}
