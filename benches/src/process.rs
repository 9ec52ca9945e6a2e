//! A process of this build, and what it has used.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::meter::resident_bytes;

/// When a process that does not answer has failed.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The kernel counts CPU time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// One process; it ends with its handle.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program of this build, whose log goes to a file.
    ///
    /// # Panics
    /// When it is not built, or does not start.
    pub fn spawn<S: AsRef<OsStr>>(
        program: &str,
        arguments: impl IntoIterator<Item = S>,
        log: &Path,
    ) -> Self {
        let path = std::env::current_exe().expect("a program knows its own path");
        let path = path.with_file_name(program);
        assert!(path.exists(), "{} is missing: see the Makefile", path.display());
        let log = File::create(log).expect("writable");
        let child = Command::new(path)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a program that starts");
        Self { child }
    }

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.child.id())
    }

    /// Its CPU time so far.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("a live process");
        // The name in parentheses may hold anything; behind it, times are the 12th and 13th.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u32>().expect("a number");
        TICK * (ticks(12) + ticks(13))
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it has ended before.
    pub fn kill(&mut self) {
        self.child.kill().expect("a live process");
        self.child.wait().expect("a child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Writes a file that nobody but its owner reads, as processes want their secrets.
///
/// # Panics
/// When it cannot be written.
pub fn write_secret(file: &Path, text: &str) {
    fs::write(file, text).expect("writable");
    fs::set_permissions(file, Permissions::from_mode(0o600)).expect("ours");
}

/// A path as it is typed.
///
/// # Panics
/// When it is not UTF-8.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Addresses on loopback that nobody listens on.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn free_addresses<const COUNT: usize>() -> [String; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound listener").to_string())
}
