use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the block log cannot be opened, read or written.
#[derive(Debug, Error)]
pub enum LogError {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Bytes that had been durable are not what was written.
    #[error(
        "block log damaged: {} at offset {offset}: {problem}; restore the file from a backup, or \
         move the data directory away and let the node fetch the chain from its peers",
        file.display()
    )]
    Damaged {
        /// The segment file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A segment between others is gone.
    #[error(
        "block log damaged: {} is missing; restore it from a backup, or move the data directory \
         away and let the node fetch the chain from its peers",
        file.display()
    )]
    MissingSegment {
        /// The file that should be there.
        file: PathBuf,
    },
    /// Written by a version of Pentad that this one cannot read.
    #[error("{} has format version {found}, this program reads version {expected}", file.display())]
    Version {
        /// The segment file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// The log ends before a position that had been durable.
    #[error("block log ends at {end}, before {position} that the index has seen")]
    LostTail {
        /// Where the log ends now.
        end: super::LogPosition,
        /// Where it has been before.
        position: super::LogPosition,
    },
    /// A record over the limit.
    #[error("a record of {length} bytes is longer than the limit of {max} bytes")]
    TooLong {
        /// Bytes of the payload.
        length: usize,
        /// The limit.
        max: u32,
    },
    /// An earlier fsync failed: nobody knows what is on the disk, so nothing more is written.
    #[error("the block log refuses writes since an fsync failed; restart the node")]
    Poisoned,
}

impl LogError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
