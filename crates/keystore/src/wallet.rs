use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use pentad_crypto::{Address, SecretKey, hd};
use zeroize::Zeroizing;

use crate::file::{Contents, Random, WalletFile};
use crate::origin::Origin;
use crate::secrets::Secrets;
use crate::signer::cosigner;
use crate::stored::Stored;
use crate::watch::{WatchFile, Watched};
use crate::{
    Chain, Cosigner, Issued, KdfCost, KeyPath, KeystoreError, MultisigAccount, Passphrase, Policy,
    Signer, Unlock, WalletName,
};

/// Change addresses that one write of the file hands out: fewer than a search by words skips.
const CHANGE_AHEAD: usize = 16;

/// One wallet. Its addresses are known while it is locked; its keys are in memory only while it is
/// unlocked.
pub struct Wallet {
    name: WalletName,
    path: PathBuf,
    origin: Origin,
    /// Held while the file is written, so that no index is handed out twice.
    file: Mutex<Stored>,
    addresses: RwLock<Addresses>,
    /// Change addresses of payments that were not made.
    spare_change: Mutex<Vec<Address>>,
    policy: RwLock<Option<Arc<Policy>>>,
    open: Mutex<Option<Open>>,
}

/// What was handed out so far.
#[derive(Debug, Default)]
struct Addresses {
    receive: Vec<Address>,
    change: Vec<Address>,
    paths: HashMap<Address, KeyPath>,
}

struct Open {
    signer: Signer,
    until: Option<Instant>,
}

impl Wallet {
    pub(crate) fn new(
        name: WalletName,
        path: PathBuf,
        file: Stored,
    ) -> Result<Self, KeystoreError> {
        let damaged = || KeystoreError::CannotOpen(name.clone());
        let origin = file.origin().ok_or_else(damaged)?;
        let mut addresses = Addresses::default();
        for chain in [Chain::Receive, Chain::Change] {
            let fixed = || (chain == Chain::Receive).then(|| origin.fixed()).flatten();
            let count = file.issued(chain).or_else(fixed).unwrap_or(0);
            let derived = origin.addresses(chain, count).ok_or_else(damaged)?;
            for (index, address) in (0..).zip(derived) {
                addresses.push(KeyPath { chain, index }, address);
            }
        }
        let policy = file.sealed().and_then(|file| file.policy.clone()).map(Arc::new);
        Ok(Self {
            name,
            path,
            origin,
            file: Mutex::new(file),
            addresses: RwLock::new(addresses),
            spare_change: Mutex::default(),
            policy: RwLock::new(policy),
            open: Mutex::default(),
        })
    }

    pub const fn name(&self) -> &WalletName {
        &self.name
    }

    /// Hands out the next address of a chain. It is in the file before it is in anybody's hands.
    /// Blocks on the disk.
    pub fn issue(&self, chain: Chain) -> Result<Address, KeystoreError> {
        let issued = self.issue_some(chain, 1)?;
        issued.first().copied().ok_or_else(|| self.exhausted())
    }

    /// The next addresses of a chain, all with one write: as many as there are, but one at least.
    fn issue_some(&self, chain: Chain, count: usize) -> Result<Vec<Address>, KeystoreError> {
        if self.origin.fixed().is_some() {
            return Err(KeystoreError::Fixed(self.name.clone()));
        }
        let mut file = self.file();
        let mut next = file.clone();
        let mut issued = Vec::with_capacity(count);
        while issued.len() < count
            && let Some(index) = next.issue(chain)
        {
            let path = KeyPath { chain, index };
            issued.push((path, self.address_at(path).ok_or_else(|| self.exhausted())?));
        }
        if issued.is_empty() {
            return Err(self.exhausted());
        }
        next.replace(&self.path).map_err(KeystoreError::io(&self.path))?;
        *file = next;
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        issued.iter().for_each(|(path, address)| addresses.push(*path, *address));
        Ok(issued.into_iter().map(|(_, address)| address).collect())
    }

