//! Putting the services together, and taking them apart.

use std::net::SocketAddr;
use std::sync::Arc;

use pentad_api::{Connection, ConnectionError};
use pentad_chain::{Chain, ChainError, Ended, OpenError, Options, SystemClock};
use pentad_ledger::ChainSpec;
use pentad_miner::Miner;
use pentad_network_file::NetworkFileError;
use pentad_service_kit::server::BuildError;
use pentad_service_kit::{App, InProcess, Server, Service};
use pentad_wallet::Wallets;
use thiserror::Error;

use crate::config::NodeConfig;
use crate::presence::{Presence, announce};

/// Who this is.
pub const SERVICE: Service = Service {
    name: "pentad-node",
    version: env!("CARGO_PKG_VERSION"),
    grpc_port: 9999,
};

/// Why a node cannot start, or did not end well.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The chain spec or the data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The wallets cannot be opened.
    #[error(transparent)]
    Wallet(#[from] pentad_wallet::StartError),
    /// The miner cannot start.
    #[error("the miner has no entropy: {0}")]
    Miner(#[from] getrandom::Error),
    /// The credential cannot be sent.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The services cannot be put together.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The node cannot say where it is.
    #[error(transparent)]
    NetworkFile(#[from] NetworkFileError),
    /// The system does not tell the working directory.
    #[error("cannot tell where {} is: {source}", path.display())]
    Path {
        /// What was looked for.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store failed.
    #[error("the chain did not end well: {0}")]
    Chain(#[from] ChainError),
    /// A task of the start panicked.
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

/// Runs the node until it is told to stop.
///
/// # Errors
/// When a service cannot start, or the chain cannot be closed.
pub async fn serve(config: NodeConfig, app: App) -> Result<(), NodeError> {
    let drain_time = config.server.drain_time();
    let supervisor = app.supervisor.clone();
    let (spec, chain) = open_chain(&config, &app).await?;
    let in_process = InProcess::default();
    let connection = in_process.connection(&app.gate)?;
    let (server, p2p) = compose(&config, &app, &chain, &connection).await?;
    let binding = in_process.bind(&server)?;
    let presence = Presence::write(&config, &spec, app.addresses, p2p)?;
    supervisor.spawn(
        "announcement",
        announce(app.addresses, p2p, app.shutdown.clone()),
    );
    app.serve(server).await?;
    // Calls have ended. What works in the background still needs the other services; the chain
    // goes last, because everybody else writes to it.
    supervisor.finish(drain_time).await.ok();
    drop(binding);
    presence.end()?;
    Ok(chain.stop().await?)
}

/// Reads the spec and opens the chain, which takes the data directory for this process.
async fn open_chain(config: &NodeConfig, app: &App) -> Result<(ChainSpec, Chain), NodeError> {
    let options = Options::from_config(&config.chain())?;
    let spec = options.spec.clone();
    let metrics = app.metrics.clone();
    let opening = move || Chain::open(options, Arc::new(SystemClock), &metrics);
    let chain = tokio::task::spawn_blocking(opening).await??;
    let (watched, shutdown) = (chain.clone(), app.shutdown.clone());
    app.supervisor.spawn("chain", async move {
        match shutdown.run_until_cancelled(watched.ended()).await {
            Some(Ended::Failed(reason)) => Err(reason),
            Some(Ended::Stopped) | None => Ok(()),
        }
    });
    Ok((spec, chain))
}

/// Starts the other services and puts all of them behind one server; with it comes the address
/// where other nodes reach this one.
async fn compose(
    config: &NodeConfig,
    app: &App,
    chain: &Chain,
    connection: &Connection,
) -> Result<(Server, SocketAddr), NodeError> {
    let (supervisor, shutdown) = (&app.supervisor, &app.shutdown);
    let wallets = Wallets::start(
        config.wallet.clone(),
        &config.data_dir,
        connection.clone(),
        supervisor,
        shutdown.clone(),
    )
    .await?;
    let miner = Miner::start(
        config.miner.clone(),
        connection.clone(),
        Some(connection.clone()),
        supervisor,
        shutdown.clone(),
    )?;
    let server = miner.add_to(wallets.add_to(chain.add_to(app.server())));
    Ok((server, SocketAddr::from(([127, 0, 0, 1], 5678))))
}
