//! The directory that one node owns: its lock, its format version, the network it belongs to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process;

use pentad_primitives::Hash256;
use thiserror::Error;

use crate::fail_point::{self, Point};
use crate::format::{self, DATA_FORMAT, MIGRATIONS};

const LOCK_FILE: &str = "LOCK";
const REINDEX_FILE: &str = "REINDEX";

/// A data directory, locked for this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock goes with the file handle, also when the process is killed.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another process works on it.
    #[error("data directory {} is in use by {}", path.display(), holder(.pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds the lock, if it said so.
        pid: Option<u32>,
    },
    /// It belongs to another network.
    #[error(
        "data directory {} belongs to the chain spec {found}, not to {expected}; give the spec \
         it was made with, or another directory",
        path.display()
    )]
    OtherSpec {
        /// The directory.
        path: PathBuf,
        /// Hash of the spec it was made with, displayed hex.
        found: String,
        /// Hash of the spec that was given, displayed hex.
        expected: String,
    },
    /// Written by a version of Pentad that this one cannot read.
    #[error(
        "data directory {} has format {found}, this program reads formats 1 to {DATA_FORMAT}; \
         start the version of Pentad that wrote it, or a newer one",
        path.display()
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// The format found there.
        found: String,
    },
    /// `FORMAT` is not what was written, or is gone from a directory that holds blocks.
    #[error(
        "{} is damaged or missing; restore it from a backup, or, if the directory belongs to \
         this network and this version of Pentad was the last to work there, write into it the \
         lines `format = {DATA_FORMAT}` and `spec = {expected}`",
        path.display()
    )]
    DamagedFormat {
        /// The file.
        path: PathBuf,
        /// Hash of the spec that was given, displayed hex.
        expected: String,
    },
    /// The way from an older format failed half-way; nothing is lost.
    #[error(
        "cannot migrate data directory {} from format {from} to {to}: {source}; mend that and \
         start again",
        path.display()
    )]
    Migration {
        /// The directory.
        path: PathBuf,
        /// The format it has.
        from: u32,
        /// The format it was to get.
        to: u32,
        /// The reason.
        source: io::Error,
    },
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
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { action, path, source }
}

impl DataDir {
    /// Takes the directory for this process, creating it if need be, and brings an older layout
    /// up to this program's. `spec_hash` names the network that its contents belong to from then
    /// on.
    ///
    /// # Errors
    /// When another process holds it, it belongs to another network, its format is unknown or it
    /// cannot be migrated.
    pub fn open(path: &Path, spec_hash: &Hash256) -> Result<Self, DataDirError> {
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        let lock = lock(path)?;
        format::bring_up(path, spec_hash, MIGRATIONS)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks the next start to rebuild the index: it was found damaged while it was in use.
    ///
    /// # Errors
    /// IO errors.
    pub fn request_reindex(&self) -> Result<(), DataDirError> {
        request_reindex(&self.path)
    }

    pub(crate) fn wants_reindex(&self) -> bool {
        self.path.join(REINDEX_FILE).exists()
    }

    /// The index has been rebuilt.
    pub(crate) fn reindexed(&self) -> io::Result<()> {
        let path = self.path.join(REINDEX_FILE);
        match fail_point::at(Point::ReindexClear, || fs::remove_file(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Asks the next start on a data directory to rebuild the index.
///
/// # Errors
/// IO errors.
pub fn request_reindex(directory: &Path) -> Result<(), DataDirError> {
    let path = directory.join(REINDEX_FILE);
    let text = b"the next start rebuilds the index\n";
    fail_point::write(Point::ReindexMark, text, |bytes| fs::write(&path, bytes))
        .map_err(io_error("write", &path))
}

fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(DataDirError::Locked { path: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
    }
    file.set_len(0)
        .and_then(|()| fail_point::at(Point::LockWrite, || writeln!(file, "{}", process::id())))
        .map_err(io_error("write", &path))?;
    Ok(file)
}
