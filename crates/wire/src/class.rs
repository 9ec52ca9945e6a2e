//! How urgent a frame is.

use crate::frame::HEADER_LEN;

/// The three streams of frames inside one link. A more urgent one is never behind a less urgent
/// one: their chunks are interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Votes of the consensus, heartbeats, farewells.
    Consensus,
    /// New blocks and transactions, and short questions.
    Announcements,
    /// Answers to questions: whole stretches of the chain.
    Bulk,
}

impl Class {
    /// The most urgent one first.
    pub const ALL: [Self; 3] = [Self::Consensus, Self::Announcements, Self::Bulk];

    /// The byte that tags a chunk.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Consensus => 0,
            Self::Announcements => 1,
            Self::Bulk => 2,
        }
    }

    /// The class that a tag stands for.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Consensus),
            1 => Some(Self::Announcements),
            2 => Some(Self::Bulk),
            _ => None,
        }
    }

    /// Most bytes of a payload in this class, whatever its kind: what one link may make the
    /// receiver hold is the sum over the classes.
    #[must_use]
    pub const fn payload_max(self) -> usize {
        match self {
            // A view change with its certificates; votes are a few hundred bytes.
            Self::Consensus => 1 << 20,
            // A block of 4 MB with ordered payloads and a certificate.
            Self::Announcements | Self::Bulk => 8 << 20,
        }
    }

    /// Most bytes that wait to be sent in this class; a link that would need more is too slow.
    #[must_use]
    pub const fn queue_max(self) -> usize {
        // Room for one frame of the largest size and as much again of smaller ones.
        self.payload_max().saturating_add(HEADER_LEN).saturating_mul(2)
    }
}
