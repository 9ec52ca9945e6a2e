use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use pentad_crypto::hd::{self, AccountKey, AccountPublicKey, DerivationError};
use pentad_crypto::{Address, SecretKey};
use zeroize::Zeroizing;

use crate::file::{Random, WalletFile};
use crate::{
    Chain, KdfCost, KeyPath, KeystoreError, Passphrase, Unlock, WalletName, account_key, address,
};

/// One wallet. Its addresses are known while it is locked; its keys are in memory only while it is
/// unlocked.
pub struct Wallet {
    name: WalletName,
    path: PathBuf,
    account: AccountPublicKey,
    /// Held while the file is written, so that no index is handed out twice.
    file: Mutex<WalletFile>,
    addresses: RwLock<Addresses>,
    /// Change addresses of payments that were not made.
    spare_change: Mutex<Vec<Address>>,
    open: Mutex<Option<Open>>,
    /// Held while coins are chosen and claimed.
    pub spending: tokio::sync::Mutex<()>,
}

/// What was handed out so far.
#[derive(Debug, Default)]
struct Addresses {
    receive: Vec<Address>,
    change: Vec<Address>,
    paths: HashMap<Address, KeyPath>,
}

struct Open {
    account: AccountKey,
    until: Option<Instant>,
}

/// The keys of an unlocked wallet, for one payment.
pub struct Signer(AccountKey);

impl Signer {
    pub fn key(&self, path: KeyPath) -> Result<SecretKey, DerivationError> {
        self.0.secret_key(path.chain.number(), path.index)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer([redacted])")
    }
}

impl Wallet {
    pub(crate) fn new(
        name: WalletName,
        path: PathBuf,
        file: WalletFile,
    ) -> Result<Self, KeystoreError> {
        let damaged = || KeystoreError::CannotOpen(name.clone());
        let [entry] = file.accounts.as_slice() else {
            return Err(damaged());
        };
        let account: AccountPublicKey = entry.xpub.parse().map_err(|_| damaged())?;
        let mut addresses = Addresses::default();
        for chain in [Chain::Receive, Chain::Change] {
            for index in 0..entry.issued(chain) {
                let path = KeyPath { chain, index };
                addresses.push(path, address(&account, path).map_err(|_| damaged())?);
            }
        }
        Ok(Self {
            name,
            path,
            account,
            file: Mutex::new(file),
            addresses: RwLock::new(addresses),
            spare_change: Mutex::default(),
            open: Mutex::default(),
            spending: tokio::sync::Mutex::default(),
        })
    }

    pub const fn name(&self) -> &WalletName {
        &self.name
    }

