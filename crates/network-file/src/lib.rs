//! `network.json`: how the command line and scripts find the nodes on one machine.
//!
//! A development network has one in its directory, a node by itself in its data directory.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pentad_whole_file::{DEFAULT_MODE, replace};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Name of the file in its directory.
pub const FILE_NAME: &str = "network.json";
/// Largest file that is read: a hundred nodes take 50 kB.
const BYTES_MAX: u64 = 1 << 20;

/// The nodes of a network on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFile {
    /// The chain spec that all of them use; absolute.
    pub chain_spec: PathBuf,
    /// The first address that genesis pays; none where it pays nobody.
    pub genesis_address: Option<String>,
    /// Node 1 first.
    pub nodes: Vec<NodeEntry>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// `node1`, `node2`, …
    pub name: String,
    /// Where gRPC can be reached.
    pub grpc: SocketAddr,
    /// Where other nodes reach it, by TCP and UDP.
    pub p2p: SocketAddr,
    /// Where the metrics page can be reached.
    pub metrics: SocketAddr,
    /// The credential of local clients; absolute.
    pub cookie: PathBuf,
    /// The authorities by which clients know it; none where gRPC goes without TLS. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
    /// Absolute.
    pub data_dir: PathBuf,
    /// Where it logs to; none when that is a terminal. Absolute.
    pub log: Option<PathBuf>,
    /// Its process; none while it is stopped. The process may have died since: check.
    pub pid: Option<u32>,
}

/// Why there is no network to be read or written.
#[derive(Debug, Error)]
pub enum NetworkFileError {
    /// The directory holds no network file.
    #[error("no network in {}", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is something else, or the paths in it are no text.
    #[error("{} is not a network file: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file is far larger than any network.
    #[error("{} is not a network file: larger than {BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl NetworkFile {
    /// Reads the network file of `directory`.
    ///
    /// # Errors
    /// When there is none, it cannot be read or it is something else.
    pub fn read(directory: &Path) -> Result<Self, NetworkFileError> {
        let path = directory.join(FILE_NAME);
        let io = |source| NetworkFileError::Io { action: "read", path: path.clone(), source };
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > BYTES_MAX => {
                return Err(NetworkFileError::TooLarge { path });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NetworkFileError::Missing { directory: directory.to_owned() });
            }
            Err(error) => return Err(io(error)),
        }
        let text = fs::read(&path).map_err(io)?;
        serde_json::from_slice(&text).map_err(|source| NetworkFileError::Malformed { path, source })
    }

    /// Replaces the network file of `directory` at once: a reader sees the old or the new one.
    ///
    /// # Errors
    /// When a path in it is not UTF-8 or the file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), NetworkFileError> {
        let path = directory.join(FILE_NAME);
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|source| NetworkFileError::Malformed { path: path.clone(), source })?;
        text.push(b'\n');
        replace(&path, text, DEFAULT_MODE).map_err(|source| NetworkFileError::Io {
            action: "write",
            path,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    fn network(nodes: u16) -> NetworkFile {
        let node = |number: u16| {
            let address = |offset| SocketAddr::from(([127, 0, 0, 1], 5668 + 10 * number + offset));
            NodeEntry {
                name: format!("node{number}"),
                p2p: address(0),
                grpc: address(1),
                metrics: address(2),
                cookie: format!("/net/node{number}/cookie").into(),
                authority: None,
                data_dir: format!("/net/node{number}").into(),
                log: Some(format!("/net/node{number}.log").into()),
                pid: (number == 1).then_some(42),
            }
        };
        NetworkFile {
            chain_spec: "/net/chain.toml".into(),
            genesis_address: Some("1BoatSLRHtKNngkdXEeobR76b53LETtpyT".to_owned()),
            nodes: (1..=nodes).map(node).collect(),
        }
    }

    #[test]
    fn the_file_has_the_shape_that_scripts_rely_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        network(1).write(directory.path()).expect("written");
        let text = fs::read_to_string(directory.path().join(FILE_NAME)).expect("readable");
        let expected = r#"{
  "chain_spec": "/net/chain.toml",
  "genesis_address": "1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
  "nodes": [
    {
      "name": "node1",
      "grpc": "127.0.0.1:5679",
      "p2p": "127.0.0.1:5678",
      "metrics": "127.0.0.1:5680",
      "cookie": "/net/node1/cookie",
      "data_dir": "/net/node1",
      "log": "/net/node1.log",
      "pid": 42
    }
  ]
}
"#;
        assert_eq!(text, expected);
        assert_eq!(NetworkFile::read(directory.path()).expect("read"), network(1));
    }

    #[test]
    fn readers_never_see_half_a_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        network(1).write(directory.path()).expect("written");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let read = NetworkFile::read(directory.path()).expect("always whole");
                    assert!(read == network(1) || read == network(50));
                }
            });
            for round in 0..200 {
                let nodes = if round % 2 == 0 { 50 } else { 1 };
                network(nodes).write(directory.path()).expect("written");
            }
            over.store(true, Ordering::Relaxed);
        });
        let left = fs::read_dir(directory.path()).expect("listed").count();
        assert_eq!(left, 1, "a draft was left behind");
    }

    #[test]
    fn what_is_no_network_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(FILE_NAME);
        let error = || NetworkFile::read(directory.path()).expect_err("refused");
        assert!(matches!(error(), NetworkFileError::Missing { .. }));
        for text in ["", "{", "[]", "{\"nodes\": 1}"] {
            fs::write(&path, text).expect("written");
            assert!(matches!(error(), NetworkFileError::Malformed { .. }), "{text:?}");
        }
        File::create(&path).expect("made").set_len(BYTES_MAX + 1).expect("grown");
        assert!(matches!(error(), NetworkFileError::TooLarge { .. }));
    }
}
