//! The processes of nodes, found again by what stands in `network.json`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use pentad_network_file::NodeEntry;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::node_binary;

/// Whether the process of a node still runs. A number may have gone to another process since:
/// it counts only if it is a node on this data directory.
pub fn is_running(node: &NodeEntry) -> bool {
    node.pid.is_some_and(|pid| is_node_on(pid, &node.data_dir))
}

fn is_node_on(pid: u32, data_dir: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    // A process that ended and waits for its parent has no program any more.
    let Ok(program) = fs::read_link(process.join("exe")) else {
        return false;
    };
    let name = program.file_name().unwrap_or_default().as_bytes();
    // The kernel adds " (deleted)" to a program that was rebuilt meanwhile.
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let (Ok(arguments), Ok(directory)) =
        (fs::read(process.join("cmdline")), fs::read_link(process.join("cwd")))
    else {
        return false;
    };
    name == node_binary::NAME.as_bytes()
        && arguments
            .split(|&byte| byte == 0)
            .any(|argument| directory.join(OsStr::from_bytes(argument)) == data_dir)
}

/// Sends a signal to the process of a node, if it runs; whether there was one.
pub fn signal(node: &NodeEntry, signal: Signal) -> Result<bool, Errno> {
    let pid = node.pid.filter(|_| is_running(node)).and_then(|pid| i32::try_from(pid).ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return Ok(false);
    };
    match kill_process(pid, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::process::{Command, Stdio};

    use super::*;

    fn node(pid: Option<u32>, data_dir: &Path) -> NodeEntry {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        NodeEntry {
            name: "node1".to_owned(),
            grpc: address,
            p2p: address,
            metrics: address,
            cookie: data_dir.join("cookie"),
            authority: None,
            data_dir: data_dir.to_owned(),
            log: None,
            pid,
        }
    }

    #[test]
    fn other_processes_are_not_taken_for_a_node() {
        let data = Path::new("/net/node1");
        assert!(!is_running(&node(None, data)));
        assert!(!is_running(&node(Some(std::process::id()), data)));
        assert!(!is_running(&node(Some(u32::MAX), data)));
        assert_eq!(signal(&node(Some(std::process::id()), data), Signal::KILL), Ok(false));
    }

    #[test]
    fn a_node_is_known_by_its_program_and_its_data_directory() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // A program of that name that sleeps, with the data directory among its arguments.
        let program = directory.path().join(node_binary::NAME);
        fs::copy("/bin/sh", &program).expect("a shell to copy");
        let data = directory.path().join("node1");
        let mut child = Command::new(&program)
            .args(["-c", "read line", "--data"])
            .arg(&data)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the copy runs");
        let (own, other) = (node(Some(child.id()), &data), node(Some(child.id()), Path::new("/x")));
        // The kernel sets up a new program's arguments last.
        while !is_running(&own) {
            assert_eq!(child.try_wait().expect("our child"), None, "it ended");
            std::thread::yield_now();
        }
        assert!(!is_running(&other), "another network's node");
        assert_eq!(signal(&own, Signal::KILL), Ok(true));
        // Not reaped yet, and yet no node any more.
        while is_running(&own) {
            std::thread::yield_now();
        }
        assert_eq!(signal(&own, Signal::KILL), Ok(false));
        child.wait().expect("reaped");
    }
}
