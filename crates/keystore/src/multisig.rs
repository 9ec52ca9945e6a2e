//! Accounts of several, who sign together: m of n keys, each from another wallet.
//!
//! Cosigners exchange the extended public keys of their BIP87 accounts, m/87'/1'/0'. The address
//! at chain/index is P2SH of m-of-n over the keys at chain/index of all, sorted by their bytes
//! (BIP67): so the order in which cosigners are named does not matter. As a descriptor (BIP383):
//! `sh(sortedmulti(m,[fingerprint/87'/1'/0']xpub…/<0;1>/*,…))`.

use std::fmt;
use std::str::FromStr;

use pentad_crypto::hd::{AccountPublicKey, Fingerprint};
use pentad_crypto::script::Multisig;
use pentad_crypto::{Address, PublicKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::file::ISSUED_MAX;
use crate::{Chain, KeyPath};

/// Most cosigners: what a redeem script holds.
pub const COSIGNERS_MAX: usize = pentad_crypto::script::MULTISIG_KEYS_MAX;
const HARDENED: u32 = 1 << 31;

/// A cosigner, by the extended public key of an account: `[fingerprint/87'/1'/0']xpub…`, or the
/// `xpub…` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigner {
    /// Of the master key.
    fingerprint: Fingerprint,
    /// From the master key to the account; hardened numbers have their highest bit set.
    path: Vec<u32>,
    key: AccountPublicKey,
}

/// Why there is no such account.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MultisigError {
    /// A text that is no cosigner.
    #[error("cosigner {0}: expected xpub… or [fingerprint/87'/1'/0']xpub…")]
    Cosigner(usize),
    /// One key twice: it would count as two persons.
    #[error("cosigner {0} is there twice")]
    Twice(usize),
    /// More signatures than keys, or none.
    #[error("{required} of {cosigners} is not possible: 1 to 15 cosigners, 1 to all of them sign")]
    Count {
        /// Signatures.
        required: u32,
        /// Keys.
        cosigners: usize,
    },
}

impl Cosigner {
    pub(crate) const fn new(
        fingerprint: Fingerprint,
        path: Vec<u32>,
        key: AccountPublicKey,
    ) -> Self {
        Self { fingerprint, path, key }
    }

    /// Its account.
    #[must_use]
    pub const fn key(&self) -> &AccountPublicKey {
        &self.key
    }

    /// Where the key at a place of the account comes from, as BIP174 tells it: the fingerprint of
    /// the master key, and the path.
    #[must_use]
    pub fn derivation(&self, place: KeyPath) -> (Fingerprint, Vec<u32>) {
        let mut path = self.path.clone();
        path.extend([place.chain.number(), place.index]);
        (self.fingerprint, path)
    }
}

impl fmt::Display for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return write!(f, "{}", self.key);
        }
        write!(f, "[{}", hex::encode(self.fingerprint))?;
        for number in &self.path {
            let mark = if number & HARDENED == 0 { "" } else { "'" };
            write!(f, "/{}{mark}", number & !HARDENED)?;
        }
        write!(f, "]{}", self.key)
    }
}

impl FromStr for Cosigner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let Some(rest) = text.strip_prefix('[') else {
            let key: AccountPublicKey = text.parse().map_err(|_| ())?;
            return Ok(Self::new(key.fingerprint(), Vec::new(), key));
        };
        let (origin, key) = rest.split_once(']').ok_or(())?;
        let mut parts = origin.split('/');
        let fingerprint = hex::decode(parts.next().ok_or(())?).map_err(|_| ())?;
        let fingerprint = fingerprint.try_into().map_err(|_| ())?;
        let path = parts.map(number).collect::<Option<Vec<u32>>>().ok_or(())?;
        // An account stands three steps below its master key.
        if path.len() != 3 {
            return Err(());
        }
        Ok(Self::new(fingerprint, path, key.parse().map_err(|_| ())?))
    }
}

