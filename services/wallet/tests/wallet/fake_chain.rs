//! A chain service in memory: checks amounts, signatures and double spends as the real one does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::script_sig;
use pentad_api::chain::v1::chain_service_server::{ChainService, ChainServiceServer};
use pentad_api::chain::v1::submit_service_server::{SubmitService, SubmitServiceServer};
use pentad_api::chain::v1::*;
use pentad_api::{
    Failure, transaction_from_bytes, transaction_message, txid_from_hex, utxo_message,
};
use pentad_crypto::{Address, AddressVersions};
use pentad_primitives::{
    Amount, BlockHeight, Encode as _, OutPoint, Transaction, TxOut, Txid, Utxo, sha256,
};
use pentad_service_kit::Server;
use tonic::{Code, Request, Response, Status};

/// Unconfirmed transactions that one may hang on.
pub const ANCESTORS_MAX: usize = 25;
/// Units per 1000 bytes.
pub const MIN_FEE_RATE: u64 = 1000;
/// Pages are tiny, so that every test with a few outputs turns them.
const PAGE: usize = 3;

/// What goes wrong with submissions.
#[derive(Clone, Copy, Debug)]
pub enum Mishap {
    /// It never arrives.
    Lost,
    /// It arrives, the answer does not.
    AnswerLost,
    /// It is refused.
    Refused,
}

#[derive(Clone, Default)]
pub struct FakeChain(Arc<Mutex<State>>);

struct State {
    height: u32,
    /// Blocks until a coinbase output can be spent.
    maturity: u32,
    confirmed: BTreeMap<OutPoint, Utxo>,
    /// Whoever was given an output, spent or not.
    given: Vec<pentad_primitives::Script>,
    mempool: Vec<Transaction>,
    mined: BTreeMap<Txid, Mined>,
    mishap: Option<Mishap>,
    submissions: Vec<Txid>,
    /// In one of them a transaction has to stand before it arrives.
    audit_logs: Vec<PathBuf>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            height: 0,
            maturity: 100,
            confirmed: BTreeMap::new(),
            given: Vec::new(),
            mempool: Vec::new(),
            mined: BTreeMap::new(),
            mishap: None,
            submissions: Vec::new(),
            audit_logs: Vec::new(),
        }
    }
}

struct Mined {
    transaction: Transaction,
    height: u32,
}

impl FakeChain {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics with the lock")
    }

    /// Transactions are refused that no audit log of a service on this chain tells of.
    pub fn demand_entries(&self, audit_log: PathBuf) {
        self.state().audit_logs.push(audit_log);
    }

    pub fn add_to(&self, server: Server) -> Server {
        server
            .service(ChainServiceServer::new(self.clone()), [])
            .service(SubmitServiceServer::new(self.clone()), [])
    }

    /// Gives an address a confirmed output.
    pub fn pay(&self, address: &str, units: u64) {
        self.create(address, units, false);
    }

    /// Gives an address a coinbase output of the next block.
    pub fn reward(&self, address: &str, units: u64) {
        self.mine(1);
        self.create(address, units, true);
    }

    fn create(&self, address: &str, units: u64, from_coinbase: bool) {
        let mut state = self.state();
        let serial = u32::try_from(state.confirmed.len() + state.mined.len()).expect("few");
        let txid = Txid::from_bytes(sha256(&[serial.to_le_bytes(), [1; 4]].concat()));
        let utxo = Utxo {
            output: output(address, units),
            height: BlockHeight::new(state.height),
            from_coinbase,
        };
        state.given.push(utxo.output.script_pubkey.clone());
        state.confirmed.insert(OutPoint { txid, vout: serial }, utxo);
    }

    /// Puts a transaction of somebody else into the mempool, which pays `address`.
    pub fn announce(&self, address: &str, units: u64) {
        let mut state = self.state();
        let serial = u8::try_from(state.mempool.len()).expect("few");
        let input = pentad_primitives::TxIn {
            previous_output: OutPoint { txid: Txid::from_bytes([serial; 32]), vout: 0 },
            script_sig: Default::default(),
            sequence: u32::MAX,
        };
        let outputs = vec![output(address, units)];
        state.mempool.push(Transaction { version: 1, inputs: vec![input], outputs, lock_time: 0 });
    }

    /// Adds blocks; the first one holds the mempool.
    pub fn mine(&self, blocks: u32) {
        let mut state = self.state();
        let height = BlockHeight::new(state.height + 1);
        state.height += blocks;
        for transaction in std::mem::take(&mut state.mempool) {
            for input in &transaction.inputs {
                state.confirmed.remove(&input.previous_output);
            }
            for (outpoint, output) in outputs(&transaction) {
                let utxo = Utxo { output, height, from_coinbase: false };
                state.confirmed.insert(outpoint, utxo);
            }
            let (txid, height) = (transaction.txid(), height.get());
            state.mined.insert(txid, Mined { transaction, height });
        }
    }

    /// Coinbase outputs can be spent at once, as on a development network.
    pub fn mature_at_once(&self) {
        self.state().maturity = 1;
    }

    /// Submissions go wrong from now on.
    pub fn begin(&self, mishap: Mishap) {
        self.state().mishap = Some(mishap);
    }

    /// All is well again.
    pub fn end(&self) {
        self.state().mishap = None;
    }

    /// A chain service that was killed starts with an empty mempool.
    pub fn forget_mempool(&self) {
        self.state().mempool.clear();
    }

    pub fn mempool(&self) -> Vec<Transaction> {
        self.state().mempool.clone()
    }

    /// The ids of all transactions that arrived, again and again if they did.
    pub fn submissions(&self) -> Vec<Txid> {
        self.state().submissions.clone()
    }
}

