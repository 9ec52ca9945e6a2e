//! A keystore that knows one wallet at most.

use std::sync::{Arc, Mutex};

use pentad_api::Failure;
use pentad_api::wallet::v1::keystore_service_server::{KeystoreService, KeystoreServiceServer};
use pentad_api::wallet::v1::*;
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

    async fn unlock_wallet(
        &self,
        _: Request<UnlockWalletRequest>,
    ) -> Result<Response<UnlockWalletResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn lock_wallet(
        &self,
        _: Request<LockWalletRequest>,
    ) -> Result<Response<LockWalletResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn restore_wallet(
        &self,
        _: Request<RestoreWalletRequest>,
    ) -> Result<Response<RestoreWalletResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn show_words(
        &self,
        _: Request<ShowWordsRequest>,
    ) -> Result<Response<ShowWordsResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn change_passphrase(
        &self,
        _: Request<ChangePassphraseRequest>,
    ) -> Result<Response<ChangePassphraseResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn export_key(
        &self,
        _: Request<ExportKeyRequest>,
    ) -> Result<Response<ExportKeyResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn sign_message(
        &self,
        _: Request<SignMessageRequest>,
    ) -> Result<Response<SignMessageResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn verify_message(
        &self,
        _: Request<VerifyMessageRequest>,
    ) -> Result<Response<VerifyMessageResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn import_keys(
        &self,
        _: Request<ImportKeysRequest>,
    ) -> Result<Response<ImportKeysResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn watch_wallet(
        &self,
        _: Request<WatchWalletRequest>,
    ) -> Result<Response<WatchWalletResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn backup_wallet(
        &self,
        _: Request<BackupWalletRequest>,
    ) -> Result<Response<BackupWalletResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }

    async fn restore_backup(
        &self,
        _: Request<RestoreBackupRequest>,
    ) -> Result<Response<RestoreBackupResponse>, Status> {
        Err(Status::unimplemented("not asked by the miner"))
    }
}