    /// Hands out the next address of a chain. It is in the file before it is in anybody's hands.
    /// Blocks on the disk.
    pub fn issue(&self, chain: Chain) -> Result<Address, KeystoreError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = file.clone();
        let index = next.accounts.first_mut().and_then(|account| account.issue(chain));
        let index = index.ok_or_else(|| KeystoreError::Exhausted(self.name.clone()))?;
        let path = KeyPath { chain, index };
        let address = address(&self.account, path)
            .map_err(|_| KeystoreError::Exhausted(self.name.clone()))?;
        next.replace(&self.path).map_err(KeystoreError::io(&self.path))?;
        *file = next;
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        addresses.push(path, address);
        Ok(address)
    }

    /// An address for change: one that came back, or the next one. Blocks on the disk.
    pub fn change_address(&self) -> Result<Address, KeystoreError> {
        let spare = self.spare_change().pop();
        spare.map_or_else(|| self.issue(Chain::Change), Ok)
    }

    /// Takes back a change address that was not used: payments that fail leave no gaps in the
    /// chain, over which a wallet restored from its words could stop looking.
    pub fn give_back(&self, change: Address) {
        self.spare_change().push(change);
    }

    fn spare_change(&self) -> MutexGuard<'_, Vec<Address>> {
        self.spare_change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receive addresses, the first one first, then change addresses.
    pub fn addresses(&self) -> Vec<Address> {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        [addresses.receive.as_slice(), &addresses.change].concat()
    }

    /// Where an address of this wallet stands; `None` for addresses of others.
    pub fn key_path(&self, address: &Address) -> Option<KeyPath> {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        addresses.paths.get(address).copied()
    }

    /// Opens the wallet, for a while or until it is locked. Blocks for as long as the KDF takes.
    pub fn unlock(
        &self,
        passphrase: &Passphrase,
        time: Option<Duration>,
    ) -> Result<(), KeystoreError> {
        let (_, account) = self.reveal(passphrase)?;
        self.unlock_with(account, time);
        Ok(())
    }

    /// The words that the wallet can be made of again. Blocks for as long as the KDF takes.
    pub fn words(&self, passphrase: &Passphrase) -> Result<Zeroizing<String>, KeystoreError> {
        let (entropy, _) = self.reveal(passphrase)?;
        hd::mnemonic_from_entropy(&entropy).map_err(|_| self.cannot_open())
    }

    /// One of its keys, for export. Blocks for as long as the KDF takes.
    pub fn export(
        &self,
        path: KeyPath,
        passphrase: &Passphrase,
    ) -> Result<SecretKey, KeystoreError> {
        let (_, account) = self.reveal(passphrase)?;
        Signer(account).key(path).map_err(|_| self.cannot_open())
    }

    /// Seals the wallet under another passphrase, known to its owner. The file is replaced at once:
    /// after a crash the old passphrase opens it, or the new one. Blocks for as long as the KDF
    /// takes, twice.
    pub fn change_passphrase(
        &self,
        old: &Passphrase,
        new: &Passphrase,
        cost: KdfCost,
    ) -> Result<(), KeystoreError> {
        let (entropy, _) = self.reveal(old)?;
        // No address is handed out in between: the counts are in the file as well.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let accounts = file.accounts.clone();
        let next = WalletFile::seal(&entropy, accounts, Unlock::Owner, new, cost, Random::new()?)?;
        next.replace(&self.path).map_err(KeystoreError::io(&self.path))?;
        *file = next;
        Ok(())
    }

    /// The secrets, if the passphrase is right.
    fn reveal(
        &self,
        passphrase: &Passphrase,
    ) -> Result<(Zeroizing<Vec<u8>>, AccountKey), KeystoreError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let entropy = file.open(passphrase).map_err(|_| self.cannot_open())?;
        let entry = file.accounts.first().ok_or_else(|| self.cannot_open())?;
        let account = account_key(&entropy, entry.coin_type, entry.account)
            .map_err(|_| self.cannot_open())?;
        // Authenticated with the entropy, so this can only differ if the file was made wrong.
        if account.public() != self.account {
            return Err(self.cannot_open());
        }
        Ok((entropy, account))
    }

    fn cannot_open(&self) -> KeystoreError {
        KeystoreError::CannotOpen(self.name.clone())
    }

    pub(crate) fn unlock_with(&self, account: AccountKey, time: Option<Duration>) {
        let until = time.map(|time| Instant::now() + time);
        *self.open() = Some(Open { account, until });
    }

    /// Wipes the keys from memory.
    pub fn lock(&self) {
        *self.open() = None;
    }

    pub fn lock_if_expired(&self, now: Instant) {
        let mut open = self.open();
        if open.as_ref().and_then(|open| open.until).is_some_and(|until| until <= now) {
            *open = None;
            tracing::info!(wallet = %self.name, "locked: its time is over");
        }
    }

    pub fn is_unlocked(&self) -> bool {
        self.lock_if_expired(Instant::now());
        self.open().is_some()
    }

    /// The keys, if the wallet is unlocked.
    pub fn signer(&self) -> Result<Signer, KeystoreError> {
        self.lock_if_expired(Instant::now());
        match self.open().as_ref() {
            Some(open) => Ok(Signer(open.account.clone())),
            None => Err(KeystoreError::Locked(self.name.clone())),
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addresses {
    fn push(&mut self, path: KeyPath, address: Address) {
        match path.chain {
            Chain::Receive => self.receive.push(address),
            Chain::Change => self.change.push(address),
        }
        self.paths.insert(address, path);
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("name", &self.name).finish_non_exhaustive()
    }
}
