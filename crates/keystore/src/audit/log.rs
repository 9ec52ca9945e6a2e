use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use pentad_whole_file::sync_directory;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::line::{self, LineHash};
use super::scan::{Position, Scan, Tail};
use super::segments::Segments;
use super::{AuditError, Entry, Event, Recorded};
use crate::WalletName;

/// Entries that wait for the disk; whoever brings one more waits before that.
const WAITING_MAX: usize = 1024;
/// One place of so many is kept in memory, so that reading may begin in the middle.
const LANDMARK_INTERVAL: u64 = 1024;
/// A file that is as long is followed by another one: it is read in some 50 ms.
const SEGMENT_BYTES: u64 = 8 << 20;

/// What has to be known of all entries of a log. It is written down where a file of the log begins,
/// so that the files before need not be read again.
pub trait Summary: Clone + Send + 'static {
    /// Takes note of an entry, in their order.
    fn note(&mut self, entry: &Entry);

    /// Entries, with the names of their wallets, that say as much as all that were noted.
    fn carried(&self, now: u64) -> Vec<(String, Event)>;
}

/// The last entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number: how many there are.
    pub number: u64,
    /// What the chain is up to it.
    pub hash: LineHash,
}

/// The audit log, open for appending. One process at a time may have it.
#[derive(Debug)]
pub struct AuditLog {
    entries: Sender<Submitted>,
    pub(super) written: Arc<Mutex<Written>>,
}

/// An entry on its way to the disk, and who waits for it.
#[derive(Debug)]
struct Submitted {
    wallet: String,
    event: Event,
    done: oneshot::Sender<Result<u64, AuditError>>,
}

/// What is on the disk.
#[derive(Clone, Debug)]
pub(super) struct Written {
    segments: Segments,
    end: Position,
    /// Every [`LANDMARK_INTERVAL`]th place of the last file, its start among them.
    landmarks: Vec<Position>,
    /// Bytes of what the last file begins with.
    head_bytes: u64,
}

impl Written {
    fn new(segments: Segments) -> Self {
        let start = segments.last_start();
        Self { segments, end: start, landmarks: vec![start], head_bytes: 0 }
    }

    fn advance(&mut self, end: Position) {
        let before = end.number.saturating_sub(self.segments.last_start().number);
        if before / LANDMARK_INTERVAL >= self.landmarks.len() as u64 {
            self.landmarks.push(end);
        }
        self.end = end;
    }

    /// A place in the last file with fewer entries before it than this one has.
    fn landmark(&self, number: u64) -> Position {
        let before = number.saturating_sub(self.segments.last_start().number + 1);
        let index = usize::try_from(before / LANDMARK_INTERVAL).unwrap_or(usize::MAX);
        self.landmarks.get(index).copied().unwrap_or(self.end)
    }
}

impl AuditLog {
    /// Opens a log, or begins one; returns the summary of all its entries. A tail that a crash tore
    /// is cut off, and an entry says so. Reads the last file: for blocking threads.
    ///
    /// # Errors
    /// When an entry that had been durable is not what was written, or the files cannot be used.
    pub fn open<S: Summary>(path: PathBuf, summary: S) -> Result<(Self, S), AuditError> {
        Self::open_with(path, summary, SEGMENT_BYTES)
    }

    /// As [`AuditLog::open`], with files that end at another length.
    pub(super) fn open_with<S: Summary>(
        path: PathBuf,
        mut summary: S,
        segment_bytes: u64,
    ) -> Result<(Self, S), AuditError> {
        let (written, file, mut events) = recover(path, &mut summary)?;
        events.push(Event::Opened { version: env!("CARGO_PKG_VERSION").to_owned() });
        let written = Arc::new(Mutex::new(written));
        let mut writer = Writer { file, written, summary, segment_bytes };
        writer.append(events.into_iter().map(|event| (String::new(), event)))?;
        let summary = writer.summary.clone();
        Ok((Self::start(writer)?, summary))
    }

    pub(super) fn start<S: Summary>(writer: Writer<S>) -> Result<Self, AuditError> {
        let written = Arc::clone(&writer.written);
        let path = writer.written().segments.last();
        let (entries, mut submitted) = channel(WAITING_MAX);
        thread::Builder::new()
            .name("audit log".to_owned())
            .spawn(move || writer.run(&mut submitted))
            .map_err(AuditError::io("start the writer of", &path))?;
        Ok(Self { entries, written })
    }

    /// Appends an entry; returns its number once it is durable.
    ///
    /// # Errors
    /// When it may not be: then what it tells of must not be done.
    pub async fn append(
        &self,
        wallet: Option<&WalletName>,
        event: Event,
    ) -> Result<u64, AuditError> {
        let gone = || AuditError::Poisoned("its writer has ended".to_owned());
        let wallet = wallet.map(ToString::to_string).unwrap_or_default();
        let (done, written) = oneshot::channel();
        let submitted = Submitted { wallet, event, done };
        self.entries.send(submitted).await.map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }

