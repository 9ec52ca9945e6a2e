//! Validators in one process: real chain services, a switch for links.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pentad_api::Connection;
use pentad_api::chain::v1::assembly_service_client::AssemblyServiceClient;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::get_certificate_request::Block as Wanted;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{
    GetCertificateRequest, GetInfoRequest, GetInfoResponse, GetMempoolRequest, GetTemplateRequest,
    GetUtxoSetHashRequest, GetUtxoSetHashResponse, StreamBlocksRequest, SubmitBlockRequest,
    SubmitTransactionRequest,
};
use pentad_api::consensus::v1::consensus_service_client::ConsensusServiceClient;
use pentad_api::consensus::v1::{
    ExplainStallRequest, ExplainStallResponse, GetStatusRequest, GetStatusResponse,
};
use pentad_chain::{Chain, Options, SystemClock};
use pentad_consensus::{Consensus, ConsensusConfig};
use pentad_crypto::script::p2pkh_script_sig;
use pentad_crypto::{Address, PublicKey, SecretKey};
use pentad_ledger::ChainSpec;
use pentad_ledger::mempool::Policy;
use pentad_ledger::spec::{Allocation, Engine, Validator};
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::sighash::sighash_all;
use pentad_primitives::{Amount, Block, OutPoint, Target, Transaction, TxIn, TxOut};
use pentad_service_kit::{Binding, Cookie, Gate, InProcess, Metrics, Server, Supervisor};
use pentad_store::StoreOptions;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;

use crate::switch::Switch;

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short, so that a view change does not make a test slow; long against a busy machine.
pub const VIEW_TIMEOUT_MS: u32 = 1_000;
/// Payments that can be made, one of each output of genesis.
pub const PAYMENTS: u8 = 200;
const COIN: u64 = 100_000_000;
const FEE: u64 = 10_000;

/// A network.
pub struct Bed {
    pub switch: Switch,
    pub spec: ChainSpec,
    directory: TempDir,
    nodes: Vec<Option<Node>>,
}

/// A running node.
pub struct Node {
    connection: Connection,
    in_process: InProcess,
    server: Server,
    binding: Option<Binding>,
    chain: Chain,
    supervisor: Supervisor,
    shutdown: CancellationToken,
}

fn payer() -> SecretKey {
    SecretKey::from_bytes([99; 32]).expect("a key")
}

fn validator_key(number: usize) -> [u8; 32] {
    [u8::try_from(number + 1).expect("small"); 32]
}

fn voters(count: usize) -> impl Iterator<Item = (String, PublicKey)> {
    (0..count).map(|number| {
        let key = SecretKey::from_bytes(validator_key(number)).expect("a key").public_key();
        (format!("node{}", number + 1), key)
    })
}

fn allocations() -> Vec<Allocation> {
    let address = Address::P2pkh(payer().public_key().key_hash());
    let amount = Amount::from_units(COIN).expect("a coin");
    vec![Allocation { address, amount }; PAYMENTS.into()]
}

/// A spec of `count` validators who make final what so many blocks of work stand on.
pub fn hybrid_spec(count: usize, finality_depth: u32, checkpoint_interval: u32) -> ChainSpec {
    let time = 1_700_000_000;
    let spec = ChainSpec::development_hybrid("test", time, allocations(), voters(count));
    let mut parameters = spec.expect("a valid spec").parameters().clone();
    let Engine::Hybrid(hybrid) = &mut parameters.engine else { panic!("hybrid") };
    hybrid.finality_depth = finality_depth;
    hybrid.agreement.view_timeout_ms = VIEW_TIMEOUT_MS;
    hybrid.agreement.checkpoint_interval = checkpoint_interval;
    ChainSpec::new(parameters).expect("a valid spec")
}

/// A spec of `count` validators, changed as a test likes.
pub fn spec(count: usize, change: impl FnOnce(&mut pentad_ledger::spec::Pbft)) -> ChainSpec {
    let validators = voters(count).map(|(name, key)| {
        let payout = Address::P2pkh(key.key_hash());
        Validator { name, key, payout }
    });
    let spec =
        ChainSpec::development_pbft("test", 1_700_000_000, allocations(), validators.collect())
            .expect("a valid spec");
    let mut parameters = spec.parameters().clone();
    let Engine::Pbft(pbft) = &mut parameters.engine else { panic!("pbft") };
    pbft.view_timeout_ms = VIEW_TIMEOUT_MS;
    change(pbft);
    ChainSpec::new(parameters).expect("a valid spec")
}

impl Bed {
    /// `count` validators that run.
    pub async fn start(count: usize) -> Self {
        Self::of(spec(count, |_| {}), count).await
    }

