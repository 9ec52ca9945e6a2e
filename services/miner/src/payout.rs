//! Where rewards go.

use pentad_api::Connection;
use pentad_api::chain::v1::GetInfoResponse;
use pentad_api::wallet::v1::keystore_service_client::KeystoreServiceClient;
use pentad_api::wallet::v1::{CreateWalletRequest, ListWalletsRequest};
use pentad_crypto::{Address, AddressVersions};
use pentad_primitives::Script;
use tonic::{Code, Status};

use crate::error::MinerError;

/// The wallet that earns when no address is given.
const WALLET: &str = "miner";

/// An address and the script that pays it.
#[derive(Clone, Debug)]
pub(crate) struct Payout {
    pub(crate) address: String,
    pub(crate) script: Script,
}

impl Payout {
    pub(crate) fn to_address(address: &str, info: &GetInfoResponse) -> Result<Self, MinerError> {
        let versions = versions(info)?;
        let script = Address::decode(address, &versions)?.script_pubkey();
        Ok(Self { address: address.to_owned(), script })
    }
}

fn versions(info: &GetInfoResponse) -> Result<AddressVersions, MinerError> {
    let version = |number: u32| {
        u8::try_from(number).map_err(|_| MinerError::Template {
            problem: format!("address version {number} is no byte"),
        })
    };
    Ok(AddressVersions { p2pkh: version(info.p2pkh_version)?, p2sh: version(info.p2sh_version)? })
}

/// The first address of wallet `miner`, which is made if it is not there.
pub(crate) async fn miner_wallet_address(wallet: &Connection) -> Result<String, MinerError> {
    let refused = |status: Status| MinerError::Wallet(Box::new(status));
    let mut keystore = KeystoreServiceClient::new(wallet.clone());
    let request = CreateWalletRequest { wallet: WALLET.to_owned(), passphrase: String::new() };
    match keystore.create_wallet(request).await {
        Ok(created) => return Ok(created.into_inner().address),
        Err(status) if status.code() == Code::AlreadyExists => {}
        Err(status) => return Err(refused(status)),
    }
    let listed = keystore.list_wallets(ListWalletsRequest {}).await.map_err(refused)?.into_inner();
    listed
        .wallets
        .into_iter()
        .find(|wallet| wallet.wallet == WALLET)
        .and_then(|wallet| wallet.addresses.into_iter().next())
        .ok_or(MinerError::NoAddress)
}
