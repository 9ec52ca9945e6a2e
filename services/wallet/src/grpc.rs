//! The gRPC face of the wallets. Spans carry names of wallets, never passphrases.

mod audit;
mod history;
pub(crate) mod keystore;
mod labels;
mod policy;
mod psbt;
mod rescan;

use pentad_api::wallet::v1::wallet_service_server::WalletService;
use pentad_api::wallet::v1::{
    BumpFeeRequest, BumpFeeResponse, GetBalanceRequest, GetBalanceResponse, GetHistoryRequest,
    GetHistoryResponse, ListLabelsRequest, ListLabelsResponse, NewAddressRequest,
    NewAddressResponse, RescanRequest, SendRequest, SendResponse, SetLabelRequest,
    SetLabelResponse,
};
use pentad_keystore::{Chain, WalletName};
use pentad_primitives::encode::Encode as _;
use tonic::{Request, Response, Status};

use crate::error::WalletError;
use crate::labels::check;
use crate::ledger::LedgerError;
use crate::send::Sent;
use crate::wallets::Wallets;

#[tonic::async_trait]
impl WalletService for Wallets {
    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn new_address(
        &self,
        request: Request<NewAddressRequest>,
    ) -> Result<Response<NewAddressResponse>, Status> {
        let NewAddressRequest { wallet, label } = request.into_inner();
        let name = wallet.parse().map_err(WalletError::Name)?;
        check(&label).map_err(WalletError::from)?;
        let versions = self.inner.chain.network().await?.versions;
        let wallet = self.inner.wallet(name).await?;
        self.inner.has_room(wallet.name(), "", &label)?;
        let address = self.inner.issue(&wallet, Chain::Receive).await?.encode(&versions);
        if !label.is_empty() {
            self.inner.label(wallet.name(), vec![(address.clone(), label)]).await?;
        }
        Ok(Response::new(NewAddressResponse { address }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn get_balance(
        &self,
        request: Request<GetBalanceRequest>,
    ) -> Result<Response<GetBalanceResponse>, Status> {
        let name = request.into_inner().wallet.parse().map_err(WalletError::Name)?;
        let balance = self.balance(name).await?;
        let (confirmed, pending, immature) = (balance.confirmed, balance.pending, balance.immature);
        Ok(Response::new(GetBalanceResponse { confirmed, pending, immature }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn get_history(
        &self,
        request: Request<GetHistoryRequest>,
    ) -> Result<Response<GetHistoryResponse>, Status> {
        Ok(Response::new(history::page(&self.inner, request.into_inner()).await?))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn set_label(
        &self,
        request: Request<SetLabelRequest>,
    ) -> Result<Response<SetLabelResponse>, Status> {
        Ok(Response::new(labels::set(&self.inner, request.into_inner()).await?))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn list_labels(
        &self,
        request: Request<ListLabelsRequest>,
    ) -> Result<Response<ListLabelsResponse>, Status> {
        Ok(Response::new(labels::list(&self.inner, request.into_inner()).await?))
    }

    type RescanStream = rescan::Stream;

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet),
        err(level = "debug")
    )]
    async fn rescan(
        &self,
        request: Request<RescanRequest>,
    ) -> Result<Response<Self::RescanStream>, Status> {
        Ok(Response::new(rescan::begin(&self.inner, request.into_inner()).await?))
    }

    #[tracing::instrument(skip_all, err(level = "debug"))]
    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        let sent = Self::send(self, request.into_inner()).await?;
        Ok(Response::new(SendResponse {
            txid: signed_txid(&sent),
            fee: sent.fee,
            repeated_request: sent.repeated,
            transaction: sent.transaction.to_bytes().into(),
        }))
    }

    #[tracing::instrument(
        skip_all,
        fields(wallet = request.get_ref().wallet, txid = request.get_ref().txid),
        err(level = "debug")
    )]
    async fn bump_fee(
        &self,
        request: Request<BumpFeeRequest>,
    ) -> Result<Response<BumpFeeResponse>, Status> {
        let sent = Self::bump_fee(self, request.into_inner()).await?;
        Ok(Response::new(BumpFeeResponse {
            txid: signed_txid(&sent),
            fee: sent.fee,
            repeated_request: sent.repeated,
            transaction: sent.transaction.to_bytes().into(),
        }))
    }
}

/// The transaction id; empty while it is not signed: then it is another one.
fn signed_txid(sent: &Sent) -> String {
    let is_signed = sent.transaction.inputs.iter().all(|input| !input.script_sig.is_empty());
    if is_signed { sent.transaction.txid().to_string() } else { String::new() }
}

/// Rows in one answer, unless the caller says otherwise.
const PAGE_SIZE_DEFAULT: u32 = 100;
/// Rows in one answer, at most.
const PAGE_SIZE_MAX: u32 = 1_000;

/// How many rows an answer has.
const fn page_size(asked: u32) -> Result<usize, LedgerError> {
    match asked {
        0 => Ok(PAGE_SIZE_DEFAULT as usize),
        asked if asked <= PAGE_SIZE_MAX => Ok(asked as usize),
        asked => Err(LedgerError::PageSize { asked, most: PAGE_SIZE_MAX }),
    }
}

/// The name of a wallet; `None` when none is given.
fn named(wallet: &str) -> Result<Option<WalletName>, WalletError> {
    let given = (!wallet.is_empty()).then(|| wallet.parse());
    Ok(given.transpose()?)
}
