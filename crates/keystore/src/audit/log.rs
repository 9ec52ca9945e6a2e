use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::line::{self, LineHash};
use super::scan::{Position, Scan};
use super::{AuditError, Entry, Event, Recorded};
use crate::WalletName;
use crate::text::sync_directory;

/// Entries that wait for the disk; whoever brings one more waits before that.
const WAITING_MAX: usize = 1024;
/// One place of so many is kept in memory, so that reading may begin in the middle.
const LANDMARK_INTERVAL: u64 = 1024;

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
    path: PathBuf,
    entries: Sender<Submitted>,
    pub(super) written: Arc<Mutex<Written>>,
}

/// An entry on its way to the disk, and who waits for it.
struct Submitted {
    wallet: String,
    event: Event,
    done: oneshot::Sender<Result<u64, AuditError>>,
}

/// What is on the disk.
#[derive(Debug)]
pub(super) struct Written {
    end: Position,
    /// Every [`LANDMARK_INTERVAL`]th place, the start among them.
    landmarks: Vec<Position>,
}

impl Written {
    fn advance(&mut self, end: Position) {
        if end.number / LANDMARK_INTERVAL >= self.landmarks.len() as u64 {
            self.landmarks.push(end);
        }
        self.end = end;
    }
}

impl AuditLog {
    /// Opens a log, or begins one, and shows all its entries to `each`. A tail that a crash tore
    /// is cut off, and an entry says so. Reads the whole file: for blocking threads.
    ///
    /// # Errors
    /// When an entry that had been durable is not what was written, or the file cannot be used.
    pub fn open(path: PathBuf, mut each: impl FnMut(&Recorded)) -> Result<Self, AuditError> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(AuditError::io("open", &path))?;
        let (written, events) = recover(&path, &mut file, &mut each)?;
        let mut writer = Writer { path, file, written: Arc::new(Mutex::new(written)) };
        writer.append(events.into_iter().map(|event| (String::new(), event)), &mut each)?;
        Self::start(writer)
    }

    pub(super) fn start(writer: Writer) -> Result<Self, AuditError> {
        let (path, written) = (writer.path.clone(), Arc::clone(&writer.written));
        let (entries, mut submitted) = channel(WAITING_MAX);
        thread::Builder::new()
            .name("audit log".to_owned())
            .spawn(move || writer.run(&mut submitted))
            .map_err(AuditError::io("start the writer of", &path))?;
        Ok(Self { path, entries, written })
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
        let (start, end) = {
            let written = self.written();
            let before = first.saturating_sub(1) / LANDMARK_INTERVAL;
            let index = usize::try_from(before).unwrap_or(usize::MAX);
            (written.landmarks.get(index).copied().unwrap_or(written.end), written.end)
        };
        let mut scan = Scan::from(&self.path, start, end.offset)?;
        while let Some(recorded) = scan.next()? {
            if recorded.entry.number >= first && !each(recorded) {
                return Ok(());
            }
        }
        self.check_end(scan.position(), end)
    }

    /// Reads all entries again and checks that they are those that were written, and that the
    /// entry which the caller noted once is among them. For blocking threads.
    ///
    /// # Errors
    /// When one is not what was written, or is another than the caller knows.
    pub fn verify(&self, known: Option<(u64, &str)>) -> Result<Head, AuditError> {
        let end = self.written().end;
        let mut scan = Scan::from(&self.path, Position::START, end.offset)?;
        while let Some(Recorded { entry, hash }) = scan.next()? {
            let other = known.filter(|(number, known)| {
                *number == entry.number && !known.eq_ignore_ascii_case(&hash.to_string())
            });
            if let Some((number, known)) = other {
                let (found, known) = (hash.to_string(), known.to_owned());
                return Err(AuditError::OtherLog { number, found, known });
            }
        }
        self.check_end(scan.position(), end)?;
        if let Some((number, known)) = known.filter(|(number, _)| *number > end.number) {
            let (found, known) = ("of no entry".to_owned(), known.to_owned());
            return Err(AuditError::OtherLog { number, found, known });
        }
        Ok(Head { number: end.number, hash: end.hash })
    }

    fn check_end(&self, found: Position, end: Position) -> Result<(), AuditError> {
        if found == end {
            return Ok(());
        }
        let length = File::open(&self.path).and_then(|file| file.metadata());
        let length = length.map_err(AuditError::io("read", &self.path))?.len();
        Err(AuditError::Damaged {
            path: self.path.clone(),
            number: found.number + 1,
            offset: found.offset,
            is_missing: length <= found.offset,
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is there and cuts what a crash tore; returns what is to be noted.
fn recover(
    path: &Path,
    file: &mut File,
    each: &mut impl FnMut(&Recorded),
) -> Result<(Written, Vec<Event>), AuditError> {
    let length = file.metadata().map_err(AuditError::io("read", path))?.len();
    let mut written = Written { end: Position::START, landmarks: vec![Position::START] };
    let mut scan = Scan::from(path, Position::START, length)?;
    while let Some(recorded) = scan.next()? {
        written.advance(scan.position());
        each(&recorded);
    }
    let tail = scan.tail()?;
    let mut events = Vec::new();
    if tail.bytes > 0 {
        tracing::warn!(bytes = tail.bytes, "a torn tail of the audit log is cut off");
        file.set_len(written.end.offset).map_err(AuditError::io("cut", path))?;
        events.push(Event::TailCut { bytes: tail.bytes, sha256: tail.sha256 });
    }
    if length == 0 {
        sync_directory(path).map_err(AuditError::io("begin", path))?;
    }
    events.push(Event::Opened { version: env!("CARGO_PKG_VERSION").to_owned() });
    Ok((written, events))
}

/// The one that writes.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) written: Arc<Mutex<Written>>,
}

impl Writer {
    /// Writes what comes until nobody is left to bring more.
    fn run(mut self, submitted: &mut Receiver<Submitted>) {
        let mut poison = None;
        let mut batch = Vec::new();
        while submitted.blocking_recv_many(&mut batch, WAITING_MAX) > 0 {
            let (entries, waiting): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|it| ((it.wallet, it.event), it.done)).unzip();
            let before = self.written().end.number;
            if poison.is_none() {
                let appended = self.append(entries, &mut |_| {});
                poison = appended.err().map(|error| error.to_string());
                if let Some(error) = &poison {
                    tracing::error!(error, "the audit log cannot be written: no key is used");
                }
            }
            for (number, done) in (before + 1..).zip(waiting) {
                let outcome = match &poison {
                    None => Ok(number),
                    Some(error) => Err(AuditError::Poisoned(error.clone())),
                };
                // Whoever left does not want to know.
                drop(done.send(outcome));
            }
        }
    }

    /// Writes and syncs entries all at once.
    fn append(
        &mut self,
        entries: impl IntoIterator<Item = (String, Event)>,
        each: &mut impl FnMut(&Recorded),
    ) -> Result<(), AuditError> {
        let time = unix_time();
        let start = self.written().end;
        let (mut end, mut ends, mut bytes) = (start, Vec::new(), Vec::new());
        for (wallet, event) in entries {
            let number = end.number + 1;
            let entry = Entry { number, time, durable: start.number, wallet, event };
            let hash = line::write(&mut bytes, end.hash, &entry);
            end = Position { offset: start.offset + bytes.len() as u64, number, hash };
            ends.push((end, Recorded { entry, hash }));
        }
        let sync = |file: &mut File| -> io::Result<()> {
            file.write_all(&bytes)?;
            file.sync_data()
        };
        sync(&mut self.file).map_err(AuditError::io("write", &self.path))?;
        let mut written = self.written();
        for (end, recorded) in ends {
            written.advance(end);
            each(&recorded);
        }
        Ok(())
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
