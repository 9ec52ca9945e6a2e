//! Sealing secrets under a passphrase: Argon2id (RFC 9106), then XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::Deserialize;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::Passphrase;

/// Bytes of the KDF's salt.
pub(crate) const SALT_BYTES: usize = 16;
/// Bytes of the cipher's nonce: long enough to be drawn at random.
pub(crate) const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// Most memory that a wallet file may ask for: four times the default. A file that asks for more
/// is refused before anything is allocated.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Most passes over the memory that a wallet file may ask for.
const PASSES_MAX: u32 = 16;
/// Most lanes that a wallet file may ask for.
const LANES_MAX: u32 = 16;

/// What it costs to try one passphrase (Argon2id). The default is RFC 9106's second recommended
/// option: 64 MiB, three passes, four lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KdfCost {
    /// Memory in KiB; at least 8 for each lane, at most 262,144.
    pub memory_kib: u32,
    /// Passes over the memory, 1 to 16.
    pub passes: u32,
    /// Lanes, 1 to 16.
    pub lanes: u32,
}

impl Default for KdfCost {
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

/// The cost is outside of what is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the KDF cost must be at least 8 KiB a lane and at most {MEMORY_KIB_MAX} KiB, {PASSES_MAX} \
     passes, {LANES_MAX} lanes"
)]
pub struct KdfCostError;

impl KdfCost {
    /// Checks the bounds that hold for every wallet, so that no file can stall the service.
    ///
    /// # Errors
    /// When one of the three is out of bounds.
    pub fn check(&self) -> Result<(), KdfCostError> {
        self.params().map(drop)
    }

    fn params(&self) -> Result<Params, KdfCostError> {
        let bounded = self.memory_kib <= MEMORY_KIB_MAX
            && self.passes <= PASSES_MAX
            && self.lanes <= LANES_MAX;
        if !bounded {
            return Err(KdfCostError);
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES))
            .map_err(|_| KdfCostError)
    }

    fn derive(
        &self,
        passphrase: &Passphrase,
        salt: &[u8; SALT_BYTES],
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, KdfCostError> {
        let params = self.params()?;
        let mut memory = vec![Block::new(); params.block_count()];
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase.as_bytes(),
                salt,
                key.as_mut_slice(),
                &mut memory,
            );
        memory.iter_mut().for_each(Zeroize::zeroize);
        derived.map_err(|_| KdfCostError)?;
        Ok(key)
    }
}

/// The passphrase is wrong, or something was altered: there is no telling which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CannotOpen;

/// How one secret is sealed.
pub(crate) struct Sealing<'a> {
    pub(crate) cost: KdfCost,
    pub(crate) salt: &'a [u8; SALT_BYTES],
    pub(crate) nonce: &'a [u8; NONCE_BYTES],
    /// Authenticated with the secret, and stored in the clear beside it.
    pub(crate) associated_data: &'a [u8],
}

impl Sealing<'_> {
    /// Encrypts `secret`; the answer is 16 bytes longer.
    pub(crate) fn seal(
        &self,
        passphrase: &Passphrase,
        secret: &[u8],
    ) -> Result<Vec<u8>, KdfCostError> {
        let key = self.cost.derive(passphrase, self.salt)?;
        let payload = Payload { msg: secret, aad: self.associated_data };
        Ok(XChaCha20Poly1305::new((&*key).into())
            .encrypt(&XNonce::from(*self.nonce), payload)
            .expect("a wallet's secrets are far below the cipher's limit of 256 GiB"))
    }

    /// Decrypts what [`Sealing::seal`] made, or says no.
    pub(crate) fn open(
        &self,
        passphrase: &Passphrase,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let key = self.cost.derive(passphrase, self.salt).map_err(|_| CannotOpen)?;
        let payload = Payload { msg: sealed, aad: self.associated_data };
        XChaCha20Poly1305::new((&*key).into())
            .decrypt(&XNonce::from(*self.nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| CannotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: KdfCost = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };

    fn sealing(associated_data: &[u8]) -> Sealing<'_> {
        Sealing { cost: CHEAP, salt: &[1; 16], nonce: &[2; 24], associated_data }
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned()).expect("valid")
    }

    #[test]
    fn opens_what_it_sealed() {
        let sealed = sealing(b"header").seal(&passphrase("a"), b"secret").expect("valid cost");
        assert_eq!(sealed.len(), 6 + 16);
        let secret = sealing(b"header").open(&passphrase("a"), &sealed).expect("right passphrase");
        assert_eq!(secret.as_slice(), b"secret");
    }

    #[test]
    fn wrong_passphrase_and_every_alteration_look_the_same() {
        let sealed = sealing(b"header").seal(&passphrase("a"), b"secret").expect("valid cost");
        assert_eq!(sealing(b"header").open(&passphrase("b"), &sealed), Err(CannotOpen));
        assert_eq!(sealing(b"Header").open(&passphrase("a"), &sealed), Err(CannotOpen));
        assert_eq!(sealing(b"header").open(&passphrase("a"), &[]), Err(CannotOpen));
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert_eq!(sealing(b"header").open(&passphrase("a"), &altered), Err(CannotOpen));
        }
    }

    #[test]
    fn absurd_cost_is_refused_before_memory_is_taken() {
        for cost in [
            KdfCost { memory_kib: u32::MAX, ..CHEAP },
            KdfCost { memory_kib: MEMORY_KIB_MAX + 1, ..CHEAP },
            KdfCost { memory_kib: 7, ..CHEAP },
            KdfCost { passes: 0, ..CHEAP },
            KdfCost { passes: PASSES_MAX + 1, ..CHEAP },
            KdfCost { lanes: 0, ..CHEAP },
            KdfCost { memory_kib: 1024, lanes: LANES_MAX + 1, ..CHEAP },
        ] {
            assert_eq!(cost.check(), Err(KdfCostError), "{cost:?}");
        }
        assert_eq!(KdfCost::default().check(), Ok(()));
    }

    /// Computed with the reference implementation (PyPI argon2-cffi). Pins variant, version and
    /// lengths, which old files depend on.
    #[test]
    fn derivation_never_changes() {
        let key = CHEAP.derive(&passphrase("passphrase"), b"salt salt salt 1").expect("valid");
        assert_eq!(
            hex::encode(*key),
            "68755cee5795d95c833dc0cee912a580ed77ba5822187b4acbfea123e7235ae7"
        );
    }
}
