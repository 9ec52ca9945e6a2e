//! The program that is a node.

use std::env;
use std::path::PathBuf;

use crate::fault::Fault;

/// Its file name.
pub const NAME: &str = "pentad-node";
/// Variables that mean something to this program and nothing to a node.
pub const OWN_VARIABLES: [&str; 11] = [
    "PENTAD_CONTEXT",
    "PENTAD_CONTEXTS",
    "PENTAD_DIR",
    "PENTAD_NODE",
    "PENTAD_OUTPUT",
    "PENTAD_GRPC",
    "PENTAD_COOKIE",
    "PENTAD_TOKEN_FILE",
    "PENTAD_TLS_AUTHORITY",
    "PENTAD_TLS_CERTIFICATE",
    "PENTAD_TLS_KEY",
];

/// `pentad-node` beside this program.
///
/// # Errors
/// When it is not there.
pub fn find() -> Result<PathBuf, Fault> {
    let own = env::current_exe()
        .map_err(|error| Fault::refused(format!("cannot tell where pentad is: {error}")))?;
    let beside = own.with_file_name(NAME);
    if beside.is_file() {
        return Ok(beside);
    }
    Err(Fault::refused(format!("{} is missing: it belongs beside pentad", beside.display()))
        .with_hint("from a source tree: cargo build -p pentad-cli -p pentad-node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_of_a_flag_is_known() {
        let command = crate::command();
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        let variables: Vec<&str> = variables.filter_map(|name| name.to_str()).collect();
        assert!(variables.len() > 5, "{variables:?}");
        for name in variables {
            assert!(OWN_VARIABLES.contains(&name), "a node would refuse {name}");
        }
    }
}
