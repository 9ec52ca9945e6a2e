//! Nodes started by hand, each in a folder of its own.

use std::path::Path;

use tempfile::TempDir;

use crate::devnet::{Node, Reply, run};
use crate::process::{Running, start};
use crate::wait::wait_for;

/// A node that knows the chain spec and, maybe, others to join; it ends with its handle.
#[derive(Debug)]
pub struct Solo {
    process: Running,
    node: Node,
    dir: TempDir,
}

impl Solo {
    /// Starts one with more flags of `pentad-node`, on ports of loopback that the system
    /// chooses; returns once it listens.
    ///
    /// # Panics
    /// When it does not start, or does not say where it is.
    #[must_use]
    pub fn start(chain_spec: &Path, bootstrap: &[&str], flags: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let path = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        let mut arguments = vec!["--chain".to_owned(), path(chain_spec)];
        arguments.extend(["--data".to_owned(), path(dir.path())]);
        // The node says which ports it was given: nobody else can take them meanwhile.
        let any = ["--grpc", "--p2p", "--metrics"].map(|flag| [flag, "127.0.0.1:0"]);
        arguments.extend(any.as_flattened().iter().map(ToString::to_string));
        arguments
            .extend(bootstrap.iter().flat_map(|it| ["--bootstrap".to_owned(), it.to_string()]));
        arguments.extend(flags.iter().map(ToString::to_string));
        let process = start("pentad-node", &arguments, &dir.path().join("node.log"));
        let node = wait_for("the node says where it is", || {
            Node::read(dir.path(), 1).ok_or_else(|| process.output())
        });
        Self { process, node, dir }
    }

    /// The node as `network.json` describes it.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Runs `pentad` on it with JSON output.
    pub fn run(&self, arguments: &[&str]) -> Reply {
        run(self.dir.path(), &[], arguments)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.node.p2p(), self.process.output());
        }
    }
}
