//! A miner with its chain and keystore, in one process, as `pentad-node` wires them.

use std::time::Duration;

use pentad_api::Connection;
use pentad_api::miner::v1::miner_service_client::MinerServiceClient;
use pentad_api::miner::v1::work_service_client::WorkServiceClient;
use pentad_api::miner::v1::*;
use pentad_miner::{Miner, MinerConfig};
use pentad_primitives::CompactTarget;
use pentad_service_kit::{Binding, Cookie, Gate, InProcess, Metrics, Server, Supervisor};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fake_chain::FakeChain;
use crate::fake_keystore::FakeKeystore;

/// An address that rewards may go to.
pub const PAYOUT: &str = "1BitcoinEaterAddressDontSendf59kuE";
/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Mines as fast as it can, also on a development network.
pub const RESTLESS: MinerConfig = MinerConfig {
    threads: 0,
    workers_only: false,
    throttle_percent: 100,
    mine: false,
    payout_address: None,
    development_pause_ms: 0,
};

pub struct Bed {
    pub chain: FakeChain,
    connection: Connection,
    supervisor: Supervisor,
    shutdown: CancellationToken,
    binding: Binding,
    _directory: TempDir,
}

impl Bed {
    pub fn start(bits: CompactTarget) -> Self {
        Self::configured(bits, RESTLESS, true)
    }

    pub fn configured(bits: CompactTarget, config: MinerConfig, with_wallet: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cookie_file = directory.path().join("cookie");
        let cookie = Cookie::load_or_create(&cookie_file).expect("writable");
        let gate = Gate::new(cookie, &cookie_file);
        let in_process = InProcess::default();
        let connection = in_process.connection(&gate).expect("a hex cookie");
        let shutdown = CancellationToken::new();
        let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
        let wallet = with_wallet.then(|| connection.clone());
        let (metrics, chain) = (Metrics::new(), connection.clone());
        let miner = Miner::start(config, chain, wallet, &metrics, &supervisor, shutdown.clone())
            .expect("randomness");
        let chain = FakeChain::new(bits);
        let server = chain.add_to(Server::new(gate, Metrics::new()));
        let server = FakeKeystore::default().add_to(server);
        let binding = in_process.bind(&miner.add_to(server)).expect("services fit together");
        Self { chain, connection, supervisor, shutdown, binding, _directory: directory }
    }

    pub fn miner(&self) -> MinerServiceClient<Connection> {
        MinerServiceClient::new(self.connection.clone())
    }

    /// To the miner, for a worker.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    pub async fn workers(&self) -> Vec<pentad_api::miner::v1::Worker> {
        let mut client = WorkServiceClient::new(self.connection());
        client.list_workers(ListWorkersRequest {}).await.expect("a list").into_inner().workers
    }

    pub async fn mine(&self, threads: u32) -> StartMiningResponse {
        self.start_mining(StartMiningRequest { threads, ..Default::default() }).await
    }

    pub async fn start_mining(&self, request: StartMiningRequest) -> StartMiningResponse {
        let request = StartMiningRequest { payout_address: PAYOUT.to_owned(), ..request };
        self.miner().start_mining(request).await.expect("started").into_inner()
    }

    pub async fn status(&self) -> GetStatusResponse {
        self.miner().get_status(GetStatusRequest {}).await.expect("a status").into_inner()
    }

    pub async fn generate(&self, blocks: u32) -> Result<Vec<String>, tonic::Status> {
        let request = GenerateRequest { blocks, payout_address: PAYOUT.to_owned() };
        self.miner().generate(request).await.map(|generated| generated.into_inner().hashes)
    }

    /// Ends everything; says how long that took.
    pub async fn stop(self) -> Duration {
        let started = Instant::now();
        self.shutdown.cancel();
        self.supervisor.finish(PATIENCE).await.expect("no task failed");
        drop(self.binding);
        started.elapsed()
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
