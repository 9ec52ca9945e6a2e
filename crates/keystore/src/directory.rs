use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use pentad_crypto::{Address, SecretKey};
use pentad_whole_file::PRIVATE_MODE;

use crate::file::WalletFile;
use crate::secrets::Secrets;
use crate::stored::Stored;
use crate::watch::WatchFile;
use crate::{
    Issued, KdfCost, KeystoreError, Passphrase, Signer, Unlock, Wallet, WalletName, Watch, Words,
    import, new_wallet,
};

/// A wallet, or why it could not be loaded.
type Loaded = Result<Arc<Wallet>, KeystoreError>;

const EXTENSION: &str = "json";

/// The wallets of a node. The directory is the truth; what was read of it stays in memory. All
/// methods may read or write files, and those that take a passphrase hash it: they are for
/// blocking threads.
#[derive(Debug)]
pub struct Keystore {
    directory: PathBuf,
    cost: KdfCost,
    /// Opens the wallets that unlock by themselves.
    service: Option<Passphrase>,
    wallets: RwLock<BTreeMap<WalletName, Arc<Wallet>>>,
}

impl Keystore {
    /// Opens the wallets of a data directory, and unlocks those that unlock by themselves.
    pub fn open(
        directory: PathBuf,
        cost: KdfCost,
        service: Option<Passphrase>,
    ) -> Result<Self, KeystoreError> {
        cost.check()?;
        prepare_private(&directory)?;
        let keystore = Self { directory, cost, service, wallets: RwLock::default() };
        keystore.list()?;
        Ok(keystore)
    }

    /// Makes a wallet; without a passphrase of its owner, one that unlocks by itself. `None` when
    /// there is no passphrase at all.
    pub fn create(&self, name: &WalletName, owner: Option<&Passphrase>) -> Option<Loaded> {
        let (passphrase, unlock) = self.seal_of(owner)?;
        let made = || new_wallet(passphrase, unlock, self.cost);
        Some(self.add(name, unlock, made))
    }

    /// As [`Keystore::create`], of the words of a wallet that was, which has handed out so many
    /// addresses.
    pub fn restore(
        &self,
        name: &WalletName,
        words: &Words,
        issued: Issued,
        owner: Option<&Passphrase>,
    ) -> Option<Loaded> {
        let (passphrase, unlock) = self.seal_of(owner)?;
        let made = || {
            let file = words.seal(issued, unlock, passphrase, self.cost)?;
            Ok((file, words.secrets()))
        };
        Some(self.add(name, unlock, made))
    }

    /// As [`Keystore::create`], of keys that were made elsewhere.
    pub fn import(
        &self,
        name: &WalletName,
        keys: Vec<SecretKey>,
        owner: Option<&Passphrase>,
    ) -> Option<Loaded> {
        let (passphrase, unlock) = self.seal_of(owner)?;
        let made = || import(keys, passphrase, unlock, self.cost);
        Some(self.add(name, unlock, made))
    }

    /// Makes a wallet that has no keys.
    pub fn watch(&self, name: &WalletName, watch: &Watch) -> Loaded {
        let file = Stored::Watched(WatchFile::new(watch.to_entry()));
        let path = write_new(&self.directory, name, &file)?;
        Ok(self.remember(Wallet::new(name.clone(), path, file)?))
    }

    /// The wallet that a file's text (see [`Wallet::file_text`]) would make. It is not on the disk
    /// yet.
    pub fn read(&self, name: &WalletName, text: &str) -> Result<Wallet, KeystoreError> {
        let file =
            Stored::from_json(text).ok_or_else(|| KeystoreError::CannotOpen(name.clone()))?;
        Wallet::new(name.clone(), self.path(name), file)
    }

    /// Takes over a wallet that [`Keystore::read`] gave.
    pub fn adopt(&self, wallet: &Wallet) -> Loaded {
        let path = self.path(wallet.name());
        pentad_whole_file::create(&path, wallet.file_text(), PRIVATE_MODE)
            .map_err(cannot_create(&path, wallet.name()))?;
        self.load(wallet.name())
    }

