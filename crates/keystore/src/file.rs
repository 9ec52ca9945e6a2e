//! The wallet file: JSON, one line for each field, format version 1.
//!
//! | field | authenticated | |
//! |---|---|---|
//! | `version` | yes | 1 |
//! | `unlock` | yes | who knows the passphrase: `owner`, or `service` (its passphrase file) |
//! | `kdf` | yes | Argon2id 1.3: cost and salt (16 bytes, hex) |
//! | `nonce` | yes | of XChaCha20-Poly1305 (24 bytes, hex) |
//! | `accounts` | but for the counts | extended public keys; addresses handed out of each chain |
//! | `sealed` | yes | the secrets: items of kind, length, bytes (hex, tag included) |
//! | `check` | | damage shows while locked, too: see below |
//!
//! `check` is the first 8 bytes of sha256d over the file with zeros in their place. A file that is
//! not, to the byte, what this version writes is refused.
//!
//! The counts change while the wallet is locked, so no key can vouch for them; altered ones hide
//! addresses or derive a few too many, and can never name an address that is not the wallet's.
//! The extended keys are trusted while locked, and proven at every unlock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pentad_crypto::sha256d;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::hex_text;
use crate::seal::{CannotOpen, KdfCost, KdfCostError, NONCE_BYTES, SALT_BYTES, Sealing};
use crate::{Chain, KeystoreError, Passphrase};

const VERSION: u32 = 1;
/// Binds the authenticated header to this format.
const DOMAIN: &[u8] = b"pentad wallet file";
/// Largest file that is read: thousands of accounts.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most addresses of a chain that a file may claim: bounds the time to derive them.
const ISSUED_MAX: u32 = 1_000_000;
const CHECK_BYTES: usize = 8;
/// Kind of a secret: BIP39 entropy. Later kinds get other numbers; unknown ones are refused.
const KIND_ENTROPY: u8 = 1;

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
    pub(crate) const fn issued(&self, chain: Chain) -> u32 {
        match chain {
            Chain::Receive => self.receive,
            Chain::Change => self.change,
        }
    }

    /// Counts one more address; `None` at the bound.
    pub(crate) fn issue(&mut self, chain: Chain) -> Option<u32> {
        let issued = match chain {
            Chain::Receive => &mut self.receive,
            Chain::Change => &mut self.change,
        };
        let index = (*issued < ISSUED_MAX).then_some(*issued)?;
        *issued += 1;
        Some(index)
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

impl WalletFile {
    pub(crate) fn seal(
        entropy: &[u8],
        accounts: Vec<Account>,
        unlock: Unlock,
        passphrase: &Passphrase,
        cost: KdfCost,
        random: Random,
    ) -> Result<Self, KdfCostError> {
        let KdfCost { memory_kib, passes, lanes } = cost;
        let mut file = Self {
            version: VERSION,
            unlock,
            kdf: Kdf { memory_kib, passes, lanes, salt: random.salt },
            nonce: random.nonce,
            accounts,
            sealed: Vec::new(),
            check: [0; CHECK_BYTES],
        };
        let length = u8::try_from(entropy.len()).expect("BIP39 entropy has at most 32 bytes");
        let mut secrets = Zeroizing::new(Vec::with_capacity(2 + entropy.len()));
        secrets.extend_from_slice(&[KIND_ENTROPY, length]);
        secrets.extend_from_slice(entropy);
        file.sealed = file.sealing(&file.header()).seal(passphrase, &secrets)?;
        Ok(file)
    }

    /// The entropy, if the passphrase is right and nothing was altered.
    pub(crate) fn open(&self, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let secrets = self.sealing(&self.header()).open(passphrase, &self.sealed)?;
        match secrets.as_slice() {
            [KIND_ENTROPY, length, entropy @ ..] if usize::from(*length) == entropy.len() => {
                Ok(Zeroizing::new(entropy.to_vec()))
            }
            _ => Err(CannotOpen),
        }
    }

    fn sealing<'a>(&'a self, header: &'a [u8]) -> Sealing<'a> {
        let Kdf { memory_kib, passes, lanes, ref salt } = self.kdf;
        Sealing {
            cost: KdfCost { memory_kib, passes, lanes },
            salt,
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
        header
    }

    fn to_json(&self) -> String {
        let mut unchecked = self.clone();
        unchecked.check = [0; CHECK_BYTES];
        let digest = sha256d(unchecked.json().as_bytes()).to_bytes();
        unchecked.check.copy_from_slice(&digest[..CHECK_BYTES]);
        unchecked.json()
    }

    fn json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("plain fields, text keys");
        json.push('\n');
        json
    }

    /// Takes exactly what [`WalletFile::to_json`] writes, to the byte.
    fn from_json(json: &str) -> Result<Self, CannotOpen> {
        let file: Self = serde_json::from_str(json).map_err(|_| CannotOpen)?;
        let bounded = file
            .accounts
            .iter()
            .all(|account| account.receive <= ISSUED_MAX && account.change <= ISSUED_MAX);
        if file.version == VERSION && bounded && file.to_json() == json {
            Ok(file)
        } else {
            Err(CannotOpen)
        }
    }

    pub(crate) fn read(path: &Path) -> io::Result<Result<Self, CannotOpen>> {
        let mut json = String::new();
        match File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut json) {
            Ok(_) => Ok(Self::from_json(&json)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(CannotOpen)),
            Err(error) => Err(error),
        }
    }

    /// Writes a new file; an existing one is left alone (`AlreadyExists`).
    pub(crate) fn create(&self, path: &Path) -> io::Result<()> {
        let temporary = self.write_temporary(path)?;
        // Unlike a rename, a link never replaces what is there.
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        linked?;
        sync_directory(path)
    }

    /// Replaces the file at once: after a crash it is the old one or the new one, whole.
    pub(crate) fn replace(&self, path: &Path) -> io::Result<()> {
        fs::rename(self.write_temporary(path)?, path)?;
        sync_directory(path)
    }

    fn write_temporary(&self, path: &Path) -> io::Result<PathBuf> {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        // What a crash left behind, perhaps with other permissions.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(self.to_json().as_bytes())?;
        file.sync_all()?;
        Ok(temporary)
    }
}

fn put(out: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).expect("fields come from a file of at most 1 MiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(field);
}

/// A new name is durable only once its directory is.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