    pub async fn of(spec: ChainSpec, count: usize) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut bed = Self { switch: Switch::default(), spec, directory, nodes: Vec::new() };
        for number in 0..count {
            bed.nodes.push(None);
            let path = bed.key_file(number);
            fs::create_dir_all(bed.path(number)).expect("writable");
            fs::write(&path, hex::encode(validator_key(number))).expect("writable");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
            bed.start_node(number).await;
        }
        bed
    }

    fn path(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("node{}", number + 1))
    }

    pub fn chain_path(&self, number: usize) -> PathBuf {
        self.path(number).join("chain")
    }

    fn key_file(&self, number: usize) -> PathBuf {
        self.path(number).join("validator.key")
    }

    pub fn log_file(&self, number: usize) -> PathBuf {
        self.path(number).join("consensus/safety.log")
    }

    pub fn guard_file(&self, number: usize) -> PathBuf {
        self.path(number).join("validator.key.guard")
    }

    /// Starts a node on what it left behind.
    pub async fn start_node(&mut self, number: usize) {
        let key_file = Some(self.key_file(number));
        self.start_as(number, ConsensusConfig { validator_key: key_file, ..Default::default() })
            .await;
    }

    pub async fn start_as(&mut self, number: usize, config: ConsensusConfig) {
        let path = self.path(number);
        let node = Node::start(&self.spec, &path, &self.switch, number, config).await;
        self.nodes[number] = Some(node);
    }

    /// Stops a node in good order.
    pub async fn stop_node(&mut self, number: usize) {
        let node = self.nodes[number].take().expect("it runs");
        node.stop().await;
    }

    pub fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().expect("it runs")
    }

    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        self.nodes[number].as_mut().expect("it runs")
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// Spends an output of genesis; every one of them once.
    pub fn payment(&self, vout: u8) -> Transaction {
        let genesis = &self.spec.genesis_block().transactions[0];
        let output = &genesis.outputs[usize::from(vout)];
        let amount = Amount::from_units(COIN - FEE).expect("an amount");
        let mut transaction = Transaction {
            version: 1,
            inputs: vec![TxIn {
                previous_output: OutPoint { txid: genesis.txid(), vout: vout.into() },
                script_sig: Default::default(),
                sequence: u32::MAX,
            }],
            outputs: vec![TxOut { amount, script_pubkey: output.script_pubkey.clone() }],
            lock_time: 0,
        };
        let hash = sighash_all(&transaction, 0, &output.script_pubkey).expect("one input");
        let script_sig = p2pkh_script_sig(&payer().sign(&hash), &payer().public_key());
        transaction.inputs[0].script_sig = script_sig;
        transaction
    }

    /// Hands a payment to every node that runs, as the peer services would.
    pub async fn pay(&self, vout: u8) {
        let transaction = self.payment(vout);
        for node in self.running() {
            node.submit(&transaction).await;
        }
    }

    /// Waits until all nodes that run have the same tip at `height` or above; its hash.
    pub async fn agree(&self, height: u32) -> String {
        let mut found = None;
        self.until(&format!("all are at height {height}"), async || {
            let mut tips = Vec::new();
            for node in self.running() {
                let info = node.info().await;
                tips.push((info.height, info.tip));
            }
            let (lowest, tip) = tips[0].clone();
            found = Some(tip);
            lowest >= height && tips.iter().all(|other| *other == tips[0])
        })
        .await;
        found.expect("a tip")
    }

    /// Waits until `condition` holds. Who was slow may lack votes that nobody repeats: after a
    /// while it gets what the others made final, as from the peer services.
    pub async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        let mut is_told = false;
        until(what, async || {
            if started.elapsed() > PATIENCE / 3 && !is_told {
                is_told = true;
                for node in self.running() {
                    eprintln!("{:#?}", node.explain().await);
                }
            }
            if started.elapsed() > PATIENCE / 20 {
                self.pass_on().await;
            }
            condition().await
        })
        .await;
    }

    /// Gives every node what another has made final.
    async fn pass_on(&self) {
        let mut reached = Vec::new();
        for node in self.running() {
            reached.push((node.info().await.final_height.expect("validators"), node));
        }
        let Some(&(highest, first)) = reached.iter().max_by_key(|(height, _)| *height) else {
            return;
        };
        for (height, node) in reached {
            for height in height + 1..=highest {
                let (block, certificate) = first.certified(height).await;
                node.submit_block(block, certificate).await;
            }
        }
    }

    /// Stops all in good order.
    pub async fn stop(mut self) {
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            node.stop().await;
        }
    }
}

