//! The wallet file: JSON, one line for each field, format version 1.
//!
//! | field | authenticated | |
//! |---|---|---|
//! | `version` | yes | 1 |
//! | `unlock` | yes | who knows the passphrase: `owner`, or `service` (its passphrase file) |
//! | `kdf` | yes | Argon2id 1.3: cost and salt (16 bytes, hex) |
//! | `nonce` | yes | of XChaCha20-Poly1305 (24 bytes, hex) |
//! | `accounts` | but for the counts | extended public keys; addresses handed out of each chain |
//! | `keys` | yes | public keys of imported keys; left out where there are none |
//! | `policy` | yes | what holds for payments; left out where nothing does |
//! | `sealed` | yes | the secrets: items of kind, length, bytes (hex, tag included) |
//! | `check` | | damage shows while locked, too: see below |
//!
//! `check` is the first 8 bytes of sha256d over the file with zeros in their place. A file that is
//! not, to the byte, what this version writes is refused.
//!
//! The counts change while the wallet is locked, so no key can vouch for them; altered ones hide
//! addresses or derive a few too many, and can never name an address that is not the wallet's.
//! The rest is trusted while locked, and proven at every unlock.

use std::io;
use std::path::Path;

use pentad_whole_file::{PRIVATE_MODE, replace};
use serde::{Deserialize, Serialize};

use crate::seal::{CannotOpen, KdfCost, KdfCostError, NONCE_BYTES, SALT_BYTES, Sealing};
use crate::secrets::Secrets;
use crate::text::{self, CHECK_BYTES, Checked};
use crate::{Chain, KeystoreError, Passphrase, Policy, hex_text};

const VERSION: u32 = 1;
/// Binds the authenticated header to this format.
const DOMAIN: &[u8] = b"pentad wallet file";
/// Most addresses of a chain that a file may claim: bounds the time to derive them.
pub(crate) const ISSUED_MAX: u32 = 1_000_000;

/// Who knows the passphrase of a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlock {
    /// Its owner, who unlocks it for a while.
    Owner,
    /// The service, from its passphrase file: the wallet unlocks by itself.
    Service,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletFile {
    version: u32,
    pub(crate) unlock: Unlock,
    kdf: Kdf,
    #[serde(with = "hex_text")]
    nonce: [u8; NONCE_BYTES],
    pub(crate) accounts: Vec<Account>,
    /// Compressed public keys, hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<Policy>,
    #[serde(with = "hex_text")]
    sealed: Vec<u8>,
    #[serde(with = "hex_text")]
    check: [u8; CHECK_BYTES],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    #[serde(with = "hex_text")]
    salt: [u8; SALT_BYTES],
}

/// An account of BIP44: m/44'/coin_type'/account'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    pub(crate) coin_type: u32,
    pub(crate) account: u32,
    /// Extended public key of the account (BIP32).
    pub(crate) xpub: String,
    /// Receive addresses handed out.
    pub(crate) receive: u32,
    /// Change addresses used.
    pub(crate) change: u32,
}

impl Account {
    pub(crate) const fn is_bounded(&self) -> bool {
        self.receive <= ISSUED_MAX && self.change <= ISSUED_MAX
    }

    pub(crate) const fn issued_mut(&mut self, chain: Chain) -> &mut u32 {
        match chain {
            Chain::Receive => &mut self.receive,
            Chain::Change => &mut self.change,
        }
    }
}

/// Randomness that a new file needs.
pub(crate) struct Random {
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) nonce: [u8; NONCE_BYTES],
}

impl Random {
    pub(crate) fn new() -> Result<Self, KeystoreError> {
        let mut random = Self { salt: [0; _], nonce: [0; _] };
        for buffer in [random.salt.as_mut_slice(), &mut random.nonce] {
            getrandom::fill(buffer).map_err(KeystoreError::Randomness)?;
        }
        Ok(random)
    }
}

/// What of a new wallet file is in the clear.
pub(crate) struct Contents {
    pub(crate) unlock: Unlock,
    pub(crate) accounts: Vec<Account>,
    pub(crate) keys: Vec<String>,
    pub(crate) policy: Option<Policy>,
}

