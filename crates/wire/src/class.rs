//! How urgent a frame is.

use crate::frame::HEADER_LEN;

/// A block of 4 MB with ordered payloads of 1 MiB, or a proposal that carries it, and room to
/// grow; a certificate and the encoding.
pub(crate) const LARGEST_PAYLOAD: usize = (8 << 20) + CERTIFICATE_MAX + (1 << 10);
/// Most bytes of a commit certificate: 64 signatures take 4,274.
pub const CERTIFICATE_MAX: usize = 8 << 10;

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

    /// Its name in statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Announcements => "announcements",
            Self::Bulk => "bulk",
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
            // Twice the largest consensus message that goes in it: nothing urgent is ever behind
            // more than this.
            Self::Consensus => 2 * crate::consensus::URGENT_PAYLOAD_MAX,
            // The largest kinds, a block with its certificate and a proposal.
            Self::Announcements | Self::Bulk => LARGEST_PAYLOAD,
        }
    }

    /// Most bytes that wait to be sent in this class; a link that would need more is too slow.
    #[must_use]
    pub const fn queue_max(self) -> usize {
        // Room for one frame of the largest size and as much again of smaller ones.
        self.payload_max().saturating_add(HEADER_LEN).saturating_mul(2)
    }

    /// Bytes that may wait while more is queued that could as well be queued later.
    #[must_use]
    pub const fn low_water(self) -> usize {
        match self {
            Self::Consensus | Self::Announcements => self.queue_max() / 2,
            // Enough to keep a fast link busy until the next block is fetched; each of many who do
            // not read may make this node hold that much and a block.
            Self::Bulk => 1 << 20,
        }
    }

    /// Most bytes of frames that wait to be sent in this class and may be dropped, beside those of
    /// [`Class::queue_max`]: the oldest gives way.
    #[must_use]
    pub const fn expendable_max(self) -> usize {
        match self {
            // Two thousand votes: all that a view of 64 validators says several times over.
            Self::Consensus => 512 << 10,
            // The largest proposal and one that takes its place.
            Self::Announcements => self.queue_max(),
            Self::Bulk => 0,
        }
    }
}
