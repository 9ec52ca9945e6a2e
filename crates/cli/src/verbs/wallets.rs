use std::fs;
use std::path::Path;

use pentad_api::wallet::v1::keystore_service_client::KeystoreServiceClient;
use pentad_api::wallet::v1::{CreateWalletRequest, ListWalletsRequest};
use serde::Serialize;

use super::{KEYS_DEADLINE, READ_DEADLINE};
use crate::args::{CreateWalletArgs, Globals};
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::{grid, pairs};
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Created {
    wallet: String,
    address: String,
}

impl Answer for Created {
    fn to_table(&self) -> String {
        pairs([("wallet", self.wallet.clone()), ("address", self.address.clone())])
    }

    fn next(&self) -> Vec<String> {
        vec![
            format!("pentad send --from genesis --to {} --amount 100", self.address),
            format!("pentad balance {}", self.address),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Wallets {
    wallets: Vec<Wallet>,
}

#[derive(Debug, Serialize)]
struct Wallet {
    wallet: String,
    addresses: Vec<String>,
}

impl Answer for Wallets {
    fn to_table(&self) -> String {
        if self.wallets.is_empty() {
            return "no wallets yet; make one: pentad createwallet NAME".to_owned();
        }
        let row = |wallet: &Wallet| {
            let mut addresses = wallet.addresses.iter().cloned();
            let first = [wallet.wallet.clone(), addresses.next().unwrap_or_default()];
            let rest = addresses.map(|address| [String::new(), address]);
            [first].into_iter().chain(rest).collect::<Vec<_>>()
        };
        grid(["WALLET", "ADDRESS"], &[], self.wallets.iter().flat_map(row).collect())
    }
}

/// `createwallet [NAME]`.
///
/// # Errors
/// When the name is taken or none, the node has no passphrase for it, or does not answer.
pub async fn create_wallet(
    console: Console,
    globals: &Globals,
    arguments: &CreateWalletArgs,
) -> Result<(), Fault> {
    let passphrase = match &arguments.passphrase_file {
        Some(path) => read_passphrase(path)?,
        None => String::new(),
    };
    let target = Target::of(globals)?;
    let request = CreateWalletRequest { wallet: arguments.name.clone(), passphrase };
    let mut client = KeystoreServiceClient::new(target.connection());
    let reply = target.call(KEYS_DEADLINE, client.create_wallet(request)).await?;
    console.answer(&Created { wallet: reply.wallet, address: reply.address })
}

pub(super) fn read_passphrase(path: &Path) -> Result<String, Fault> {
    let text = fs::read_to_string(path)
        .map_err(|error| Fault::refused(format!("cannot read {}: {error}", path.display())))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Fault::refused(format!("{} holds no passphrase", path.display()))),
    }
}

/// `printwallet`.
///
/// # Errors
/// When the node does not answer or denies it.
pub async fn print_wallets(console: Console, globals: &Globals) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let mut client = KeystoreServiceClient::new(target.connection());
    let reply = target.call(READ_DEADLINE, client.list_wallets(ListWalletsRequest {})).await?;
    let wallets = reply.wallets.into_iter();
    console.answer(&Wallets {
        wallets: wallets
            .map(|wallet| Wallet { wallet: wallet.wallet, addresses: wallet.addresses })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let created = Created { wallet: "bob".to_owned(), address: "1abc".to_owned() };
        assert_eq!(
            serde_json::to_string(&created).expect("JSON"),
            r#"{"wallet":"bob","address":"1abc"}"#
        );
        let addresses = vec!["1abc".to_owned(), "1def".to_owned()];
        let wallets = Wallets { wallets: vec![Wallet { wallet: "bob".to_owned(), addresses }] };
        assert_eq!(
            serde_json::to_string(&wallets).expect("JSON"),
            r#"{"wallets":[{"wallet":"bob","addresses":["1abc","1def"]}]}"#
        );
        assert_eq!(wallets.to_table(), "WALLET  ADDRESS\nbob     1abc\n        1def");
    }
}
