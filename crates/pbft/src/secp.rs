//! Keys of secp256k1.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pentad_crypto::SecretKey;
use pentad_primitives::Hash256;

use crate::identifiers::ReplicaId;
use crate::keys::{Keys, Signature};
use crate::validators::ValidatorSet;

/// Whether `signature` is `signer`'s for `hash`; false for one who is not in the set.
#[must_use]
pub fn verify(
    validators: &ValidatorSet,
    signer: ReplicaId,
    hash: &Hash256,
    signature: &Signature,
) -> bool {
    let Some(validator) = validators.get(signer) else {
        return false;
    };
    pentad_crypto::Signature::from_compact(signature.as_bytes())
        .is_ok_and(|signature| signature.verify(&validator.key, hash).is_ok())
}

/// A validator's secret key and the keys of its set.
#[derive(Clone)]
pub struct SecpKeys {
    own: ReplicaId,
    secret: SecretKey,
    validators: Arc<ValidatorSet>,
}

impl SecpKeys {
    /// The keys of the validator whose secret key this is; none if it is in no place of the set.
    #[must_use]
    pub fn new(secret: SecretKey, validators: Arc<ValidatorSet>) -> Option<Self> {
        let own = validators.find(&secret.public_key())?;
        Some(Self { own, secret, validators })
    }

    /// Whose secret key it is.
    #[must_use]
    pub const fn own(&self) -> ReplicaId {
        self.own
    }
}

impl Keys for SecpKeys {
    fn sign(&self, hash: &Hash256) -> Signature {
        Signature::from_bytes(self.secret.sign(hash).to_compact())
    }

    fn verify(&self, signer: ReplicaId, hash: &Hash256, signature: &Signature) -> bool {
        verify(&self.validators, signer, hash, signature)
    }
}

/// A place in a set names a key.
impl PartialEq for SecpKeys {
    fn eq(&self, other: &Self) -> bool {
        self.own == other.own && self.validators == other.validators
    }
}

impl Eq for SecpKeys {}

impl Hash for SecpKeys {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.own.hash(state);
    }
}

impl fmt::Debug for SecpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecpKeys").field("own", &self.own).finish_non_exhaustive()
    }
}
