//! Whether two nodes can be peers, and which of two links between them stays.

use std::ops::RangeInclusive;

use pentad_primitives::{BlockHash, BlockHeight, Work};
use thiserror::Error;

use crate::{Direction, StaticKey};

/// Versions of the wire protocol that this crate speaks.
pub const VERSIONS: RangeInclusive<u32> = 1..=1;
/// The Noise protocol of a link.
pub const NOISE_PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
/// Its prologue: nodes whose framing differs fail at the first encrypted byte.
pub const NOISE_PROLOGUE: &[u8] = b"pentad/1";
/// Most bytes of a network's name.
pub const NETWORK_NAME_MAX: usize = 64;
/// Most bytes of a reason and of a message in a `Goodbye` that are looked at.
pub const GOODBYE_TEXT_MAX: usize = 200;

/// Where a node says it stands. A claim: headers prove it, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Work of its main chain.
    pub work: Work,
    /// Height of its tip.
    pub height: BlockHeight,
    /// Hash of its tip.
    pub tip: BlockHash,
    /// Height of its last final block, where validators make blocks of work final; else `None`.
    pub final_height: Option<BlockHeight>,
}

impl Claim {
    /// Whether more is final than at `other`; never where nothing becomes final so.
    #[must_use]
    pub fn is_final_beyond(&self, other: &Self) -> bool {
        let both = self.final_height.zip(other.final_height);
        both.is_some_and(|(this, other)| this > other)
    }
}

/// The part of a handshake that never changes while a node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Name of the network.
    pub network: String,
    /// Versions of the wire protocol.
    pub versions: RangeInclusive<u32>,
    /// Hash of the genesis block.
    pub genesis: BlockHash,
    /// Random per process.
    pub instance: u64,
}

/// Why two nodes do not become peers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Incompatible {
    /// No version in common.
    #[error(
        "no common wire version: this node speaks {} to {}, the other {} to {}",
        ours.start(), ours.end(), theirs.start(), theirs.end()
    )]
    Version {
        /// This node's versions.
        ours: RangeInclusive<u32>,
        /// The other node's versions.
        theirs: RangeInclusive<u32>,
    },
    /// Another network by name.
    #[error("this node is on network {ours:?}, the other on {theirs:?}")]
    Network {
        /// This node's network.
        ours: String,
        /// The other node's network.
        theirs: String,
    },
    /// The same name over another chain spec.
    #[error("both call their network {network:?}, but this genesis is {ours}, the other {theirs}")]
    Genesis {
        /// Name of both networks.
        network: String,
        /// This node's genesis block.
        ours: BlockHash,
        /// The other node's genesis block.
        theirs: BlockHash,
    },
    /// The other side is this node, or one with the same static key.
    #[error("the other side is this node itself, or has its static key")]
    OneSelf,
}

impl Incompatible {
    /// The reason to give in a `Goodbye`.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Version { .. } => Reason::UnsupportedVersion,
            Self::Network { .. } => Reason::WrongNetwork,
            Self::Genesis { .. } => Reason::WrongGenesis,
            Self::OneSelf => Reason::SelfConnection,
        }
    }
}

/// Why a link ends: `Goodbye.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No version in common.
    UnsupportedVersion,
    /// Another network.
    WrongNetwork,
    /// Another chain spec.
    WrongGenesis,
    /// Connected to itself.
    SelfConnection,
    /// The two nodes are connected already.
    Duplicate,
    /// No free slot.
    Full,
    /// The other node's static key is banned.
    Banned,
    /// Only known static keys may connect, and the other node's is none of them.
    NotAllowed,
    /// The other node broke the protocol or sent what is invalid.
    Misbehavior,
    /// The other node does not read, does not answer or withholds blocks.
    TooSlow,
    /// The operator removed the peer.
    Removed,
    /// This node stops.
    ShuttingDown,
    /// It was only to be seen whether a node of the network is there.
    Feeler,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::UnsupportedVersion,
        Self::WrongNetwork,
        Self::WrongGenesis,
        Self::SelfConnection,
        Self::Duplicate,
        Self::Full,
        Self::Banned,
        Self::NotAllowed,
        Self::Misbehavior,
        Self::TooSlow,
        Self::Removed,
        Self::ShuttingDown,
        Self::Feeler,
    ];

    /// As it stands in a `Goodbye`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnsupportedVersion => "UNSUPPORTED_VERSION",
            Self::WrongNetwork => "WRONG_NETWORK",
            Self::WrongGenesis => "WRONG_GENESIS",
            Self::SelfConnection => "SELF_CONNECTION",
            Self::Duplicate => "DUPLICATE",
            Self::Full => "FULL",
            Self::Banned => "BANNED",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::Misbehavior => "MISBEHAVIOR",
            Self::TooSlow => "TOO_SLOW",
            Self::Removed => "REMOVED",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Feeler => "FEELER",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// Checks the other side's handshake; returns the wire version to speak.
