//! The chain service, as the wallet uses it.

use std::sync::Arc;
use std::time::Duration;

use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::event_service_client::EventServiceClient;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{
    FollowTipRequest, FollowTipResponse, GetHistoryRequest, GetInfoRequest, GetTransactionRequest,
    GetUtxosRequest, StreamBlocksRequest, StreamBlocksResponse, SubmitTransactionRequest,
};
use pentad_api::{Connection, FieldError, block_hash_from_hex, transaction_from_bytes};
use pentad_crypto::{Address, AddressVersions};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{BlockHash, Transaction, Txid};
use pentad_service_kit::sized;
use tokio::sync::OnceCell;
use tonic::{Code, Request, Status, Streaming};

use crate::error::WalletError;
use crate::ledger::Place;

/// A chain service that has not answered by then is treated as one that is not there.
const DEADLINE: Duration = Duration::from_secs(10);

/// What does not change while the network lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) versions: AddressVersions,
    /// Blocks until a coinbase output can be spent.
    pub(crate) maturity: u32,
    /// Units per 1000 bytes.
    pub(crate) min_fee_rate: u64,
    /// What a replacement pays on top of what it replaces, units per 1000 bytes of its own.
    pub(crate) replacement_fee_rate: u64,
}

/// Where the chain is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tip {
    pub(crate) height: u32,
    pub(crate) hash: BlockHash,
}

#[derive(Clone, Debug)]
pub(crate) struct ChainClient {
    reads: ChainServiceClient<Connection>,
    submit: SubmitServiceClient<Connection>,
    events: EventServiceClient<Connection>,
    network: Arc<OnceCell<Network>>,
}

impl ChainClient {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            reads: sized!(ChainServiceClient::new(connection.clone())),
            submit: sized!(SubmitServiceClient::new(connection.clone())),
            events: sized!(EventServiceClient::new(connection)),
            network: Arc::default(),
        }
    }

    /// Asked once, then remembered.
    pub(crate) async fn network(&self) -> Result<Network, WalletError> {
        self.network.get_or_try_init(|| self.fetch_network()).await.copied()
    }

    async fn fetch_network(&self) -> Result<Network, WalletError> {
        let answer = self.reads.clone().get_info(timed(GetInfoRequest {})).await;
        let info = answer?.into_inner();
        let version = |number: u32| {
            u8::try_from(number).map_err(|_| answer_error("an address version that is no byte"))
        };
        Ok(Network {
            versions: AddressVersions {
                p2pkh: version(info.p2pkh_version)?,
                p2sh: version(info.p2sh_version)?,
            },
            maturity: info.coinbase_maturity,
            min_fee_rate: info.min_fee_rate,
            replacement_fee_rate: info.replacement_fee_rate,
        })
    }

    /// Whether an address was ever paid, on the main chain or in the mempool.
    pub(crate) async fn was_used(&self, address: Address) -> Result<bool, WalletError> {
        let address = address.encode(&self.network().await?.versions);
        let request =
            GetHistoryRequest { address: address.clone(), page_size: 1, page_token: String::new() };
        let history = self.reads.clone().get_history(timed(request)).await?.into_inner();
        if !history.entries.is_empty() {
            return Ok(true);
        }
        let request = GetUtxosRequest {
            addresses: vec![address],
            include_mempool: true,
            page_size: 1,
            ..GetUtxosRequest::default()
        };
        let unspent = self.reads.clone().get_utxos(timed(request)).await?.into_inner();
        Ok(!unspent.utxos.is_empty())
    }

    pub(crate) async fn tip(&self) -> Result<Tip, WalletError> {
        let answer = self.reads.clone().get_info(timed(GetInfoRequest {})).await?.into_inner();
        Ok(Tip { height: answer.height, hash: block_hash_from_hex("tip", &answer.tip)? })
    }

    /// What happens from the block at `place` on, or from the tip on.
    pub(crate) async fn follow(
        &self,
        place: Option<Place>,
    ) -> Result<Streaming<FollowTipResponse>, WalletError> {
        let cursor = place.map(|place| format!("{}:{}", place.height, place.hash));
        let request = FollowTipRequest {
            cursor: cursor.unwrap_or_default(),
            with_blocks: true,
            with_mempool: true,
        };
        Ok(self.events.clone().follow_tip(request).await?.into_inner())
    }

    /// The blocks of the main chain between two heights, both counted.
    pub(crate) async fn blocks(
        &self,
        from_height: u32,
        to_height: u32,
    ) -> Result<Streaming<StreamBlocksResponse>, WalletError> {
        let request = StreamBlocksRequest { from_height, to_height: Some(to_height) };
        Ok(self.reads.clone().stream_blocks(request).await?.into_inner())
    }

    /// Blocks over a transaction, its own counted: 0 in the mempool; `None` when it is unknown.
    pub(crate) async fn confirmations(&self, txid: Txid) -> Result<Option<u32>, WalletError> {
        let request = GetTransactionRequest { txid: txid.to_string() };
        match self.reads.clone().get_transaction(timed(request)).await {
            Ok(answer) => Ok(Some(answer.into_inner().confirmations)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    pub(crate) async fn transaction(&self, txid: Txid) -> Result<Transaction, WalletError> {
        let request = GetTransactionRequest { txid: txid.to_string() };
        let answer = self.reads.clone().get_transaction(timed(request)).await;
        let transaction = answer?.into_inner().transaction;
        let raw = transaction.ok_or_else(|| answer_error("no transaction"))?.raw;
        Ok(transaction_from_bytes("transaction.raw", &raw)?)
    }

    /// Succeeds also when the transaction is known already.
    pub(crate) async fn submit(&self, transaction: &Transaction) -> Result<(), Status> {
        let request = SubmitTransactionRequest {
            transaction: transaction.to_bytes().into(),
            ..Default::default()
        };
        self.submit.clone().submit_transaction(timed(request)).await.map(drop)
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

pub(crate) fn answer_error(problem: &'static str) -> WalletError {
    WalletError::ChainAnswer(problem.to_owned())
}

impl From<FieldError> for WalletError {
    fn from(error: FieldError) -> Self {
        Self::ChainAnswer(error.to_string())
    }
}
