use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a safety log cannot be opened or written.
#[derive(Debug, Error)]
pub enum SafetyLogError {
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
        "safety log damaged: {} at offset {offset}: batch {batch} is not what was written, and \
         later ones are there; this replica may have forgotten votes, so its key must not vote \
         again: restore the undamaged file, or remove `consensus.validator_key` and join as a \
         follower until the validators admit a new key",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// Number of the batch that should be there.
        batch: u64,
    },
    /// The beginning of the file is not what was written.
    #[error(
        "safety log damaged: {} has no readable header; restore the undamaged file, or remove \
         `consensus.validator_key` and join as a follower until the validators admit a new key",
        file.display()
    )]
    Header {
        /// The file.
        file: PathBuf,
    },
    /// Written by a version of Pentad that this one cannot read.
    #[error("{} has format version {found}, this program reads version {expected}", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// The log of another validator or of another network.
    #[error(
        "{} was written by another validator key or on another network; give each its own \
         data directory",
        file.display()
    )]
    Owner {
        /// The file.
        file: PathBuf,
    },
    /// A batch longer than a file can name.
    #[error("a batch of {records} records is longer than 4 GiB")]
    TooLong {
        /// How many records it has.
        records: usize,
    },
    /// An earlier write failed: nobody knows what is on the disk, so nothing more is written.
    #[error("the safety log refuses writes since one failed; restart the node")]
    Poisoned,
}

impl SafetyLogError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
