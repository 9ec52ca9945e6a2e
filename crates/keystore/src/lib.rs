//! Encrypted wallets.
//!
//! Wallets on disk: `<data>/wallets/<name>.json`, sealed under a passphrase, written atomically
//! with mode 0600. The table in `file.rs` gives the format.
//!
//! Keys follow BIP39 (12 words), BIP32 and BIP44: m/44'/1'/0'/chain/index, chain 0 for receiving
//! and 1 for change.

pub mod audit;
mod directory;
mod error;
mod file;
mod hex_text;
mod multisig;
mod name;
mod origin;
mod passphrase;
mod policy;
mod seal;
mod secrets;
mod signer;
mod stored;
mod text;
mod wallet;
mod watch;

use std::path::{Path, PathBuf};

use pentad_crypto::hd::{self, AccountKey, AccountPublicKey, DerivationError, Purpose};
use pentad_crypto::{Address, SecretKey};
use zeroize::Zeroizing;

pub use directory::{Keystore, prepare_private};
pub use error::KeystoreError;
pub use file::Unlock;
pub use multisig::{COSIGNERS_MAX, Cosigner, MultisigAccount, MultisigError};
pub use name::{InvalidName, WalletName};
pub use passphrase::{Passphrase, PassphraseError};
pub use policy::Policy;
pub use seal::{KdfCost, KdfCostError};
pub use signer::Signer;
pub use wallet::Wallet;
pub use watch::{WATCHED_MAX, Watch};

use file::{Account, Contents, Random, WalletFile};
use secrets::Secrets;
use stored::Stored;

/// Entropy of a new wallet: 12 words, and the 128 bits that secp256k1 is worth.
const ENTROPY_BYTES: usize = 16;
/// SLIP-44's coin type for networks that have none of their own.
const COIN_TYPE: u32 = 1;
/// New wallets have one account.
const ACCOUNT: u32 = 0;

/// Most keys of a wallet that were imported.
pub const KEYS_MAX: usize = 1000;
/// What a new wallet has handed out.
const NEW: Issued = Issued { receive: 1, change: 0 };

/// The first address of every wallet.
const FIRST: KeyPath = KeyPath { chain: Chain::Receive, index: 0 };

/// The two chains of an account (BIP44).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Addresses handed out to be paid.
    Receive,
    /// Addresses that get the change of our own payments.
    Change,
}

impl Chain {
    /// Its number in BIP44.
    const fn number(self) -> u32 {
        match self {
            Self::Receive => 0,
            Self::Change => 1,
        }
    }
}

/// A key of a wallet: chain and index of BIP44.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath {
    /// Which chain.
    pub chain: Chain,
    /// Its index on that chain.
    pub index: u32,
}

/// Where a node with this data directory keeps its wallets.
#[must_use]
pub fn wallets_directory(data_dir: &Path) -> PathBuf {
    data_dir.join("wallets")
}

/// Where a node with this data directory keeps its audit log.
#[must_use]
pub fn audit_log(data_dir: &Path) -> PathBuf {
    data_dir.join("audit.log")
}

/// Makes a wallet with fresh keys in a data directory, with no service running, and returns its
/// first address. Blocks for as long as `cost` asks for.
///
/// ```
/// use pentad_keystore::{KdfCost, Passphrase, Unlock};
/// # let data_dir = tempfile::tempdir()?;
/// # let cost = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
/// let passphrase = Passphrase::new("correct horse".to_owned())?;
/// let name = "genesis".parse()?;
/// let data_dir = data_dir.path();
/// let address = pentad_keystore::create(data_dir, &name, &passphrase, Unlock::Owner, cost)?;
/// println!("{}", address.encode(&Default::default()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the wallet exists, `cost` is out of bounds, or the file cannot be written.
pub fn create(
    data_dir: &Path,
    name: &WalletName,
    passphrase: &Passphrase,
    unlock: Unlock,
    cost: KdfCost,
) -> Result<Address, KeystoreError> {
    let directory = wallets_directory(data_dir);
    prepare_private(&directory)?;
    let words = new_words()?;
    let file = words.seal(NEW, unlock, passphrase, cost)?;
    directory::write_new(&directory, name, &Stored::Sealed(file))?;
    words.address(FIRST).map_err(|_| KeystoreError::Exhausted(name.clone()))
}

