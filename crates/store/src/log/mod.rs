//! The block log: append-only segment files of checksummed records, the truth that every index
//! is rebuilt from.
//!
//! Appends reach the disk in order; [`BlockLog::sync`] makes everything appended durable. After
//! a crash the log is cut behind the last whole record; bytes that had been durable and are
//! not what was written stop the start with an error that names file and offset.

mod error;
mod position;
mod reader;
mod record;
mod segment;

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

pub use error::LogError;
pub use position::LogPosition;
pub use reader::{LogReader, Record};
pub use record::{FORMAT_VERSION, PAYLOAD_LEN_MAX, RecordKind};
use record::{RecordHeader, SEGMENT_HEADER_LEN};
use segment::{Segment, Slot, segment_path, sync_directory};

use crate::fail_point::{self, Point};

/// How a log lays out its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment that has reached this many bytes is closed and the next one begun.
    pub segment_len: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        // Small enough to scan and copy at ease, large enough to keep the files of a long
        // chain in the hundreds.
        Self { segment_len: 128 * 1024 * 1024 }
    }
}

/// What opening a log removed from its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub file: PathBuf,
    /// Where it was cut.
    pub offset: u32,
    /// How many bytes went.
    pub bytes: u64,
}

/// The writer of a block log. One per directory: the data directory's lock sees to that.
#[derive(Debug)]
pub struct BlockLog {
    directory: PathBuf,
    options: LogOptions,
    segment: Segment,
    end: LogPosition,
    /// Everything before this offset of the current segment has been fsynced.
    durable: u32,
    poisoned: bool,
    reader: LogReader,
}

impl BlockLog {
    /// Opens the log in `directory`, or begins one. Records before `checked` are taken as
    /// sound; those from there on are read and their checksums compared.
    ///
    /// # Errors
    /// [`LogError::LostTail`] when the log ends before `checked`; [`LogError::Damaged`] and
    /// [`LogError::MissingSegment`] when durable bytes are gone; IO errors.
    pub fn open(
        directory: &Path,
        options: LogOptions,
        checked: LogPosition,
    ) -> Result<(Self, Option<TornTail>), LogError> {
        fs::create_dir_all(directory).map_err(LogError::io("create", directory))?;
        let (segment, last, torn) = open_last(directory)?;
        let reader = LogReader::new(directory.to_owned());
        let mut at = checked;
        while at.segment < last {
            at = match reader.next(at)? {
                Some((_, next)) => next,
                None => LogPosition { segment: at.segment + 1, ..LogPosition::START },
            };
        }
        let from = if at.segment == last { at.offset } else { LogPosition::START.offset };
        let (offset, cut) = find_end(&segment, from)?;
        let end = LogPosition { segment: last, offset };
        if end < checked {
            return Err(LogError::LostTail { end, position: checked });
        }
        // Whole records that no sync reached before a crash count as durable from now on.
        fail_point::at(Point::TailSync, || segment.file.sync_data())
            .map_err(LogError::io("sync", &segment.path))?;
        let log = Self {
            directory: directory.to_owned(),
            options,
            segment,
            end,
            durable: offset,
            poisoned: false,
            reader,
        };
        Ok((log, cut.or(torn)))
    }

    /// Where the next record will start.
    #[must_use]
    pub fn end(&self) -> LogPosition {
        self.end
    }

