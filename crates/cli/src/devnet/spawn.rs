//! Starting the process of a node.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use futures_util::future::{pending, select_all};
use pentad_network_file::{NetworkFile, NodeEntry};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::down::late;
use crate::console::Console;
use crate::fault::Fault;
use crate::node_binary;
use crate::secret_file::{passphrase_file, validator_key_file};

/// Lines of a log that explain why a node ended.
const TAIL_LINES: usize = 6;
/// Bytes of a log that are read for them.
const TAIL_BYTES: u64 = 8 * 1024;

/// A node that this command started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) name: String,
    pub(super) child: Child,
    log: PathBuf,
    log_start: u64,
}

impl Started {
    /// Why it ended, in its own words: the error it ended with, or the end of its log. `how` is
    /// how the system says it ended.
    pub(super) fn last_words(&self, how: &str) -> String {
        match tail(&self.log, self.log_start) {
            Ok(said) => last_words(&said, how),
            Err(error) => format!("{how} (no log: {error})"),
        }
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn terminate(&self) -> Result<(), Fault> {
        // None: it has ended, and we know.
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| kill_process(pid, Signal::TERM))
            .map_err(|error| Fault::refused(format!("cannot stop {}: {error}", self.name)))
    }

    /// Ends it if it has not stopped.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) async fn kill(&mut self, console: Console) -> Result<(), Fault> {
        if self.child.id().is_none() {
            return Ok(());
        }
        console.warn(&late(&self.name));
        let killed = self.child.kill().await;
        killed.map_err(|error| Fault::refused(format!("cannot end {}: {error}", self.name)))
    }

    /// Its log file.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }
}

/// The next node to end, taken out of `started`; waits forever when there is none.
pub(super) async fn next_end(started: &mut Vec<Started>) -> (Started, io::Result<ExitStatus>) {
    if started.is_empty() {
        return pending().await;
    }
    let ends = started.iter_mut().map(|node| Box::pin(node.child.wait()));
    let (status, index, _) = select_all(ends).await;
    (started.swap_remove(index), status)
}

fn last_words(said: &str, how: &str) -> String {
    let prefix = format!("{}: ", node_binary::NAME);
    match said.lines().rev().find_map(|line| line.strip_prefix(&prefix)) {
        Some(error) => error.to_owned(),
        None if said.is_empty() => how.to_owned(),
        None => format!("{how}, after\n{said}"),
    }
}

/// Starts node `index` of the network in a process group of its own, so that Ctrl-C in this
/// terminal does not reach it and it outlives this command.
///
/// # Errors
/// When the system refuses.
pub(super) fn spawn(
    binary: &Path,
    network: &NetworkFile,
    index: usize,
    mine: bool,
) -> Result<Started, Fault> {
    let node = network
        .nodes
        .get(index)
        .ok_or_else(|| Fault::refused(format!("the network has no node {index}")))?;
    let Some(log) = node.log.clone() else {
        return Err(Fault::usage(format!("{} is no node of a devnet", node.name))
            .with_hint("start it with `pentad start`, as it was before"));
    };
    let failed = |error: io::Error| {
        Fault::refused(format!("cannot start {} ({}): {error}", node.name, binary.display()))
    };
    let file = OpenOptions::new().create(true).append(true).open(&log).map_err(failed)?;
    let log_start = file.metadata().map_err(failed)?.len();
    let mut command = command(binary, network, node, mine)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).process_group(0);
    let child = command.spawn().map_err(failed)?;
    Ok(Started { name: node.name.clone(), child, log, log_start })
}

fn command(
    binary: &Path,
    network: &NetworkFile,
    node: &NodeEntry,
    mine: bool,
) -> Result<Command, Fault> {
    let (passphrase, _) = passphrase_file(&node.data_dir)?;
    let mut command = Command::new(binary);
    command
        .arg("--chain")
        .arg(&network.chain_spec)
        .arg("--data")
        .arg(&node.data_dir)
        .args(["--grpc", &node.grpc.to_string()])
        .args(["--p2p", &node.p2p.to_string()])
        .args(["--metrics", &node.metrics.to_string()])
        .arg("--cookie")
        .arg(&node.cookie)
        .arg("--passphrase-file")
        .arg(passphrase)
        .args(["--set", &format!("telemetry.instance={}", node.name)]);
    // The first node is how the others find each other; nothing else is told to anybody.
    if let Some(first) = network.nodes.first().filter(|first| first.p2p != node.p2p) {
        command.args(["--bootstrap", &first.p2p.to_string()]);
    }
    let validator_key = validator_key_file(&node.data_dir);
    if validator_key.exists() {
        command.arg("--validator-key").arg(validator_key);
    }
    if mine {
        command.arg("--mine");
    }
    for variable in node_binary::OWN_VARIABLES {
        command.env_remove(variable);
    }
    Ok(command)
}

fn tail(path: &Path, start: u64) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines.get(first..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_itself_why_it_ended() {
        let said = "INFO starting\npentad-node: port 1 is in use\nINFO flushed";
        assert_eq!(last_words(said, "exit status: 1"), "port 1 is in use");
        assert_eq!(last_words("panicked", "signal: 6"), "signal: 6, after\npanicked");
        assert_eq!(last_words("", "signal: 9"), "signal: 9");
    }

    #[test]
    fn the_tail_begins_where_this_run_did() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log");
        fs::write(&path, "old\nnew 1\nnew 2\n").expect("written");
        assert_eq!(tail(&path, 4).expect("read"), "new 1\nnew 2");
        let many: String = (0..1000).map(|line| format!("line {line}\n")).collect();
        fs::write(&path, many).expect("written");
        let text = tail(&path, 0).expect("read");
        assert_eq!(text.lines().count(), TAIL_LINES);
        assert!(text.ends_with("line 999"), "{text}");
    }
}
