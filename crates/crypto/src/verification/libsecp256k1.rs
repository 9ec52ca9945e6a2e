use ::k256::ecdsa::{Signature, VerifyingKey};
use pentad_primitives::Hash256;
use secp256k1::{Message, ecdsa};

use crate::keys::PublicKey;

/// A point on the curve other than infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point(secp256k1::PublicKey);

impl Point {
    /// From the compressed form, whose first byte is 2 or 3; `None` off the curve.
    pub(crate) fn from_compressed(bytes: &[u8; PublicKey::LEN]) -> Option<Self> {
        secp256k1::PublicKey::from_byte_array_compressed(*bytes).map(Self).ok()
    }

    /// The compressed form.
    pub(crate) fn to_compressed(self) -> [u8; PublicKey::LEN] {
        self.0.serialize()
    }

    /// Whether a signature with low S is this key's for this hash.
    pub(crate) fn verifies(&self, signature: &Signature, hash: &Hash256) -> bool {
        let message = Message::from_digest(*hash.as_bytes());
        ecdsa::Signature::from_compact(&signature.to_bytes())
            .is_ok_and(|signature| ecdsa::verify(&signature, message, &self.0).is_ok())
    }
}

impl From<&VerifyingKey> for Point {
    #[allow(clippy::expect_used, reason = "the two libraries know the same curve")]
    fn from(key: &VerifyingKey) -> Self {
        // Uncompressed, so that no square root is needed.
        let point = key.to_sec1_point(false);
        let key = secp256k1::PublicKey::from_slice(point.as_bytes());
        Self(key.expect("a verifying key is on the curve"))
    }
}
