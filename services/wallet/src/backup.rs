//! Backups of wallets: the sealed file in one text, with what has to be right after a restore.
//!
//! JSON, one line for each field: `backup` (version 1), `wallet`, `time` (Unix seconds),
//! `addresses` (how many were handed out), `addresses_sha256` (over them in order: a kind byte, 0
//! P2PKH or 1 P2SH, and the hash of 20 bytes), `file` (the wallet's file), `labels` (pairs of an
//! address or a transaction id and its label; left out where there are none), `sha256` (over the
//! text with this field empty).

use std::sync::Arc;

use pentad_api::Failure;
use pentad_api::wallet::v1::{BackupWalletResponse, RestoreBackupRequest, RestoreBackupResponse};
use pentad_crypto::Address;
use pentad_keystore::audit::Event;
use pentad_keystore::{Passphrase, Wallet, WalletName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tonic::Code;

use crate::error::WalletError;
use crate::grpc::keystore::owners;
use crate::labels::{LABEL_BYTES_MAX, LABELS_MAX, check};
use crate::payment::unix_time;
use crate::wallets::Wallets;

const VERSION: u32 = 1;
/// Longest text that is looked at: twice the largest file of a wallet, and as many labels as there
/// can be, each byte of them escaped.
const BACKUP_BYTES_MAX: usize = (2 << 20) + LABELS_MAX * (2 * LABEL_BYTES_MAX + LABEL_FRAME_BYTES);
/// What stands around a label: a transaction id, quotes, line ends, spaces.
const LABEL_FRAME_BYTES: usize = 100;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    backup: u32,
    wallet: String,
    time: u64,
    addresses: u32,
    addresses_sha256: String,
    file: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<(String, String)>,
    sha256: String,
}

/// Why a backup cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BackupError {
    /// It is not what was written.
    #[error("the backup was altered, or is not whole: its checksum does not match")]
    Checksum,
    /// Not a backup at all, or of another version.
    #[error("not a backup of a wallet")]
    Format,
    /// What the file gives is not what the wallet had.
    #[error("the wallet in the backup has other addresses than it had when it was backed up")]
    Addresses,
    /// The same keys are here already.
    #[error("wallet \"{0}\" has the same addresses")]
    Present(WalletName),
}

/// What the caller is told.
pub(crate) fn backup_failure(error: &BackupError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        BackupError::Present(_) => failure(Code::AlreadyExists, "WALLET_EXISTS")
            .with_hint("nothing is to be restored: the wallet is there"),
        BackupError::Checksum | BackupError::Format | BackupError::Addresses => {
            failure(Code::InvalidArgument, "INVALID_BACKUP")
                .with_field("backup")
                .with_hint("use another copy of it")
        }
    }
}

impl Backup {
    fn of(wallet: &Wallet, labels: Vec<(String, String)>) -> Self {
        let addresses = wallet.addresses();
        let mut backup = Self {
            backup: VERSION,
            wallet: wallet.name().to_string(),
            time: unix_time(),
            addresses: count(&addresses),
            addresses_sha256: digest(&addresses),
            file: wallet.file_text(),
            labels,
            sha256: String::new(),
        };
        backup.sha256 = hex::encode(Sha256::digest(backup.to_json()));
        backup
    }

    fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("plain fields");
        json.push('\n');
        json
    }

    /// Takes what [`Backup::to_json`] writes; a line end at the end may be missing.
    fn from_json(text: &str) -> Result<Self, BackupError> {
        if text.len() > BACKUP_BYTES_MAX {
            return Err(BackupError::Format);
        }
        let backup: Self = serde_json::from_str(text).map_err(|_| BackupError::Format)?;
        if backup.backup != VERSION {
            return Err(BackupError::Format);
        }
        let unchecked = Self { sha256: String::new(), ..backup.clone() };
        let sha256 = hex::encode(Sha256::digest(unchecked.to_json()));
        let are_labels = backup.labels.len() <= LABELS_MAX
            && backup.labels.iter().all(|(_, label)| check(label).is_ok());
        let is_same = sha256 == backup.sha256 && backup.to_json().trim_end() == text.trim_end();
        if !are_labels {
            return Err(BackupError::Format);
        }
        is_same.then_some(backup).ok_or(BackupError::Checksum)
    }

    /// The wallet of the file must have the addresses that were handed out.
    fn check(&self, wallet: &Wallet) -> Result<(), BackupError> {
        let addresses = wallet.addresses();
        let is_same =
            count(&addresses) == self.addresses && digest(&addresses) == self.addresses_sha256;
        is_same.then_some(()).ok_or(BackupError::Addresses)
    }
}