impl State {
    fn spent_in_mempool(&self, outpoint: &OutPoint) -> bool {
        let spends = |tx: &Transaction| tx.inputs.iter().any(|i| i.previous_output == *outpoint);
        self.mempool.iter().any(spends)
    }

    /// Confirmed and unconfirmed outputs; the latter without a height.
    fn all_outputs(&self) -> BTreeMap<OutPoint, (Utxo, Option<BlockHeight>)> {
        let tip = Some(BlockHeight::new(self.height));
        let confirmed = self.confirmed.iter().map(|(o, utxo)| (*o, (utxo.clone(), tip)));
        let unconfirmed = self.mempool.iter().flat_map(outputs).map(|(outpoint, output)| {
            let utxo = Utxo { output, height: BlockHeight::new(0), from_coinbase: false };
            (outpoint, (utxo, None))
        });
        confirmed.chain(unconfirmed).collect()
    }

    fn is_mature(&self, utxo: &Utxo) -> bool {
        !utxo.from_coinbase || self.height + 1 >= utxo.height.get() + self.maturity
    }

    /// The transactions in the mempool that one hangs on.
    fn ancestors(&self, transaction: &Transaction) -> BTreeSet<Txid> {
        let parents = transaction.inputs.iter().map(|input| input.previous_output.txid);
        let waiting: Vec<_> =
            parents.filter_map(|id| self.mempool.iter().find(|tx| tx.txid() == id)).collect();
        waiting
            .iter()
            .flat_map(|parent| self.ancestors(parent).into_iter().chain([parent.txid()]))
            .collect()
    }

    fn admit(&mut self, transaction: Transaction) -> Result<bool, &'static str> {
        let txid = transaction.txid();
        if self.mined.contains_key(&txid) || self.mempool.iter().any(|tx| tx.txid() == txid) {
            return Ok(true);
        }
        if self.ancestors(&transaction).len() > ANCESTORS_MAX {
            return Err("TOO_MANY_ANCESTORS");
        }
        let known = self.all_outputs();
        let mut sum = 0;
        for (index, input) in transaction.inputs.iter().enumerate() {
            if self.spent_in_mempool(&input.previous_output) {
                return Err("an input is spent in the mempool");
            }
            let (utxo, _) = known.get(&input.previous_output).ok_or("an input is unknown")?;
            if !self.is_mature(utxo) {
                return Err("an input is immature");
            }
            script_sig::check(&transaction, index, &utxo.output.script_pubkey)?;
            sum += utxo.output.amount.units();
        }
        let paid: u64 = transaction.outputs.iter().map(|output| output.amount.units()).sum();
        let fee = sum.checked_sub(paid).ok_or("outputs exceed inputs")?;
        if fee * 1000 < transaction.encoded_len() as u64 * MIN_FEE_RATE {
            return Err("the fee is too low");
        }
        self.mempool.push(transaction);
        Ok(false)
    }
}

