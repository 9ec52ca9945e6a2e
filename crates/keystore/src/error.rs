use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{KdfCostError, WalletName};

/// Why the keystore did not do what it was asked.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// There is no such wallet.
    #[error("no wallet \"{0}\" on this node")]
    UnknownWallet(WalletName),
    /// The name is taken.
    #[error("there is a wallet \"{0}\" already")]
    WalletExists(WalletName),
    /// One error for a wrong passphrase and for every alteration of the file: who guesses learns
    /// nothing.
    #[error("cannot open wallet \"{0}\": wrong passphrase, or the wallet file was altered")]
    CannotOpen(WalletName),
    /// Its keys are sealed at the moment.
    #[error("wallet \"{0}\" is locked")]
    Locked(WalletName),
    /// It has no keys.
    #[error("wallet \"{0}\" is only watched: its keys are elsewhere")]
    WatchOnly(WalletName),
    /// Its keys were imported one by one.
    #[error("wallet \"{0}\" has no words: its keys were imported")]
    NoWords(WalletName),
    /// Its addresses are those that it was made with.
    #[error("wallet \"{0}\" has the addresses that it was made with, and no others")]
    Fixed(WalletName),
    /// No keys to import, or too many.
    #[error("keys: 1 to {max} are possible, not {0}", max = crate::KEYS_MAX)]
    KeyCount(usize),
    /// It has handed out all the addresses it can.
    #[error("wallet \"{0}\" has no more addresses")]
    Exhausted(WalletName),
    /// The cost in the configuration is out of bounds.
    #[error(transparent)]
    Cost(#[from] KdfCostError),
    /// The system gave no randomness.
    #[error("the system gave no randomness for new keys: {0}")]
    Randomness(getrandom::Error),
    /// A file or directory of the keystore cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl KeystoreError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
