//! Following the tip: from any block to the main chain, one step at a time.
//!
//! A follower stands on a block. If that is on the main chain, the next event applies the block
//! above; if not, it undoes the block and steps to its parent. Every step is taken from the chain
//! as it is then, so a follower needs no queue: however slow it is, however often the chain
//! reorganises meanwhile, it misses nothing and the node keeps nothing for it.

use std::fmt;
use std::str::FromStr;

use pentad_api::FieldError;
use pentad_primitives::{BlockHash, BlockHeight};
use pentad_store::{BlockEntry, IndexRead as _};

use crate::error::ChainError;
use crate::reader::{BlockRef, View};

/// The block that a follower stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Its height.
    pub height: BlockHeight,
    /// Its hash.
    pub hash: BlockHash,
}

/// One step of a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This block comes on top.
    Apply(BlockHash, BlockEntry),
    /// This block, on which the follower stood, goes.
    Undo(BlockHash, BlockEntry),
    /// The follower's block is unknown: it starts over from the tip.
    Reset(BlockHash, BlockEntry),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.height, self.hash)
    }
}

impl FromStr for Cursor {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let parsed = text.split_once(':').and_then(|(height, hash)| {
            let height = BlockHeight::new(height.parse().ok()?);
            Some(Self { height, hash: hash.parse().ok()? })
        });
        parsed.ok_or_else(|| FieldError {
            field: "cursor",
            problem: "expected height:hash, as the last event carried it".to_owned(),
        })
    }
}

/// Up to `limit` steps from where a follower stands (`None`: nowhere yet), and where it stands
/// after them.
///
/// # Errors
/// When the index fails.
pub fn steps(
    view: &View<'_>,
    from: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<Step>, Option<Cursor>), ChainError> {
    let mut at = from;
    let mut steps = Vec::new();
    while steps.len() < limit {
        let Some((step, next)) = step(view, at)? else {
            break;
        };
        steps.push(step);
        at = Some(next);
    }
    Ok((steps, at))
}

/// The block up to which all that a follower at `cursor` was told has become final, if that is
/// above the one that it was `told` of before.
///
/// # Errors
/// When the index fails.
pub(crate) fn newly_final(
    view: &View<'_>,
    cursor: Cursor,
    told: BlockHeight,
) -> Result<Option<(BlockHash, BlockEntry)>, ChainError> {
    let height = view.tip.final_height.min(cursor.height);
    if height <= told || !view.is_on_main_chain(&cursor.hash, cursor.height)? {
        return Ok(None);
    }
    view.block(BlockRef::Height(height)).map(Some)
}

/// The next step; `None` at the tip.
fn step(view: &View<'_>, at: Option<Cursor>) -> Result<Option<(Step, Cursor)>, ChainError> {
    let known = match at {
        Some(cursor) => view.tip.snapshot.block(&cursor.hash)?.map(|entry| (cursor, entry)),
        None => None,
    };
    let Some((cursor, entry)) = known.filter(|(cursor, entry)| cursor.height == entry.height)
    else {
        let (hash, entry) = view.block(BlockRef::Hash(view.tip.hash))?;
        let cursor = Cursor { height: entry.height, hash };
        return Ok(Some((Step::Reset(hash, entry), cursor)));
    };
    if !view.is_on_main_chain(&cursor.hash, cursor.height)? {
        let parent = entry.header.prev_block_hash;
        let height = cursor.height.prev().unwrap_or(BlockHeight::GENESIS);
        let next = Cursor { height, hash: parent };
        return Ok(Some((Step::Undo(cursor.hash, entry), next)));
    }
    if cursor.height >= view.tip.height {
        return Ok(None);
    }
    let above = cursor.height.next().expect("the tip is above");
    let (hash, entry) = view.block(BlockRef::Height(above))?;
    Ok(Some((Step::Apply(hash, entry), Cursor { height: above, hash })))
}
