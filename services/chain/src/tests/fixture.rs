//! A chain of its own: a development network whose genesis pays Alice, reached over gRPC.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::assembly_service_client::AssemblyServiceClient;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::event_service_client::EventServiceClient;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_crypto::script::p2pkh_script_sig;
use pentad_crypto::{Address, SecretKey};
use pentad_ledger::ChainSpec;
use pentad_ledger::mempool::Policy;
use pentad_ledger::spec::Allocation;
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{
    Amount, Block, BlockHash, Decode as _, Encode as _, OutPoint, Script, Target, Transaction,
    TxIn, TxOut, Txid,
};
use pentad_service_kit::{Cookie, Gate, InProcess, Metrics, Server};
use pentad_store::{DataDirError, EngineKind, StoreOptions};
use tempfile::TempDir;
use tonic::Status;

use crate::{Chain, ManualClock, OpenError, Options};

/// Seconds since the epoch at which the networks begin.
pub const START: u32 = 1_700_000_000;
/// Genesis pays Alice so many outputs of 100 coins.
pub const ALLOCATIONS: usize = 4;
pub const COIN: u64 = 100_000_000;
/// A fee that satisfies the default policy for small transactions.
pub const FEE: u64 = 1_000;

/// Somebody with one key.
#[derive(Clone)]
pub struct Person(pub SecretKey);

pub fn alice() -> Person {
    Person::new(1)
}

pub fn bob() -> Person {
    Person::new(2)
}

impl Person {
    pub fn new(seed: u8) -> Self {
        Self(SecretKey::from_bytes([seed; 32]).expect("a valid key"))
    }

    pub fn address(&self) -> Address {
        Address::P2pkh(self.0.public_key().key_hash())
    }

    pub fn text(&self) -> String {
        self.address().encode(spec().address_versions())
    }

    pub fn script(&self) -> Script {
        self.address().script_pubkey()
    }

    /// Spends own outputs and pays `outputs`.
    pub fn spend(&self, inputs: &[OutPoint], outputs: &[(&Self, u64)]) -> Transaction {
        self.spend_with(inputs, outputs, u32::MAX)
    }

    /// As [`Self::spend`], with inputs of this sequence: 0 allows replacement.
    pub fn spend_with(
        &self,
        inputs: &[OutPoint],
        outputs: &[(&Self, u64)],
        sequence: u32,
    ) -> Transaction {
        let input = |outpoint: &OutPoint| TxIn {
            previous_output: *outpoint,
            script_sig: Script::new(),
            sequence,
        };
        let output = |(to, units): &(&Self, u64)| TxOut {
            amount: Amount::from_units(*units).expect("an amount"),
            script_pubkey: to.script(),
        };
        let mut transaction = Transaction {
            version: 1,
            inputs: inputs.iter().map(input).collect(),
            outputs: outputs.iter().map(output).collect(),
            lock_time: 0,
        };
        for index in 0..inputs.len() {
            let hash = sighash_all(&transaction, index, &self.script()).expect("in range");
            let script_sig = p2pkh_script_sig(&self.0.sign(&hash), &self.0.public_key());
            transaction.inputs[index].script_sig = script_sig;
        }
        transaction
    }
}

pub fn spec() -> ChainSpec {
    let amount = Amount::from_units(100 * COIN).expect("an amount");
    let allocation = Allocation { address: alice().address(), amount };
    ChainSpec::development("test", START, vec![allocation; ALLOCATIONS]).expect("a valid spec")
}

/// The outputs that genesis pays to Alice.
pub fn genesis_output(vout: u32) -> OutPoint {
    OutPoint { txid: spec().genesis_block().transactions[0].txid(), vout }
}

/// Searches a nonce.
pub fn solve(mut block: Block) -> Block {
    let target = Target::from_compact(block.header.bits).expect("valid bits");
    while !target.is_met_by(&block.block_hash()) {
        block.header.nonce += 1;
    }
    block
}

/// Recomputes the merkle root and searches a nonce.
pub fn reseal(mut block: Block) -> Block {
    let txids: Vec<Txid> = block.transactions.iter().map(Transaction::txid).collect();
    block.header.merkle_root = pentad_primitives::merkle::root(&txids);
    solve(block)
}

/// An open chain and clients of its services, in process.
pub struct Node {
    pub chain: Chain,
    pub clock: Arc<ManualClock>,
    pub metrics: Metrics,
    pub reads: ChainServiceClient<Connection>,
    pub submit: SubmitServiceClient<Connection>,
    pub events: EventServiceClient<Connection>,
    pub assembly: AssemblyServiceClient<Connection>,
    pub connection: Connection,
    pub server: Server,
    pub gate: Gate,
    _binding: pentad_service_kit::Binding,
    _cookie: TempDir,
}

pub fn options(directory: &Path) -> Options {
    Options {
        spec: spec(),
        data_dir: directory.to_owned(),
        store: StoreOptions { keeps_set_hash: true, ..StoreOptions::default() },
        policy: Policy::default(),
    }
}

impl Node {
    pub fn open(directory: &Path) -> Self {
        Self::try_open(options(directory)).expect("a sound data directory")
    }

    pub fn in_memory(directory: &Path) -> Self {
        let mut options = options(directory);
        options.store.engine = EngineKind::Memory;
        Self::try_open(options).expect("a sound data directory")
    }

