//! `pentad-node`: a whole node in one process.

use std::process::ExitCode;

use clap::Parser as _;
use pentad_node::{NodeArgs, SERVICE, serve};
use pentad_service_kit::{app, run};

fn main() -> ExitCode {
    match NodeArgs::parse().sources() {
        Ok(sources) => run(&SERVICE, &sources, serve),
        Err(error) => {
            eprintln!("{}: {error}", SERVICE.name);
            ExitCode::from(app::EXIT_CONFIG)
        }
    }
}
