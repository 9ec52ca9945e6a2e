use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use thiserror::Error;

use super::{CHUNK_HEADER_LEN, CHUNK_MAX, PLAINTEXT_MAX};
use crate::Class;

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
    /// Encoded frames; of the first one perhaps only the rest.
    frames: VecDeque<Bytes>,
    bytes: usize,
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
        let bytes = queue.bytes.saturating_add(frame.len());
        if bytes > class.queue_max() {
            return Err(QueueFull { class });
        }
        queue.bytes = bytes;
        queue.frames.push_back(frame);
        Ok(())
    }

    /// Drops what is less urgent than the consensus class: only a farewell is to come. What was cut
    /// in the middle is never finished, so nothing may be queued in those classes afterwards.
    pub fn keep_consensus_only(&mut self) {
        self.announcements = Queue::default();
        self.bulk = Queue::default();
    }

    /// Bytes that wait in a class.
    #[must_use]
    pub const fn queued(&self, class: Class) -> usize {
        match class {
            Class::Consensus => self.consensus.bytes,
            Class::Announcements => self.announcements.bytes,
            Class::Bulk => self.bulk.bytes,
        }
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

    const fn queue_mut(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::Consensus => &mut self.consensus,
            Class::Announcements => &mut self.announcements,
            Class::Bulk => &mut self.bulk,
        }
    }
}

impl Queue {
    /// Moves `count` bytes, which must be there, to the end of `to`.
    fn take(&mut self, count: usize, to: &mut Vec<u8>) {
        let mut left = count;
        while left > 0 {
            let Some(frame) = self.frames.front_mut() else {
                break;
            };
            let part = left.min(frame.len());
            to.extend_from_slice(&frame.split_to(part));
            left = left.saturating_sub(part);
            if !frame.has_remaining() {
                self.frames.pop_front();
            }
        }
        self.bytes = self.bytes.saturating_sub(count);
    }
}
