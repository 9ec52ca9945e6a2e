//! The chain service, as the wallet uses it.

use std::sync::Arc;
use std::time::Duration;

use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{
    GetHistoryRequest, GetInfoRequest, GetTransactionRequest, GetUtxosRequest,
    SubmitTransactionRequest,
};
use pentad_api::types::v1 as proto;
use pentad_api::{Connection, FieldError, transaction_from_bytes};
use pentad_crypto::{Address, AddressVersions, ScriptTemplate, classify};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{OutPoint, Script, Transaction, Txid};
use pentad_service_kit::sized;
use tokio::sync::OnceCell;
use tonic::{Code, Request, Status};

use crate::error::WalletError;

/// A chain service that has not answered by then is treated as one that is not there.
const DEADLINE: Duration = Duration::from_secs(10);
/// Addresses in one call.
const ADDRESSES_MAX: usize = 1000;
/// Outputs in one answer.
const PAGE_SIZE: u32 = 10_000;

/// What does not change while the network lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) versions: AddressVersions,
    /// Blocks until a coinbase output can be spent.
    pub(crate) maturity: u32,
    /// Units per 1000 bytes.
    pub(crate) min_fee_rate: u64,
}

/// An unspent output of one of our addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) outpoint: OutPoint,
    /// Units.
    pub(crate) amount: u64,
    pub(crate) address: Address,
    /// Blocks over it, its own counted; 0 in the mempool.
    pub(crate) confirmations: u32,
    pub(crate) from_coinbase: bool,
    pub(crate) mature: bool,
    pub(crate) spent_in_mempool: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ChainClient {
    reads: ChainServiceClient<Connection>,
    submit: SubmitServiceClient<Connection>,
    network: Arc<OnceCell<Network>>,
}

impl ChainClient {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            reads: sized!(ChainServiceClient::new(connection.clone())),
            submit: sized!(SubmitServiceClient::new(connection)),
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
        })
    }

    /// The unspent outputs of addresses, those in the mempool included.
    pub(crate) async fn outputs(&self, addresses: &[Address]) -> Result<Vec<Output>, WalletError> {
        let versions = self.network().await?.versions;
        let mut outputs = Vec::new();
        for addresses in addresses.chunks(ADDRESSES_MAX) {
            let mut request = GetUtxosRequest {
                addresses: addresses.iter().map(|address| address.encode(&versions)).collect(),
                include_mempool: true,
                exclude_spent_in_mempool: false,
                page_size: PAGE_SIZE,
                page_token: String::new(),
            };
            loop {
                let answer = self.reads.clone().get_utxos(timed(request.clone())).await;
                let page = answer?.into_inner();
                for utxo in &page.utxos {
                    outputs.push(Output::from_message(utxo)?);
                }
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
        }
        Ok(outputs)
    }

    /// Whether an address was ever paid, on the main chain or in the mempool.
    pub(crate) async fn was_used(&self, address: Address) -> Result<bool, WalletError> {
        let text = address.encode(&self.network().await?.versions);
        let request = GetHistoryRequest { address: text, page_size: 1, page_token: String::new() };
        let history = self.reads.clone().get_history(timed(request)).await?.into_inner();
        Ok(!history.entries.is_empty() || !self.outputs(&[address]).await?.is_empty())
    }

    /// Hash of the tip, displayed hex.
    pub(crate) async fn tip(&self) -> Result<String, WalletError> {
        let answer = self.reads.clone().get_info(timed(GetInfoRequest {})).await;
        Ok(answer?.into_inner().tip)
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

impl Output {
    fn from_message(utxo: &proto::Utxo) -> Result<Self, WalletError> {
        let outpoint = utxo.outpoint.as_ref().ok_or_else(|| answer_error("no outpoint"))?;
        let output = utxo.output.as_ref().ok_or_else(|| answer_error("no output"))?;
        let script = hex::decode(&output.script_pubkey)
            .map_err(|_| answer_error("a script that is no hex"))?;
        let address = match classify(&Script::from(script)) {
            Some(ScriptTemplate::P2pkh(key_hash)) => Address::P2pkh(key_hash),
            Some(ScriptTemplate::P2sh(script_hash)) => Address::P2sh(script_hash),
            _ => return Err(answer_error("an output of an address that was not asked for")),
        };
        Ok(Self {
            outpoint: OutPoint::try_from(outpoint)?,
            amount: output.amount,
            address,
            confirmations: utxo.confirmations,
            from_coinbase: utxo.from_coinbase,
            mature: utxo.mature,
            spent_in_mempool: utxo.spent_in_mempool,
        })
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn answer_error(problem: &'static str) -> WalletError {
    WalletError::ChainAnswer(problem.to_owned())
}

impl From<FieldError> for WalletError {
    fn from(error: FieldError) -> Self {
        Self::ChainAnswer(error.to_string())
    }
}