    /// Takes addresses as handed out up to these counts: somebody else who has the same account
    /// did it. Blocks on the disk.
    pub fn issue_up_to(&self, counts: Issued) -> Result<(), KeystoreError> {
        let mut file = self.file();
        let mut next = file.clone();
        let mut places = Vec::new();
        for (chain, count) in [(Chain::Receive, counts.receive), (Chain::Change, counts.change)] {
            while next.issued(chain).is_some_and(|issued| issued < count) {
                let index = next.issue(chain).ok_or_else(|| self.exhausted())?;
                let path = KeyPath { chain, index };
                places.push((path, self.address_at(path).ok_or_else(|| self.exhausted())?));
            }
        }
        next.replace(&self.path).map_err(KeystoreError::io(&self.path))?;
        *file = next;
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        places.into_iter().for_each(|(path, address)| addresses.push(path, address));
        Ok(())
    }

    /// Addresses of each chain that were handed out; `None` where no more can be.
    pub fn issued(&self) -> Option<Issued> {
        let file = self.file();
        Some(Issued { receive: file.issued(Chain::Receive)?, change: file.issued(Chain::Change)? })
    }

    /// The address at a place, handed out or not.
    pub fn address_at(&self, path: KeyPath) -> Option<Address> {
        self.origin.address(path)
    }

    fn exhausted(&self) -> KeystoreError {
        KeystoreError::Exhausted(self.name.clone())
    }

    /// An address for change that is on disk already: one that came back or was issued ahead; of a
    /// wallet that has no more addresses its first.
    pub fn ready_change(&self) -> Option<Address> {
        match self.origin.fixed() {
            Some(_) => self.origin.address(crate::FIRST),
            None => self.spare_change().pop(),
        }
    }

    /// An address for change: one that is ready, or the next one. Blocks on the disk.
    pub fn change_address(&self) -> Result<Address, KeystoreError> {
        if let Some(ready) = self.ready_change() {
            return Ok(ready);
        }
        // Others hand out addresses of a watched account as well: none of those is kept.
        let count = if self.is_watch_only() { 1 } else { CHANGE_AHEAD };
        let mut issued = self.issue_some(Chain::Change, count)?;
        // The first one goes first.
        issued.reverse();
        let first = issued.pop().ok_or_else(|| self.exhausted())?;
        self.spare_change().extend(issued);
        Ok(first)
    }

    /// Takes back a change address that was not used: payments that fail leave no gaps in the
    /// chain, over which a wallet restored from its words could stop looking. The last one that
    /// comes back goes first.
    pub fn give_back(&self, change: Address) {
        if self.origin.fixed().is_none() {
            self.spare_change().push(change);
        }
    }

