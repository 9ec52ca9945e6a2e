use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::line::{self, LINE_BYTES_MAX, LineHash};
use super::{AuditError, Entry};

/// An entry as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What it says.
    pub entry: Entry,
    /// What the chain is up to this entry.
    pub hash: LineHash,
}

/// A place between two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Number of the entry before it; 0 at the start.
    pub(super) number: u64,
    /// Hash of the line before it.
    pub(super) hash: LineHash,
}

impl Position {
    pub(super) const START: Self = Self { offset: 0, number: 0, hash: LineHash::START };
}

/// What stands behind the last whole entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) bytes: u64,
    /// SHA-256, hex.
    pub(super) sha256: String,
}

/// Reads a log line by line, and believes no line that does not follow from the one before.
pub(super) struct Scan<'a> {
    path: &'a Path,
    reader: BufReader<io::Take<File>>,
    line: Vec<u8>,
    position: Position,
}

impl<'a> Scan<'a> {
    /// Reads from a place that is known to be between two lines up to `end` (bytes).
    pub(super) fn from(path: &'a Path, start: Position, end: u64) -> Result<Self, AuditError> {
        let mut file = File::open(path).map_err(AuditError::io("open", path))?;
        file.seek(SeekFrom::Start(start.offset)).map_err(AuditError::io("read", path))?;
        let reader = BufReader::with_capacity(1 << 16, file.take(end.saturating_sub(start.offset)));
        Ok(Self { path, reader, line: Vec::new(), position: start })
    }

    pub(super) const fn position(&self) -> Position {
        self.position
    }

    /// The next entry; `None` behind the last whole one.
    pub(super) fn next(&mut self) -> Result<Option<Recorded>, AuditError> {
        self.fill().map_err(AuditError::io("read", self.path))?;
        let Position { offset, number, hash } = self.position;
        let Some((entry, hash)) = line::read(&self.line, hash) else {
            return Ok(None);
        };
        if entry.number != number + 1 || entry.durable > number {
            return Ok(None);
        }
        let offset = offset + self.line.len() as u64;
        self.position = Position { offset, number: entry.number, hash };
        Ok(Some(Recorded { entry, hash }))
    }

    /// Whether nothing is left, once [`Scan::next`] found no whole entry.
    pub(super) const fn is_at_end(&self) -> bool {
        self.line.is_empty()
    }

    /// One line with its end, or what is left of the file; of one that is too long the beginning.
    fn fill(&mut self) -> io::Result<()> {
        self.line.clear();
        self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
        Ok(())
    }

    /// What is left, once [`Scan::next`] found no whole entry: what a crash tore off.
    ///
    /// # Errors
    /// When a later line says that the entry had been durable.
    pub(super) fn tail(mut self) -> Result<Tail, AuditError> {
        let Position { offset, number, .. } = self.position;
        let (mut bytes, mut digest) = (0, Sha256::new());
        while !self.line.is_empty() {
            if line::durable(&self.line).is_some_and(|durable| durable > number) {
                let path = self.path.to_owned();
                return Err(AuditError::Damaged {
                    path,
                    number: number + 1,
                    offset,
                    is_missing: false,
                });
            }
            bytes += self.line.len() as u64;
            digest.update(&self.line);
            self.fill().map_err(AuditError::io("read", self.path))?;
        }
        Ok(Tail { bytes, sha256: hex::encode(digest.finalize()) })
    }
}