    /// The last entry that is durable.
    #[must_use]
    pub fn head(&self) -> Head {
        let Position { number, hash, .. } = self.written().end;
        Head { number, hash }
    }

    /// Reads entries from number `first` on, in order, until `each` returns false. For blocking
    /// threads.
    ///
    /// # Errors
    /// When an entry is not what was written.
    pub fn read(
        &self,
        first: u64,
        mut each: impl FnMut(Recorded) -> bool,
    ) -> Result<(), AuditError> {
        let written = self.written().clone();
        read_from(&written, first, |recorded| Ok(recorded.entry.number < first || each(recorded)))
    }

    /// Reads all entries again and checks that they are those that were written, and that the
    /// entry which the caller noted once is among them. For blocking threads.
    ///
    /// # Errors
    /// When one is not what was written, or is another than the caller knows.
    pub fn verify(&self, known: Option<(u64, &str)>) -> Result<Head, AuditError> {
        let written = self.written().clone();
        let end = written.end;
        read_from(&written, 1, |Recorded { entry, hash }| {
            let other = known.filter(|(number, known)| {
                *number == entry.number && !known.eq_ignore_ascii_case(&hash.to_string())
            });
            match other {
                None => Ok(true),
                Some((number, known)) => {
                    let (found, known) = (hash.to_string(), known.to_owned());
                    Err(AuditError::OtherLog { number, found, known })
                }
            }
        })?;
        if let Some((number, known)) = known.filter(|(number, _)| *number > end.number) {
            let (found, known) = ("of no entry".to_owned(), known.to_owned());
            return Err(AuditError::OtherLog { number, found, known });
        }
        Ok(Head { number: end.number, hash: end.hash })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads from somewhere before entry `first` on, over all files, until `each` says no.
fn read_from(
    written: &Written,
    first: u64,
    mut each: impl FnMut(Recorded) -> Result<bool, AuditError>,
) -> Result<(), AuditError> {
    let Written { segments, end, .. } = written;
    let last = segments.len() - 1;
    for index in segments.index_of(first)..=last {
        let path = segments.path(index);
        let (start, end) = match (segments.start(index), segments.start(index + 1)) {
            (Some(start), Some(next)) => (start, next),
            _ => (written.landmark(first), *end),
        };
        // Of a file that is written to no more all counts.
        let bytes = if index == last { end.offset } else { u64::MAX };
        let mut scan = Scan::from(&path, start, bytes)?;
        while let Some(recorded) = scan.next()? {
            if !each(recorded)? {
                return Ok(());
            }
        }
        let found = scan.position();
        if (found.number, found.hash) != (end.number, end.hash) || !scan.is_at_end() {
            let length = fs::metadata(&path).map_err(AuditError::io("read", &path))?.len();
            let Position { offset, number, .. } = found;
            let (number, is_missing) = (number + 1, length <= offset);
            return Err(AuditError::Damaged { path, number, offset, is_missing });
        }
    }
    Ok(())
}

/// Reads the last file and cuts what a crash tore; returns what is to be noted.
fn recover(
    path: PathBuf,
    summary: &mut impl Summary,
) -> Result<(Written, File, Vec<Event>), AuditError> {
    let (segments, is_begun) = Segments::find(path)?;
    let path = segments.last();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(AuditError::io("open", &path))?;
    let length = file.metadata().map_err(AuditError::io("read", &path))?.len();
    let mut written = Written::new(segments);
    let mut carried = None;
    let mut scan = Scan::from(&path, written.end, length)?;
    while let Some(Recorded { entry, .. }) = scan.next()? {
        written.advance(scan.position());
        summary.note(&entry);
        if let Event::Continued { carried: entries, .. } = entry.event {
            carried = Some(entry.number + entries);
        }
        if carried == Some(entry.number) {
            written.head_bytes = scan.position().offset;
        }
    }
    let mut events: Vec<Event> = cut(&file, &path, written.end.offset, scan.tail()?)?;
    if length == 0 {
        sync_directory(&path).map_err(AuditError::io("begin", &path))?;
    }
    if !is_begun {
        events.extend(discard(&written)?);
    }
    Ok((written, file, events))
}

fn cut(file: &File, path: &Path, end: u64, tail: Tail) -> Result<Vec<Event>, AuditError> {
    if tail.bytes == 0 {
        return Ok(Vec::new());
    }
    tracing::warn!(bytes = tail.bytes, "a torn tail of the audit log is cut off");
    file.set_len(end).map_err(AuditError::io("cut", path))?;
    Ok(vec![Event::TailCut { bytes: tail.bytes, sha256: tail.sha256 }])
}

/// Removes the next file, whose head a crash tore: nothing else was in it.
fn discard(written: &Written) -> Result<Option<Event>, AuditError> {
    let path = written.segments.next();
    let start = Position { offset: 0, ..written.end };
    let mut scan = Scan::from(&path, start, u64::MAX)?;
    while scan.next()?.is_some() {}
    // Entries behind the head say that it had been durable: then this is no torn one.
    let torn = scan.tail()?;
    tracing::warn!("a file of the audit log that a crash left without its head is removed");
    fs::remove_file(&path)
        .and_then(|()| sync_directory(&path))
        .map_err(AuditError::io("remove", &path))?;
    let Tail { bytes, sha256 } = torn;
    Ok((bytes > 0).then_some(Event::TailCut { bytes, sha256 }))
}

/// The one that writes.
pub(super) struct Writer<S> {
    pub(super) file: File,
    pub(super) written: Arc<Mutex<Written>>,
    pub(super) summary: S,
    pub(super) segment_bytes: u64,
}

impl<S: Summary> Writer<S> {
    /// Writes what comes until nobody is left to bring more.
    fn run(mut self, submitted: &mut Receiver<Submitted>) {
        let mut poison = None;
        let mut batch = Vec::new();
        while submitted.blocking_recv_many(&mut batch, WAITING_MAX) > 0 {
            let (entries, waiting): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|it| ((it.wallet, it.event), it.done)).unzip();
            let mut first = 0;
            if poison.is_none() {
                match self.append(entries) {
                    Ok(number) => first = number,
                    Err(error) => {
                        tracing::error!(%error, "the audit log cannot be written: no key is used");
                        poison = Some(error.to_string());
                    }
                }
            }
            for (number, done) in (first..).zip(waiting) {
                let outcome = match &poison {
                    None => Ok(number),
                    Some(error) => Err(AuditError::Poisoned(error.clone())),
                };
                // Whoever left does not want to know.
                drop(done.send(outcome));
            }
        }
    }

    /// Writes and syncs entries all at once; returns the number of the first.
    fn append(
        &mut self,
        entries: impl IntoIterator<Item = (String, Event)>,
    ) -> Result<u64, AuditError> {
        let (length, head_bytes) = {
            let written = self.written();
            (written.end.offset, written.head_bytes)
        };
        // A head that is long by itself must not be followed by the next one.
        if length >= self.segment_bytes.max(2 * head_bytes) {
            self.begin_segment()?;
        }
        let start = self.written().end;
        let lines = Lines::new(start, entries);
        let path = self.written().segments.last();
        lines.write(&mut self.file).map_err(AuditError::io("write", &path))?;
        self.take(lines);
        Ok(start.number + 1)
    }

    /// Goes on in the next file.
    fn begin_segment(&mut self) -> Result<(), AuditError> {
        let (start, path) = {
            let written = self.written();
            (Position { offset: 0, ..written.end }, written.segments.next())
        };
        let carried = self.summary.carried(unix_time());
        let previous = start.hash.to_string();
        let continued = Event::Continued { previous, carried: carried.len() as u64 };
        let lines = Lines::new(start, [(String::new(), continued)].into_iter().chain(carried));
        let begun = || -> io::Result<File> {
            let options = OpenOptions::new().append(true).create_new(true).mode(0o600).to_owned();
            let mut file = options.open(&path)?;
            lines.write(&mut file)?;
            sync_directory(&path)?;
            Ok(file)
        };
        self.file = begun().map_err(AuditError::io("begin", &path))?;
        {
            let mut written = self.written();
            written.segments.push(start);
            *written = Written::new(written.segments.clone());
            written.head_bytes = lines.bytes.len() as u64;
        }
        self.take(lines);
        Ok(())
    }

    /// These lines are durable.
    fn take(&mut self, lines: Lines) {
        for (_, entry) in &lines.ends {
            self.summary.note(entry);
        }
        let mut written = self.written();
        lines.ends.into_iter().for_each(|(end, _)| written.advance(end));
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines that are written at once.
struct Lines {
    bytes: Vec<u8>,
    ends: Vec<(Position, Entry)>,
}

impl Lines {
    fn new(start: Position, entries: impl IntoIterator<Item = (String, Event)>) -> Self {
        let (time, mut end) = (unix_time(), start);
        let (mut ends, mut bytes) = (Vec::new(), Vec::new());
        for (wallet, event) in entries {
            let number = end.number + 1;
            let entry = Entry { number, time, durable: start.number, wallet, event };
            let hash = line::write(&mut bytes, end.hash, &entry);
            end = Position { offset: start.offset + bytes.len() as u64, number, hash };
            ends.push((end, entry));
        }
        Self { bytes, ends }
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        file.write_all(&self.bytes)?;
        file.sync_data()
    }
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
