use std::convert::Infallible;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, thread};

use pentad_api::Connection;
use pentad_api::chain::v1::GetInfoResponse;
use pentad_api::miner::v1::StartMiningRequest;
use pentad_api::miner::v1::miner_service_server::MinerServiceServer;
use pentad_api::miner::v1::work_service_server::WorkServiceServer;
use pentad_primitives::BlockHash;
use pentad_service_kit::{Metrics, Server, Supervisor, health, sized};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::chain::ChainClient;
use crate::config::MinerConfig;
use crate::driver::{Command, Driver, Order, Verdict};
use crate::error::{GENERATE_MAX, MinerError, THREADS_MAX};
use crate::extra_nonce::ExtraNonce;
use crate::generate::generate;
use crate::job::{Found, Job};
use crate::payout::{Payout, miner_wallet_address};
use crate::status::{Status, Task};
use crate::work::WorkDesk;

/// Engines of networks whose blocks are mined.
const PROOF_OF_WORK: [&str; 2] = ["pow", "hybrid"];
/// Commands that may wait for the driver.
const COMMANDS_MAX: usize = 16;
/// Peers get this long to say what happened while the node was away: blocks on a tip that the
/// network has left behind are lost.
const START_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two attempts to start mining at the start of the service.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The miner of a node; cheap to clone.
#[derive(Clone)]
pub struct Miner {
    inner: Arc<Inner>,
}

struct Inner {
    config: MinerConfig,
    chain: ChainClient,
    chain_connection: Connection,
    wallet: Option<Connection>,
    extra_nonce: Arc<ExtraNonce>,
    status: Arc<Status>,
    commands: mpsc::Sender<Command>,
    /// What there is to search at present.
    jobs: watch::Receiver<Option<Arc<Job>>>,
    /// One call generates at a time: two would only make each other's blocks stale.
    generating: Mutex<()>,
    shutdown: CancellationToken,
}