    /// A handle that reads records.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Writes a record behind the last one. Durable after the next [`Self::sync`].
    ///
    /// # Errors
    /// IO errors, which leave the log as it was; a payload over [`PAYLOAD_LEN_MAX`].
    pub fn append(&mut self, kind: RecordKind, payload: &[u8]) -> Result<LogPosition, LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        if self.end.offset >= self.options.segment_len.max(LogPosition::START.offset + 1) {
            self.rotate()?;
        }
        let record = RecordHeader::encode_record(kind, self.durable, self.segment.salt, payload)
            .ok_or(LogError::TooLong { length: payload.len(), max: PAYLOAD_LEN_MAX })?;
        let position = self.end;
        let end = u32::try_from(record.len())
            .ok()
            .and_then(|length| position.offset.checked_add(length))
            .ok_or(LogError::TooLong { length: payload.len(), max: PAYLOAD_LEN_MAX })?;
        let write =
            |bytes: &[u8]| self.segment.file.write_all_at(bytes, u64::from(position.offset));
        if let Err(error) = fail_point::write(Point::RecordAppend, &record, write) {
            // What was written in part would be cut at the next start anyway; a disk that has
            // just run full may still let us cut it now.
            if let Err(error) = self.segment.truncate(position.offset) {
                tracing::warn!(%error, "a partial record stays until the next start");
            }
            return Err(LogError::io("write", &self.segment.path)(error));
        }
        self.end.offset = end;
        Ok(position)
    }

    /// Makes every record appended so far durable.
    ///
    /// # Errors
    /// When fsync fails. The log then refuses further writes: what reached the disk is unknown,
    /// and a second fsync may report success without having written anything.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        if self.durable == self.end.offset {
            return Ok(());
        }
        if let Err(error) = fail_point::at(Point::GroupSync, || self.segment.file.sync_data()) {
            self.poisoned = true;
            return Err(LogError::io("fsync", &self.segment.path)(error));
        }
        self.durable = self.end.offset;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let number = self.end.segment + 1;
        self.segment = Segment::create(&self.directory, number, random_salt())?;
        self.end = LogPosition { segment: number, ..LogPosition::START };
        self.durable = self.end.offset;
        Ok(())
    }

    /// The records from `position` on, with the position of each.
    pub fn records(
        &self,
        position: LogPosition,
    ) -> impl Iterator<Item = Result<(LogPosition, Record), LogError>> + use<> {
        let (reader, end) = (self.reader(), self.end);
        let mut at = Some(position);
        std::iter::from_fn(move || {
            let mut position = at.take()?;
            while position < end {
                match reader.next(position) {
                    Ok(Some((record, next))) => {
                        at = Some(next);
                        return Some(Ok((position, record)));
                    }
                    Ok(None) => {
                        let segment = position.segment + 1;
                        position = LogPosition { segment, ..LogPosition::START };
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
            None
        })
    }
}

/// The end of the last segment, searched from `from` on, and what was cut behind it.
fn find_end(segment: &Segment, from: u32) -> Result<(u32, Option<TornTail>), LogError> {
    let length = segment.length()?;
    let mut at = from;
    if length < u64::from(from) {
        // The caller compares this end with what it knows to have been durable.
        return Ok((u32::try_from(length).unwrap_or(u32::MAX), None));
    }
    loop {
        match segment.slot(at)? {
            Slot::Record { next, .. } => at = next,
            Slot::End => return Ok((at, None)),
            Slot::Unreadable if segment.was_durable(at)? => {
                return Err(LogError::Damaged {
                    file: segment.path.clone(),
                    offset: u64::from(at),
                    problem: "the record there does not have its checksum",
                });
            }
            Slot::Unreadable => {
                segment.truncate(at)?;
                let bytes = length - u64::from(at);
                let file = segment.path.clone();
                return Ok((at, Some(TornTail { file, offset: at, bytes })));
            }
        }
    }
}

/// Opens the last segment, or creates the first. A last segment whose creation a crash
/// interrupted is removed.
fn open_last(directory: &Path) -> Result<(Segment, u32, Option<TornTail>), LogError> {
    let mut torn = None;
    loop {
        let Some(last) = last_segment(directory)? else {
            return Ok((Segment::create(directory, 0, random_salt())?, 0, torn));
        };
        match Segment::open(directory, last)? {
            Some(segment) => return Ok((segment, last, torn)),
            None if torn.is_none() => torn = Some(remove_unfinished(directory, last)?),
            None => {
                return Err(LogError::Damaged {
                    file: segment_path(directory, last),
                    offset: 0,
                    problem: "the segment header is missing",
                });
            }
        }
    }
}

/// The highest segment number in `directory`, which must hold every lower one too.
fn last_segment(directory: &Path) -> Result<Option<u32>, LogError> {
    let io = || LogError::io("list", directory);
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(directory).map_err(io())? {
        let name = entry.map_err(io())?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".blocks"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    match (0..).zip(&numbers).find(|(expected, number)| expected != *number) {
        Some((missing, _)) => {
            Err(LogError::MissingSegment { file: segment_path(directory, missing) })
        }
        None => Ok(numbers.last().copied()),
    }
}

/// Removes a segment whose creation a crash interrupted: it holds no record.
fn remove_unfinished(directory: &Path, number: u32) -> Result<TornTail, LogError> {
    let file = segment_path(directory, number);
    let bytes = fs::metadata(&file).map_err(LogError::io("read", &file))?.len();
    fail_point::at(Point::SegmentRemove, || fs::remove_file(&file))
        .map_err(LogError::io("remove", &file))?;
    sync_directory(directory)?;
    Ok(TornTail { file, offset: 0, bytes: bytes.min(SEGMENT_HEADER_LEN as u64) })
}

/// The standard library seeds its hash maps from the system's entropy.
fn random_salt() -> u64 {
    RandomState::new().build_hasher().finish()
}
