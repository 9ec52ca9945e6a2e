//! Nodes started by hand, each in a folder of its own.

use std::path::Path;

use tempfile::TempDir;

use crate::devnet::{Node, Reply, run};
use crate::process::{Running, free_port, start};
use crate::wait::wait_for;

/// A node that knows the chain spec and, maybe, others to join; it ends with its handle.
#[derive(Debug)]
pub struct Solo {
    process: Running,
    p2p: String,
    dir: TempDir,
}

impl Solo {
    /// Starts one with more flags of `pentad-node`, on free ports of loopback.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(chain_spec: &Path, bootstrap: &[&str], flags: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let [grpc, p2p, metrics] = [0; 3].map(|_| format!("127.0.0.1:{}", free_port()));
        let path = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        let mut arguments = vec!["--chain".to_owned(), path(chain_spec)];
        arguments.extend(["--data".to_owned(), path(dir.path())]);
        let named = [("--grpc", &grpc), ("--p2p", &p2p), ("--metrics", &metrics)];
        arguments
            .extend(named.iter().flat_map(|(flag, value)| [flag.to_string(), value.to_string()]));
        arguments
            .extend(bootstrap.iter().flat_map(|it| ["--bootstrap".to_owned(), it.to_string()]));
        arguments.extend(flags.iter().map(ToString::to_string));
        let process = start("pentad-node", &arguments, &dir.path().join("node.log"));
        Self { process, p2p, dir }
    }

    /// Where other nodes reach it.
    #[must_use]
    pub fn p2p(&self) -> &str {
        &self.p2p
    }

    /// The node as `network.json` describes it, once it has written that.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn node(&self) -> Node {
        wait_for("the node says where it is", || {
            Node::read(self.dir.path(), 1).ok_or_else(|| self.process.output())
        })
    }

    /// Runs `pentad` on it with JSON output.
    pub fn run(&self, arguments: &[&str]) -> Reply {
        run(self.dir.path(), arguments)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}