    pub fn try_open(options: Options) -> Result<Self, OpenError> {
        let clock = Arc::new(ManualClock::new(START + 1_000));
        let metrics = Metrics::new();
        let chain = open_unlocked(options, &clock, &metrics)?;
        let cookie = TempDir::new().expect("a temporary directory");
        let file = cookie.path().join("cookie");
        let gate = Gate::new(Cookie::load_or_create(&file).expect("a new cookie"), &file);
        let server = chain.add_to(Server::new(gate.clone(), metrics.clone()));
        let in_process = InProcess::default();
        let connection = in_process.connection(&gate).expect("a plain cookie");
        Ok(Self {
            chain,
            clock,
            metrics,
            reads: ChainServiceClient::new(connection.clone()),
            submit: SubmitServiceClient::new(connection.clone()),
            events: EventServiceClient::new(connection.clone()),
            assembly: AssemblyServiceClient::new(connection.clone()),
            connection,
            _binding: in_process.bind(&server).expect("sound descriptors"),
            server,
            gate,
            _cookie: cookie,
        })
    }

    /// A solved block on the tip that pays `to`, not handed in.
    pub async fn template(&self, to: &Person) -> Block {
        let payout_script = to.script().into_bytes().into();
        let request = proto::GetTemplateRequest { payout_script, extra_nonce: 0 };
        let template = self.assembly.clone().get_template(request).await.expect("a template");
        solve(Block::from_bytes(&template.into_inner().block).expect("a block"))
    }

    pub async fn submit_block(&self, block: &Block) -> Result<proto::BlockOutcome, Status> {
        let request =
            proto::SubmitBlockRequest { block: block.to_bytes().into(), ..Default::default() };
        let response = self.submit.clone().submit_block(request).await?.into_inner();
        assert_eq!(response.hash, block.block_hash().to_string());
        Ok(response.outcome())
    }

    /// Mines blocks that pay `to`.
    pub async fn mine(&self, count: usize, to: &Person) -> Vec<Block> {
        let mut blocks = Vec::new();
        for _ in 0..count {
            let block = self.template(to).await;
            let outcome = self.submit_block(&block).await.expect("a valid block");
            assert_eq!(outcome, proto::BlockOutcome::Connected);
            self.clock.set(self.clock_now() + 10);
            blocks.push(block);
        }
        blocks
    }

    fn clock_now(&self) -> u32 {
        use crate::Clock as _;
        self.clock.unix_seconds()
    }

    pub async fn submit_transaction(&self, transaction: &Transaction) -> Result<bool, Status> {
        let request = proto::SubmitTransactionRequest {
            transaction: transaction.to_bytes().into(),
            ..Default::default()
        };
        let response = self.submit.clone().submit_transaction(request).await?.into_inner();
        assert_eq!(response.txid, transaction.txid().to_string());
        Ok(!response.already_known)
    }

    pub async fn info(&self) -> proto::GetInfoResponse {
        let info = self.reads.clone().get_info(proto::GetInfoRequest {}).await;
        info.expect("info").into_inner()
    }

    pub async fn tip(&self) -> BlockHash {
        self.info().await.tip.parse().expect("a hash")
    }

    pub async fn balance(&self, person: &Person) -> (u64, i64, u64) {
        let request = proto::GetBalanceRequest { address: person.text() };
        let balance = self.reads.clone().get_balance(request).await.expect("a balance");
        let balance = balance.into_inner();
        (balance.confirmed, balance.pending, balance.immature)
    }

    pub async fn mempool(&self) -> Vec<String> {
        let request = proto::GetMempoolRequest { limit: 0 };
        self.reads.clone().get_mempool(request).await.expect("a mempool").into_inner().txids
    }

    /// A block of the main chain.
    pub async fn block_at(&self, height: u32) -> Block {
        self.stored(proto::get_block_request::Block::Height(height)).await
    }

    /// A block, on whatever branch.
    pub async fn block_of(&self, hash: &BlockHash) -> Block {
        self.stored(proto::get_block_request::Block::Hash(hash.to_string())).await
    }

    async fn stored(&self, block: proto::get_block_request::Block) -> Block {
        let block = Some(block);
        let request = proto::GetBlockRequest { block };
        let found = self.reads.clone().get_block(request).await.expect("stored");
        let block = found.into_inner().block.expect("a block");
        Block::from_bytes(&block.raw).expect("a block")
    }

    /// Every unspent output, as the index holds it.
    pub async fn utxo_set(&self) -> Vec<(OutPoint, pentad_primitives::Utxo)> {
        use pentad_store::IndexRead as _;
        let read = self.chain.reader().read(|view| {
            let mut all: Vec<(OutPoint, _)> = Vec::new();
            loop {
                let after = all.last().map(|(outpoint, _)| *outpoint);
                let page = view.tip.snapshot.utxos(after.as_ref(), 100)?;
                if page.is_empty() {
                    return Ok(all);
                }
                all.extend(page);
            }
        });
        read.await.expect("a working index")
    }

    /// Ends in good order.
    pub async fn stop(self) {
        self.chain.stop().await.expect("a working disk");
    }
}

/// A process that another test is starting holds our files, and their locks with them, from its
/// fork until it runs its own program.
fn open_unlocked(
    options: Options,
    clock: &Arc<ManualClock>,
    metrics: &Metrics,
) -> Result<Chain, OpenError> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match Chain::open(options.clone(), clock.clone(), metrics) {
            Err(OpenError::DataDir(DataDirError::Locked { pid, .. }))
                if pid == Some(std::process::id()) && Instant::now() < deadline =>
            {
                std::thread::yield_now();
            }
            outcome => return outcome,
        }
    }
}

/// The reason that a status carries.
pub fn reason(status: &Status) -> String {
    pentad_api::status::explain(status).reason
}

pub fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}