impl Node {
    async fn start(
        spec: &ChainSpec,
        path: &Path,
        switch: &Switch,
        number: usize,
        config: ConsensusConfig,
    ) -> Self {
        let cookie_file = path.join("cookie");
        let cookie = Cookie::load_or_create(&cookie_file).expect("writable");
        let gate = Gate::new(cookie, &cookie_file);
        let in_process = InProcess::default();
        let connection = in_process.connection(&gate).expect("a hex cookie");
        let shutdown = CancellationToken::new();
        let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
        let metrics = Metrics::new();
        let options = Options {
            spec: spec.clone(),
            data_dir: path.join("chain"),
            store: StoreOptions::default(),
            policy: Policy::default(),
        };
        let chain = Chain::open(options, Arc::new(SystemClock), &metrics).expect("a sound store");
        let consensus = Consensus::start(
            config,
            &path.join("consensus"),
            spec,
            connection.clone(),
            connection.clone(),
            &metrics,
            &supervisor,
            shutdown.clone(),
        )
        .await
        .expect("a sound log");
        let server = chain.add_to(Server::new(gate, metrics));
        let server = switch.add_to(number, consensus.add_to(server));
        let binding = Some(in_process.bind(&server).expect("services fit together"));
        Self { connection, in_process, server, binding, chain, supervisor, shutdown }
    }

    /// No service of this node can be called any more; streams between them end.
    pub fn disconnect(&mut self) {
        self.binding = None;
    }

    /// They can again.
    pub fn reconnect(&mut self) {
        self.binding = Some(self.in_process.bind(&self.server).expect("services fit together"));
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.supervisor.finish(PATIENCE).await.expect("no task failed");
        drop(self.binding);
        drop(self.server);
        self.chain.stop().await.expect("a working disk");
    }

    pub async fn info(&self) -> GetInfoResponse {
        let mut chain = ChainServiceClient::new(self.connection.clone());
        chain.get_info(GetInfoRequest {}).await.expect("an answer").into_inner()
    }

    /// Makes a block of work on this node's tip.
    /// A `salt` tells it from another one on that tip.
    pub async fn mine(&self, salt: u64) -> Block {
        let script = Address::P2pkh(payer().public_key().key_hash()).script_pubkey();
        let payout_script = script.into_bytes().into();
        let request = GetTemplateRequest { payout_script, extra_nonce: salt };
        let mut assembly = AssemblyServiceClient::new(self.connection.clone());
        let template = assembly.get_template(request).await.expect("a template").into_inner();
        let mut block = Block::from_bytes(&template.block).expect("a block");
        let target = Target::from_compact(block.header.bits).expect("valid bits");
        while !target.is_met_by(&block.block_hash()) {
            block.header.nonce += 1;
        }
        block
    }

    /// Hands in a block, as the peer service would.
    pub async fn give(&self, block: &Block) {
        self.submit_block(block.to_bytes().into(), Bytes::new()).await;
    }

    async fn submit_block(&self, block: Bytes, certificate: Bytes) {
        let mut submit = SubmitServiceClient::new(self.connection.clone());
        let request = SubmitBlockRequest { block, certificate };
        submit.submit_block(request).await.expect("a valid block");
    }

    /// A final block and what makes it so, which may be nothing where a later one's does.
    async fn certified(&self, height: u32) -> (Bytes, Bytes) {
        let mut chain = ChainServiceClient::new(self.connection.clone());
        let range = StreamBlocksRequest { from_height: height, to_height: Some(height) };
        let mut blocks = chain.stream_blocks(range).await.expect("an answer").into_inner();
        let block = blocks.message().await.expect("an answer").expect("a block").raw;
        let request = GetCertificateRequest { block: Some(Wanted::Height(height)) };
        let certificate = match chain.get_certificate(request).await {
            Ok(response) => response.into_inner().certificate,
            Err(status) if status.code() == Code::NotFound => Bytes::new(),
            Err(status) => panic!("{status}"),
        };
        (block, certificate)
    }

    pub async fn utxo_set_hash(&self) -> GetUtxoSetHashResponse {
        let mut chain = ChainServiceClient::new(self.connection.clone());
        let request = GetUtxoSetHashRequest {};
        chain.get_utxo_set_hash(request).await.expect("an answer").into_inner()
    }

    pub async fn submit(&self, transaction: &Transaction) {
        let mut submit = SubmitServiceClient::new(self.connection.clone());
        let transaction = transaction.to_bytes().into();
        let request = SubmitTransactionRequest { transaction, ..Default::default() };
        submit.submit_transaction(request).await.expect("a valid transaction");
    }

    /// Whether a transaction is in the mempool.
    pub async fn waits_for(&self, txid: &str) -> bool {
        let mut chain = ChainServiceClient::new(self.connection.clone());
        let request = GetMempoolRequest::default();
        let mempool = chain.get_mempool(request).await.expect("an answer").into_inner();
        mempool.txids.iter().any(|waiting| waiting == txid)
    }

    pub fn consensus(&self) -> ConsensusServiceClient<Connection> {
        ConsensusServiceClient::new(self.connection.clone())
    }

    pub async fn status(&self) -> GetStatusResponse {
        self.consensus().get_status(GetStatusRequest {}).await.expect("a status").into_inner()
    }

    pub async fn explain(&self) -> ExplainStallResponse {
        let request = ExplainStallRequest {};
        self.consensus().explain_stall(request).await.expect("words").into_inner()
    }
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
