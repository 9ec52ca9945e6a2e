//! The safety log and its guard, in front of everything that is signed.

use std::fs;
use std::path::{Path, PathBuf};

use pentad_pbft::{DecodeError, Message, Record};
use pentad_store::safety_log::{
    GuardError, GuardMark, SafetyLog, SafetyLogError, SignGuard, SignPosition,
};
use thiserror::Error;

/// Name of the log in the service's directory.
const LOG_FILE: &str = "safety.log";

/// Why a validator's memory cannot be opened or written.
#[derive(Debug, Error)]
pub enum SafetyError {
    /// The log.
    #[error(transparent)]
    Log(#[from] SafetyLogError),
    /// The guard.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A sound record that this version does not understand.
    #[error(
        "record {number} of {} is none that this version knows ({problem}); run the version that \
         wrote it",
        path.display()
    )]
    Record {
        /// The log.
        path: PathBuf,
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        problem: DecodeError,
    },
    /// The directory cannot be made.
    #[error("cannot create {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a batch changes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Replaces the log, before `records` are appended.
    pub(crate) compact: Option<Vec<Vec<u8>>>,
    pub(crate) records: Vec<Vec<u8>>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.compact.is_none() && self.records.is_empty()
    }

    pub(crate) fn persist(&mut self, record: &Record) {
        self.records.push(record.to_bytes());
    }

    pub(crate) fn replace_by(&mut self, records: &[Record]) {
        self.records.clear();
        self.compact = Some(records.iter().map(Record::to_bytes).collect());
    }
}

/// A validator's memory.
#[derive(Debug)]
pub(crate) struct Safety {
    log: SafetyLog,
    guard: SignGuard,
    position: SignPosition,
}

/// What was found at the start.
#[derive(Debug)]
pub(crate) enum Opened {
    /// The log is the latest: it may vote.
    Trusted { safety: Box<Safety>, records: Vec<Record> },
    /// It may not, and why.
    Distrusted { reason: String },
}

impl Safety {
    /// Opens log and guard, or begins them.
    pub(crate) fn open(
        directory: &Path,
        guard_file: &Path,
        adopt_log: bool,
        owner: [u8; 32],
    ) -> Result<Opened, SafetyError> {
        fs::create_dir_all(directory)
            .map_err(|source| SafetyError::Directory { path: directory.to_owned(), source })?;
        let path = directory.join(LOG_FILE);
        let (log, found) = SafetyLog::open(&path, owner)?;
        if found.torn_bytes > 0 {
            tracing::warn!(bytes = found.torn_bytes, "cut a torn write from the safety log");
        }
        let guard = match SignGuard::open(guard_file) {
            Ok(Some(guard)) => match guard.admit(log.id(), log.last()) {
                Ok(()) => guard,
                Err(error) => return Ok(Opened::distrusted(&error.to_string())),
            },
            Ok(None) if log.last() == 0 || adopt_log => {
                let position = SignPosition::default();
                let mark = GuardMark { log: log.id(), batch: log.last(), position };
                SignGuard::create(guard_file, mark)?
            }
            Ok(None) => return Ok(Opened::without_guard(guard_file)),
            Err(error @ GuardError::Damaged { .. }) => {
                return Ok(Opened::distrusted(&error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let mut records = Vec::with_capacity(found.records.len());
        for (number, bytes) in (1..).zip(&found.records) {
            let record = Record::from_bytes(bytes).map_err(|problem| SafetyError::Record {
                path: path.clone(),
                number,
                problem,
            })?;
            records.push(record);
        }
        let position = guard.mark().position;
        Ok(Opened::Trusted { safety: Box::new(Self { log, guard, position }), records })
    }

    /// Makes a batch durable.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<(), SafetyError> {
        if let Some(records) = &batch.compact {
            self.log.compact(records)?;
            self.guard.sync()?;
        }
        if !batch.records.is_empty() {
            self.log.append(&batch.records)?;
        }
        Ok(())
    }

    /// Tells the guard that messages are about to leave; whether it moved.
    pub(crate) fn before_send<'a>(
        &mut self,
        messages: impl Iterator<Item = &'a Message>,
    ) -> Result<bool, SafetyError> {
        let highest = messages.filter_map(position).max();
        let position = highest.map_or(self.position, |highest| highest.max(self.position));
        let mark = GuardMark { log: self.log.id(), batch: self.log.last(), position };
        let is_new = highest.is_some() && mark != self.guard.mark();
        if is_new {
            self.guard.advance(mark)?;
            self.position = position;
        }
        Ok(is_new)
    }

    /// Makes the guard durable.
    pub(crate) fn sync_guard(&mut self) -> Result<(), SafetyError> {
        Ok(self.guard.sync()?)
    }

    pub(crate) const fn fsyncs(&self) -> u64 {
        self.log.fsyncs()
    }

    pub(crate) const fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }
}

impl Opened {
    fn distrusted(problem: &str) -> Self {
        let reason = format!(
            "{problem}. This key must not vote from here: put the latest log back (stop every \
             other process with this key first), or remove `consensus.validator_key` and follow \
             until the validators admit a new key"
        );
        Self::Distrusted { reason }
    }

    fn without_guard(guard_file: &Path) -> Self {
        let reason = format!(
            "there is a safety log, and its sign guard {} is missing, so that nobody can tell \
             whether the log is an old copy: put the guard back; or, if nothing was restored from \
             a backup, start once with `consensus.adopt_log = true`",
            guard_file.display()
        );
        Self::Distrusted { reason }
    }
}

/// How far a message goes; `None` for what binds its sender to nothing.
fn position(message: &Message) -> Option<SignPosition> {
    let at = |view: u64, sequence, phase| Some(SignPosition { view, sequence, phase });
    match message {
        Message::PrePrepare(proposal) => {
            at(proposal.signed.view.get(), proposal.signed.sequence.get(), 1)
        }
        Message::Prepare(vote) => at(vote.view.get(), vote.sequence.get(), 1),
        Message::Commit(vote) => at(vote.view.get(), vote.sequence.get(), 2),
        Message::ViewChange(message) => at(message.view.get(), 0, 0),
        Message::NewView(message) => at(message.view.get(), 0, 0),
        Message::Checkpoint(_)
        | Message::FetchBody(_)
        | Message::Body(_)
        | Message::Certified(_) => None,
    }
}
