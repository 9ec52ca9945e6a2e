//! The safety log: what a replica must not forget, on disk before it is said.
//!
//! A batch of records is one write and one fsync; [`SafetyLog::append`] returns when it is
//! durable. A batch is written only after the one before it is durable, so an unreadable end is
//! a torn write, which nobody has been told of, and is cut; an unreadable place in front of a
//! readable batch is damage, and stops the replica: a forgotten vote is equivocation.

mod error;
pub(crate) mod format;
mod guard;

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

pub use error::SafetyLogError;
use format::{BATCH_MAGIC, FORMAT_VERSION, HEADER_LEN, Header, HeaderProblem};
pub use guard::{GuardError, GuardMark, SignGuard, SignPosition};

use crate::fail_point::{self, Point};

/// The writer of a safety log. One per file: the data directory's owner sees to that.
#[derive(Debug)]
pub struct SafetyLog {
    path: PathBuf,
    file: File,
    header: Header,
    /// Where the next batch will start.
    end: u64,
    /// Number of the last batch; 0 before the first.
    last: u64,
    fsyncs: u64,
    poisoned: bool,
}

/// What an opened log held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SafetyRecords {
    /// The records, oldest first.
    pub records: Vec<Vec<u8>>,
    /// Bytes of a torn write that were cut from its end.
    pub torn_bytes: u64,
}

impl SafetyLog {
    /// Opens the log at `path`, or begins one. `owner` tells validators and networks apart.
    ///
    /// # Errors
    /// Damage, a log of another owner or version, IO errors.
    pub fn open(path: &Path, owner: [u8; 32]) -> Result<(Self, SafetyRecords), SafetyLogError> {
        // A compaction that a crash interrupted before its rename has changed nothing.
        match fs::remove_file(unfinished(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SafetyLogError::io("remove", &unfinished(path))(error));
            }
            _ => {}
        }
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let salt = RandomState::new().build_hasher().finish();
                let log = Self::replace(path, Header { salt, owner }, 0, None)?;
                return Ok((log, SafetyRecords::default()));
            }
            Err(error) => return Err(SafetyLogError::io("read", path)(error)),
        };
        let header = read_header(path, &bytes, owner)?;
        let (records, end, last) = read_batches(path, &bytes, header.salt)?;
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(SafetyLogError::io("open", path))?;
        let torn_bytes = bytes.len() as u64 - end;
        let settle = || {
            if torn_bytes > 0 {
                file.set_len(end)?;
            }
            // A whole batch that no sync reached before a crash counts as durable from now on.
            file.sync_all()
        };
        fail_point::at(Point::SafetySettle, settle)
            .map_err(SafetyLogError::io("truncate", path))?;
        let path = path.to_owned();
        let log = Self { path, file, header, end, last, fsyncs: 1, poisoned: false };
        Ok((log, SafetyRecords { records, torn_bytes }))
    }

    /// Number of the last batch, which is durable; 0 before the first. It never goes back, over
    /// compactions neither.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// What tells this log from every other one.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.header.salt
    }

    /// How often the log has synced since it was opened.
    #[must_use]
    pub const fn fsyncs(&self) -> u64 {
        self.fsyncs
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.end
    }

    /// Writes a batch behind the last one and makes it durable.
    ///
    /// # Errors
    /// IO errors. The log then refuses further writes: what reached the disk is unknown, and a
    /// second fsync may report success without having written anything.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<(), SafetyLogError> {
        if self.poisoned {
            return Err(SafetyLogError::Poisoned);
        }
        let batch = format::encode_batch(self.last + 1, self.header.salt, records)
            .ok_or(SafetyLogError::TooLong { records: records.len() })?;
        let write = |bytes: &[u8]| self.file.write_all_at(bytes, self.end);
        if let Err(error) = fail_point::write(Point::SafetyAppend, &batch, write) {
            self.poisoned = true;
            return Err(SafetyLogError::io("write", &self.path)(error));
        }
        if let Err(error) = fail_point::at(Point::SafetySync, || self.file.sync_data()) {
            self.poisoned = true;
            return Err(SafetyLogError::io("fsync", &self.path)(error));
        }
        self.fsyncs += 1;
        self.end += batch.len() as u64;
        self.last += 1;
        Ok(())
    }

    /// Replaces everything by `records`: a new file beside this one, synced, then renamed. After
    /// a crash the log holds the one or the other.
    ///
    /// # Errors
    /// IO errors; the log then refuses further writes.
    pub fn compact(&mut self, records: &[Vec<u8>]) -> Result<(), SafetyLogError> {
        if self.poisoned {
            return Err(SafetyLogError::Poisoned);
        }
        // Which of the two files a failure leaves is unknown.
        self.poisoned = true;
        let new = Self::replace(&self.path, self.header, self.last, Some(records))?;
        *self = Self { fsyncs: self.fsyncs + new.fsyncs, ..new };
        Ok(())
    }

    /// Puts a log in place with one batch, which follows number `last`, or none.
    fn replace(
        path: &Path,
        header: Header,
        last: u64,
        records: Option<&[Vec<u8>]>,
    ) -> Result<Self, SafetyLogError> {
        let mut bytes = header.encode().to_vec();
        if let Some(records) = records {
            let batch = format::encode_batch(last + 1, header.salt, records)
                .ok_or(SafetyLogError::TooLong { records: records.len() })?;
            bytes.extend_from_slice(&batch);
        }
        let beside = unfinished(path);
        let write = |bytes: &[u8]| fs::write(&beside, bytes);
        fail_point::write(Point::SafetyCompactWrite, &bytes, write)
            .map_err(SafetyLogError::io("write", &beside))?;
        let file = OpenOptions::new().read(true).write(true).open(&beside);
        let file = file.map_err(SafetyLogError::io("open", &beside))?;
        fail_point::at(Point::SafetyCompactSync, || file.sync_all())
            .map_err(SafetyLogError::io("fsync", &beside))?;
        fail_point::at(Point::SafetyCompactRename, || fs::rename(&beside, path))
            .map_err(SafetyLogError::io("rename", &beside))?;
        let directory = directory_of(path);
        let sync = || File::open(directory).and_then(|handle| handle.sync_all());
        fail_point::at(Point::SafetyDirectorySync, sync)
            .map_err(SafetyLogError::io("sync", directory))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            end: bytes.len() as u64,
            last: last + u64::from(records.is_some()),
            fsyncs: 2,
            poisoned: false,
        })
    }
}

