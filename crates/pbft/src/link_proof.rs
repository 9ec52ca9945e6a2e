//! What shows other nodes that a link leads to a validator: its signature over the static key of
//! its node, which the link itself proves.

use std::sync::Arc;

use pentad_crypto::PublicKey;
use pentad_primitives::{Hash256, sha256d};

use crate::identifiers::ReplicaId;
use crate::keys::{Keys as _, Signature};
use crate::secp::{SecpKeys, verify};
use crate::validators::ValidatorSet;

/// In front of what is signed, and of nothing else that this key signs.
const TAG: &[u8] = b"pentad.validator-link.v1";

/// The validators of a network, one of them this node.
#[derive(Clone, Debug)]
pub struct LinkProofs {
    /// This validator's keys.
    pub keys: SecpKeys,
    /// All of them.
    pub validators: Arc<ValidatorSet>,
    /// The network.
    pub chain: Hash256,
}

impl LinkProofs {
    /// For a node of this static key: the validator's compressed public key, 33 bytes, and the
    /// compact signature, 64 bytes.
    #[must_use]
    pub fn make(&self, static_key: &[u8]) -> Option<Vec<u8>> {
        let own = self.validators.get(self.keys.own())?;
        let signature = self.keys.sign(&self.signed(static_key));
        Some([own.key.to_bytes().as_slice(), signature.as_bytes()].concat())
    }

    /// Whose proof it is for a node of this static key, if it is one.
    #[must_use]
    pub fn check(&self, static_key: &[u8], proof: &[u8]) -> Option<ReplicaId> {
        let (key, signature) = proof.split_first_chunk::<33>()?;
        let signer = self.validators.find(&PublicKey::from_bytes(key).ok()?)?;
        let signature = Signature::from_bytes(signature.try_into().ok()?);
        verify(&self.validators, signer, &self.signed(static_key), &signature).then_some(signer)
    }

    /// sha256d over the tag, the network and the static key.
    fn signed(&self, static_key: &[u8]) -> Hash256 {
        sha256d(&[TAG, self.chain.as_bytes(), static_key].concat())
    }
}

#[cfg(test)]
mod tests {
    use pentad_crypto::SecretKey;
    use pentad_primitives::Script;

    use super::*;
    use crate::validators::Validator;

    fn proofs(own: u8, chain: u8) -> LinkProofs {
        let secret = |byte| SecretKey::from_bytes([byte; 32]).expect("a key");
        let validator = |byte: u8| Validator {
            name: format!("v{byte}"),
            key: secret(byte).public_key(),
            payout: Script::default(),
        };
        let validators = Arc::new(ValidatorSet::new((1..=4).map(validator).collect()).expect("4"));
        let keys = SecpKeys::new(secret(own), Arc::clone(&validators)).expect("one of them");
        LinkProofs { keys, validators, chain: Hash256::from_bytes([chain; 32]) }
    }

    #[test]
    fn a_proof_is_good_for_one_node_of_one_network() {
        let (anna, bert) = (proofs(1, 9), proofs(2, 9));
        let node = [7; 32];
        let proof = bert.make(&node).expect("a proof");
        assert_eq!(proof.len(), 97);
        assert_eq!(anna.check(&node, &proof), Some(bert.keys.own()));
        assert_eq!(anna.check(&[8; 32], &proof), None, "of another node");
        assert_eq!(proofs(1, 8).check(&node, &proof), None, "of another network");
        for position in 0..proof.len() {
            let mut changed = proof.clone();
            changed[position] ^= 1;
            assert_eq!(anna.check(&node, &changed), None, "byte {position}");
        }
        for length in 0..proof.len() {
            assert_eq!(anna.check(&node, &proof[..length]), None);
        }
        assert_eq!(anna.check(&node, &[&proof[..], &[0]].concat()), None);
    }
}
