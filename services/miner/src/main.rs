//! `pentad-miner`: the miner service as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pentad_miner::{Miner, MinerConfig, Worker, WorkerConfig};
use pentad_service_kit::config::{ConfigArgs, Sources};
use pentad_service_kit::{
    App, ServerConfig, Service, TelemetryConfig, TlsFiles, Upstream, run, settings,
};
use serde::Deserialize;

const CHAIN_PORT: u16 = 9992;
const WALLET_PORT: u16 = 9991;
const SERVICE: Service =
    Service { name: "pentad-miner", version: env!("CARGO_PKG_VERSION"), grpc_port: 9993 };

/// The miner service of a Pentad node: proof of work.
///
/// With --work-from it is a worker instead: it searches for the miner at that address and serves
/// nothing but its health and its metrics. Any number of workers may serve one miner.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Be a worker of this miner (worker.from.address)
    #[arg(long, value_name = "HOST:PORT")]
    work_from: Option<String>,
    /// That miner's cookie file (worker.from.cookie_file)
    #[arg(long, value_name = "FILE", requires = "work_from")]
    work_cookie: Option<String>,
    /// What to be called there (worker.name)
    #[arg(long, value_name = "NAME", requires = "work_from")]
    worker_name: Option<String>,
}

impl Args {
    fn sources(&self) -> Sources {
        let address = self.work_from.as_ref().map(|address| match address.contains("://") {
            true => address.clone(),
            false => format!("http://{address}"),
        });
        self.config
            .sources()
            .set_some("worker.from.address", address)
            .set_some("worker.from.cookie_file", self.work_cookie.as_deref())
            .set_some("worker.name", self.worker_name.as_deref())
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    data_dir: PathBuf,
    server: ServerConfig,
    tls: TlsFiles,
    telemetry: TelemetryConfig,
    chain: Upstream,
    wallet: Upstream,
    miner: MinerConfig,
    worker: WorkerConfig,
}

settings!(Config);

fn main() -> ExitCode {
    run(&SERVICE, &Args::parse().sources(), start)
}

async fn start(config: Config, app: App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if let Some(from) = &config.worker.from {
        let worker =
            Worker::new(&config.worker, app.connect(from, SERVICE.grpc_port)?, &app.metrics)?;
        app.supervisor.spawn("worker", worker.run(app.shutdown.clone()));
        let server = app.server();
        return Ok(app.serve(server).await?);
    }
    let chain = app.connect(&config.chain, CHAIN_PORT)?;
    let wallet = Some(app.connect(&config.wallet, WALLET_PORT)?);
    let (supervisor, shutdown) = (&app.supervisor, app.shutdown.clone());
    let miner = Miner::start(config.miner, chain, wallet, &app.metrics, supervisor, shutdown)?;
    let server = miner.add_to(app.server());
    Ok(app.serve(server).await?)
}
