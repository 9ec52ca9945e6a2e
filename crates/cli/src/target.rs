//! Which node a command talks to.

use std::path::Path;
use std::time::Duration;

use pentad_api::Connection;
use pentad_network_file::{NetworkFile, NodeEntry};
use tonic::{Response, Status};

use crate::args::Globals;
use crate::context::{Place, What};
use crate::credentials::Credentials;
use crate::fault::Fault;
use crate::progress::patiently;
use crate::trace;

/// Largest answer: a full block with its serialization and its transaction ids.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;

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
            What::Node(address) => return Self::at(&address, &place.credentials),
        };
        let network = NetworkFile::read(&directory)?;
        let node = choose(&directory, &network, place.node)?;
        let credentials = place.credentials.for_node(node);
        Ok(Self {
            label: format!("{} at {}", node.name, node.grpc),
            restart_hint: restart_hint(&directory, node),
            connection: trace::over(credentials.connect(&node.grpc.to_string())?),
        })
    }

    fn at(address: &str, credentials: &Credentials) -> Result<Self, Fault> {
        let hint = match credentials.tls.authority {
            Some(_) => "is a node running there?",
            None => {
                "is a node running there? If it has a certificate, --tls-authority names the file \
                 with its authority"
            }
        };
        Ok(Self {
            label: address.to_owned(),
            restart_hint: hint.to_owned(),
            connection: trace::over(credentials.connect(address)?),
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
            crate::fault::Exit::Denied => fault.or_hint(
                "the credential is the node's cookie file (--cookie), a token (--token-file) or a \
                     certificate (--tls-certificate)",
            ),
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
