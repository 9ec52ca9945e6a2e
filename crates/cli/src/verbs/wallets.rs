use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pentad_api::wallet::v1::keystore_service_client::KeystoreServiceClient;
use pentad_api::wallet::v1::label::Subject;
use pentad_api::wallet::v1::{CreateWalletRequest, Label, ListWalletsRequest, Wallet as Listed};
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
    /// Of addresses that have one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

impl From<Listed> for Wallet {
    fn from(listed: Listed) -> Self {
        let label = |Label { subject, label }| match subject {
            Some(Subject::Address(address)) => Some((address, label)),
            Some(Subject::Txid(_)) | None => None,
        };
        let labels = listed.labels.into_iter().filter_map(label).collect();
        Self { wallet: listed.wallet, addresses: listed.addresses, labels }
    }
}

impl Answer for Wallets {
    fn to_table(&self) -> String {
        if self.wallets.is_empty() {
            return "no wallets yet; make one: pentad createwallet NAME".to_owned();
        }
        let row = |wallet: &Wallet| {
            let label = |address: &String| wallet.labels.get(address).cloned();
            let mut addresses = wallet
                .addresses
                .iter()
                .map(|address| [address.clone(), label(address).unwrap_or_default()]);
            let [first, label] = addresses.next().unwrap_or_default();
            let first = [wallet.wallet.clone(), first, label];
            let rest = addresses.map(|[address, label]| [String::new(), address, label]);
            [first].into_iter().chain(rest).collect::<Vec<_>>()
        };
        let rows = self.wallets.iter().flat_map(row);
        if self.wallets.iter().all(|wallet| wallet.labels.is_empty()) {
            let rows = rows.map(|[wallet, address, _]| [wallet, address]);
            return grid(["WALLET", "ADDRESS"], &[], rows.collect());
        }
        grid(["WALLET", "ADDRESS", "LABEL"], &[], rows.collect())
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
    console.answer(&Wallets { wallets: reply.wallets.into_iter().map(Wallet::from).collect() })
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
        let labels = BTreeMap::new();
        let bob = Wallet { wallet: "bob".to_owned(), addresses, labels };
        let mut wallets = Wallets { wallets: vec![bob] };
        assert_eq!(
            serde_json::to_string(&wallets).expect("JSON"),
            r#"{"wallets":[{"wallet":"bob","addresses":["1abc","1def"]}]}"#
        );
        assert_eq!(wallets.to_table(), "WALLET  ADDRESS\nbob     1abc\n        1def");
        wallets.wallets[0].labels.insert("1def".to_owned(), "shop".to_owned());
        let labelled = serde_json::to_value(&wallets).expect("JSON");
        assert_eq!(labelled["wallets"][0]["labels"]["1def"], "shop");
        assert_eq!(
            wallets.to_table(),
            "WALLET  ADDRESS  LABEL\nbob     1abc\n        1def     shop"
        );
    }
}