///
/// # Errors
/// The first reason why the two cannot be peers.
pub fn check(
    ours: (&Hello, &StaticKey),
    theirs: (&Hello, &StaticKey),
) -> Result<u32, Incompatible> {
    let ((own, own_key), (other, other_key)) = (ours, theirs);
    if own_key == other_key || own.instance == other.instance {
        return Err(Incompatible::OneSelf);
    }
    if own.network != other.network {
        let (ours, theirs) = (own.network.clone(), other.network.clone());
        return Err(Incompatible::Network { ours, theirs });
    }
    if own.genesis != other.genesis {
        let (network, ours, theirs) = (own.network.clone(), own.genesis, other.genesis);
        return Err(Incompatible::Genesis { network, ours, theirs });
    }
    let lowest = *own.versions.start().max(other.versions.start());
    let highest = *own.versions.end().min(other.versions.end());
    if lowest > highest {
        let (ours, theirs) = (own.versions.clone(), other.versions.clone());
        return Err(Incompatible::Version { ours, theirs });
    }
    Ok(highest)
}

/// One of two links between the same two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who opened it.
    pub direction: Direction,
    /// The other process.
    pub instance: u64,
}

/// Which of two links stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivor {
    /// The one that was there.
    Existing,
    /// The new one.
    New,
}

/// Decides between two links to the node `theirs`; both ends come to the same answer.
///
/// A link to a process that is gone (another instance under the same key) gives way. Of two
/// simultaneous dials the one of the smaller static key stays. Of two dials by the same side the
/// first one stays.
#[must_use]
pub fn survivor(ours: &StaticKey, theirs: &StaticKey, existing: Link, new: Link) -> Survivor {
    if existing.instance != new.instance {
        return Survivor::New;
    }
    let preferred = if ours < theirs { Direction::Outbound } else { Direction::Inbound };
    if existing.direction != preferred && new.direction == preferred {
        Survivor::New
    } else {
        Survivor::Existing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: StaticKey = StaticKey::from_bytes([1; 32]);
    const LARGE: StaticKey = StaticKey::from_bytes([2; 32]);

    fn hello(instance: u64) -> Hello {
        Hello {
            network: "test".to_owned(),
            versions: 2..=4,
            genesis: BlockHash::from_bytes([7; 32]),
            instance,
        }
    }

    #[test]
    fn the_highest_common_version_is_spoken() {
        let table = [(2..=4, Some(4)), (1..=2, Some(2)), (4..=9, Some(4)), (3..=3, Some(3))];
        for (versions, expected) in table {
            let other = Hello { versions, ..hello(2) };
            assert_eq!(check((&hello(1), &SMALL), (&other, &LARGE)).ok(), expected);
        }
    }

    #[test]
    fn what_keeps_two_nodes_apart_is_named() {
        let network = Hello { network: "other".to_owned(), ..hello(2) };
        let genesis = Hello { genesis: BlockHash::from_bytes([8; 32]), ..hello(2) };
        let newer = Hello { versions: 5..=6, ..hello(2) };
        // A reversed range holds no version; it must not pass for one.
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = Hello { versions: 4..=2, ..hello(2) };
        let table = [
            (network, LARGE, Reason::WrongNetwork),
            (genesis, LARGE, Reason::WrongGenesis),
            (newer, LARGE, Reason::UnsupportedVersion),
            (reversed, LARGE, Reason::UnsupportedVersion),
            (hello(1), LARGE, Reason::SelfConnection),
            (hello(2), SMALL, Reason::SelfConnection),
        ];
        for (other, key, reason) in table {
            let error = check((&hello(1), &SMALL), (&other, &key)).expect_err("incompatible");
            assert_eq!(error.reason(), reason, "{error}");
        }
    }

    #[test]
    fn both_ends_keep_the_dial_of_the_smaller_key() {
        use Direction::{Inbound, Outbound};
        let link = |direction| Link { direction, instance: 5 };
        // SMALL dialled first; then the dial of LARGE arrives. And the other way round.
        for (first, second, stays) in
            [(Outbound, Inbound, Survivor::Existing), (Inbound, Outbound, Survivor::New)]
        {
            assert_eq!(survivor(&SMALL, &LARGE, link(first), link(second)), stays);
            let mirrored = |direction| match direction {
                Inbound => link(Outbound),
                Outbound => link(Inbound),
            };
            assert_eq!(survivor(&LARGE, &SMALL, mirrored(first), mirrored(second)), stays);
        }
        for direction in [Inbound, Outbound] {
            let (one, two) = (link(direction), link(direction));
            assert_eq!(survivor(&SMALL, &LARGE, one, two), Survivor::Existing);
        }
    }

    #[test]
    fn a_restarted_node_replaces_its_old_link() {
        let old = Link { direction: Direction::Outbound, instance: 5 };
        let new = Link { direction: Direction::Inbound, instance: 6 };
        assert_eq!(survivor(&SMALL, &LARGE, old, new), Survivor::New);
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(Reason::from_name("NO_SUCH_REASON"), None);
    }
}
