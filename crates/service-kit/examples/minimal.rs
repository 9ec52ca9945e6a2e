//! The least a service is: `cargo run -p pentad-service-kit --example minimal`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pentad_service_kit::config::ConfigArgs;
use pentad_service_kit::server::BuildError;
use pentad_service_kit::{App, ServerConfig, Service, TelemetryConfig, TlsFiles, run, settings};
use serde::Deserialize;

const SERVICE: Service =
    Service { name: "minimal", version: env!("CARGO_PKG_VERSION"), grpc_port: 9900 };

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    data_dir: PathBuf,
    server: ServerConfig,
    tls: TlsFiles,
    telemetry: TelemetryConfig,
}

settings!(Config);

/// Serves health and reflection alone.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    run(&SERVICE, &flags.config.sources(), serve)
}

async fn serve(_: Config, app: App) -> Result<(), BuildError> {
    let server = app.server();
    app.serve(server).await
}