    fn spare_change(&self) -> MutexGuard<'_, Vec<Address>> {
        self.spare_change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Wallet::addresses`], without change addresses that are kept ready.
    pub fn addresses_in_use(&self) -> Vec<Address> {
        let spare: HashSet<Address> = self.spare_change().iter().copied().collect();
        self.addresses().into_iter().filter(|address| !spare.contains(address)).collect()
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
        let (_, signer) = self.reveal(passphrase)?;
        self.unlock_with(signer, time);
        Ok(())
    }

    /// The words that the wallet can be made of again. Blocks for as long as the KDF takes.
    pub fn words(&self, passphrase: &Passphrase) -> Result<Zeroizing<String>, KeystoreError> {
        let entropy = self.entropy(passphrase)?;
        hd::mnemonic_from_entropy(&entropy).map_err(|_| self.cannot_open())
    }

    /// How others name this wallet's key in an account of several. Blocks for as long as the KDF
    /// takes.
    pub fn cosigner(&self, passphrase: &Passphrase) -> Result<Cosigner, KeystoreError> {
        cosigner(&self.entropy(passphrase)?).map_err(|_| self.cannot_open())
    }

    fn entropy(&self, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        match self.reveal(passphrase)?.0 {
            Secrets::Entropy(entropy) => Ok(entropy),
            Secrets::Keys(_) => Err(KeystoreError::NoWords(self.name.clone())),
        }
    }

    /// One of its keys, for export. Blocks for as long as the KDF takes.
    pub fn export(
        &self,
        path: KeyPath,
        passphrase: &Passphrase,
    ) -> Result<SecretKey, KeystoreError> {
        let (_, signer) = self.reveal(passphrase)?;
        signer.key(path).map_err(|_| self.cannot_open())
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
        self.reseal(old, new, cost, |contents| contents.unlock = Unlock::Owner)
    }

    /// Puts another policy in the place of the present one, or none. Blocks for as long as the KDF
    /// takes, twice.
    pub fn set_policy(
        &self,
        passphrase: &Passphrase,
        policy: Option<Policy>,
    ) -> Result<(), KeystoreError> {
        let cost = self.file().sealed().map(WalletFile::cost).unwrap_or_default();
        self.reseal(passphrase, passphrase, cost, |contents| contents.policy.clone_from(&policy))?;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy.map(Arc::new);
        Ok(())
    }

    /// Replaces the file by one with other contents. No address is handed out meanwhile: the
    /// counts are in the file as well.
    fn reseal(
        &self,
        old: &Passphrase,
        new: &Passphrase,
        cost: KdfCost,
        change: impl FnOnce(&mut Contents),
    ) -> Result<(), KeystoreError> {
        let (secrets, _) = self.reveal(old)?;
        let mut file = self.file();
        let sealed = file.sealed().ok_or_else(|| self.watch_only())?;
        let mut contents = sealed.contents();
        change(&mut contents);
        let next = WalletFile::seal(&secrets, contents, new, cost, Random::new()?)?;
        next.replace(&self.path).map_err(KeystoreError::io(&self.path))?;
        *file = Stored::Sealed(next);
        Ok(())
    }

    /// The secrets and the keys, if the passphrase is right.
    fn reveal(&self, passphrase: &Passphrase) -> Result<(Secrets, Signer), KeystoreError> {
        let file = self.file().sealed().cloned().ok_or_else(|| self.watch_only())?;
        let secrets = file.open(passphrase).map_err(|_| self.cannot_open())?;
        let signer = Signer::of(&secrets).map_err(|_| self.cannot_open())?;
        // Authenticated with the secrets, so this can only differ if the file was made wrong.
        let key = signer.key(crate::FIRST).map_err(|_| self.cannot_open())?;
        let first = Address::P2pkh(key.public_key().key_hash());
        if self.origin.address(crate::FIRST) != Some(first) {
            return Err(self.cannot_open());
        }
        Ok((secrets, signer))
    }

    /// Whether this passphrase opens the wallet, and its keys are those of its addresses. Blocks
    /// for as long as the KDF takes.
    pub fn prove(&self, passphrase: &Passphrase) -> Result<(), KeystoreError> {
        self.reveal(passphrase).map(drop)
    }

    /// What holds for its payments.
    pub fn policy(&self) -> Option<Arc<Policy>> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It has no keys of its own.
    pub fn is_watch_only(&self) -> bool {
        self.file().sealed().is_none()
    }

    /// The account of several that it is, and the wallet that signs for it here.
    pub fn multisig(&self) -> Option<(&MultisigAccount, String)> {
        let Origin::Multisig(account) = &self.origin else {
            return None;
        };
        match &*self.file() {
            Stored::Watched(WatchFile { watch: Watched::Multisig(entry), .. }) => {
                Some((account, entry.signer.clone()))
            }
            _ => None,
        }
    }

    /// Its file as it stands on the disk.
    pub fn file_text(&self) -> String {
        self.file().to_json()
    }

    fn file(&self) -> MutexGuard<'_, Stored> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch_only(&self) -> KeystoreError {
        KeystoreError::WatchOnly(self.name.clone())
    }

    fn cannot_open(&self) -> KeystoreError {
        KeystoreError::CannotOpen(self.name.clone())
    }

    pub(crate) fn unlock_with(&self, signer: Signer, time: Option<Duration>) {
        let until = time.map(|time| Instant::now() + time);
        *self.open() = Some(Open { signer, until });
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
            Some(open) => Ok(open.signer.clone()),
            None if self.is_watch_only() => Err(self.watch_only()),
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
