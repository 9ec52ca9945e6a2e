use std::fs;
use std::path::PathBuf;

use clap::Args;
use pentad_api::wallet::v1::keystore_service_client::KeystoreServiceClient;
use pentad_api::wallet::v1::{BackupWalletRequest, RestoreBackupRequest};
use serde::Serialize;

use super::wallets::read_passphrase;
use super::{KEYS_DEADLINE, READ_DEADLINE};
use crate::args::Globals;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::new_file::NewFile;
use crate::table::pairs;
use crate::target::Target;

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Name of the wallet
    pub wallet: String,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A wallet is made only if its name is free, the file is whole, and the passphrase opens it. With
--check nothing is made: do that with every backup, before you need it.")]
pub struct RestoreArgs {
    /// The file, as `pentad backup` wrote it
    pub file: PathBuf,
    /// Another name for the wallet
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub wallet: String,
    /// Where its passphrase stands, in place of the node's own passphrase file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Only look whether it could be restored
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Serialize)]
struct BackedUp {
    wallet: String,
    addresses: u32,
    file: String,
}

impl Answer for BackedUp {
    fn to_table(&self) -> String {
        pairs([
            ("wallet", self.wallet.clone()),
            ("addresses", self.addresses.to_string()),
            ("file", self.file.clone()),
        ])
    }

    fn next(&self) -> Vec<String> {
        vec![format!("pentad restore {} --check", self.file)]
    }
}

#[derive(Debug, Serialize)]
struct Restored {
    wallet: String,
    address: String,
    addresses: u32,
    /// Nothing was made.
    checked_only: bool,
}

impl Answer for Restored {
    fn to_table(&self) -> String {
        pairs([
            ("wallet", self.wallet.clone()),
            ("address", self.address.clone()),
            ("addresses", self.addresses.to_string()),
            ("restored", if self.checked_only { "no, it could be" } else { "yes" }.to_owned()),
        ])
    }
}

/// `backup WALLET --out FILE`.
///
/// # Errors
/// When there is no such wallet, the file is there already, or the node does not answer.
pub async fn backup(
    console: Console,
    globals: &Globals,
    arguments: &BackupArgs,
) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let file = NewFile::create_private(&arguments.out)?;
    let wallet = arguments.wallet.clone();
    let mut client = KeystoreServiceClient::new(target.connection());
    let request = BackupWalletRequest { wallet: wallet.clone() };
    let reply = target.call(READ_DEADLINE, client.backup_wallet(request)).await?;
    file.write(&reply.backup)?;
    let file = arguments.out.display().to_string();
    console.answer(&BackedUp { wallet, addresses: reply.addresses, file })
}

/// `restore FILE`.
///
/// # Errors
/// When the file is no whole backup, its passphrase is another, the wallet is there already, or
/// the node does not answer.
pub async fn restore(
    console: Console,
    globals: &Globals,
    arguments: &RestoreArgs,
) -> Result<(), Fault> {
    let backup = fs::read_to_string(&arguments.file).map_err(|error| {
        Fault::refused(format!("cannot read {}: {error}", arguments.file.display()))
    })?;
    let passphrase = match &arguments.passphrase_file {
        Some(path) => read_passphrase(path)?,
        None => String::new(),
    };
    let target = Target::of(globals)?;
    let (wallet, dry_run) = (arguments.wallet.clone(), arguments.check);
    let mut client = KeystoreServiceClient::new(target.connection());
    let request = RestoreBackupRequest { backup, passphrase, wallet, dry_run };
    let reply = target.call(KEYS_DEADLINE, client.restore_backup(request)).await?;
    console.answer(&Restored {
        wallet: reply.wallet,
        address: reply.address,
        addresses: reply.addresses,
        checked_only: arguments.check,
    })
}
