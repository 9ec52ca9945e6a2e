//! `pentad-consensus`: the consensus service as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pentad_consensus::{Consensus, ConsensusConfig};
use pentad_ledger::ChainSpec;
use pentad_service_kit::config::ConfigArgs;
use pentad_service_kit::{
    App, ServerConfig, Service, TelemetryConfig, TlsFiles, Upstream, run, settings,
};
use serde::Deserialize;

const CHAIN_PORT: u16 = 9992;
const PEER_PORT: u16 = 9995;
const SERVICE: Service =
    Service { name: "pentad-consensus", version: env!("CARGO_PKG_VERSION"), grpc_port: 9994 };

/// The consensus service of a Pentad node: a validator's part in agreement by PBFT
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The chain spec of the network (chain_spec)
    #[arg(long, value_name = "FILE")]
    chain: Option<String>,
    /// File of mode 0600 with this validator's key (consensus.validator_key)
    #[arg(long, value_name = "FILE")]
    validator_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    chain_spec: PathBuf,
    data_dir: PathBuf,
    server: ServerConfig,
    tls: TlsFiles,
    telemetry: TelemetryConfig,
    chain: Upstream,
    peer: Upstream,
    consensus: ConsensusConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chain_spec: PathBuf::from("chain.toml"),
            data_dir: PathBuf::from("pentad-data").join("consensus"),
            server: ServerConfig::default(),
            tls: TlsFiles::default(),
            telemetry: TelemetryConfig::default(),
            chain: Upstream::default(),
            peer: Upstream::default(),
            consensus: ConsensusConfig::default(),
        }
    }
}

settings!(Config);

fn main() -> ExitCode {
    let args = Args::parse();
    let sources = args
        .config
        .sources()
        .set_some("chain_spec", args.chain.as_deref())
        .set_some("consensus.validator_key", args.validator_key.as_deref());
    run(&SERVICE, &sources, start)
}

async fn start(config: Config, app: App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let path = &config.chain_spec;
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read chain spec {}: {error}", path.display()))?;
    let spec = ChainSpec::from_toml(&text)
        .map_err(|error| format!("chain spec {}: {error}", path.display()))?;
    let consensus = Consensus::start(
        config.consensus,
        &config.data_dir,
        &spec,
        app.connect(&config.chain, CHAIN_PORT)?,
        app.connect(&config.peer, PEER_PORT)?,
        &app.metrics,
        &app.supervisor,
        app.shutdown.clone(),
    )
    .await?;
    let server = consensus.add_to(app.server());
    Ok(app.serve(server).await?)
}