fn output(address: &str, units: u64) -> TxOut {
    let address = Address::decode(address, &AddressVersions::default()).expect("an address");
    let amount = Amount::from_units(units).expect("in range");
    TxOut { amount, script_pubkey: address.script_pubkey() }
}

fn outputs(transaction: &Transaction) -> impl Iterator<Item = (OutPoint, TxOut)> + use<> {
    let txid = transaction.txid();
    (0..)
        .zip(transaction.outputs.clone())
        .map(move |(vout, output)| (OutPoint { txid, vout }, output))
}

fn unavailable() -> Status {
    Failure::new(Code::Unavailable, "TEST", "the line is dead").into()
}

#[tonic::async_trait]
impl SubmitService for FakeChain {
    type SubmitTransactionsStream = tonic::codegen::BoxStream<SubmitTransactionsResponse>;

    async fn submit_transaction(
        &self,
        request: Request<SubmitTransactionRequest>,
    ) -> Result<Response<SubmitTransactionResponse>, Status> {
        let transaction = transaction_from_bytes("transaction", &request.into_inner().transaction)
            .map_err(Failure::from)?;
        let txid = transaction.txid();
        let mut state = self.state();
        let mishap = state.mishap;
        if matches!(mishap, Some(Mishap::Lost)) {
            return Err(unavailable());
        }
        state.submissions.push(txid);
        let refuse = |problem: &'static str| {
            let reason = if problem == "TOO_MANY_ANCESTORS" { problem } else { "REFUSED" };
            Status::from(Failure::new(Code::FailedPrecondition, reason, problem))
        };
        let is_logged = |log| {
            let log = fs::read_to_string(log).expect("readable");
            log.contains(&txid.to_string())
        };
        if !state.audit_logs.iter().any(is_logged) {
            return Err(refuse("the signature left before it was in the audit log"));
        }
        if matches!(mishap, Some(Mishap::Refused)) {
            return Err(refuse("not today"));
        }
        let already_known = state.admit(transaction).map_err(refuse)?;
        if matches!(mishap, Some(Mishap::AnswerLost)) {
            return Err(unavailable());
        }
        Ok(Response::new(SubmitTransactionResponse {
            txid: txid.to_string(),
            already_known,
            ..Default::default()
        }))
    }

    async fn submit_block(
        &self,
        _: Request<SubmitBlockRequest>,
    ) -> Result<Response<SubmitBlockResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn submit_transactions(
        &self,
        _: Request<tonic::Streaming<SubmitTransactionsRequest>>,
    ) -> Result<Response<Self::SubmitTransactionsStream>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn test_transaction(
        &self,
        _: Request<TestTransactionRequest>,
    ) -> Result<Response<TestTransactionResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }
}

#[tonic::async_trait]
impl ChainService for FakeChain {
    type StreamHeadersStream = tonic::codegen::BoxStream<StreamHeadersResponse>;
    type StreamBlocksStream = tonic::codegen::BoxStream<StreamBlocksResponse>;

    async fn get_info(
        &self,
        _: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        let (state, versions) = (self.state(), AddressVersions::default());
        Ok(Response::new(GetInfoResponse {
            p2pkh_version: versions.p2pkh.into(),
            p2sh_version: versions.p2sh.into(),
            coinbase_maturity: state.maturity,
            min_fee_rate: MIN_FEE_RATE,
            tip: state.height.to_string(),
            ..GetInfoResponse::default()
        }))
    }

    async fn get_transaction(
        &self,
        request: Request<GetTransactionRequest>,
    ) -> Result<Response<GetTransactionResponse>, Status> {
        let txid = txid_from_hex("txid", &request.get_ref().txid).map_err(Failure::from)?;
        let state = self.state();
        let (transaction, confirmations) = match state.mined.get(&txid) {
            Some(mined) => (&mined.transaction, state.height + 1 - mined.height),
            None => {
                let found = state.mempool.iter().find(|tx| tx.txid() == txid);
                (found.ok_or_else(|| Status::not_found("no such transaction"))?, 0)
            }
        };
        Ok(Response::new(GetTransactionResponse {
            transaction: Some(transaction_message(transaction, &AddressVersions::default())),
            confirmations,
            ..GetTransactionResponse::default()
        }))
    }

