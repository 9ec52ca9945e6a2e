//! `pentad-miner`: the miner service as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pentad_miner::{Miner, MinerConfig};
use pentad_service_kit::config::ConfigArgs;
use pentad_service_kit::{App, ServerConfig, Service, TelemetryConfig, Upstream, run, settings};
use serde::Deserialize;

const CHAIN_PORT: u16 = 9992;
const WALLET_PORT: u16 = 9991;
const SERVICE: Service =
    Service { name: "pentad-miner", version: env!("CARGO_PKG_VERSION"), grpc_port: 9993 };

/// The miner service of a Pentad node: proof of work
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    data_dir: PathBuf,
    server: ServerConfig,
    telemetry: TelemetryConfig,
    chain: Upstream,
    wallet: Upstream,
    miner: MinerConfig,
}

settings!(Config);

fn main() -> ExitCode {
    run(&SERVICE, &Args::parse().config.sources(), start)
}

async fn start(config: Config, app: App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let chain = config.chain.connect(CHAIN_PORT)?;
    let wallet = Some(config.wallet.connect(WALLET_PORT)?);
    let miner = Miner::start(config.miner, chain, wallet, &app.supervisor, app.shutdown.clone())?;
    let server = miner.add_to(app.server());
    Ok(app.serve(server).await?)
}
