//! Putting the services together, and taking them apart.

use std::convert::Infallible;
use std::sync::Arc;

use pentad_api::{Connection, ConnectionError};
use pentad_chain::{Chain, ChainError, Ended, OpenError, Options, SystemClock};
use pentad_consensus::Consensus;
use pentad_ledger::ChainSpec;
use pentad_miner::Miner;
use pentad_network_file::NetworkFileError;
use pentad_peer::{Peer, Sockets};
use pentad_service_kit::server::BuildError;
use pentad_service_kit::{App, InProcess, Service};
use pentad_wallet::Wallets;
use thiserror::Error;

use crate::config::NodeConfig;
use crate::presence::{Presence, announce};

/// Who this is.
pub const SERVICE: Service =
    Service { name: "pentad-node", version: env!("CARGO_PKG_VERSION"), grpc_port: 9999 };

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
    /// The peer service cannot start.
    #[error(transparent)]
    Peer(#[from] pentad_peer::StartError),
    /// The consensus service cannot start.
    #[error(transparent)]
    Consensus(#[from] pentad_consensus::StartError),
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
    let sockets = Sockets::bind(config.peer.listen).await?;
    let (spec, chain) = open_chain(&config, &app).await?;
    let served = with_chain(&config, app, &spec, &chain, sockets).await;
    // The chain goes last, because everybody else writes to it.
    let stopped = chain.stop().await;
    served?;
    Ok(stopped?)
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

/// Runs all services on an open chain.
async fn with_chain(
    config: &NodeConfig,
    app: App,
    spec: &ChainSpec,
    chain: &Chain,
    sockets: Sockets,
) -> Result<(), NodeError> {
    let in_process = InProcess::default();
    let connection = in_process.connection(&app.gate)?;
    let wallets = start_wallets(config, &app, &connection).await?;
    let miner = start_miner(config, &app, &connection)?;
    let peer = start_peer(config, &app, &connection, sockets)?;
    let consensus = start_consensus(config, &app, spec, &connection).await?;
    let server = wallets.add_to(chain.add_to(app.server()));
    let server = consensus.add_to(peer.add_to(miner.add_to(server)));
    let binding = in_process.bind(&server)?;

    let p2p = peer.listen_address();
    let presence = Presence::write(config, spec, app.addresses, p2p)?;
    let (supervisor, addresses, shutdown) =
        (app.supervisor.clone(), app.addresses, app.shutdown.clone());
    supervisor.spawn("announcement", async move {
        announce(connection, addresses, p2p, shutdown).await;
        Ok::<(), Infallible>(())
    });
    app.serve(server).await?;
    // Calls have ended, and what works in the background still needs the other services. Whoever
    // runs us asks again how that ended.
    supervisor.finish(config.server.drain_time()).await.ok();
    drop(binding);
    presence.end()
}

async fn start_wallets(
    config: &NodeConfig,
    app: &App,
    chain: &Connection,
) -> Result<Wallets, pentad_wallet::StartError> {
    Wallets::start(
        config.wallet.clone(),
        &config.data_dir,
        chain.clone(),
        &app.metrics,
        &app.supervisor,
        app.shutdown.clone(),
    )
    .await
}

fn start_miner(
    config: &NodeConfig,
    app: &App,
    services: &Connection,
) -> Result<Miner, getrandom::Error> {
    Miner::start(
        config.miner.clone(),
        services.clone(),
        Some(services.clone()),
        &app.metrics,
        &app.supervisor,
        app.shutdown.clone(),
    )
}

fn start_peer(
    config: &NodeConfig,
    app: &App,
    chain: &Connection,
    sockets: Sockets,
) -> Result<Peer, pentad_peer::StartError> {
    Peer::start(
        config.peer.clone(),
        &config.data_dir.join("peer"),
        chain.clone(),
        sockets,
        &app.metrics,
        &app.supervisor,
        app.shutdown.clone(),
    )
}

async fn start_consensus(
    config: &NodeConfig,
    app: &App,
    spec: &ChainSpec,
    services: &Connection,
) -> Result<Consensus, pentad_consensus::StartError> {
    Consensus::start(
        config.consensus.clone(),
        &config.data_dir.join("consensus"),
        spec,
        services.clone(),
        services.clone(),
        &app.metrics,
        &app.supervisor,
        app.shutdown.clone(),
    )
    .await
}
