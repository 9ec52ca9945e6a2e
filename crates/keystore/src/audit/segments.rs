//! The files of a log: `audit.log`, then `audit.log.2`, `audit.log.3` and so on; only the last one
//! is written to.
//!
//! From the second on, each begins with a head: an entry that names the hash of the last entry
//! before, and entries that say what must be known of all before. So a start reads the last one.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::{self, LINE_BYTES_MAX, LineHash};
use super::scan::Position;
use super::{AuditError, Entry, Event};

/// Where the files of a log are, and where in the log each of them begins.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    first: PathBuf,
    /// In the order of the log; offsets are those in the file, 0.
    starts: Vec<Position>,
}

/// What the first line of a file says.
struct Opening {
    start: Position,
    /// Entries of the head behind it.
    carried: u64,
}

impl Segments {
    /// Finds the files of a log; `false`: the last one has no whole head, and is not counted. A
    /// crash may have left it so before anything else was in it.
    pub(super) fn find(first: PathBuf) -> Result<(Self, bool), AuditError> {
        let last = last_number(&first).map_err(AuditError::io("look for parts of", &first))?;
        let mut segments = Self { first, starts: vec![Position::START] };
        for number in 2..=last {
            let path = segments.path_of_number(number);
            let opening = match File::open(&path) {
                Ok(file) => opening(file).map_err(AuditError::io("read", &path))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(AuditError::io("open", &path)(error)),
            };
            let is_behind = |it: &Opening| it.start.number > segments.last_start().number;
            match opening.filter(is_behind) {
                Some(opening) => segments.starts.push(opening.start),
                None if number == last && path.exists() => return Ok((segments, false)),
                None => return Err(segments.damaged_head(number)),
            }
        }
        segments.check_joint()?;
        Ok((segments, true))
    }

    /// The end of the file before must be where the last one begins.
    fn check_joint(&self) -> Result<(), AuditError> {
        let Some(before) = self.starts.len().checked_sub(2) else { return Ok(()) };
        let path = self.path(before);
        let found = last_digits(&path).map_err(AuditError::io("read", &path))?;
        if found == Some(self.last_start().hash.to_string()) {
            return Ok(());
        }
        let number = self.last_start().number;
        Err(AuditError::Damaged { path, number, offset: 0, is_missing: found.is_none() })
    }

    fn damaged_head(&self, number: u64) -> AuditError {
        let path = self.path_of_number(number);
        let is_missing = !path.exists();
        let number = self.last_start().number + 1;
        AuditError::Damaged { path, number, offset: 0, is_missing }
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Where a file begins.
    pub(super) fn start(&self, index: usize) -> Option<Position> {
        self.starts.get(index).copied()
    }

    pub(super) fn last_start(&self) -> Position {
        self.starts.last().copied().unwrap_or(Position::START)
    }

    /// The file that an entry is in.
    pub(super) fn index_of(&self, number: u64) -> usize {
        self.starts.partition_point(|start| start.number < number).saturating_sub(1)
    }

    pub(super) fn path(&self, index: usize) -> PathBuf {
        self.path_of_number(index as u64 + 1)
    }

    /// The file that is written to.
    pub(super) fn last(&self) -> PathBuf {
        self.path_of_number(self.starts.len() as u64)
    }

    /// The file that comes next.
    pub(super) fn next(&self) -> PathBuf {
        self.path_of_number(self.starts.len() as u64 + 1)
    }

    pub(super) fn push(&mut self, start: Position) {
        self.starts.push(start);
    }

    fn path_of_number(&self, number: u64) -> PathBuf {
        match number {
            1 => self.first.clone(),
            _ => {
                let mut path = self.first.clone().into_os_string();
                path.push(format!(".{number}"));
                path.into()
            }
        }
    }
}

/// The highest number of the files of a log, whether those before it are there or not.
fn last_number(first: &Path) -> io::Result<u64> {
    let (Some(directory), Some(name)) = (first.parent(), first.file_name()) else {
        return Ok(1);
    };
    let mut last = 1;
    for entry in fs::read_dir(directory)? {
        let found = entry?.file_name();
        let number = found.to_str().and_then(|found| {
            let digits = found.strip_prefix(name.to_str()?)?.strip_prefix('.')?;
            digits.parse::<u64>().ok().filter(|number| number.to_string() == digits)
        });
        last = last.max(number.unwrap_or(1));
    }
    Ok(last)
}

/// `None` when the head is not whole.
fn opening(file: File) -> io::Result<Option<Opening>> {
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    let mut fill = |text: &mut Vec<u8>| {
        text.clear();
        reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', text)
    };
    fill(&mut text)?;
    let Some(opening) = read_opening(&text) else { return Ok(None) };
    let (_, mut hash) = match line::read(&text, opening.start.hash) {
        Some(read) => read,
        None => return Ok(None),
    };
    for _ in 0..opening.carried {
        fill(&mut text)?;
        match line::read(&text, hash) {
            Some((_, next)) => hash = next,
            None => return Ok(None),
        }
    }
    Ok(Some(opening))
}

fn read_opening(text: &[u8]) -> Option<Opening> {
    let json = text.get(line::HASH_DIGITS + 1..)?;
    let entry: Entry = serde_json::from_slice(json).ok()?;
    let Event::Continued { previous, carried } = entry.event else { return None };
    let hash = LineHash::parse(&previous)?;
    let start = Position { offset: 0, number: entry.number.checked_sub(1)?, hash };
    Some(Opening { start, carried })
}

/// The digits that the last line begins with.
fn last_digits(path: &Path) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LINE_BYTES_MAX)))?;
    let mut end = Vec::new();
    file.take(LINE_BYTES_MAX).read_to_end(&mut end)?;
    let Some(lines) = end.strip_suffix(b"\n") else { return Ok(None) };
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let digits = last.get(..line::HASH_DIGITS).and_then(|it| str::from_utf8(it).ok());
    Ok(digits.map(str::to_owned))
}
