use std::io;
use std::path::Path;

use pentad_whole_file::PRIVATE_MODE;

use crate::file::{ISSUED_MAX, WalletFile};
use crate::origin::Origin;
use crate::watch::{WatchFile, Watched};
use crate::{Chain, text};

/// What stands in the file of a wallet.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Sealed(WalletFile),
    Watched(WatchFile),
}

impl Stored {
    /// `None` when the file is not, to the byte, what one of the two writes.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        Ok(text::read(path)?.and_then(|json| Self::from_json(&json)))
    }

    pub(crate) fn from_json(json: &str) -> Option<Self> {
        let sealed = WalletFile::from_json(json).ok().map(Self::Sealed);
        sealed.or_else(|| WatchFile::from_json(json).map(Self::Watched))
    }

    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Sealed(file) => file.to_json(),
            Self::Watched(file) => file.to_json(),
        }
    }

    /// Writes a new file; an existing one is left alone (`AlreadyExists`).
    pub(crate) fn create(&self, path: &Path) -> io::Result<()> {
        pentad_whole_file::create(path, self.to_json(), PRIVATE_MODE)
    }

    pub(crate) fn replace(&self, path: &Path) -> io::Result<()> {
        pentad_whole_file::replace(path, self.to_json(), PRIVATE_MODE)
    }

    pub(crate) fn origin(&self) -> Option<Origin> {
        match self {
            Self::Sealed(file) => Origin::of_sealed(file),
            Self::Watched(file) => Origin::of_watched(file),
        }
    }

    pub(crate) const fn sealed(&self) -> Option<&WalletFile> {
        match self {
            Self::Sealed(file) => Some(file),
            Self::Watched(_) => None,
        }
    }

    /// Addresses of a chain that were handed out, where more can be.
    pub(crate) fn issued(&self, chain: Chain) -> Option<u32> {
        self.clone().issued_mut(chain).copied()
    }

    fn issued_mut(&mut self, chain: Chain) -> Option<&mut u32> {
        match self {
            Self::Sealed(file) => Some(file.accounts.first_mut()?.issued_mut(chain)),
            Self::Watched(WatchFile { watch: Watched::Account(account), .. }) => {
                Some(account.issued_mut(chain))
            }
            Self::Watched(WatchFile { watch: Watched::Multisig(entry), .. }) => Some(match chain {
                Chain::Receive => &mut entry.receive,
                Chain::Change => &mut entry.change,
            }),
            Self::Watched(WatchFile { watch: Watched::Addresses { .. }, .. }) => None,
        }
    }

    /// Counts one more address; `None` at the bound.
    pub(crate) fn issue(&mut self, chain: Chain) -> Option<u32> {
        let issued = self.issued_mut(chain)?;
        let index = (*issued < ISSUED_MAX).then_some(*issued)?;
        *issued += 1;
        Some(index)
    }
}
