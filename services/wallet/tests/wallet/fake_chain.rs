//! A chain service in memory: checks amounts, signatures and double spends as the real one does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::script_sig;
use pentad_api::chain::v1::follow_tip_response::Event;
use pentad_api::chain::v1::*;
use pentad_api::{
    Failure, header_message, transaction_from_bytes, transaction_message, txid_from_hex,
    utxo_message,
};
use pentad_crypto::{Address, AddressVersions};
use pentad_fakes::chain::v1::chain_service_server::{ChainService, ChainServiceServer};
use pentad_fakes::chain::v1::event_service_server::{EventService, EventServiceServer};
use pentad_fakes::chain::v1::submit_service_server::{SubmitService, SubmitServiceServer};
use pentad_fakes::follow;
use pentad_primitives::{
    Amount, Block, BlockHash, BlockHeader, BlockHeight, CompactTarget, Encode as _, MerkleRoot,
    OutPoint, Script, Transaction, TxIn, TxOut, Txid, Utxo, Work, sha256,
};
use pentad_service_kit::Server;
use tokio::sync::watch;
use tonic::codegen::BoxStream;
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
    /// The main chain, genesis first.
    blocks: Vec<Block>,
    /// All that ever were.
    known: HashMap<BlockHash, (u32, Block)>,
    /// Blocks until a coinbase output can be spent.
    maturity: u32,
    confirmed: BTreeMap<OutPoint, Utxo>,
    mempool: Vec<Transaction>,
    mined: BTreeMap<Txid, Mined>,
    mishap: Option<Mishap>,
    submissions: Vec<Txid>,
    /// In one of them a transaction has to stand before it arrives.
    audit_logs: Vec<PathBuf>,
    /// Transactions of others so far.
    foreign: u32,
    /// All that happened, for those who follow.
    events: Vec<FollowTipResponse>,
    changes: watch::Sender<()>,
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            blocks: Vec::new(),
            known: HashMap::new(),
            maturity: 100,
            confirmed: BTreeMap::new(),
            mempool: Vec::new(),
            mined: BTreeMap::new(),
            mishap: None,
            submissions: Vec::new(),
            audit_logs: Vec::new(),
            foreign: 0,
            events: Vec::new(),
            changes: watch::Sender::new(()),
        };
        state.connect(None, Vec::new());
        state
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
            .service(EventServiceServer::new(self.clone()), [])
    }

    /// Gives an address an output, in a block of its own.
    pub fn pay(&self, address: &str, units: u64) {
        let mut state = self.state();
        let payment = state.foreign_payment(address, units);
        state.connect(None, vec![payment]);
    }

    /// Gives an address a coinbase output, in a block of its own.
    pub fn reward(&self, address: &str, units: u64) {
        self.state().connect(Some(output(address, units)), Vec::new());
    }

    /// Puts a transaction of somebody else into the mempool, which pays `address`.
    pub fn announce(&self, address: &str, units: u64) {
        let mut state = self.state();
        let payment = state.foreign_payment(address, units);
        state.enter(payment);
    }

    /// Adds blocks; the first one holds the mempool.
    pub fn mine(&self, blocks: u32) {
        let mut state = self.state();
        for _ in 0..blocks {
            let waiting = std::mem::take(&mut state.mempool);
            state.connect(None, waiting);
        }
    }

    /// Takes blocks off; their transactions are in the mempool again.
    pub fn undo(&self, blocks: u32) {
        let mut state = self.state();
        for _ in 0..blocks {
            state.disconnect();
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
        let mut state = self.state();
        state.mempool.clear();
        state.tell(Event::MempoolReset(MempoolReset { present: 0 }));
    }

    /// Takes one transaction out of the mempool, as if it had waited too long.
    pub fn expire(&self, txid: &Txid) {
        let mut state = self.state();
        state.mempool.retain(|transaction| transaction.txid() != *txid);
        state.leave(txid, RemovalReason::Expired);
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
    fn height(&self) -> u32 {
        u32::try_from(self.blocks.len()).expect("few") - 1
    }

    fn tip(&self) -> BlockHash {
        self.blocks.last().expect("genesis is never undone").block_hash()
    }

    /// A block on top, with a coinbase that pays nobody we know unless it is said whom.
    fn connect(&mut self, reward: Option<TxOut>, transactions: Vec<Transaction>) {
        let height = u32::try_from(self.blocks.len()).expect("few");
        let nobody = TxOut { amount: Amount::ZERO, script_pubkey: Script::from(vec![0x51]) };
        let number = u32::try_from(self.known.len()).expect("few");
        let coinbase = Transaction {
            version: 1,
            inputs: vec![TxIn {
                previous_output: OutPoint::NULL,
                script_sig: Script::from(number.to_le_bytes().to_vec()),
                sequence: u32::MAX,
            }],
            outputs: vec![reward.unwrap_or(nobody)],
            lock_time: 0,
        };
        let transactions: Vec<_> = [coinbase].into_iter().chain(transactions).collect();
        let header = BlockHeader {
            version: 1,
            prev_block_hash: self.blocks.last().map_or(BlockHash::ZERO, Block::block_hash),
            merkle_root: MerkleRoot::ZERO,
            time: 1_700_000_000 + height,
            bits: CompactTarget(0x207f_ffff),
            nonce: number,
        };
        let block = Block { header, transactions };
        for transaction in &block.transactions {
            for input in &transaction.inputs {
                self.confirmed.remove(&input.previous_output);
            }
            let (from_coinbase, at) = (transaction.is_coinbase(), BlockHeight::new(height));
            for (outpoint, output) in outputs(transaction) {
                self.confirmed.insert(outpoint, Utxo { output, height: at, from_coinbase });
            }
            let mined = Mined { transaction: transaction.clone(), height };
            self.mined.insert(transaction.txid(), mined);
        }
        let txids: Vec<Txid> = block.transactions.iter().map(Transaction::txid).collect();
        self.known.insert(block.block_hash(), (height, block.clone()));
        self.blocks.push(block.clone());
        self.tell(apply(height, &block));
        for txid in &txids {
            self.leave(txid, RemovalReason::Confirmed);
        }
    }

    fn disconnect(&mut self) {
        let height = self.height();
        let block = self.blocks.pop().expect("a block");
        for transaction in block.transactions.iter().rev() {
            for (outpoint, _) in outputs(transaction) {
                self.confirmed.remove(&outpoint);
            }
            self.mined.remove(&transaction.txid());
            for input in &transaction.inputs {
                let OutPoint { txid, vout } = input.previous_output;
                // Coins of others come from nowhere.
                if let Some(mined) = self.mined.get(&txid) {
                    let output = mined.transaction.outputs[vout as usize].clone();
                    let from_coinbase = mined.transaction.is_coinbase();
                    let height = BlockHeight::new(mined.height);
                    let utxo = Utxo { output, height, from_coinbase };
                    self.confirmed.insert(input.previous_output, utxo);
                }
            }
        }
        self.tell(undo(height, &block));
        // Parents stand before their children.
        let later = std::mem::take(&mut self.mempool);
        for transaction in block.transactions.into_iter().filter(|it| !it.is_coinbase()) {
            self.enter(transaction);
        }
        self.mempool.extend(later);
    }

    /// A transaction of somebody else, whose coins come from nowhere.
    fn foreign_payment(&mut self, address: &str, units: u64) -> Transaction {
        self.foreign += 1;
        let txid = Txid::from_bytes(sha256(&self.foreign.to_le_bytes()));
        let input = TxIn {
            previous_output: OutPoint { txid, vout: 0 },
            script_sig: Script::default(),
            sequence: u32::MAX,
        };
        let outputs = vec![output(address, units)];
        Transaction { version: 1, inputs: vec![input], outputs, lock_time: 0 }
    }

    fn enter(&mut self, transaction: Transaction) {
        self.tell(added(&transaction));
        self.mempool.push(transaction);
    }

    fn leave(&mut self, txid: &Txid, reason: RemovalReason) {
        let (txid, reason) = (txid.to_string(), reason.into());
        self.tell(Event::Removed(MempoolRemoved { txid, reason }));
    }

    fn tell(&mut self, event: Event) {
        let cursor = format!("{}:{}", self.height(), self.tip());
        self.events.push(FollowTipResponse { cursor, event: Some(event) });
        self.changes.send_replace(());
    }

    /// The way from where a follower stands to here, and what waits.
    fn catch_up(&self, cursor: &str) -> Vec<FollowTipResponse> {
        let known = cursor.split_once(':').and_then(|(_, hash)| hash.parse().ok());
        let known = known.and_then(|hash: BlockHash| self.known.get_key_value(&hash));
        let mut events = Vec::new();
        match known {
            None => {
                let tip = self.blocks.last().expect("genesis is never undone");
                let header = Some(header(self.height(), tip));
                events.push(Event::Reset(TipReset { header }));
            }
            Some((hash, (height, _))) => {
                let (mut hash, mut height) = (*hash, *height);
                let on_main = |height: u32| self.blocks.get(height as usize).map(Block::block_hash);
                while on_main(height) != Some(hash) {
                    let block = &self.known[&hash].1;
                    events.push(undo(height, block));
                    (hash, height) = (block.header.prev_block_hash, height - 1);
                }
                let above = (height + 1..).zip(&self.blocks[height as usize + 1..]);
                events.extend(above.map(|(height, block)| apply(height, block)));
            }
        }
        let present = self.mempool.len() as u64;
        events.push(Event::MempoolReset(MempoolReset { present }));
        events.extend(self.mempool.iter().map(added));
        let cursor = format!("{}:{}", self.height(), self.tip());
        let event = |event| FollowTipResponse { cursor: cursor.clone(), event: Some(event) };
        events.into_iter().map(event).collect()
    }

    fn spent_in_mempool(&self, outpoint: &OutPoint) -> bool {
        let spends = |tx: &Transaction| tx.inputs.iter().any(|i| i.previous_output == *outpoint);
        self.mempool.iter().any(spends)
    }

    /// Confirmed and unconfirmed outputs; the latter without a height.
    fn all_outputs(&self) -> BTreeMap<OutPoint, (Utxo, Option<BlockHeight>)> {
        let tip = Some(BlockHeight::new(self.height()));
        let confirmed = self.confirmed.iter().map(|(o, utxo)| (*o, (utxo.clone(), tip)));
        let unconfirmed = self.mempool.iter().flat_map(outputs).map(|(outpoint, output)| {
            let utxo = Utxo { output, height: BlockHeight::new(0), from_coinbase: false };
            (outpoint, (utxo, None))
        });
        confirmed.chain(unconfirmed).collect()
    }

    fn is_mature(&self, utxo: &Utxo) -> bool {
        !utxo.from_coinbase || self.height() + 1 >= utxo.height.get() + self.maturity
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

    /// What spends the same coins in the mempool, if it may be replaced (BIP125): here only what
    /// nothing else hangs on, and by what spends no further unconfirmed coins.
    fn replaced(&self, transaction: &Transaction) -> Result<Vec<Transaction>, &'static str> {
        let spends = |waiting: &&Transaction| {
            let mut inputs = transaction.inputs.iter().map(|input| input.previous_output);
            inputs.any(|it| waiting.inputs.iter().any(|input| input.previous_output == it))
        };
        let replaced: Vec<Transaction> = self.mempool.iter().filter(spends).cloned().collect();
        for old in &replaced {
            if old.inputs.iter().all(|input| input.sequence > u32::MAX - 2) {
                return Err("an input is spent in the mempool");
            }
            if outputs(old).any(|(outpoint, _)| self.spent_in_mempool(&outpoint)) {
                return Err("another transaction would go, too");
            }
        }
        let known = replaced.iter().flat_map(|old| &old.inputs).map(|input| input.previous_output);
        let known: BTreeSet<OutPoint> = known.collect();
        let mut new = transaction.inputs.iter().map(|input| input.previous_output);
        let is_new = |it: &OutPoint| !known.contains(it) && !self.confirmed.contains_key(it);
        if !replaced.is_empty() && new.any(|it| is_new(&it)) {
            return Err("a further input is unconfirmed");
        }
        Ok(replaced)
    }

    /// Units, of a transaction in the mempool.
    fn fee(&self, transaction: &Transaction) -> u64 {
        let known = self.all_outputs();
        let spent = transaction.inputs.iter().map(|input| &known[&input.previous_output].0.output);
        let spent: u64 = spent.map(|output| output.amount.units()).sum();
        let paid: u64 = transaction.outputs.iter().map(|output| output.amount.units()).sum();
        spent - paid
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
        let replaced = self.replaced(&transaction)?;
        let mut sum = 0;
        for (index, input) in transaction.inputs.iter().enumerate() {
            let (utxo, _) = known.get(&input.previous_output).ok_or("an input is unknown")?;
            if !self.is_mature(utxo) {
                return Err("an input is immature");
            }
            script_sig::check(&transaction, index, &utxo.output.script_pubkey)?;
            sum += utxo.output.amount.units();
        }
        let paid: u64 = transaction.outputs.iter().map(|output| output.amount.units()).sum();
        let fee = sum.checked_sub(paid).ok_or("outputs exceed inputs")?;
        let bytes = transaction.encoded_len() as u64;
        for old in &replaced {
            let (before, old_bytes) = (self.fee(old), old.encoded_len() as u64);
            let is_higher = fee * old_bytes > before * bytes;
            if fee * 1000 < before * 1000 + bytes * MIN_FEE_RATE || !is_higher {
                return Err("the fee is too low for a replacement");
            }
        }
        for txid in replaced.iter().map(Transaction::txid) {
            self.mempool.retain(|waiting| waiting.txid() != txid);
            self.leave(&txid, RemovalReason::Replaced);
        }
        if fee * 1000 < transaction.encoded_len() as u64 * MIN_FEE_RATE {
            return Err("the fee is too low");
        }
        self.enter(transaction);
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
}

#[tonic::async_trait]
impl ChainService for FakeChain {
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
            replacement_fee_rate: MIN_FEE_RATE,
            height: state.height(),
            tip: state.tip().to_string(),
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
            Some(mined) => (&mined.transaction, state.height() + 1 - mined.height),
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
            height: state.height(),
            tip: state.tip().to_string(),
        }))
    }

    async fn get_history(
        &self,
        request: Request<GetHistoryRequest>,
    ) -> Result<Response<GetHistoryResponse>, Status> {
        let script = output(&request.into_inner().address, 0).script_pubkey;
        let state = self.state();
        let mut mined = state.mined.values().flat_map(|mined| &mined.transaction.outputs);
        let is_used = mined.any(|output| output.script_pubkey == script);
        let entries = is_used.then(HistoryEntry::default).into_iter().collect();
        Ok(Response::new(GetHistoryResponse { entries, ..Default::default() }))
    }

    async fn stream_blocks(
        &self,
        request: Request<StreamBlocksRequest>,
    ) -> Result<Response<BoxStream<StreamBlocksResponse>>, Status> {
        let StreamBlocksRequest { from_height, to_height } = request.into_inner();
        let state = self.state();
        let to = to_height.unwrap_or(u32::MAX).min(state.height());
        let blocks = (from_height..=to).map(|height| {
            let block = &state.blocks[height as usize];
            let (header, raw) = (Some(header(height, block)), block.to_bytes().into());
            Ok(StreamBlocksResponse { header, raw })
        });
        let blocks: Vec<_> = blocks.collect();
        Ok(Response::new(Box::pin(futures_util::stream::iter(blocks))))
    }
}

