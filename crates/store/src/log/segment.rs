//! One segment file: creating, opening, scanning for its end.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::LogError;
use super::record::{
    FORMAT_VERSION, RECORD_HEADER_LEN, RECORD_MAGIC, RecordHeader, RecordKind, SEGMENT_HEADER_LEN,
    SegmentHeader, SegmentHeaderProblem,
};
use crate::fail_point::{self, Point};

/// Bytes read at once while scanning: a few hundred small records or a part of a large one.
const SCAN_BUFFER_LEN: usize = 256 * 1024;

/// An open segment file whose header is sound.
#[derive(Debug)]
pub struct Segment {
    pub path: PathBuf,
    pub file: File,
    pub salt: u64,
}

/// What stands at an offset of a segment.
#[derive(Debug)]
pub enum Slot {
    /// A record.
    Record {
        kind: RecordKind,
        payload: Vec<u8>,
        /// Where the next one starts.
        next: u32,
    },
    /// Exactly the end of the file.
    End,
    /// No record.
    Unreadable,
}

impl Segment {
    /// Creates segment `number` in `directory` and makes it durable.
    pub fn create(directory: &Path, number: u32, salt: u64) -> Result<Self, LogError> {
        let path = segment_path(directory, number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = fail_point::at(Point::SegmentCreate, || options.open(&path))
            .map_err(LogError::io("create", &path))?;
        let header = SegmentHeader { number, salt }.encode();
        fail_point::write(Point::SegmentHeader, &header, |bytes| file.write_all_at(bytes, 0))
            .and_then(|()| fail_point::at(Point::SegmentSync, || file.sync_all()))
            .map_err(LogError::io("write", &path))?;
        sync_directory(directory)?;
        Ok(Self { path, file, salt })
    }

    /// Opens segment `number`; `None` when its header was never completed.
    pub fn open(directory: &Path, number: u32) -> Result<Option<Self>, LogError> {
        let path = segment_path(directory, number);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LogError::MissingSegment { file: path });
            }
            Err(error) => return Err(LogError::io("open", &path)(error)),
        };
        let length = file.metadata().map_err(LogError::io("read", &path))?.len();
        if length < SEGMENT_HEADER_LEN as u64 {
            return Ok(None);
        }
        let mut head = [0; SEGMENT_HEADER_LEN];
        file.read_exact_at(&mut head, 0).map_err(LogError::io("read", &path))?;
        match SegmentHeader::decode(&head, number) {
            Ok(header) => Ok(Some(Self { path, file, salt: header.salt })),
            // A crash can leave the file at full length with its bytes unwritten.
            Err(_) if head == [0; SEGMENT_HEADER_LEN] && length == SEGMENT_HEADER_LEN as u64 => {
                Ok(None)
            }
            Err(SegmentHeaderProblem::Damaged) => Err(LogError::Damaged {
                file: path,
                offset: 0,
                problem: "the segment header is not what was written",
            }),
            Err(SegmentHeaderProblem::Version(found)) => {
                Err(LogError::Version { file: path, found, expected: FORMAT_VERSION })
            }
        }
    }

    /// Bytes of the file.
    pub fn length(&self) -> Result<u64, LogError> {
        Ok(self.file.metadata().map_err(LogError::io("read", &self.path))?.len())
    }

    /// Reads what stands at `offset`.
    pub fn slot(&self, offset: u32) -> Result<Slot, LogError> {
        let length = self.length()?;
        if u64::from(offset) == length {
            return Ok(Slot::End);
        }
        let Some((header, next)) = self.header_at(offset, length)? else {
            return Ok(Slot::Unreadable);
        };
        let mut payload = vec![0; header.length as usize];
        let start = u64::from(offset) + RECORD_HEADER_LEN as u64;
        fail_point::at(Point::LogRead, || self.file.read_exact_at(&mut payload, start))
            .map_err(LogError::io("read", &self.path))?;
        Ok(if header.matches(self.salt, &payload) {
            Slot::Record { kind: header.kind, payload, next }
        } else {
            Slot::Unreadable
        })
    }

    /// The header at `offset` and the end of its record, when that lies within the file.
    fn header_at(&self, offset: u32, length: u64) -> Result<Option<(RecordHeader, u32)>, LogError> {
        let start = u64::from(offset) + RECORD_HEADER_LEN as u64;
        if start > length {
            return Ok(None);
        }
        let mut head = [0; RECORD_HEADER_LEN];
        self.file
            .read_exact_at(&mut head, u64::from(offset))
            .map_err(LogError::io("read", &self.path))?;
        Ok(RecordHeader::decode(&head).and_then(|header| {
            let end = start + u64::from(header.length);
            u32::try_from(end).ok().filter(|_| end <= length).map(|end| (header, end))
        }))
    }

    /// Whether some record behind `offset` says that the bytes at `offset` had been durable.
    ///
    /// Records are written in order but fsynced in groups, so that after a power cut a group may
    /// be there in part. Such a group was never acknowledged and goes; anything older is damage.
    pub fn was_durable(&self, offset: u32) -> Result<bool, LogError> {
        let length = self.length()?;
        let mut at = offset;
        while let Some(found) = self.find_magic(at.saturating_add(1))? {
            if let Some((header, _)) = self.header_at(found, length)?
                && header.durable > offset
                && matches!(self.slot(found)?, Slot::Record { .. })
            {
                return Ok(true);
            }
            at = found;
        }
        Ok(false)
    }

    /// Where the first record behind `offset` stands that is whole.
    pub fn next_sound(&self, offset: u32) -> Result<Option<u32>, LogError> {
        let mut at = offset;
        while let Some(found) = self.find_magic(at.saturating_add(1))? {
            if matches!(self.slot(found)?, Slot::Record { .. }) {
                return Ok(Some(found));
            }
            at = found;
        }
        Ok(None)
    }

    /// Where the record magic next occurs from `offset` on.
    fn find_magic(&self, offset: u32) -> Result<Option<u32>, LogError> {
        let io = LogError::io("read", &self.path);
        self.scan_for_magic(offset).map_err(io)
    }

    fn scan_for_magic(&self, offset: u32) -> io::Result<Option<u32>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(u64::from(offset)))?;
        let mut window = [0_u8; RECORD_MAGIC.len()];
        let bytes = BufReader::with_capacity(SCAN_BUFFER_LEN, file).bytes();
        for (at, byte) in (offset..).zip(bytes) {
            window.rotate_left(1);
            window[RECORD_MAGIC.len() - 1] = byte?;
            if window == RECORD_MAGIC {
                // The magic's first byte stands three before its last.
                return Ok(Some(at - 3));
            }
        }
        Ok(None)
    }

    /// Cuts the file at `offset` and makes that durable.
    pub fn truncate(&self, offset: u32) -> Result<(), LogError> {
        let cut = || self.file.set_len(u64::from(offset)).and_then(|()| self.file.sync_all());
        fail_point::at(Point::TailTruncate, cut).map_err(LogError::io("truncate", &self.path))
    }
}

/// The file of segment `number`.
pub fn segment_path(directory: &Path, number: u32) -> PathBuf {
    directory.join(segment_name(number))
}

/// Its name.
pub fn segment_name(number: u32) -> String {
    format!("{number:06}.blocks")
}

/// Makes the creation and removal of files in `directory` durable.
pub fn sync_directory(directory: &Path) -> Result<(), LogError> {
    let sync = || File::open(directory).and_then(|handle| handle.sync_all());
    fail_point::at(Point::SegmentDirectorySync, sync).map_err(LogError::io("sync", directory))
}