/// A wallet that has handed out its first address, and is not on disk yet.
fn new_wallet(
    passphrase: &Passphrase,
    unlock: Unlock,
    cost: KdfCost,
) -> Result<(WalletFile, Secrets), KeystoreError> {
    let words = new_words()?;
    Ok((words.seal(NEW, unlock, passphrase, cost)?, words.secrets()))
}

fn new_words() -> Result<Words, KeystoreError> {
    let mut entropy = Zeroizing::new(vec![0; ENTROPY_BYTES]);
    getrandom::fill(&mut entropy).map_err(KeystoreError::Randomness)?;
    Ok(Words::new(entropy).expect("128 bits are BIP39 entropy"))
}

/// A wallet of keys that were made elsewhere; one that is there twice counts once.
fn import(
    mut keys: Vec<SecretKey>,
    passphrase: &Passphrase,
    unlock: Unlock,
    cost: KdfCost,
) -> Result<(WalletFile, Secrets), KeystoreError> {
    let mut public = Vec::new();
    keys.retain(|key| {
        let text = hex::encode(key.public_key().to_bytes());
        let is_new = !public.contains(&text);
        if is_new {
            public.push(text);
        }
        is_new
    });
    if !(1..=KEYS_MAX).contains(&keys.len()) {
        return Err(KeystoreError::KeyCount(keys.len()));
    }
    let contents = Contents { unlock, accounts: Vec::new(), keys: public, policy: None };
    let secrets = Secrets::Keys(keys);
    Ok((WalletFile::seal(&secrets, contents, passphrase, cost, Random::new()?)?, secrets))
}

/// What a wallet can be made of again: the words of BIP39, and the account that they give.
pub struct Words {
    entropy: Zeroizing<Vec<u8>>,
    account: AccountKey,
}

/// Addresses of each chain that were handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Receive addresses.
    pub receive: u32,
    /// Change addresses.
    pub change: u32,
}

impl Words {
    /// Reads 12 to 24 English words.
    ///
    /// # Errors
    /// When a word is unknown or the checksum is wrong.
    pub fn parse(text: &str) -> Result<Self, DerivationError> {
        Self::new(hd::entropy_from_mnemonic(text)?)
    }

    fn new(entropy: Zeroizing<Vec<u8>>) -> Result<Self, DerivationError> {
        let account = account_key(&entropy, COIN_TYPE, ACCOUNT)?;
        Ok(Self { entropy, account })
    }

    /// One of its addresses.
    ///
    /// # Errors
    /// When the index is 2³¹ or more.
    pub fn address(&self, path: KeyPath) -> Result<Address, DerivationError> {
        account_address(&self.account.public(), path)
    }

    fn seal(
        &self,
        issued: Issued,
        unlock: Unlock,
        passphrase: &Passphrase,
        cost: KdfCost,
    ) -> Result<WalletFile, KeystoreError> {
        let account = Account {
            coin_type: COIN_TYPE,
            account: ACCOUNT,
            xpub: self.account.public().to_string(),
            receive: issued.receive,
            change: issued.change,
        };
        let (keys, policy) = (Vec::new(), None);
        let contents = Contents { unlock, accounts: vec![account], keys, policy };
        Ok(WalletFile::seal(&self.secrets(), contents, passphrase, cost, Random::new()?)?)
    }

    fn secrets(&self) -> Secrets {
        Secrets::Entropy(self.entropy.clone())
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Words([redacted])")
    }
}

/// The key of an account, from a wallet's entropy.
fn account_key(
    entropy: &[u8],
    coin_type: u32,
    account: u32,
) -> Result<AccountKey, DerivationError> {
    AccountKey::from_seed(&*hd::seed(entropy, "")?, Purpose::Single, coin_type, account)
}

/// The address at a place of an account.
///
/// # Errors
/// When the index is 2³¹ or more.
pub fn account_address(
    account: &AccountPublicKey,
    path: KeyPath,
) -> Result<Address, DerivationError> {
    let key = account.public_key(path.chain.number(), path.index)?;
    Ok(Address::P2pkh(key.key_hash()))
}
