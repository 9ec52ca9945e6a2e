//! Binaries of this build and processes of our own.

use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::wait::wait_for;

/// Path of one of the project's binaries, beside the test's own.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().nth(2).expect("tests run from target/<profile>/deps");
    let path = target.join(name);
    assert!(path.exists(), "{} is missing: run `make build`", path.display());
    path
}

/// A TCP and UDP port that was free a moment ago.
///
/// # Panics
/// When the machine has none left.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` neighbouring ports that were free a moment ago. No two calls of a process
/// get the same, and neither the system nor `pentad devnet up` gives them to anybody.
///
/// # Panics
/// When there is no such block.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    // Outgoing connections have theirs above 32,768, development networks above 12,000.
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 2_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let seed = std::process::id().wrapping_mul(97);
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(|| TAKEN.fetch_add(u32::from(count), Ordering::Relaxed))
        .take(100)
        .map(|taken| FIRST + seed.wrapping_add(taken) % (COUNT - u32::from(count)))
        .map(|base| u16::try_from(base).expect("below 12,000"))
        .find(|base| (*base..base + count).all(is_free))
        .expect("a free block of ports")
}

/// A process that ends with its handle.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

/// Starts one of the project's binaries, its output in `log`.
///
/// # Panics
/// When it cannot be started.
pub fn start<A: AsRef<OsStr>>(name: &str, arguments: &[A], log: &Path) -> Running {
    let mut command = Command::new(binary(name));
    command.args(arguments);
    Running::spawn(command, log)
}

/// What processes have written so far, one after the other.
#[must_use]
pub fn outputs(running: &[Running]) -> String {
    running.iter().map(Running::output).collect::<Vec<_>>().join("\n---\n")
}

impl Running {
    /// Starts a command, its output in `log`.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// What it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop and waits.
    ///
    /// # Panics
    /// When it does not.
    pub fn terminate(&mut self) -> ExitStatus {
        signal("TERM", self.child.id());
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("process ends", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("still running:\n{}", self.output())),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("a running child can be killed");
            self.child.wait().expect("a killed child can be reaped");
        }
    }
}

/// Sends a signal to a process.
pub fn signal(name: &str, pid: u32) -> bool {
    Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