    async fn get_utxos(
        &self,
        request: Request<GetUtxosRequest>,
    ) -> Result<Response<GetUtxosResponse>, Status> {
        let request = request.into_inner();
        assert!(request.addresses.len() <= 1000, "too many addresses in a call");
        let scripts: Vec<_> =
            request.addresses.iter().map(|address| output(address, 0).script_pubkey).collect();
        let state = self.state();
        let mut found: Vec<_> = state
            .all_outputs()
            .into_iter()
            .filter(|(_, (utxo, _))| scripts.contains(&utxo.output.script_pubkey))
            .filter(|(_, (_, tip))| request.include_mempool || tip.is_some())
            .map(|(outpoint, (utxo, tip))| {
                let message = utxo_message(&outpoint, &utxo, tip, &AddressVersions::default());
                pentad_api::types::v1::Utxo {
                    mature: state.is_mature(&utxo),
                    spent_in_mempool: state.spent_in_mempool(&outpoint),
                    ..message
                }
            })
            .filter(|utxo| !request.exclude_spent_in_mempool || !utxo.spent_in_mempool)
            .collect();
        let start: usize = request.page_token.parse().unwrap_or(0);
        let rest = found.split_off(start.min(found.len()));
        let more = rest.len() > PAGE;
        Ok(Response::new(GetUtxosResponse {
            utxos: rest.into_iter().take(PAGE).collect(),
            next_page_token: if more { (start + PAGE).to_string() } else { String::new() },
            height: state.height,
            tip: String::new(),
        }))
    }

    async fn get_block(
        &self,
        _: Request<GetBlockRequest>,
    ) -> Result<Response<GetBlockResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn get_header(
        &self,
        _: Request<GetHeaderRequest>,
    ) -> Result<Response<GetHeaderResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn get_balance(
        &self,
        _: Request<GetBalanceRequest>,
    ) -> Result<Response<GetBalanceResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn get_mempool(
        &self,
        _: Request<GetMempoolRequest>,
    ) -> Result<Response<GetMempoolResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn get_history(
        &self,
        request: Request<GetHistoryRequest>,
    ) -> Result<Response<GetHistoryResponse>, Status> {
        let script = output(&request.into_inner().address, 0).script_pubkey;
        let state = self.state();
        let mined = state.mined.values().flat_map(|mined| &mined.transaction.outputs);
        let mut paid = mined.map(|output| &output.script_pubkey).chain(&state.given);
        let is_used = paid.any(|it| *it == script);
        let entries = is_used.then(HistoryEntry::default).into_iter().collect();
        Ok(Response::new(GetHistoryResponse { entries, ..Default::default() }))
    }

    async fn explain_transaction(
        &self,
        _: Request<ExplainTransactionRequest>,
    ) -> Result<Response<ExplainTransactionResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn estimate_fee(
        &self,
        _: Request<EstimateFeeRequest>,
    ) -> Result<Response<EstimateFeeResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn get_utxo_set_hash(
        &self,
        _: Request<GetUtxoSetHashRequest>,
    ) -> Result<Response<GetUtxoSetHashResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn get_supply(
        &self,
        _: Request<GetSupplyRequest>,
    ) -> Result<Response<GetSupplyResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn get_proof(
        &self,
        _: Request<GetProofRequest>,
    ) -> Result<Response<GetProofResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn get_certificate(
        &self,
        _: Request<GetCertificateRequest>,
    ) -> Result<Response<GetCertificateResponse>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn stream_headers(
        &self,
        _: Request<StreamHeadersRequest>,
    ) -> Result<Response<Self::StreamHeadersStream>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }

    async fn stream_blocks(
        &self,
        _: Request<StreamBlocksRequest>,
    ) -> Result<Response<Self::StreamBlocksStream>, Status> {
        Err(Status::unimplemented("not asked by the wallet"))
    }
}
