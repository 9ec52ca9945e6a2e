//! `pentad-wallet`: the wallet service as a process of its own.

use std::alloc::System;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pentad_service_kit::config::ConfigArgs;
use pentad_service_kit::{
    App, ServerConfig, Service, TelemetryConfig, TlsFiles, Upstream, run, settings,
};
use pentad_wallet::{WalletConfig, Wallets};
use serde::Deserialize;
use zeroizing_alloc::ZeroAlloc;

/// Memory is wiped before it is given back: passphrases and words that callers gave or were shown
/// have passed through buffers of the transport.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

const CHAIN_PORT: u16 = 9992;
const SERVICE: Service =
    Service { name: "pentad-wallet", version: env!("CARGO_PKG_VERSION"), grpc_port: 9991 };

/// The wallet service of a Pentad node: keystore and payments
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
    tls: TlsFiles,
    telemetry: TelemetryConfig,
    chain: Upstream,
    wallet: WalletConfig,
}

settings!(Config);

fn main() -> ExitCode {
    run(&SERVICE, &Args::parse().config.sources(), start)
}

async fn start(config: Config, app: App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let chain = app.connect(&config.chain, CHAIN_PORT)?;
    let wallets = Wallets::start(
        config.wallet,
        &config.data_dir,
        chain,
        &app.metrics,
        &app.supervisor,
        app.shutdown.clone(),
    );
    let server = wallets.await?.add_to(app.server());
    Ok(app.serve(server).await?)
}
