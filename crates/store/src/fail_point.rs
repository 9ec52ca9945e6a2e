//! Fail points: every durable write has a name, by which a test can kill the process there, make
//! the operation fail or cut it short.
//!
//! They exist with the cargo feature `fail-points` only; without it [`at`], [`write`] and [`pass`]
//! are nothing but the operation they stand around. A process takes its one fault from the
//! environment: `FAIL_POINT=record-append:kill-torn:3` is the third append, half written.

use std::io;

#[cfg(feature = "fail-points")]
mod armed;

#[cfg(feature = "fail-points")]
pub use armed::{Armed, ENVIRONMENT, Fault, arm};

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// Where a fault can be injected.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point { $($(#[$doc])* $point,)* }

        #[cfg(feature = "fail-points")]
        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// The name by which it is armed.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$point => $name,)* }
            }
        }
    };
}

points! {
    /// The lock file's process id is written.
    LockWrite = "lock-write",
    /// The unfinished `FORMAT` is written.
    FormatWrite = "format-write",
    /// The unfinished `FORMAT` is synced.
    FormatSync = "format-sync",
    /// `FORMAT` gets its name.
    FormatRename = "format-rename",
    /// The data directory is synced with `FORMAT` in it.
    FormatDirectorySync = "format-directory-sync",
    /// `REINDEX` is written.
    ReindexMark = "reindex-mark",
    /// `REINDEX` is removed.
    ReindexClear = "reindex-clear",
    /// The index directory is removed before a rebuild.
    IndexRemove = "index-remove",
    /// A segment file is created.
    SegmentCreate = "segment-create",
    /// A segment's header is written.
    SegmentHeader = "segment-header",
    /// A new segment is synced.
    SegmentSync = "segment-sync",
    /// The log's directory is synced.
    SegmentDirectorySync = "segment-directory-sync",
    /// A segment that was never finished is removed.
    SegmentRemove = "segment-remove",
    /// A torn tail is cut off.
    TailTruncate = "tail-truncate",
    /// What was found behind the last known end of the log is synced.
    TailSync = "tail-sync",
    /// A record is written.
    RecordAppend = "record-append",
    /// A group of records is synced.
    GroupSync = "group-sync",
    /// Bytes of the log are read.
    LogRead = "log-read",
    /// A group is durable; readers have not been shown its tip.
    TipPublish = "tip-publish",
    /// Readers were shown a new tip; its senders have no answer.
    TipAnswer = "tip-answer",
    /// Nothing of a descent is written; its note goes with the first batch.
    DescentNote = "descent-note",
    /// A batch of a descent is written, and it was not the last.
    DescentBatch = "descent-batch",
    /// All batches of a descent are written, not flushed.
    DescentWritten = "descent-written",
    /// They are flushed; the new state, which clears the note, is not written.
    DescentState = "descent-state",
    /// The new state of a descent is written.
    DescentDone = "descent-done",
    /// The index engine writes a batch.
    EngineWrite = "engine-write",
    /// The index engine flushes.
    EngineFlush = "engine-flush",
    /// The index engine merges some of its files.
    EngineMerge = "engine-merge",
    /// The name of the engine is written into a new index directory.
    EngineName = "engine-name",
    /// The index engine reads.
    EngineRead = "engine-read",
    /// The unfinished file of the mempool is written.
    MempoolWrite = "mempool-write",
    /// The mempool's file gets its name.
    MempoolRename = "mempool-rename",
    /// A torn end of the safety log is cut, and what is whole synced.
    SafetySettle = "safety-settle",
    /// A batch of the safety log is written.
    SafetyAppend = "safety-append",
    /// A batch of the safety log is synced.
    SafetySync = "safety-sync",
    /// The unfinished file of a new or compacted safety log is written.
    SafetyCompactWrite = "safety-compact-write",
    /// The unfinished file of a new or compacted safety log is synced.
    SafetyCompactSync = "safety-compact-sync",
    /// A new or compacted safety log gets its name.
    SafetyCompactRename = "safety-compact-rename",
    /// The directory of a new or compacted safety log is synced.
    SafetyDirectorySync = "safety-directory-sync",
    /// A mark of the sign guard is written.
    GuardWrite = "guard-write",
    /// The sign guard is synced.
    GuardSync = "guard-sync",
}

/// Runs an operation, unless a fault is armed there.
///
/// # Errors
/// The operation's, and those of a fault.
#[inline(always)]
pub fn at<T, E: From<io::Error>>(
    point: Point,
    operation: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    #[cfg(feature = "fail-points")]
    let after = armed::before(point)?;
    let outcome = operation();
    #[cfg(feature = "fail-points")]
    after.reached();
    #[cfg(not(feature = "fail-points"))]
    let _ = point;
    outcome
}

/// Runs an operation that writes `bytes`, of which a fault may let only the first half through.
///
/// # Errors
/// The operation's, and those of a fault.
#[inline(always)]
pub fn write(
    point: Point,
    bytes: &[u8],
    operation: impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    #[cfg(feature = "fail-points")]
    armed::cut(point, bytes, &operation)?;
    at(point, || operation(bytes))
}

/// A place where nothing can fail but the process may die.
#[inline(always)]
pub fn pass(point: Point) {
    #[cfg(feature = "fail-points")]
    at(point, || Ok::<(), io::Error>(())).expect("nothing fails here");
    #[cfg(not(feature = "fail-points"))]
    let _ = point;
}