/// Where a log is written until it takes its place.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn directory_of(path: &Path) -> &Path {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory.unwrap_or(Path::new("."))
}

fn read_header(path: &Path, bytes: &[u8], owner: [u8; 32]) -> Result<Header, SafetyLogError> {
    let file = || path.to_owned();
    let head = bytes.first_chunk::<HEADER_LEN>();
    let header = head.ok_or_else(|| SafetyLogError::Header { file: file() })?;
    match Header::decode(header) {
        Ok(header) if header.owner == owner => Ok(header),
        Ok(_) => Err(SafetyLogError::Owner { file: file() }),
        Err(HeaderProblem::Damaged) => Err(SafetyLogError::Header { file: file() }),
        Err(HeaderProblem::Version(found)) => {
            Err(SafetyLogError::Version { file: file(), found, expected: FORMAT_VERSION })
        }
    }
}

/// The records, where the last whole batch ends, and its number.
fn read_batches(
    path: &Path,
    bytes: &[u8],
    salt: u64,
) -> Result<(Vec<Vec<u8>>, u64, u64), SafetyLogError> {
    let (mut records, mut at, mut last) = (Vec::new(), HEADER_LEN, None);
    while let Some(batch) = bytes.get(at..).and_then(|rest| format::decode_batch(rest, salt)) {
        if last.is_some_and(|last: u64| batch.number != last + 1) {
            break;
        }
        last = Some(batch.number);
        at += batch.length;
        records.extend(batch.records);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let mut starts = rest.windows(BATCH_MAGIC.len()).enumerate();
    let is_later = |start: usize| format::decode_batch(&rest[start..], salt).is_some();
    if starts.any(|(start, window)| window == BATCH_MAGIC && is_later(start)) {
        return Err(SafetyLogError::Damaged {
            file: path.to_owned(),
            offset: at as u64,
            batch: last.map_or(1, |last| last + 1),
        });
    }
    Ok((records, at as u64, last.unwrap_or(0)))
}