impl WalletFile {
    pub(crate) fn seal(
        secrets: &Secrets,
        contents: Contents,
        passphrase: &Passphrase,
        cost: KdfCost,
        random: Random,
    ) -> Result<Self, KdfCostError> {
        let KdfCost { memory_kib, passes, lanes } = cost;
        let Contents { unlock, accounts, keys, policy } = contents;
        let mut file = Self {
            version: VERSION,
            unlock,
            kdf: Kdf { memory_kib, passes, lanes, salt: random.salt },
            nonce: random.nonce,
            accounts,
            keys,
            policy,
            sealed: Vec::new(),
            check: [0; CHECK_BYTES],
        };
        file.sealed = file.sealing(&file.header()).seal(passphrase, &secrets.to_bytes())?;
        Ok(file)
    }

    /// What is in the clear, for a file that takes the place of this one.
    pub(crate) fn contents(&self) -> Contents {
        let Self { unlock, accounts, keys, policy, .. } = self.clone();
        Contents { unlock, accounts, keys, policy }
    }

    pub(crate) const fn cost(&self) -> KdfCost {
        let Kdf { memory_kib, passes, lanes, .. } = self.kdf;
        KdfCost { memory_kib, passes, lanes }
    }

    /// The secrets, if the passphrase is right and nothing was altered.
    pub(crate) fn open(&self, passphrase: &Passphrase) -> Result<Secrets, CannotOpen> {
        let bytes = self.sealing(&self.header()).open(passphrase, &self.sealed)?;
        Secrets::from_bytes(&bytes).ok_or(CannotOpen)
    }

    fn sealing<'a>(&'a self, header: &'a [u8]) -> Sealing<'a> {
        Sealing {
            cost: self.cost(),
            salt: &self.kdf.salt,
            nonce: &self.nonce,
            associated_data: header,
        }
    }

    /// What is authenticated in the clear: fields in order, each after its length (u32, as all
    /// numbers here little-endian).
    fn header(&self) -> Vec<u8> {
        let unlock = match self.unlock {
            Unlock::Owner => [0],
            Unlock::Service => [1],
        };
        let numbers = [self.version, self.kdf.memory_kib, self.kdf.passes, self.kdf.lanes];
        let mut header = Vec::new();
        put(&mut header, DOMAIN);
        for number in numbers {
            put(&mut header, &number.to_le_bytes());
        }
        put(&mut header, &self.kdf.salt);
        put(&mut header, &self.nonce);
        put(&mut header, &unlock);
        for account in &self.accounts {
            put(&mut header, &account.coin_type.to_le_bytes());
            put(&mut header, &account.account.to_le_bytes());
            put(&mut header, account.xpub.as_bytes());
        }
        for key in &self.keys {
            put(&mut header, b"key");
            put(&mut header, key.as_bytes());
        }
        if let Some(policy) = &self.policy {
            put(&mut header, b"policy");
            put(&mut header, policy.to_json().as_bytes());
        }
        header
    }

    pub(crate) fn to_json(&self) -> String {
        text::to_json(self)
    }

    /// Takes exactly what [`WalletFile::to_json`] writes, to the byte.
    pub(crate) fn from_json(json: &str) -> Result<Self, CannotOpen> {
        let file: Self = serde_json::from_str(json).map_err(|_| CannotOpen)?;
        let is_bounded = file.accounts.iter().all(Account::is_bounded);
        if file.version == VERSION && is_bounded && file.to_json() == json {
            Ok(file)
        } else {
            Err(CannotOpen)
        }
    }

    /// Replaces the file at once: after a crash it is the old one or the new one, whole.
    pub(crate) fn replace(&self, path: &Path) -> io::Result<()> {
        replace(path, self.to_json(), PRIVATE_MODE)
    }
}

impl Checked for WalletFile {
    fn set_check(&mut self, check: [u8; CHECK_BYTES]) {
        self.check = check;
    }
}

fn put(out: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).expect("fields come from a file of at most 1 MiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(field);
}
