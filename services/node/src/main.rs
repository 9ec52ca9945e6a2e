//! `pentad-node`: a whole node in one process.

use std::process::ExitCode;

use clap::Parser as _;
use pentad_node::{NodeArgs, SERVICE, serve};
use pentad_service_kit::run;

/// See docs/adr/0007-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(&SERVICE, &NodeArgs::parse().sources(), serve)
}