fn count(addresses: &[Address]) -> u32 {
    u32::try_from(addresses.len()).unwrap_or(u32::MAX)
}

fn digest(addresses: &[Address]) -> String {
    let mut digest = Sha256::new();
    for address in addresses {
        match address {
            Address::P2pkh(hash) => digest.update([&[0], hash.as_bytes().as_slice()].concat()),
            Address::P2sh(hash) => digest.update([&[1], hash.as_bytes().as_slice()].concat()),
        }
    }
    hex::encode(digest.finalize())
}

impl Wallets {
    /// A wallet as one text.
    pub(crate) async fn back_up(
        &self,
        name: WalletName,
    ) -> Result<BackupWalletResponse, WalletError> {
        let wallet = self.inner.wallet(name).await?;
        let labels = self.inner.labels.list(wallet.name(), "", LABELS_MAX)?;
        let backup = Backup::of(&wallet, labels);
        self.inner.note(&wallet, Event::BackedUp).await?;
        Ok(BackupWalletResponse { backup: backup.to_json(), addresses: backup.addresses })
    }

    /// Makes a wallet of a text, once all is found to be right.
    pub(crate) async fn restore_backup(
        &self,
        request: RestoreBackupRequest,
    ) -> Result<RestoreBackupResponse, WalletError> {
        let RestoreBackupRequest { backup, passphrase, wallet, dry_run } = request;
        let given = owners(passphrase)?;
        let backup = Backup::from_json(&backup)?;
        let name =
            if wallet.is_empty() { &backup.wallet } else { &wallet }.parse::<WalletName>()?;
        let versions = self.inner.chain.network().await?.versions;
        let (time, addresses, labels) = (backup.time, backup.addresses, backup.labels.clone());
        let checked = self.inner.hashing(move |keystore| {
            let wallet = keystore.read(&name, &backup.file)?;
            backup.check(&wallet)?;
            let passphrase = given.as_ref().or(keystore.service_passphrase());
            prove(&wallet, passphrase)?;
            let first = wallet.addresses().first().copied();
            let present = first.and_then(|first| keystore.owner(&first));
            // What is watched may get its keys.
            let present = present.filter(|it| wallet.is_watch_only() || !it.is_watch_only());
            if let Some(present) = present {
                return Err(BackupError::Present(present.name().clone()).into());
            }
            Ok(if dry_run { Arc::new(wallet) } else { keystore.adopt(&wallet)? })
        });
        let wallet = checked.await?;
        if !dry_run {
            self.inner.looked_after(Arc::clone(&wallet))?;
            // What it has paid since it was backed up gave change to addresses that came later.
            self.inner.find_paid_addresses(&wallet).await?;
            self.inner.label(wallet.name(), labels).await?;
            self.inner.note(&wallet, Event::Restored).await?;
            tracing::info!(wallet = %wallet.name(), "wallet restored from a backup");
        }
        let address = wallet.addresses().first().map(|first| first.encode(&versions));
        Ok(RestoreBackupResponse {
            wallet: wallet.name().to_string(),
            address: address.unwrap_or_default(),
            addresses,
            time,
        })
    }
}

/// The keys must be those of the addresses, where there are any.
fn prove(wallet: &Wallet, passphrase: Option<&Passphrase>) -> Result<(), WalletError> {
    if wallet.is_watch_only() {
        return Ok(());
    }
    Ok(wallet.prove(passphrase.ok_or(WalletError::NoPassphrase)?)?)
}
