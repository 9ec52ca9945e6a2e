//! `pentad-peer`: the peer service as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pentad_peer::{Peer, PeerConfig, Sockets};
use pentad_service_kit::config::ConfigArgs;
use pentad_service_kit::{
    App, ServerConfig, Service, TelemetryConfig, TlsFiles, Upstream, run, settings,
};
use serde::Deserialize;

const CHAIN_PORT: u16 = 9992;
const SERVICE: Service =
    Service { name: "pentad-peer", version: env!("CARGO_PKG_VERSION"), grpc_port: 9995 };

/// The peer service of a Pentad node: other nodes
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address for other nodes, TCP and UDP (peer.listen) [default: 127.0.0.1:5678]
    #[arg(long, value_name = "ADDRESS")]
    p2p: Option<String>,
    /// A node to join, repeatable (peer.bootstrap)
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    data_dir: PathBuf,
    server: ServerConfig,
    tls: TlsFiles,
    telemetry: TelemetryConfig,
    chain: Upstream,
    peer: PeerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("pentad-peer"),
            server: ServerConfig::default(),
            tls: TlsFiles::default(),
            telemetry: TelemetryConfig::default(),
            chain: Upstream::default(),
            peer: PeerConfig::default(),
        }
    }
}

settings!(Config);

fn main() -> ExitCode {
    let Args { config, p2p, bootstrap } = Args::parse();
    let bootstrap = (!bootstrap.is_empty()).then_some(bootstrap);
    let sources =
        config.sources().set_some("peer.listen", p2p).set_some("peer.bootstrap", bootstrap);
    run(&SERVICE, &sources, start)
}

async fn start(config: Config, app: App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let chain = app.connect(&config.chain, CHAIN_PORT)?;
    let sockets = Sockets::bind(config.peer.listen).await?;
    let peer = Peer::start(
        config.peer,
        &config.data_dir,
        chain,
        sockets,
        &app.metrics,
        &app.supervisor,
        app.shutdown.clone(),
    )?;
    let server = peer.add_to(app.server());
    Ok(app.serve(server).await?)
}
