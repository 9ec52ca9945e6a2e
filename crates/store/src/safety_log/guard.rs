//! The sign guard: on a second path, the last batch of the safety log whose signatures have
//! left, and the highest position that they stand for. A log that ends before it is an old copy.
//!
//! Two slots of 64 bytes, at 0 and at 512, written in turn, so that a torn write leaves the other:
//! magic "PENTADSG" (8), format version (4), id of the log (8), number of its batch (8), view (8),
//! sequence (8), phase (1), zeros (15), CRC32C of the 60 bytes before (4); little-endian.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use thiserror::Error;

use super::{directory_of, unfinished};
use crate::fail_point::{self, Point};

const MAGIC: [u8; 8] = *b"PENTADSG";
const FORMAT_VERSION: u32 = 1;
const SLOT_LEN: usize = 64;
/// A sector each: a disk writes a sector whole or not at all.
const SLOT_OFFSETS: [u64; 2] = [0, 512];
/// Only the owner reads and writes.
const FILE_MODE: u32 = 0o600;

/// How far a replica has signed; the later of two is the larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignPosition {
    /// The view.
    pub view: u64,
    /// The sequence; 0 for the change into a view.
    pub sequence: u64,
    /// 0 view change, 1 pre-prepare or prepare, 2 commit.
    pub phase: u8,
}

/// What a guard remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardMark {
    /// Id of the safety log.
    pub log: u64,
    /// Number of its last batch whose signatures left.
    pub batch: u64,
    /// The highest position signed.
    pub position: SignPosition,
}

/// A sign guard's file.
#[derive(Debug)]
pub struct SignGuard {
    path: PathBuf,
    file: File,
    mark: GuardMark,
    /// Where the next mark goes.
    slot: usize,
    is_synced: bool,
}

/// Why a guard cannot be used, or does not let the log vote.
#[derive(Debug, Error)]
pub enum GuardError {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Neither slot is what was written.
    #[error("the sign guard {} is damaged: what this key signed last is unknown", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The log is an old copy.
    #[error(
        "the safety log is behind its sign guard {}: it ends with batch {log}, and this key has \
         signed up to {mark}",
        path.display()
    )]
    Behind {
        /// The guard's file.
        path: PathBuf,
        /// Number of the log's last batch.
        log: u64,
        /// What the guard remembers.
        mark: GuardMark,
    },
    /// The log was begun anew or is another one.
    #[error(
        "the safety log is not the one that its sign guard {} knows, with which this key has \
         signed up to {mark}",
        path.display()
    )]
    OtherLog {
        /// The guard's file.
        path: PathBuf,
        /// What the guard remembers.
        mark: GuardMark,
    },
}

impl fmt::Display for SignPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { view, sequence, phase } = self;
        match phase {
            0 => write!(f, "the change into view {view}"),
            1 => write!(f, "the proposal of sequence {sequence} in view {view}"),
            _ => write!(f, "the commit of sequence {sequence} in view {view}"),
        }
    }
}

impl fmt::Display for GuardMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (batch {})", self.position, self.batch)
    }
}

impl GuardMark {
    fn encode(&self) -> [u8; SLOT_LEN] {
        let mut out = [0; SLOT_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.log.to_le_bytes());
        out[20..28].copy_from_slice(&self.batch.to_le_bytes());
        out[28..36].copy_from_slice(&self.position.view.to_le_bytes());
        out[36..44].copy_from_slice(&self.position.sequence.to_le_bytes());
        out[44] = self.position.phase;
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; SLOT_LEN]) -> Option<Self> {
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let crc = crc32c::crc32c(&bytes[..60]);
        let is_sound = bytes[..8] == MAGIC
            && bytes[8..12] == FORMAT_VERSION.to_le_bytes()
            && bytes[60..] == crc.to_le_bytes();
        let position = SignPosition { view: number(28), sequence: number(36), phase: bytes[44] };
        is_sound.then(|| Self { log: number(12), batch: number(20), position })
    }
}

impl SignGuard {
    /// Opens the guard at `path`; `None` when there is none.
    ///
    /// # Errors
    /// A damaged guard, IO errors.
    pub fn open(path: &Path) -> Result<Option<Self>, GuardError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", path)(error)),
        };
        let mut newest: Option<(usize, GuardMark)> = None;
        for (slot, offset) in SLOT_OFFSETS.into_iter().enumerate() {
            let mut bytes = [0; SLOT_LEN];
            match file.read_exact_at(&mut bytes, offset) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(io_error("read", path)(error)),
            }
            let Some(mark) = GuardMark::decode(&bytes) else { continue };
            if newest.is_none_or(|(_, best)| best.batch <= mark.batch) {
                newest = Some((slot, mark));
            }
        }
        let (slot, mark) = newest.ok_or_else(|| GuardError::Damaged { path: path.to_owned() })?;
        Ok(Some(Self { path: path.to_owned(), file, mark, slot: 1 - slot, is_synced: true }))
    }

    /// A new guard, durable before anything is signed. It is there whole or not at all.
    ///
    /// # Errors
    /// IO errors.
    pub fn create(path: &Path, mark: GuardMark) -> Result<Self, GuardError> {
        let beside = unfinished(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        let file = options.open(&beside).map_err(io_error("create", &beside))?;
        let path = path.to_owned();
        let mut guard = Self { path, file, mark, slot: 0, is_synced: false };
        guard.advance(mark)?;
        guard.sync()?;
        fs::rename(&beside, &guard.path).map_err(io_error("rename", &beside))?;
        let directory = directory_of(&guard.path);
        let sync = || File::open(directory).and_then(|handle| handle.sync_all());
        sync().map_err(io_error("sync", directory))?;
        Ok(guard)
    }

    /// What it remembers.
    #[must_use]
    pub const fn mark(&self) -> GuardMark {
        self.mark
    }

    /// Whether a log of this id, whose last batch has this number, may vote.
    ///
    /// # Errors
    /// When it is another log, or an old copy.
    pub fn admit(&self, log: u64, last: u64) -> Result<(), GuardError> {
        let (path, mark) = (self.path.clone(), self.mark);
        if mark.log != log {
            Err(GuardError::OtherLog { path, mark })
        } else if last < mark.batch {
            Err(GuardError::Behind { path, log: last, mark })
        } else {
            Ok(())
        }
    }

    /// Remembers `mark`, in the hands of the system: it survives the process, not yet a power
    /// cut. To be called before the signatures leave.
    ///
    /// # Errors
    /// IO errors.
    pub fn advance(&mut self, mark: GuardMark) -> Result<(), GuardError> {
        let write = |bytes: &[u8]| self.file.write_all_at(bytes, SLOT_OFFSETS[self.slot]);
        fail_point::write(Point::GuardWrite, &mark.encode(), write)
            .map_err(io_error("write", &self.path))?;
        self.slot = 1 - self.slot;
        self.mark = mark;
        self.is_synced = false;
        Ok(())
    }

    /// Makes what it remembers durable.
    ///
    /// # Errors
    /// When fsync fails.
    pub fn sync(&mut self) -> Result<(), GuardError> {
        if !self.is_synced {
            fail_point::at(Point::GuardSync, || self.file.sync_data())
                .map_err(io_error("fsync", &self.path))?;
            self.is_synced = true;
        }
        Ok(())
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GuardError {
    let path = path.to_owned();
    move |source| GuardError::Io { action, path, source }
}
