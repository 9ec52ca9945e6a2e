//! A wallet service with its chain, in one process, as `pentad-node` wires them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pentad_api::Connection;
use pentad_api::wallet::v1::audit_service_client::AuditServiceClient;
use pentad_api::wallet::v1::keystore_service_client::KeystoreServiceClient;
use pentad_api::wallet::v1::policy_service_client::PolicyServiceClient;
use pentad_api::wallet::v1::psbt_service_client::PsbtServiceClient;
use pentad_api::wallet::v1::send_request::From;
use pentad_api::wallet::v1::wallet_service_client::WalletServiceClient;
use pentad_api::wallet::v1::*;
use pentad_keystore::KdfCost;
use pentad_service_kit::{Binding, Cookie, Gate, InProcess, Metrics, Server, Supervisor};
use pentad_wallet::{StartError, WalletConfig, Wallets};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::fake_chain::FakeChain;

pub const COIN: u64 = 100_000_000;
/// Lets a test unlock as often as it likes.
pub const CHEAP: KdfCost = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Bed {
    pub chain: FakeChain,
    directory: TempDir,
    running: Option<Running>,
}

struct Running {
    metrics: Metrics,
    connection: Connection,
    supervisor: Supervisor,
    shutdown: CancellationToken,
    // Dropped last: the services are reachable until then.
    binding: Binding,
}

impl Bed {
    /// A service whose wallets unlock by themselves.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("passphrase");
        fs::write(&file, "open sesame\n").expect("writable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("own file");
        let mut bed = Self { chain: FakeChain::default(), directory, running: None };
        bed.launch().await.expect("starts");
        bed
    }

    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    pub fn wallet_file(&self, wallet: &str) -> PathBuf {
        self.data_dir().join("wallets").join(format!("{wallet}.json"))
    }

    pub fn audit_log(&self) -> PathBuf {
        self.data_dir().join("audit.log")
    }

    pub fn config(&self) -> WalletConfig {
        let passphrase_file = Some(self.data_dir().join("passphrase"));
        WalletConfig { passphrase_file, kdf: CHEAP, ..WalletConfig::default() }
    }

    pub async fn launch(&mut self) -> Result<(), StartError> {
        self.chain.demand_entries(self.audit_log());
        let cookie_file = self.data_dir().join("cookie");
        let cookie = Cookie::load_or_create(&cookie_file).expect("writable");
        let gate = Gate::new(cookie, &cookie_file);
        let in_process = InProcess::default();
        let connection = in_process.connection(&gate).expect("a hex cookie");
        let shutdown = CancellationToken::new();
        let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
        let metrics = Metrics::new();
        let wallets = Wallets::start(
            self.config(),
            self.data_dir(),
            connection.clone(),
            &metrics,
            &supervisor,
            shutdown.clone(),
        )
        .await?;
        let server = self.chain.add_to(Server::new(gate, metrics.clone()));
        let binding = in_process.bind(&wallets.add_to(server)).expect("services fit together");
        self.running = Some(Running { metrics, connection, supervisor, shutdown, binding });
        Ok(())
    }

    /// Stops the wallet service; its files stay.
    pub async fn stop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.shutdown.cancel();
        running.supervisor.finish(PATIENCE).await.expect("no task failed");
        drop(running.binding);
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.launch().await.expect("starts again");
    }

    /// What the metrics page says of a series.
    pub fn metric(&self, series: &str) -> u64 {
        let running = self.running.as_ref().expect("the service runs");
        let page = running.metrics.encode().expect("text");
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series}")).parse().expect("a count")
    }

    fn connection(&self) -> Connection {
        self.running.as_ref().expect("the service runs").connection.clone()
    }

    pub fn keystore(&self) -> KeystoreServiceClient<Connection> {
        KeystoreServiceClient::new(self.connection())
    }

    pub fn wallet(&self) -> WalletServiceClient<Connection> {
        WalletServiceClient::new(self.connection())
    }

    pub fn psbt(&self) -> PsbtServiceClient<Connection> {
        PsbtServiceClient::new(self.connection())
    }

    pub fn policy(&self) -> PolicyServiceClient<Connection> {
        PolicyServiceClient::new(self.connection())
    }

    pub fn audit(&self) -> AuditServiceClient<Connection> {
        AuditServiceClient::new(self.connection())
    }

    /// Makes a wallet that unlocks by itself; returns its first address.
    pub async fn create(&self, wallet: &str) -> String {
        self.create_sealed(wallet, "").await
    }

    pub async fn create_sealed(&self, wallet: &str, passphrase: &str) -> String {
        let request =
            CreateWalletRequest { wallet: wallet.to_owned(), passphrase: passphrase.to_owned() };
        let created = self.keystore().create_wallet(request).await.expect("created").into_inner();
        assert_eq!(created.wallet, wallet);
        created.address
    }

    pub async fn list(&self) -> Vec<Wallet> {
        let listed = self.keystore().list_wallets(ListWalletsRequest {}).await.expect("listed");
        listed.into_inner().wallets
    }

    pub async fn balance(&self, wallet: &str) -> GetBalanceResponse {
        let request = GetBalanceRequest { wallet: wallet.to_owned() };
        self.wallet().get_balance(request).await.expect("a balance").into_inner()
    }

    /// The first page of a wallet's history.
    pub async fn history(&self, wallet: &str) -> Vec<WalletTransaction> {
        let request = GetHistoryRequest { wallet: wallet.to_owned(), ..Default::default() };
        self.wallet().get_history(request).await.expect("a history").into_inner().transactions
    }

    pub async fn bump(&self, request: BumpFeeRequest) -> Result<BumpFeeResponse, Status> {
        self.wallet().bump_fee(request).await.map(tonic::Response::into_inner)
    }

    pub async fn send(&self, request: SendRequest) -> Result<SendResponse, Status> {
        self.wallet().send(request).await.map(tonic::Response::into_inner)
    }
}

pub fn from_address(from: &str, to: &str, units: u64) -> SendRequest {
    let payments = vec![Payment { address: to.to_owned(), amount: units }];
    let from = Some(From::Address(from.to_owned()));
    SendRequest { from, payments, ..SendRequest::default() }
}

pub fn from_wallet(wallet: &str, to: &str, units: u64) -> SendRequest {
    let from = Some(From::Wallet(wallet.to_owned()));
    SendRequest { from, ..from_address("", to, units) }
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
