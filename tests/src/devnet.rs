//! A development network of real processes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{binary, signal};
use crate::wait::{wait_for, wait_until};

/// A network in a folder of its own that goes down with its handle.
#[derive(Debug)]
pub struct Devnet {
    dir: TempDir,
    /// Variables of the commands, and of the nodes that they start.
    variables: Vec<(&'static str, String)>,
}

/// What a command of `pentad` gave.
#[derive(Debug)]
pub struct Reply {
    /// Exit code.
    pub code: i32,
    /// Standard output as JSON; null when it is none.
    pub json: Value,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// One node as `network.json` describes it.
#[derive(Clone, Debug)]
pub struct Node(Value);

impl Node {
    /// Node `number` of the `network.json` in a folder.
    pub(crate) fn read(dir: &Path, number: usize) -> Option<Self> {
        let text = fs::read_to_string(dir.join("network.json")).ok()?;
        let network: Value = serde_json::from_str(&text).ok()?;
        network["nodes"].get(number - 1).cloned().map(Self)
    }

    /// Address of the gRPC port.
    #[must_use]
    pub fn grpc(&self) -> String {
        self.text("grpc")
    }

    /// Address of the peer port (TCP and UDP).
    #[must_use]
    pub fn p2p(&self) -> String {
        self.text("p2p")
    }

    /// Address of the metrics page.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.text("metrics")
    }

    /// The credential.
    ///
    /// # Panics
    /// When the cookie file cannot be read.
    #[must_use]
    pub fn cookie(&self) -> String {
        let text = fs::read_to_string(self.cookie_path()).expect("a readable cookie file");
        text.trim().to_owned()
    }

    /// The cookie file.
    #[must_use]
    pub fn cookie_path(&self) -> PathBuf {
        PathBuf::from(self.text("cookie"))
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.text("data_dir"))
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.text("log")).unwrap_or_default()
    }

    /// The process.
    ///
    /// # Panics
    /// When the network file names none.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let pid = self.0["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {}", self.0));
        u32::try_from(pid).expect("a process id")
    }

    fn text(&self, key: &str) -> String {
        self.0[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.0)).to_owned()
    }
}

impl Devnet {
    /// A new proof-of-work network of healthy, connected nodes on free ports.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn up(nodes: usize) -> Self {
        Self::up_with("pow", nodes, Vec::new())
    }

    /// A new network of so many validators.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn up_pbft(nodes: usize) -> Self {
        Self::up_with("pbft", nodes, Vec::new())
    }

    /// A new network of so many miners, each of which is a validator too.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn up_hybrid(nodes: usize) -> Self {
        Self::up_with("hybrid", nodes, Vec::new())
    }

    /// A new network whose commands and nodes have these variables.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn up_with(engine: &str, nodes: usize, variables: Vec<(&'static str, String)>) -> Self {
        let devnet = Self { dir: TempDir::new().expect("a temporary folder"), variables };
        let nodes = nodes.to_string();
        let arguments = ["devnet", "up", "--nodes", &nodes, "--engine", engine, "--base-port", "0"];
        devnet.run(&[&arguments[..], &["--detach"]].concat()).success();
        devnet
    }

    /// Starts the nodes that are not running.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn restart(&self) {
        self.run(&["devnet", "up", "--detach"]).success();
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `network.json`.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn network(&self) -> Value {
        let text = fs::read_to_string(self.dir().join("network.json")).expect("network.json");
        serde_json::from_str(&text).expect("network.json is JSON")
    }

    /// The address that genesis pays.
    #[must_use]
    pub fn genesis_address(&self) -> String {
        let network = self.network();
        network["genesis_address"].as_str().expect("a genesis address").to_owned()
    }

    /// Node `number`, counted from 1.
    #[must_use]
    pub fn node(&self, number: usize) -> Node {
        Node::read(self.dir(), number).expect("network.json is JSON")
    }

    /// The chain spec.
    ///
    /// # Panics
    /// When `network.json` names none.
    #[must_use]
    pub fn chain_spec(&self) -> PathBuf {
        PathBuf::from(self.network()["chain_spec"].as_str().expect("a chain spec"))
    }

    /// Runs `pentad` on this network with JSON output.
    pub fn run(&self, arguments: &[&str]) -> Reply {
        run(self.dir(), &self.variables, arguments)
    }

    /// Runs `pentad` on node `number`.
    pub fn on(&self, number: usize, arguments: &[&str]) -> Reply {
        self.run(&[&["--node", &number.to_string()], arguments].concat())
    }

    /// Balance of an address on node `number`: confirmed, pending, immature.
    ///
    /// # Panics
    /// When the call fails.
    #[must_use]
    pub fn balance(&self, number: usize, address: &str) -> [String; 3] {
        let json = self.on(number, &["balance", address]).success();
        ["confirmed", "pending", "immature"].map(|key| {
            json[key].as_str().unwrap_or_else(|| panic!("no {key} in {json}")).to_owned()
        })
    }

    /// Mines `blocks` blocks on node `number`; their hashes.
    ///
    /// # Panics
    /// When the call fails.
    pub fn generate(&self, number: usize, blocks: u32) -> Vec<String> {
        let json = self.on(number, &["generate", &blocks.to_string()]).success();
        let hashes = json["hashes"].as_array().expect("a list of hashes");
        hashes.iter().map(|hash| hash.as_str().expect("a hash").to_owned()).collect()
    }

    /// The entry of node `number` in `devnet status`.
    ///
    /// # Panics
    /// When the call fails.
    #[must_use]
    pub fn status(&self, number: usize) -> Value {
        self.run(&["devnet", "status"]).success()["nodes"][number - 1].clone()
    }

    /// Tip of node `number`; null when it is down.
    #[must_use]
    pub fn tip(&self, number: usize) -> Value {
        self.status(number)["tip"].clone()
    }

    /// Waits until the nodes have one tip, and gives it.
    ///
    /// # Panics
    /// When they do not converge.
    pub fn converge(&self, numbers: &[usize]) -> String {
        wait_for("nodes converge", || {
            let status = self.run(&["devnet", "status"]).success();
            let tips: Vec<_> = numbers.iter().map(|n| &status["nodes"][n - 1]["tip"]).collect();
            match tips.first().and_then(|tip| tip.as_str()) {
                Some(tip) if tips.iter().all(|other| **other == *tip) => Ok(tip.to_owned()),
                _ => Err(status.to_string()),
            }
        })
    }

    /// Ends node `number` with SIGKILL and waits until it is gone.
    pub fn kill(&self, number: usize) {
        self.end(number, "KILL");
    }

    /// Asks node `number` to stop and waits until it is gone.
    pub fn stop(&self, number: usize) {
        self.end(number, "TERM");
    }

    fn end(&self, number: usize, name: &str) {
        let pid = self.node(number).pid();
        assert!(signal(name, pid), "node {number} (process {pid}) is not running");
        self.wait_for_end(number);
    }

    /// Waits until node `number` is gone.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait_for_end(&self, number: usize) {
        let pid = self.node(number).pid();
        wait_until("node ends", || !is_alive(pid));
    }
}