#[tonic::async_trait]
impl EventService for FakeChain {
    async fn follow_tip(
        &self,
        request: Request<FollowTipRequest>,
    ) -> Result<Response<BoxStream<FollowTipResponse>>, Status> {
        let request = request.into_inner();
        assert!(request.with_blocks && request.with_mempool);
        let (chain, state) = (self.clone(), self.state());
        let mut behind = state.catch_up(&request.cursor).into_iter();
        let mut position = state.events.len();
        let next = move || {
            behind.next().or_else(|| {
                let event = chain.state().events.get(position).cloned()?;
                position += 1;
                Some(event)
            })
        };
        Ok(Response::new(follow(state.changes.subscribe(), next)))
    }
}

fn header(height: u32, block: &Block) -> pentad_api::types::v1::BlockHeader {
    header_message(&block.header, BlockHeight::new(height), &Work::ZERO, 0)
}

fn apply(height: u32, block: &Block) -> Event {
    let (header, raw) = (Some(header(height, block)), block.to_bytes().into());
    Event::Apply(BlockConnected { header, raw, ..BlockConnected::default() })
}

fn undo(height: u32, block: &Block) -> Event {
    let (header, raw) = (Some(header(height, block)), block.to_bytes().into());
    Event::Undo(BlockDisconnected { header, raw })
}

fn added(transaction: &Transaction) -> Event {
    let (txid, transaction) = (transaction.txid().to_string(), transaction.to_bytes().into());
    Event::Added(MempoolAdded { txid, transaction, ..MempoolAdded::default() })
}
