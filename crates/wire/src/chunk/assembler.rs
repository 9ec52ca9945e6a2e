use bytes::Bytes;
use thiserror::Error;

use super::{CHUNK_HEADER_LEN, CHUNK_MAX};
use crate::frame::{HEADER_LEN, Header};
use crate::{Class, Frame, FrameError, Tallies};

/// What is set aside for a frame before its bytes are here; more is taken as they arrive, so that
/// a length alone costs its receiver nothing.
const RESERVED_MAX: usize = CHUNK_MAX;

/// Puts frames together again. It holds at most one unfinished frame per class.
#[derive(Debug)]
pub struct Assembler {
    consensus: Stream,
    announcements: Stream,
    bulk: Stream,
    skipped: u64,
    received: Tallies,
}

/// What a sender that keeps to the protocol never sends.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AssemblyError {
    /// A chunk's tag is none of the three classes.
    #[error("unknown class {0} of a chunk")]
    UnknownClass(u8),
    /// A chunk of no bytes, or of more than [`CHUNK_MAX`].
    #[error("chunk of {0} bytes, 1 to {CHUNK_MAX} expected")]
    ChunkLength(usize),
    /// The Noise message ends in the middle of a chunk.
    #[error("the message ends within a chunk")]
    Truncated,
    /// A frame is over its limits.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Default for Assembler {
    fn default() -> Self {
        Self::new()
    }
}

impl Assembler {
    /// At the start of a link.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            consensus: Stream::new(Class::Consensus),
            announcements: Stream::new(Class::Announcements),
            bulk: Stream::new(Class::Bulk),
            skipped: 0,
            received: Tallies::new(),
        }
    }

    /// Takes the plaintext of one Noise message and appends the frames that are complete with it.
    ///
    /// # Errors
    /// On the first violation of the protocol; the link is of no use afterwards.
    pub fn push(&mut self, message: &[u8], frames: &mut Vec<Frame>) -> Result<(), AssemblyError> {
        let mut rest = message;
        while !rest.is_empty() {
            let (header, tail) =
                rest.split_first_chunk::<CHUNK_HEADER_LEN>().ok_or(AssemblyError::Truncated)?;
            let [tag, high, low] = *header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 || length > CHUNK_MAX {
                return Err(AssemblyError::ChunkLength(length));
            }
            let class = Class::from_byte(tag).ok_or(AssemblyError::UnknownClass(tag))?;
            let (chunk, tail) = tail.split_at_checked(length).ok_or(AssemblyError::Truncated)?;
            let before = frames.len();
            let skipped = self.stream_mut(class).push(chunk, frames)?;
            let complete = frames.len().saturating_sub(before);
            let bytes = CHUNK_HEADER_LEN.saturating_add(length);
            self.received.of_mut(class).add(bytes, complete);
            self.skipped = self.skipped.saturating_add(skipped);
            rest = tail;
        }
        Ok(())
    }

    /// Frames of unknown kinds that were skipped since the start.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// What came since the start.
    #[must_use]
    pub const fn received(&self) -> Tallies {
        self.received
    }

    /// Bytes held for unfinished frames.
    #[must_use]
    pub fn buffered(&self) -> usize {
        Class::ALL.iter().fold(0, |sum, class| sum.saturating_add(self.unfinished(*class)))
    }

    /// Bytes held for the unfinished frame of a class.
    #[must_use]
    pub const fn unfinished(&self, class: Class) -> usize {
        match class {
            Class::Consensus => self.consensus.buffered(),
            Class::Announcements => self.announcements.buffered(),
            Class::Bulk => self.bulk.buffered(),
        }
    }

    const fn stream_mut(&mut self, class: Class) -> &mut Stream {
        match class {
            Class::Consensus => &mut self.consensus,
            Class::Announcements => &mut self.announcements,
            Class::Bulk => &mut self.bulk,
        }
    }
}

/// The frames of one class.
#[derive(Debug)]
struct Stream {
    class: Class,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Between two frames, or within a header.
    Header { bytes: [u8; HEADER_LEN], filled: usize },
    /// Within context and payload.
    Body { header: Header, bytes: Vec<u8> },
    /// Within a frame of an unknown kind: this many bytes are dropped.
    Skip { left: usize },
}

impl State {
    const START: Self = Self::Header { bytes: [0; HEADER_LEN], filled: 0 };
}

impl Stream {
    const fn new(class: Class) -> Self {
        Self { class, state: State::START }
    }

    const fn buffered(&self) -> usize {
        match &self.state {
            State::Body { bytes, .. } => bytes.capacity(),
            State::Header { .. } | State::Skip { .. } => 0,
        }
    }

    /// Returns how many frames of unknown kinds began in `chunk`.
    fn push(&mut self, chunk: &[u8], frames: &mut Vec<Frame>) -> Result<u64, FrameError> {
        let mut rest = chunk;
        let mut skipped = 0_u64;
        while !rest.is_empty() {
            match &mut self.state {
                State::Header { bytes, filled } => {
                    let (part, tail) = split(rest, HEADER_LEN.saturating_sub(*filled));
                    for (slot, byte) in bytes.iter_mut().skip(*filled).zip(part) {
                        *slot = *byte;
                    }
                    *filled = filled.saturating_add(part.len());
                    rest = tail;
                    if *filled == HEADER_LEN {
                        let header = Header::decode(self.class, *bytes)?;
                        if header.kind.is_none() {
                            skipped = skipped.saturating_add(1);
                        }
                        self.begin(header);
                    }
                }
                State::Body { header, bytes } => {
                    let missing = header.body_len().saturating_sub(bytes.len());
                    let (part, tail) = split(rest, missing);
                    bytes.extend_from_slice(part);
                    rest = tail;
                }
                State::Skip { left } => {
                    let (part, tail) = split(rest, *left);
                    *left = left.saturating_sub(part.len());
                    rest = tail;
                }
            }
            frames.extend(self.finish());
        }
        Ok(skipped)
    }

    fn begin(&mut self, header: Header) {
        self.state = match header.kind {
            Some(_) => {
                let bytes = Vec::with_capacity(header.body_len().min(RESERVED_MAX));
                State::Body { header, bytes }
            }
            None => State::Skip { left: header.body_len() },
        };
    }

    /// The frame whose last byte is here now.
    fn finish(&mut self) -> Option<Frame> {
        match &mut self.state {
            State::Body { header, bytes } if bytes.len() == header.body_len() => {
                let Header { kind, context_len, .. } = *header;
                let mut context = Bytes::from(std::mem::take(bytes));
                let payload = context.split_off(context_len);
                self.state = State::START;
                Some(Frame { kind: kind?, context, payload })
            }
            State::Skip { left: 0 } => {
                self.state = State::START;
                None
            }
            State::Header { .. } | State::Body { .. } | State::Skip { .. } => None,
        }
    }
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}
