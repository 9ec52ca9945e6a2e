use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the audit log cannot be read or written.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// An entry that had been durable is not what was written, or is gone.
    #[error(
        "audit log damaged: {} at byte {offset}: entry {number} is not what was written{}",
        path.display(), if *is_missing { ": the file ends there" } else { "" }
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Number of the entry that should be there.
        number: u64,
        /// Where in the file, in bytes.
        offset: u64,
        /// There is nothing in its place.
        is_missing: bool,
    },
    /// The log is whole, and is not the one that the caller knows.
    #[error("entry {number} of the audit log has the hash {found}, not {known}")]
    OtherLog {
        /// Number of the entry.
        number: u64,
        /// What the log says.
        found: String,
        /// What the caller noted.
        known: String,
    },
    /// An earlier write failed: nobody knows what is on the disk, so nothing more is written.
    #[error("the audit log takes no entries since a write failed: {0}")]
    Poisoned(String),
}

impl AuditError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
