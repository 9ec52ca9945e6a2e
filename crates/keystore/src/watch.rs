//! The file of a wallet that is watched: it holds no key. JSON as a wallet's file, with the same
//! check: the first 8 bytes of sha256d over the file with zeros in their place. Nothing vouches
//! for it but its mode: whoever can write it can exchange the addresses.

use pentad_crypto::hd::AccountPublicKey;
use pentad_crypto::{Address, KeyHash, ScriptHash};
use serde::{Deserialize, Serialize};

use crate::file::Account;
use crate::multisig::MultisigEntry;
use crate::text::{self as file_text, CHECK_BYTES, Checked};
use crate::{ACCOUNT, COIN_TYPE, Issued, MultisigAccount, WalletName, hex_text};

/// Most addresses of a watched list.
pub const WATCHED_MAX: usize = 1000;
const VERSION: u32 = 1;

/// What a wallet without keys watches.
#[derive(Clone, Debug)]
pub enum Watch {
    /// All addresses of an account, of whose chains so many were handed out.
    Account(AccountPublicKey, Issued),
    /// These addresses.
    Addresses(Vec<Address>),
    /// An account of several.
    Multisig {
        /// Who signs, and how many of them.
        account: MultisigAccount,
        /// The wallet of this node whose key is one of theirs.
        signer: WalletName,
    },
}

impl Watch {
    pub(crate) fn to_entry(&self) -> Watched {
        match self {
            Self::Account(key, Issued { receive, change }) => Watched::Account(Account {
                coin_type: COIN_TYPE,
                account: ACCOUNT,
                xpub: key.to_string(),
                receive: *receive,
                change: *change,
            }),
            Self::Addresses(addresses) => {
                Watched::Addresses { addresses: addresses.iter().map(text).collect() }
            }
            Self::Multisig { account, signer } => {
                Watched::Multisig(MultisigEntry::new(account, signer.to_string()))
            }
        }
    }
}

/// What is watched, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub(crate) enum Watched {
    Account(Account),
    Addresses {
        /// `p2pkh:` or `p2sh:` and the hash in hex: networks write addresses differently.
        addresses: Vec<String>,
    },
    Multisig(MultisigEntry),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchFile {
    version: u32,
    pub(crate) watch: Watched,
    #[serde(with = "hex_text")]
    check: [u8; CHECK_BYTES],
}

impl WatchFile {
    pub(crate) fn new(watch: Watched) -> Self {
        Self { version: VERSION, watch, check: [0; CHECK_BYTES] }
    }

    pub(crate) fn to_json(&self) -> String {
        file_text::to_json(self)
    }

    /// Takes exactly what [`WatchFile::to_json`] writes.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        let file: Self = serde_json::from_str(json).ok()?;
        let is_bounded = match &file.watch {
            Watched::Account(account) => account.is_bounded(),
            Watched::Addresses { addresses } => (1..=WATCHED_MAX).contains(&addresses.len()),
            Watched::Multisig(multisig) => multisig.is_bounded(),
        };
        (file.version == VERSION && is_bounded && file.to_json() == json).then_some(file)
    }
}

impl Checked for WatchFile {
    fn set_check(&mut self, check: [u8; CHECK_BYTES]) {
        self.check = check;
    }
}

pub(crate) fn text(address: &Address) -> String {
    match address {
        Address::P2pkh(hash) => format!("p2pkh:{hash}"),
        Address::P2sh(hash) => format!("p2sh:{hash}"),
    }
}

pub(crate) fn address(text: &str) -> Option<Address> {
    let (kind, hash) = text.split_once(':')?;
    let hash = hex::decode(hash).ok()?.try_into().ok()?;
    match kind {
        "p2pkh" => Some(Address::P2pkh(KeyHash::from_bytes(hash))),
        "p2sh" => Some(Address::P2sh(ScriptHash::from_bytes(hash))),
        _ => None,
    }
}
