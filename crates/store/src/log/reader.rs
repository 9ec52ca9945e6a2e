use std::collections::VecDeque;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use super::record::{RECORD_HEADER_LEN, RecordKind};
use super::segment::{Segment, Slot};
use super::{LogError, LogPosition};
use crate::fail_point::{self, Point};

/// Open files kept at hand: enough for readers all over a chain of several GB.
const OPEN_SEGMENTS_MAX: usize = 32;

/// Segments by number.
type OpenSegments = VecDeque<(u32, Arc<Segment>)>;

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the payload is.
    pub kind: RecordKind,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// Reads records while the log grows. Cheap to clone; never waits for the writer.
#[derive(Clone, Debug)]
pub struct LogReader {
    directory: Arc<PathBuf>,
    /// Most recently used first.
    open: Arc<Mutex<OpenSegments>>,
}

impl LogReader {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory: Arc::new(directory), open: Arc::default() }
    }

    /// The record at `position`.
    ///
    /// # Errors
    /// When the file cannot be read or the record's checksum does not match.
    pub fn read(&self, position: LogPosition) -> Result<Record, LogError> {
        self.next(position)?.map(|(record, _)| record).ok_or_else(|| self.damaged(position))
    }

    /// The record at `position` and where the next one starts; `None` at the end of a segment.
    ///
    /// # Errors
    /// When the file cannot be read or the record's checksum does not match.
    pub fn next(&self, position: LogPosition) -> Result<Option<(Record, LogPosition)>, LogError> {
        match self.segment(position.segment)?.slot(position.offset)? {
            Slot::Record { kind, payload, next } => {
                Ok(Some((Record { kind, payload }, LogPosition { offset: next, ..position })))
            }
            Slot::End => Ok(None),
            Slot::Unreadable => Err(self.damaged(position)),
        }
    }

    /// Bytes of the segments up to a position.
    ///
    /// # Errors
    /// When a file is there and cannot be looked at.
    pub fn bytes_before(&self, position: LogPosition) -> Result<u64, LogError> {
        let mut bytes = u64::from(position.offset);
        for number in 0..position.segment {
            let path = super::segment::segment_path(&self.directory, number);
            match fs::metadata(&path) {
                Ok(metadata) => bytes += metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(LogError::io("read", &path)(error)),
            }
        }
        Ok(bytes)
    }

    /// Where the first sound record behind `position` stands in the same segment.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_sound(&self, position: LogPosition) -> Result<Option<LogPosition>, LogError> {
        let found = self.segment(position.segment)?.next_sound(position.offset)?;
        Ok(found.map(|offset| LogPosition { offset, ..position }))
    }

    /// `length` bytes from `start` of the payload at `position`. The checksum covers whole
    /// payloads only: the caller checks what it reads, for instance by a transaction's id.
    ///
    /// # Errors
    /// When the file cannot be read or ends before.
    pub fn read_part(
        &self,
        position: LogPosition,
        start: u32,
        length: u32,
    ) -> Result<Vec<u8>, LogError> {
        let segment = self.segment(position.segment)?;
        let at = u64::from(position.offset) + RECORD_HEADER_LEN as u64 + u64::from(start);
        if at + u64::from(length) > segment.length()? {
            return Err(self.damaged(position));
        }
        let mut part = vec![0; length as usize];
        fail_point::at(Point::LogRead, || segment.file.read_exact_at(&mut part, at))
            .map_err(LogError::io("read", &segment.path))?;
        Ok(part)
    }

    fn segment(&self, number: u32) -> Result<Arc<Segment>, LogError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(present, _)| *present == number) {
            let found = open.remove(at).expect("position was just found");
            let segment = Arc::clone(&found.1);
            open.push_front(found);
            return Ok(segment);
        }
        let segment = Arc::new(
            Segment::open(&self.directory, number)?
                .ok_or_else(|| self.damaged(LogPosition { segment: number, offset: 0 }))?,
        );
        open.truncate(OPEN_SEGMENTS_MAX - 1);
        open.push_front((number, Arc::clone(&segment)));
        Ok(segment)
    }

    fn damaged(&self, position: LogPosition) -> LogError {
        LogError::Damaged {
            file: super::segment::segment_path(&self.directory, position.segment),
            offset: u64::from(position.offset),
            problem: "the record there does not have its checksum",
        }
    }
}
