use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::fault::Fault;
use crate::secret_file::create_directory;

/// Starting a large network on a busy machine takes this long at most.
const WAIT_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// The directory of a development network for one command alone. The lock is on the directory
/// itself, so an empty one stays empty, and it goes with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: File,
}

impl Lock {
    /// Waits for its turn; makes the directory if need be.
    ///
    /// # Errors
    /// When the directory cannot be made or another command does not come to an end.
    pub(super) async fn take(console: Console, directory: &Path) -> Result<Self, Fault> {
        create_directory(directory)?;
        let refuse = |error: std::io::Error| {
            Fault::refused(format!("cannot lock {}: {error}", directory.display()))
        };
        let handle = File::open(directory).map_err(refuse)?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match handle.try_lock() {
                Ok(()) => return Ok(Self { _directory: handle }),
                Err(TryLockError::Error(error)) => return Err(refuse(error)),
                Err(TryLockError::WouldBlock) if start.elapsed() > WAIT_MAX => {
                    return Err(Fault::refused(format!(
                        "another `pentad devnet` has been at work on {} for {} s",
                        directory.display(),
                        WAIT_MAX.as_secs()
                    )));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                console.note("waiting for another `pentad devnet` on this directory …");
                told = true;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Format;

    #[tokio::test]
    async fn one_at_a_time() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("net");
        let console = Console::new(Format::Json);
        let first = Lock::take(console, &path).await.expect("free");
        let second = tokio::time::timeout(2 * POLL, Lock::take(console, &path)).await;
        assert!(second.is_err(), "two at once");
        drop(first);
        Lock::take(console, &path).await.expect("free again");
        assert_eq!(std::fs::read_dir(&path).expect("listed").count(), 0, "the directory is clean");
    }
}
