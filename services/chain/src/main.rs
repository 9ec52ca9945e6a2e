//! The chain service on its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use pentad_chain::{Chain, ChainConfig, Ended, Options, SystemClock};
use pentad_service_kit::config::ConfigArgs;
use pentad_service_kit::{App, Service, run};

/// See docs/adr/0007-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERVICE: Service =
    Service { name: "pentad-chain", version: env!("CARGO_PKG_VERSION"), grpc_port: 9992 };

/// Pentad's chain service
#[derive(Debug, Parser)]
#[command(name = "pentad-chain", version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The chain spec of the network (chain_spec)
    #[arg(long, value_name = "FILE")]
    chain: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let sources = args.config.sources().set_some("chain_spec", args.chain);
    run(&SERVICE, &sources, serve)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn serve(config: ChainConfig, app: App) -> Result<(), BoxError> {
    let options = Options::from_config(&config)?;
    let metrics = app.metrics.clone();
    let opening = move || Chain::open(options, Arc::new(SystemClock), &metrics);
    let chain = tokio::task::spawn_blocking(opening).await??;
    let server = chain.add_to(app.server());
    let (watched, shutdown) = (chain.clone(), app.shutdown.clone());
    app.supervisor.spawn("chain", async move {
        match shutdown.run_until_cancelled(watched.ended()).await {
            Some(Ended::Failed(reason)) => Err(reason),
            Some(Ended::Stopped) | None => Ok(()),
        }
    });
    app.serve(server).await?;
    Ok(chain.stop().await?)
}