    /// What a new wallet is sealed under.
    fn seal_of<'a>(&'a self, owner: Option<&'a Passphrase>) -> Option<(&'a Passphrase, Unlock)> {
        match (owner, &self.service) {
            (Some(owner), _) => Some((owner, Unlock::Owner)),
            (None, Some(service)) => Some((service, Unlock::Service)),
            (None, None) => None,
        }
    }

    fn add(
        &self,
        name: &WalletName,
        unlock: Unlock,
        made: impl FnOnce() -> Result<(WalletFile, Secrets), KeystoreError>,
    ) -> Loaded {
        if self.path(name).try_exists().map_err(KeystoreError::io(&self.directory))? {
            return Err(KeystoreError::WalletExists(name.clone()));
        }
        let (file, secrets) = made()?;
        let signer = Signer::of(&secrets).map_err(|_| KeystoreError::CannotOpen(name.clone()))?;
        let file = Stored::Sealed(file);
        let path = write_new(&self.directory, name, &file)?;
        let wallet = Wallet::new(name.clone(), path, file)?;
        if unlock == Unlock::Service {
            wallet.unlock_with(signer, None);
        }
        Ok(self.remember(wallet))
    }

    /// Seals a wallet under another passphrase; without the old one, from that of the service.
    /// `None` when there is no old one at all.
    pub fn change_passphrase(
        &self,
        wallet: &Wallet,
        old: Option<&Passphrase>,
        new: &Passphrase,
    ) -> Option<Result<(), KeystoreError>> {
        let old = old.or(self.service.as_ref())?;
        Some(wallet.change_passphrase(old, new, self.cost))
    }

    /// The wallet of this name.
    pub fn get(&self, name: &WalletName) -> Loaded {
        let known = self.wallets.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        match known {
            Some(wallet) => Ok(wallet),
            None => self.load(name),
        }
    }

    fn load(&self, name: &WalletName) -> Loaded {
        let path = self.path(name);
        let file = match Stored::read(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(KeystoreError::CannotOpen(name.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeystoreError::UnknownWallet(name.clone()));
            }
            Err(error) => return Err(KeystoreError::io(&path)(error)),
        };
        let unlock = file.sealed().map(|file| file.unlock);
        let wallet = Wallet::new(name.clone(), path, file)?;
        if let (Some(Unlock::Service), Some(service)) = (unlock, &self.service)
            && let Err(error) = wallet.unlock(service, None)
        {
            tracing::warn!(wallet = %name, %error, "the passphrase file does not open this wallet");
        }
        Ok(self.remember(wallet))
    }

    fn remember(&self, wallet: Wallet) -> Arc<Wallet> {
        let mut wallets = self.wallets.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have loaded it in the meantime: all must share one.
        let entry = wallets.entry(wallet.name().clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(wallet)))
    }

    /// All wallets in the order of their names; a damaged one as its name and the error.
    pub fn list(&self) -> Result<Vec<(WalletName, Loaded)>, KeystoreError> {
        let mut names = self.names().map_err(KeystoreError::io(&self.directory))?;
        names.sort_unstable();
        Ok(names.into_iter().map(|name| (name.clone(), self.get(&name))).collect())
    }

    fn names(&self) -> io::Result<Vec<WalletName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|extension| extension == EXTENSION)
                && let Some(Ok(name)) = stem.map(str::parse)
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The first of `wallet-1`, `wallet-2`, … that is free.
    pub fn free_name(&self) -> WalletName {
        (1_u64..)
            .filter_map(|number| format!("wallet-{number}").parse().ok())
            .find(|name| !self.path(name).exists())
            .expect("a directory does not hold 2^64 files")
    }

    /// The wallet that an address belongs to; one that has the key before one that watches it.
    pub fn owner(&self, address: &Address) -> Option<Arc<Wallet>> {
        let wallets = self.wallets.read().unwrap_or_else(PoisonError::into_inner);
        let owners = || wallets.values().filter(|wallet| wallet.key_path(address).is_some());
        owners().find(|wallet| !wallet.is_watch_only()).or_else(|| owners().next()).cloned()
    }

    /// Whether the key of an address is in one of the wallets.
    pub fn has_key(&self, address: &Address) -> bool {
        self.owner(address).is_some_and(|wallet| !wallet.is_watch_only())
    }

    /// The passphrase that the service itself knows.
    pub const fn service_passphrase(&self) -> Option<&Passphrase> {
        self.service.as_ref()
    }

    /// Wipes the keys of wallets whose time is over.
    pub fn lock_expired(&self, now: Instant) {
        let wallets = self.wallets.read().unwrap_or_else(PoisonError::into_inner);
        wallets.values().for_each(|wallet| wallet.lock_if_expired(now));
    }

    /// Whether the directory can be read.
    pub fn check(&self) -> Result<(), KeystoreError> {
        fs::read_dir(&self.directory).map(drop).map_err(KeystoreError::io(&self.directory))
    }

    fn path(&self, name: &WalletName) -> PathBuf {
        path(&self.directory, name)
    }
}

fn path(directory: &Path, name: &WalletName) -> PathBuf {
    directory.join(format!("{name}.{EXTENSION}"))
}

/// Makes the directory, open to its owner only.
pub fn prepare_private(directory: &Path) -> Result<(), KeystoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(KeystoreError::io(directory))
}

pub(crate) fn write_new(
    directory: &Path,
    name: &WalletName,
    file: &Stored,
) -> Result<PathBuf, KeystoreError> {
    let path = path(directory, name);
    file.create(&path).map_err(cannot_create(&path, name))?;
    Ok(path)
}

fn cannot_create(path: &Path, name: &WalletName) -> impl FnOnce(io::Error) -> KeystoreError {
    move |error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeystoreError::WalletExists(name.clone()),
        _ => KeystoreError::io(path)(error),
    }
}
