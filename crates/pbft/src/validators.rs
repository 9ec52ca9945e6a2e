//! Who the replicas of a network are.

use pentad_crypto::PublicKey;
use pentad_primitives::encode::{CompactSize, Encode as _};
use pentad_primitives::{Hash256, Script, sha256d};
use thiserror::Error;

use crate::identifiers::ReplicaId;
use crate::quorum::{Quorum, REPLICAS_MAX};

/// In front of what a validator set's hash covers.
const TAG: &[u8] = b"pentad.validators.v1";

/// One of those who order the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// Its name, of at most [`Validator::NAME_LEN_MAX`] bytes.
    pub name: String,
    /// Its key for consensus.
    pub key: PublicKey,
    /// Script of the output that its blocks pay to.
    pub payout: Script,
}

impl Validator {
    /// Most bytes of a name; its length is hashed as one byte.
    pub const NAME_LEN_MAX: usize = 64;
}

/// Why validators are no set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValidatorSetError {
    /// None, or too many.
    #[error("{0} validators; there must be 1 to {REPLICAS_MAX}")]
    Count(usize),
    /// A name that is empty or too long.
    #[error("validator name {0:?} must have 1 to 64 bytes")]
    Name(String),
    /// Two of the same name.
    #[error("two validators are called {0:?}")]
    DuplicateName(String),
    /// Two with the same key: one fault would count twice.
    #[error("validators {0:?} and {1:?} have the same key")]
    DuplicateKey(String, String),
}

/// The validators of a network, in the order of the chain spec, which makes their [`ReplicaId`]s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    validators: Vec<Validator>,
    quorum: Quorum,
}

impl ValidatorSet {
    /// From validators in the order of the chain spec.
    ///
    /// # Errors
    /// When there are none or too many, or two share a name or a key.
    pub fn new(validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        let quorum =
            Quorum::of(validators.len()).ok_or(ValidatorSetError::Count(validators.len()))?;
        let mut earlier: Vec<&Validator> = Vec::new();
        for validator in &validators {
            if !(1..=Validator::NAME_LEN_MAX).contains(&validator.name.len()) {
                return Err(ValidatorSetError::Name(validator.name.clone()));
            }
            for other in &earlier {
                if other.name == validator.name {
                    return Err(ValidatorSetError::DuplicateName(other.name.clone()));
                }
                if other.key == validator.key {
                    let names = (other.name.clone(), validator.name.clone());
                    return Err(ValidatorSetError::DuplicateKey(names.0, names.1));
                }
            }
            earlier.push(validator);
        }
        Ok(Self { validators, quorum })
    }

    /// How many there are, and what follows from it.
    #[must_use]
    pub const fn quorum(&self) -> Quorum {
        self.quorum
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, &Validator)> {
        self.quorum.ids().zip(&self.validators)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, replica: ReplicaId) -> Option<&Validator> {
        self.validators.get(usize::from(replica.get()))
    }

    /// The one with this key.
    #[must_use]
    pub fn find(&self, key: &PublicKey) -> Option<ReplicaId> {
        self.iter().find(|(_, validator)| validator.key == *key).map(|(replica, _)| replica)
    }

    /// sha256d over tag, count and each validator's key, payout script and name, in order.
    #[must_use]
    pub fn hash(&self) -> Hash256 {
        let mut bytes = TAG.to_vec();
        bytes.extend(self.quorum.replicas().to_le_bytes());
        for validator in &self.validators {
            bytes.extend(validator.key.to_bytes());
            CompactSize::of(validator.payout.len()).encode(&mut bytes);
            bytes.extend(validator.payout.as_bytes());
            bytes.extend(u8::try_from(validator.name.len()));
            bytes.extend(validator.name.as_bytes());
        }
        sha256d(&bytes)
    }
}
