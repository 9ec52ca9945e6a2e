//! A keystore that knows one wallet at most.

use std::sync::{Arc, Mutex};

use pentad_api::Failure;
use pentad_api::wallet::v1::*;
use pentad_fakes::wallet::v1::keystore_service_server::{KeystoreService, KeystoreServiceServer};
use pentad_service_kit::Server;
use tonic::{Code, Request, Response, Status};

/// Address of wallet `miner`.
pub const ADDRESS: &str = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2";

#[derive(Clone, Default)]
pub struct FakeKeystore {
    wallet: Arc<Mutex<Option<String>>>,
}

impl FakeKeystore {
    pub fn add_to(&self, server: Server) -> Server {
        server.service(KeystoreServiceServer::new(self.clone()), [])
    }
}

#[tonic::async_trait]
impl KeystoreService for FakeKeystore {
    async fn create_wallet(
        &self,
        request: Request<CreateWalletRequest>,
    ) -> Result<Response<CreateWalletResponse>, Status> {
        let wallet = request.into_inner().wallet;
        let mut known = self.wallet.lock().expect("unpoisoned");
        if known.is_some() {
            return Err(Failure::new(Code::AlreadyExists, "WALLET_EXISTS", "it is there").into());
        }
        *known = Some(wallet.clone());
        Ok(Response::new(CreateWalletResponse { wallet, address: ADDRESS.to_owned() }))
    }

    async fn list_wallets(
        &self,
        _: Request<ListWalletsRequest>,
    ) -> Result<Response<ListWalletsResponse>, Status> {
        let known = self.wallet.lock().expect("unpoisoned").clone();
        let other = Wallet { wallet: "alice".to_owned(), ..Wallet::default() };
        let miner = known.map(|wallet| Wallet {
            wallet,
            addresses: vec![ADDRESS.to_owned(), "another".to_owned()],
            unlocked: true,
            ..Wallet::default()
        });
        Ok(Response::new(ListWalletsResponse {
            wallets: Some(other).into_iter().chain(miner).collect(),
        }))
    }
}