/// Runs `pentad` on the network in a folder with JSON output.
pub(crate) fn run(dir: &Path, variables: &[(&str, String)], arguments: &[&str]) -> Reply {
    let place = [OsStr::new("--dir"), dir.as_os_str()];
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    pentad_with(variables, &[&place[..], &arguments].concat())
}

/// Runs `pentad` with JSON output and the contexts of this file.
///
/// # Panics
/// When it cannot be run.
pub fn pentad<A: AsRef<OsStr>>(contexts: Option<&Path>, arguments: &[A]) -> Reply {
    let contexts = contexts.map(|file| ("PENTAD_CONTEXTS", file.display().to_string()));
    pentad_with(contexts.as_slice(), arguments)
}

/// Runs `pentad` with JSON output and these variables.
///
/// # Panics
/// When it cannot be run.
pub fn pentad_with<A: AsRef<OsStr>>(variables: &[(&str, String)], arguments: &[A]) -> Reply {
    let mut command = own_command();
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    reply(&mut command, arguments)
}

/// Without a home: whoever runs tests keeps the contexts that they have.
fn own_command() -> Command {
    let mut command = Command::new(binary("pentad"));
    command.env_remove("HOME").env_remove("XDG_CONFIG_HOME").env_remove("PENTAD_CONTEXTS");
    command
}

fn reply<A: AsRef<OsStr>>(command: &mut Command, arguments: &[A]) -> Reply {
    let output = command.args(["--output", "json"]).args(arguments).output().expect("pentad runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Reply {
        code: output.status.code().unwrap_or(-1),
        json: serde_json::from_str(&stdout).unwrap_or(Value::Null),
        stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A process is gone when only its first thread is left, as a zombie: its parent may never reap it.
/// While other threads are still ending, it holds its ports and locks.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let is_zombie = stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !is_zombie || threads > 1
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let reply = self.run(&["devnet", "down"]);
        if std::thread::panicking() {
            for node in self.network()["nodes"].as_array().into_iter().flatten() {
                let log = Node(node.clone()).log();
                let tail: Vec<_> = log.lines().rev().take(40).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                eprintln!("--- log of {}\n{}", node["name"], tail.join("\n"));
            }
        } else {
            assert_eq!(reply.code, 0, "devnet down: {}", reply.stderr);
        }
    }
}

impl Reply {
    /// The JSON of a command that must succeed.
    ///
    /// # Panics
    /// When it did not.
    pub fn success(self) -> Value {
        assert_eq!(self.code, 0, "exit code\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.json
    }

    /// What was answered, or what was said instead.
    ///
    /// # Errors
    /// Standard error, when the command failed, or why its answer is no JSON.
    pub fn answer(self) -> Result<Value, String> {
        match self.code {
            0 => serde_json::from_str(&self.stdout).map_err(|error| error.to_string()),
            _ => Err(self.stderr),
        }
    }

    /// Standard error of a command that must fail with `code`.
    ///
    /// # Panics
    /// When it ended otherwise.
    pub fn failure(self, code: i32) -> String {
        assert_eq!(self.code, code, "exit code\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stderr
    }
}
