//! Peers that do not help: the Python peer of the tests, told to misbehave.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pentad_bench::node::Node;

/// A liar that has the whole chain; it ends with its handle.
pub(crate) struct Liar {
    process: Child,
    /// Where it is reached.
    pub(crate) address: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The project's Python, if `make tools` has been run.
pub(crate) fn python() -> Option<PathBuf> {
    Some(root().join(".venv/bin/python")).filter(|path| path.exists())
}

impl Liar {
    /// Lets it take the chain from an honest node, and waits until it takes links.
    pub(crate) fn start(python: &Path, from: &Node, genesis: &str, behave: &str) -> Self {
        let mut process = Command::new(python)
            .arg(root().join("tests/python/wire_peer.py"))
            .args(["serve", &from.p2p, "--network", "bench", "--genesis", genesis])
            .args(["--behave", behave])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let output = BufReader::new(process.stdout.take().expect("a piped stdout"));
        let mut lines = output.lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| {
                line.strip_prefix("{\"listening\": ")?.strip_suffix('}').map(str::to_owned)
            })
            .expect("it listens in the end");
        // It stops where nobody reads what it says.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: format!("127.0.0.1:{port}") }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.process.kill().expect("a live process");
        self.process.wait().expect("a child");
    }
}
