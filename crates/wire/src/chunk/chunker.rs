use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use thiserror::Error;

use super::{CHUNK_HEADER_LEN, CHUNK_MAX, PLAINTEXT_MAX};
use crate::{Class, Tally};

/// Frames that wait to be sent, by class; it cuts them into Noise messages.
#[derive(Debug, Default)]
pub struct Chunker {
    consensus: Queue,
    announcements: Queue,
    bulk: Queue,
}

/// A class holds as much as it may ([`Class::queue_max`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the queue of class {class:?} is full")]
pub struct QueueFull {
    /// Which one.
    pub class: Class,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    /// Those among them that may be dropped.
    expendable: usize,
    /// Frames that were dropped since the start.
    dropped: u64,
    sent: Tally,
}

/// An encoded frame, or the rest of one.
#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    is_expendable: bool,
    /// Its first bytes are gone, so the others have to follow.
    is_begun: bool,
}

impl Chunker {
    /// No frames.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an encoded frame at the end of its class. The bytes are shared, not copied: a block for
    /// fifty peers is in memory once.
    ///
    /// # Errors
    /// When the class holds too much already; the frame is not queued then.
    pub fn push(&mut self, class: Class, frame: Bytes) -> Result<(), QueueFull> {
        let queue = self.queue_mut(class);
        let lasting = queue.bytes.saturating_sub(queue.expendable);
        if lasting.saturating_add(frame.len()) > class.queue_max() {
            return Err(QueueFull { class });
        }
        queue.append(frame, false);
        Ok(())
    }

    /// Puts an encoded frame at the end of its class that nobody misses for long. Where the class
    /// holds too many such frames ([`Class::expendable_max`]) the oldest ones are dropped; returns
    /// how many, this one included if there is no room for it at all.
    pub fn push_expendable(&mut self, class: Class, frame: Bytes) -> u64 {
        let queue = self.queue_mut(class);
        let mut dropped = 0_u64;
        while queue.expendable.saturating_add(frame.len()) > class.expendable_max() {
            dropped = dropped.saturating_add(1);
            queue.dropped = queue.dropped.saturating_add(1);
            if !queue.drop_oldest() {
                return dropped;
            }
        }
        queue.append(frame, true);
        dropped
    }

    /// Drops what is less urgent than the consensus class: only a farewell is to come. What was cut
    /// in the middle is never finished, so nothing may be queued in those classes afterwards.
    pub fn keep_consensus_only(&mut self) {
        self.announcements.clear();
        self.bulk.clear();
    }

    /// Bytes that wait in a class.
    #[must_use]
    pub const fn queued(&self, class: Class) -> usize {
        self.queue(class).bytes
    }

    /// What was taken in a class since the start.
    #[must_use]
    pub const fn sent(&self, class: Class) -> Tally {
        self.queue(class).sent
    }

    /// Frames of a class that were dropped since the start.
    #[must_use]
    pub const fn dropped(&self, class: Class) -> u64 {
        self.queue(class).dropped
    }

    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Class::ALL.iter().all(|class| self.queued(*class) == 0)
    }

    /// Replaces `message` by the plaintext of the next Noise message, the most urgent class first.
    /// Empty if nothing waits.
    pub fn next_message(&mut self, message: &mut Vec<u8>) {
        message.clear();
        for class in Class::ALL {
            let queue = self.queue_mut(class);
            while queue.bytes > 0 {
                let room = PLAINTEXT_MAX
                    .saturating_sub(message.len())
                    .saturating_sub(CHUNK_HEADER_LEN)
                    .min(CHUNK_MAX)
                    .min(queue.bytes);
                let Ok(length) = u16::try_from(room) else {
                    return;
                };
                if length == 0 {
                    return;
                }
                message.push(class.to_byte());
                message.extend_from_slice(&length.to_be_bytes());
                queue.take(room, message);
            }
        }
    }

    const fn queue(&self, class: Class) -> &Queue {
        match class {
            Class::Consensus => &self.consensus,
            Class::Announcements => &self.announcements,
            Class::Bulk => &self.bulk,
        }
    }

    const fn queue_mut(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::Consensus => &mut self.consensus,
            Class::Announcements => &mut self.announcements,
            Class::Bulk => &mut self.bulk,
        }
    }
}

impl Queue {
    fn clear(&mut self) {
        self.frames.clear();
        (self.bytes, self.expendable) = (0, 0);
    }

    fn append(&mut self, bytes: Bytes, is_expendable: bool) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if is_expendable {
            self.expendable = self.expendable.saturating_add(bytes.len());
        }
        self.frames.push_back(Waiting { bytes, is_expendable, is_begun: false });
    }

    /// Drops the oldest frame that may be dropped; false if there is none.
    fn drop_oldest(&mut self) -> bool {
        let is_free = |frame: &Waiting| frame.is_expendable && !frame.is_begun;
        let oldest = self.frames.iter().position(is_free);
        let Some(frame) = oldest.and_then(|oldest| self.frames.remove(oldest)) else {
            return false;
        };
        self.bytes = self.bytes.saturating_sub(frame.bytes.len());
        self.expendable = self.expendable.saturating_sub(frame.bytes.len());
        true
    }

    /// Moves `count` bytes, which must be there, to the end of `to`.
    fn take(&mut self, count: usize, to: &mut Vec<u8>) {
        let mut left = count;
        let before = self.frames.len();
        while left > 0 {
            let Some(frame) = self.frames.front_mut() else {
                break;
            };
            let part = left.min(frame.bytes.len());
            to.extend_from_slice(&frame.bytes.split_to(part));
            frame.is_begun = true;
            left = left.saturating_sub(part);
            if frame.is_expendable {
                self.expendable = self.expendable.saturating_sub(part);
            }
            if !frame.bytes.has_remaining() {
                self.frames.pop_front();
            }
        }
        self.bytes = self.bytes.saturating_sub(count);
        let complete = before.saturating_sub(self.frames.len());
        self.sent.add(CHUNK_HEADER_LEN.saturating_add(count), complete);
    }
}