impl Miner {
    /// Starts the miner: idle, unless the configuration says otherwise. Its tasks and threads end
    /// on `shutdown`. The other services need not be there yet.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn start(
        config: MinerConfig,
        chain: Connection,
        wallet: Option<Connection>,
        metrics: &Metrics,
        supervisor: &Supervisor,
        shutdown: CancellationToken,
    ) -> Result<Self, getrandom::Error> {
        let client = ChainClient::new(chain.clone());
        let extra_nonce = Arc::new(ExtraNonce::random()?);
        let status = Arc::new(Status::default());
        status.register(metrics);
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (jobs, present) = watch::channel(None);
        let driver = Driver {
            chain: client.clone(),
            numbers: Arc::clone(&extra_nonce),
            status: Arc::clone(&status),
            development_pause: Duration::from_millis(config.development_pause_ms),
            jobs,
            mining: None,
        };
        supervisor.spawn("miner", driver.run(received, shutdown.clone()));
        let mine_at_start = config.mine;
        let miner = Self {
            inner: Arc::new(Inner {
                config,
                chain: client,
                chain_connection: chain,
                wallet,
                extra_nonce,
                status,
                commands,
                jobs: present,
                generating: Mutex::default(),
                shutdown,
            }),
        };
        if mine_at_start {
            supervisor.spawn("mine at start", miner.clone().mine_at_start());
        }
        Ok(miner)
    }

    /// Adds the gRPC service and its health to a server.
    #[must_use]
    pub fn add_to(&self, server: Server) -> Server {
        let chain = self.inner.chain_connection.clone();
        let probe = || [health::remote("chain", chain.clone(), "pentad.chain.v1.ChainService")];
        server
            .service(sized!(MinerServiceServer::new(self.clone())), probe())
            .service(sized!(WorkServiceServer::new(WorkDesk::new(self.clone()))), probe())
    }

    /// Mines until told otherwise; says on how many threads, and for whom.
    pub(crate) async fn start_mining(
        &self,
        request: &StartMiningRequest,
    ) -> Result<Task, MinerError> {
        let (asked, throttle) = (request.threads, request.throttle_percent);
        if asked > THREADS_MAX {
            return Err(MinerError::Threads { asked });
        }
        if throttle > 100 {
            return Err(MinerError::Throttle { asked: throttle });
        }
        let threads = match asked {
            _ if request.workers_only => 0,
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            asked => asked as usize,
        };
        let throttle = if throttle == 0 { 100 } else { throttle };
        let info = self.minable().await?;
        let payout = self.payout(&info, &request.payout_address).await?;
        let payout_address = payout.address.clone();
        let order = Order { threads, throttle, payout, development: info.development };
        let (done, started) = oneshot::channel();
        self.command(Command::Start { order, done }).await?;
        started.await.map_err(|_| MinerError::ShuttingDown)??;
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        Ok(Task { threads, payout_address, height: 0, paused: false })
    }

    /// Rests, or goes on.
    pub(crate) async fn set_paused(&self, paused: bool) -> Result<(), MinerError> {
        let (done, heard) = oneshot::channel();
        self.command(Command::Pause { paused, done }).await?;
        match heard.await.map_err(|_| MinerError::ShuttingDown)? {
            true => Ok(()),
            false => Err(MinerError::Idle),
        }
    }

    /// Hands in a block that a worker found.
    pub(crate) async fn submit(&self, job: Arc<Job>, found: Found) -> Result<Verdict, MinerError> {
        let (reply, verdict) = oneshot::channel();
        self.command(Command::Submit { job, found, reply }).await?;
        verdict.await.map_err(|_| MinerError::ShuttingDown)
    }

    /// What there is to search, from now on.
    pub(crate) fn jobs(&self) -> watch::Receiver<Option<Arc<Job>>> {
        self.inner.jobs.clone()
    }

    pub(crate) fn numbers(&self) -> &ExtraNonce {
        &self.inner.extra_nonce
    }

    /// Cancelled at the end of the service.
    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.inner.shutdown
    }

    pub(crate) async fn stop_mining(&self) -> Result<(), MinerError> {
        let (done, stopped) = oneshot::channel();
        self.command(Command::Stop { done }).await?;
        stopped.await.map_err(|_| MinerError::ShuttingDown)
    }

    /// Mines `count` blocks at once, on development networks.
    pub(crate) async fn generate(
        &self,
        count: u32,
        payout_address: &str,
    ) -> Result<Vec<BlockHash>, MinerError> {
        if !(1..=GENERATE_MAX).contains(&count) {
            return Err(MinerError::Blocks { asked: count });
        }
        let info = self.minable().await?;
        if !info.development {
            return Err(MinerError::NotDevelopment { network: info.network });
        }
        let payout = self.payout(&info, payout_address).await?;
        let Inner { chain, extra_nonce, status, generating, shutdown, .. } = &*self.inner;
        let _turn = generating.lock().await;
        shutdown
            .run_until_cancelled(generate(chain, extra_nonce, status, &payout, count))
            .await
            .unwrap_or(Err(MinerError::ShuttingDown))
    }

    pub(crate) fn status(&self) -> &Status {
        &self.inner.status
    }

    /// The network, if its blocks are mined.
    async fn minable(&self) -> Result<GetInfoResponse, MinerError> {
        let info = self.inner.chain.info().await?;
        if PROOF_OF_WORK.contains(&info.engine.as_str()) {
            Ok(info)
        } else {
            Err(MinerError::NotProofOfWork { engine: info.engine })
        }
    }

    async fn payout(&self, info: &GetInfoResponse, asked: &str) -> Result<Payout, MinerError> {
        let configured = self.inner.config.payout_address.as_deref();
        let address = match (asked, configured, &self.inner.wallet) {
            ("", None, Some(wallet)) => miner_wallet_address(wallet).await?,
            ("", None, None) => return Err(MinerError::NoPayout),
            ("", Some(configured), _) => configured.to_owned(),
            (asked, ..) => asked.to_owned(),
        };
        Payout::to_address(&address, info)
    }

    async fn command(&self, command: Command) -> Result<(), MinerError> {
        self.inner.commands.send(command).await.map_err(|_| MinerError::ShuttingDown)
    }

    /// The chain and wallet services may still be starting: tries until they answer.
    async fn mine_at_start(self) -> Result<(), Infallible> {
        let Inner { config, shutdown, .. } = &*self.inner;
        let mut complaint = String::new();
        let starting = async {
            tokio::time::sleep(START_PAUSE).await;
            let request = StartMiningRequest {
                threads: config.threads,
                workers_only: config.workers_only,
                throttle_percent: config.throttle_percent,
                payout_address: String::new(),
            };
            while let Err(error) = self.start_mining(&request).await {
                // Each reason once, for the attempts go on as long as it takes. That services
                // which start together do not answer yet is no complaint.
                if !error.is_unavailable() && complaint != error.to_string() {
                    complaint = error.to_string();
                    tracing::warn!(%error, "cannot start mining yet");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(starting).await;
        Ok(())
    }
}

impl fmt::Debug for Miner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miner").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
