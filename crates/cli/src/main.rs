//! The `pentad` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    pentad_cli::run(std::env::args_os())
}
