//! Keys of a simulated network: names in place of curves, or real ones.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use pentad_crypto::SecretKey;
use pentad_pbft::secp::SecpKeys;
use pentad_pbft::{
    CommitCertificate, Domain, Keys, REPLICAS_MAX, ReplicaId, Signature, Statement, Validator,
    ValidatorSet,
};
use pentad_primitives::{Hash256, Script, sha256d};

use crate::ledger::{digest_of, genesis_digest};

/// The keys one node holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SimulatedKeys {
    /// A signature is the signer's number and the hash: nobody in the simulation writes another's
    /// number, except forgers, who write a wrong one on purpose.
    Symbolic { own: ReplicaId, replicas: u16 },
    /// secp256k1.
    Real(Box<SecpKeys>),
}

impl Keys for SimulatedKeys {
    fn sign(&self, hash: &Hash256) -> Signature {
        match self {
            Self::Symbolic { own, .. } => symbol(*own, hash),
            Self::Real(keys) => keys.sign(hash),
        }
    }

    fn verify(&self, signer: ReplicaId, hash: &Hash256, signature: &Signature) -> bool {
        match self {
            Self::Symbolic { replicas, .. } => {
                signer.get() < *replicas && *signature == symbol(signer, hash)
            }
            Self::Real(keys) => keys.verify(signer, hash, signature),
        }
    }
}

fn symbol(signer: ReplicaId, hash: &Hash256) -> Signature {
    let mut bytes = [0; Signature::LEN];
    bytes[..2].copy_from_slice(&signer.get().to_le_bytes());
    bytes[32..].copy_from_slice(hash.as_bytes());
    Signature::from_bytes(bytes)
}

/// A signature that is nobody's.
#[must_use]
pub const fn forged_signature() -> Signature {
    Signature::from_bytes([0x77; Signature::LEN])
}

fn secrets() -> &'static [(SecretKey, pentad_crypto::PublicKey)] {
    static SECRETS: OnceLock<Vec<(SecretKey, pentad_crypto::PublicKey)>> = OnceLock::new();
    SECRETS.get_or_init(|| {
        (0..REPLICAS_MAX)
            .map(|id| {
                let seed = sha256d(format!("validator {id}").as_bytes());
                let secret = SecretKey::from_bytes(seed.to_bytes()).expect("a hash is a key");
                let public = secret.public_key();
                (secret, public)
            })
            .collect()
    })
}

/// The validators and the signing domain of a network of `replicas`.
#[must_use]
pub fn network(replicas: u16) -> (Arc<ValidatorSet>, Domain) {
    let validators = (0..replicas)
        .map(|id| Validator {
            name: format!("validator{id}"),
            key: secrets()[usize::from(id)].1,
            payout: Script::from(vec![0x51]),
        })
        .collect();
    let validators = ValidatorSet::new(validators).expect("names and keys differ");
    let domain = Domain { chain: genesis_digest(), validators: validators.hash() };
    (Arc::new(validators), domain)
}

impl SimulatedKeys {
    /// The keys of replica `id` in a network of `validators`.
    #[must_use]
    pub fn of(id: u16, validators: &Arc<ValidatorSet>, are_real: bool) -> Self {
        if are_real {
            let secret = secrets()[usize::from(id)].0.clone();
            let keys = SecpKeys::new(secret, Arc::clone(validators)).expect("a validator's key");
            Self::Real(Box::new(keys))
        } else {
            Self::Symbolic { own: ReplicaId::new(id), replicas: validators.quorum().replicas() }
        }
    }

    /// Whether a quorum of distinct replicas committed to `body` at `height`: written anew here,
    /// so that a mistake in the core's own check shows.
    #[must_use]
    pub fn proves(
        &self,
        certificate: &CommitCertificate,
        height: u64,
        body: &[u8],
        domain: &Domain,
        validators: &ValidatorSet,
    ) -> bool {
        certificate.digest == digest_of(body)
            && certificate.sequence.get() == height
            && self.signed(certificate, domain, validators)
    }

    /// Whether a quorum of distinct replicas signed what a certificate says.
    #[must_use]
    pub fn signed(
        &self,
        certificate: &CommitCertificate,
        domain: &Domain,
        validators: &ValidatorSet,
    ) -> bool {
        let CommitCertificate { view, sequence, digest, .. } = *certificate;
        let statement = Statement::commit(view, sequence, digest);
        let signers: BTreeSet<ReplicaId> = certificate
            .signatures
            .iter()
            .filter(|(signer, signature)| {
                self.verify(*signer, &statement.signing_hash(domain, *signer), signature)
            })
            .map(|(signer, _)| *signer)
            .collect();
        signers.len() >= validators.quorum().quorum()
    }
}
