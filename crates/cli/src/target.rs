//! Which node a command talks to.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use pentad_api::Connection;
use pentad_network_file::{NetworkFile, NodeEntry};
use tonic::{Response, Status};

use crate::args::Globals;
use crate::context::{Place, What};
use crate::fault::Fault;
use crate::progress::patiently;

/// Largest answer: a full block with its serialization and its transaction ids.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;

/// What a node is made of.
const SERVICES: [&str; 5] = ["wallet", "chain", "miner", "consensus", "peer"];

/// A node and the credential for it.
#[derive(Debug)]
pub struct Target {
    label: String,
    restart_hint: String,
    connection: Connection,
}

impl Target {
    /// The node that is meant.
    ///
    /// # Errors
    /// When there is no such network or node, or no credential for it.
    pub fn of(globals: &Globals) -> Result<Self, Fault> {
        let place = Place::of(globals)?;
        let directory = match place.what {
            What::Network(directory) => directory,
            What::Node(address) => return Self::at(&address, place.cookie.as_deref()),
        };
        let network = NetworkFile::read(&directory)?;
        let node = choose(&directory, &network, place.node)?;
        let cookie = place.cookie.as_deref().unwrap_or(&node.cookie);
        Ok(Self {
            label: format!("{} at {}", node.name, node.grpc),
            restart_hint: restart_hint(&directory, node),
            connection: connect(&node.grpc.to_string(), Some(cookie))?,
        })
    }

    fn at(address: &str, cookie: Option<&Path>) -> Result<Self, Fault> {
        Ok(Self {
            label: address.to_owned(),
            restart_hint: "is a node running there?".to_owned(),
            connection: connect(address, cookie)?,
        })
    }

    /// What it is called in messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The transport for a generated client.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Waits for an answer, but not longer than `deadline`.
    ///
    /// # Errors
    /// The node's no, or that it cannot be reached.
    pub async fn call<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Fault> {
        let call = tokio::time::timeout(deadline, call);
        let waiting = format!("waiting for {}", self.label);
        let outcome = patiently(&waiting, call).await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!("not within {} s", deadline.as_secs())))
        });
        outcome.map(Response::into_inner).map_err(|status| self.fault(&status))
    }

    /// A call to this node that failed.
    pub fn fault(&self, status: &Status) -> Fault {
        let fault = Fault::of_status(status, &self.label);
        match fault.exit() {
            crate::fault::Exit::Unreachable => fault.or_hint(&self.restart_hint),
            crate::fault::Exit::Denied => {
                fault.or_hint("the credential is the node's cookie file; name it with --cookie")
            }
            _ => fault,
        }
    }
}

/// How to get an answer from a node of a network.
fn restart_hint(directory: &Path, node: &NodeEntry) -> String {
    // A node without a log file was started by hand, in a terminal.
    match node.log {
        None => "is it running? `pentad start` starts it".to_owned(),
        Some(_) => format!(
            "`pentad devnet up --dir {}` starts the nodes that are not running",
            directory.display()
        ),
    }
}

/// A connection that opens with its first call: to one address, or, for a node whose services run
/// each alone, to `wallet=HOST:PORT,chain=HOST:PORT,…`.
///
/// # Errors
/// When the address is none or the cookie file cannot be read.
pub fn connect(address: &str, cookie: Option<&Path>) -> Result<Connection, Fault> {
    if !address.contains('=') {
        return connect_one(address, cookie);
    }
    let parts = address.split(',').map(|part| {
        let (service, address) = part.split_once('=').unwrap_or((part, ""));
        if !SERVICES.contains(&service) {
            let text = format!("{part:?} does not begin with one of {}", SERVICES.join("=, "));
            return Err(Fault::usage(format!("{text}=")));
        }
        Ok((service.to_owned(), connect_one(address, cookie)?))
    });
    Ok(Connection::by_service(parts.collect::<Result<_, Fault>>()?))
}

fn connect_one(address: &str, cookie: Option<&Path>) -> Result<Connection, Fault> {
    let uri = match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    };
    let connection = Connection::lazy(&uri)
        .map_err(|_| Fault::usage(format!("{address:?} is no address of the form HOST:PORT")))?;
    let Some(path) = cookie else {
        return Ok(connection);
    };
    let credential = fs::read_to_string(path).map_err(|error| {
        let fault = Fault::denied(format!("cannot read cookie file {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::NotFound => fault.with_hint("a node makes it when it starts"),
            _ => fault,
        }
    })?;
    connection.with_credential(credential.trim()).map_err(|_| {
        Fault::denied(format!("cookie file {} does not hold a cookie", path.display()))
    })
}

/// Node `number` of a network, counted from 1.
///
/// # Errors
/// When the network has fewer nodes.
pub fn choose<'a>(
    directory: &Path,
    network: &'a NetworkFile,
    number: u16,
) -> Result<&'a NodeEntry, Fault> {
    let index = usize::from(number).saturating_sub(1);
    network.nodes.get(index).ok_or_else(|| {
        let nodes = match network.nodes.len() {
            1 => "1 node".to_owned(),
            count => format!("{count} nodes"),
        };
        Fault::usage(format!(
            "there is no node {number}: the network in {} has {nodes}",
            directory.display()
        ))
        .with_hint("`pentad devnet status` lists them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn services_that_run_alone_are_named() {
        for address in ["127.0.0.1:9999", "wallet=127.0.0.1:9991,chain=localhost:9992"] {
            connect(address, None).expect(address);
        }
        for (address, said) in [
            ("wallet=127.0.0.1:9991,127.0.0.1:9992", "\"127.0.0.1:9992\" does not begin with"),
            ("purse=127.0.0.1:9991", "wallet=, chain="),
            ("wallet=", "\"\" is no address"),
        ] {
            let text = connect(address, None).expect_err(address).to_text();
            assert!(text.contains(said), "{address}: {text}");
        }
    }
}
