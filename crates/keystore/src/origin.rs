use std::num::NonZero;
use std::ops::Range;
use std::thread;

use pentad_crypto::hd::AccountPublicKey;
use pentad_crypto::{Address, PublicKey};

use crate::file::WalletFile;
use crate::watch::{WatchFile, Watched};
use crate::{Chain, KeyPath, MultisigAccount, account_address};

/// Addresses that are derived together: enough for what they share to cost each next to nothing.
const BATCH: u32 = 256;

/// What the addresses of a wallet are made of.
#[derive(Debug)]
pub(crate) enum Origin {
    /// An account of BIP44: of the wallet's words, or watched.
    Account(AccountPublicKey),
    /// Keys that were imported.
    Keys(Vec<PublicKey>),
    /// Addresses that are watched.
    Addresses(Vec<Address>),
    /// Keys of several, who sign together.
    Multisig(MultisigAccount),
}

impl Origin {
    /// `None` when the file makes no sense.
    pub(crate) fn of_sealed(file: &WalletFile) -> Option<Self> {
        match (file.accounts.as_slice(), file.keys.as_slice()) {
            ([account], []) => Some(Self::Account(account.xpub.parse().ok()?)),
            ([], keys) => {
                let parse = |key: &String| PublicKey::from_bytes(&hex::decode(key).ok()?).ok();
                Some(Self::Keys(keys.iter().map(parse).collect::<Option<_>>()?))
            }
            _ => None,
        }
    }

    /// `None` when the file makes no sense.
    pub(crate) fn of_watched(file: &WatchFile) -> Option<Self> {
        Some(match &file.watch {
            Watched::Account(account) => Self::Account(account.xpub.parse().ok()?),
            Watched::Addresses { addresses } => Self::Addresses(
                addresses.iter().map(|text| crate::watch::address(text)).collect::<Option<_>>()?,
            ),
            Watched::Multisig(multisig) => Self::Multisig(multisig.account()?),
        })
    }

    /// The address at a place; `None` where there is none.
    pub(crate) fn address(&self, path: KeyPath) -> Option<Address> {
        let fixed =
            || (path.chain == Chain::Receive).then(|| usize::try_from(path.index).ok()).flatten();
        match self {
            Self::Account(account) => account_address(account, path).ok(),
            Self::Keys(keys) => keys.get(fixed()?).map(|key| Address::P2pkh(key.key_hash())),
            Self::Addresses(addresses) => addresses.get(fixed()?).copied(),
            Self::Multisig(account) => account.address(path),
        }
    }

    /// The first addresses of a chain, derived on all cores; `None` where one is missing.
    pub(crate) fn addresses(&self, chain: Chain, count: u32) -> Option<Vec<Address>> {
        let batches: Vec<Range<u32>> = (0..count)
            .step_by(BATCH as usize)
            .map(|first| first..count.min(first.saturating_add(BATCH)))
            .collect();
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let shares = batches.chunks(batches.len().div_ceil(threads).max(1));
        let derive = |share: &[Range<u32>]| -> Option<Vec<Address>> {
            let batches = share.iter().map(|indexes| self.batch(chain, indexes.clone()));
            Some(batches.collect::<Option<Vec<_>>>()?.concat())
        };
        if batches.len() <= 1 {
            return derive(&batches);
        }
        thread::scope(|scope| {
            let started: Vec<_> = shares.map(|share| scope.spawn(move || derive(share))).collect();
            let derived = started.into_iter().map(|thread| thread.join().ok().flatten());
            Some(derived.collect::<Option<Vec<_>>>()?.concat())
        })
    }

    fn batch(&self, chain: Chain, indexes: Range<u32>) -> Option<Vec<Address>> {
        match self {
            Self::Account(account) => {
                let hashes = account.key_hashes(chain.number(), indexes).ok()?;
                Some(hashes.into_iter().map(Address::P2pkh).collect())
            }
            _ => indexes.map(|index| self.address(KeyPath { chain, index })).collect(),
        }
    }

    /// How many addresses there are, where no more can be derived.
    pub(crate) fn fixed(&self) -> Option<u32> {
        let count = match self {
            Self::Account(_) | Self::Multisig(_) => return None,
            Self::Keys(keys) => keys.len(),
            Self::Addresses(addresses) => addresses.len(),
        };
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    }
}
