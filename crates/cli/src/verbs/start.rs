use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::{Globals, StartArgs};
use crate::console::Console;
use crate::fault::Fault;
use crate::node_binary;
use crate::secret_file::{create_directory, passphrase_file};

/// `start`: becomes `pentad-node`. Comes back only when that is not possible.
pub fn start(console: Console, globals: &Globals, arguments: &StartArgs) -> Fault {
    match command(console, globals, arguments) {
        Ok(mut command) => {
            let error = command.exec();
            let program = command.get_program().display();
            Fault::refused(format!("cannot start {program}: {error}"))
        }
        Err(fault) => fault,
    }
}

fn command(console: Console, globals: &Globals, arguments: &StartArgs) -> Result<Command, Fault> {
    let mut command = Command::new(node_binary::find()?);
    create_directory(&arguments.data)?;
    let data = absolute(&arguments.data)?;
    command.arg("--chain").arg(&arguments.chain).arg("--data").arg(&data);
    let passphrase = match &arguments.passphrase_file {
        Some(path) => path.clone(),
        None => own_passphrase_file(console, &data)?,
    };
    command.arg("--passphrase-file").arg(passphrase);
    if let Some(address) = &globals.grpc {
        command.arg("--grpc").arg(address);
    }
    if let Some(path) = &globals.cookie {
        command.arg("--cookie").arg(path);
    }
    let tls = [
        ("--tls-certificate", &globals.tls_certificate),
        ("--tls-key", &globals.tls_key),
        ("--tls-authority", &globals.tls_authority),
    ];
    for (flag, path) in tls {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    if let Some(address) = &arguments.p2p {
        command.arg("--p2p").arg(address);
    }
    if let Some(address) = &arguments.metrics {
        command.arg("--metrics").arg(address);
    }
    for address in &arguments.bootstrap {
        command.arg("--bootstrap").arg(address);
    }
    if arguments.mine {
        command.arg("--mine");
    }
    command.args(&arguments.node_flags);
    for variable in node_binary::OWN_VARIABLES {
        command.env_remove(variable);
    }
    Ok(command)
}

fn own_passphrase_file(console: Console, data: &Path) -> Result<PathBuf, Fault> {
    let (path, made) = passphrase_file(data)?;
    if made {
        console.note(&format!(
            "the wallets of this node unlock by {}, which only you can read",
            path.display()
        ));
    }
    Ok(path)
}

fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    fs::canonicalize(path)
        .map_err(|error| Fault::refused(format!("cannot find {}: {error}", path.display())))
}
