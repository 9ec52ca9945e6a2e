//! Bodies of proposals: blocks in Bitcoin's serialization, or headers of blocks.

use pentad_pbft::Message;
use pentad_primitives::encode::Decode as _;
use pentad_primitives::{Block, BlockHeader, Hash256, Txid, merkle};

use crate::subject::Subject;

/// Which block a body is, and on which one it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) digest: Hash256,
    pub(crate) parent: Hash256,
}

impl Link {
    fn of(header: &BlockHeader) -> Self {
        Self {
            digest: Hash256::from_bytes(header.block_hash().to_bytes()),
            parent: Hash256::from_bytes(header.prev_block_hash.to_bytes()),
        }
    }
}

/// What the header of a body says; `None` when it has none.
pub(crate) fn link(body: &[u8]) -> Option<Link> {
    let header = body.get(..BlockHeader::LEN)?;
    Some(Link::of(&BlockHeader::from_bytes(header).ok()?))
}

/// Unix seconds that the header of a body names.
pub(crate) fn time(body: &[u8]) -> Option<u32> {
    Some(BlockHeader::from_bytes(body.get(..BlockHeader::LEN)?).ok()?.time)
}

/// What a body says, if it is whole. Of a block, its transactions are exactly those of its header:
/// another body under the same hash is nobody's proposal (attack 40).
fn link_of_whole(body: &[u8], subject: Subject) -> Option<Link> {
    if let Subject::FinalBlock { .. } = subject {
        return link(body).filter(|_| body.len() == BlockHeader::LEN);
    }
    let block = Block::from_bytes(body).ok()?;
    let txids: Vec<Txid> =
        block.transactions.iter().map(pentad_primitives::Transaction::txid).collect();
    let root = merkle::root_checked(&txids).ok()?;
    (!txids.is_empty() && root == block.header.merkle_root).then(|| Link::of(&block.header))
}

/// Whether a body in a message is whole and the block that the message names: what the core takes
/// for granted.
pub(crate) fn is_sound(message: &Message, subject: Subject) -> bool {
    match message {
        Message::PrePrepare(proposal) => {
            let (digest, parent) = (proposal.signed.digest, proposal.signed.parent);
            link_of_whole(&proposal.body, subject) == Some(Link { digest, parent })
        }
        Message::Body(answer) => is_of(&answer.body, answer.digest, subject),
        Message::Certified(block) => is_of(&block.body, block.certificate.digest, subject),
        Message::Prepare(_)
        | Message::Commit(_)
        | Message::Checkpoint(_)
        | Message::ViewChange(_)
        | Message::NewView(_)
        | Message::FetchBody(_) => true,
    }
}

fn is_of(body: &[u8], digest: Hash256, subject: Subject) -> bool {
    link_of_whole(body, subject).is_some_and(|link| link.digest == digest)
}