/// A number of a path; hardened ones end with `'` or `h`.
fn number(text: &str) -> Option<u32> {
    let plain = text.strip_suffix(['\'', 'h']);
    let number: u32 = plain.unwrap_or(text).parse().ok()?;
    let hardened = if plain.is_some() { HARDENED } else { 0 };
    (number < HARDENED).then_some(number | hardened)
}

/// m of n keys, each from another wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultisigAccount {
    required: u8,
    cosigners: Vec<Cosigner>,
}

impl MultisigAccount {
    /// `required` of the cosigners have to sign.
    ///
    /// # Errors
    /// When a cosigner is no extended public key of an account or is there twice, or there are too
    /// many of them or too few.
    pub fn new(required: u32, cosigners: &[String]) -> Result<Self, MultisigError> {
        let count = MultisigError::Count { required, cosigners: cosigners.len() };
        let possible = 1..=COSIGNERS_MAX.min(cosigners.len());
        let required = u8::try_from(required).ok().filter(|required| {
            cosigners.len() <= COSIGNERS_MAX && possible.contains(&usize::from(*required))
        });
        let required = required.ok_or(count)?;
        let mut account = Self { required, cosigners: Vec::new() };
        for (index, text) in (1..).zip(cosigners) {
            let cosigner: Cosigner = text.parse().map_err(|()| MultisigError::Cosigner(index))?;
            if account.cosigners.iter().any(|other| other.key == cosigner.key) {
                return Err(MultisigError::Twice(index));
            }
            account.cosigners.push(cosigner);
        }
        Ok(account)
    }

    /// How many have to sign.
    #[must_use]
    pub const fn required(&self) -> u8 {
        self.required
    }

    /// Whose keys count.
    #[must_use]
    pub fn cosigners(&self) -> &[Cosigner] {
        &self.cosigners
    }

    /// The keys at a place, in the order of the cosigners.
    #[must_use]
    pub fn keys(&self, place: KeyPath) -> Option<Vec<PublicKey>> {
        let key = |it: &Cosigner| it.key.public_key(place.chain.number(), place.index).ok();
        self.cosigners.iter().map(key).collect()
    }

    /// The script at a place, its keys sorted (BIP67).
    #[must_use]
    pub fn script(&self, place: KeyPath) -> Option<Multisig> {
        let mut keys = self.keys(place)?;
        keys.sort_unstable_by_key(PublicKey::to_bytes);
        Multisig::new(self.required, keys)
    }

    pub(crate) fn address(&self, place: KeyPath) -> Option<Address> {
        Some(Address::P2sh(self.script(place)?.script_hash()))
    }

    /// As an output descriptor (BIP380, BIP383, BIP389), without a checksum.
    #[must_use]
    pub fn descriptor(&self) -> String {
        let cosigners: Vec<String> =
            self.cosigners.iter().map(|cosigner| format!("{cosigner}/<0;1>/*")).collect();
        format!("sh(sortedmulti({},{}))", self.required, cosigners.join(","))
    }
}

/// As it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MultisigEntry {
    required: u32,
    cosigners: Vec<String>,
    /// The wallet of this node that signs.
    pub(crate) signer: String,
    pub(crate) receive: u32,
    pub(crate) change: u32,
}

impl MultisigEntry {
    pub(crate) fn new(account: &MultisigAccount, signer: String) -> Self {
        Self {
            required: account.required.into(),
            cosigners: account.cosigners.iter().map(ToString::to_string).collect(),
            signer,
            receive: 1,
            change: 0,
        }
    }

    pub(crate) fn account(&self) -> Option<MultisigAccount> {
        MultisigAccount::new(self.required, &self.cosigners).ok()
    }

    pub(crate) const fn is_bounded(&self) -> bool {
        self.receive <= ISSUED_MAX && self.change <= ISSUED_MAX
    }
}

impl KeyPath {
    /// The place as chain and index.
    #[must_use]
    pub const fn numbers(self) -> (u32, u32) {
        (self.chain.number(), self.index)
    }
}

impl Chain {
    /// Of its number in BIP44.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Receive),
            1 => Some(Self::Change),
            _ => None,
        }
    }
}
