use pentad_primitives::hash::BlockHash;
use pentad_primitives::{BlockHeader, BlockHeight};

use super::arena::NodeId;
use super::{HeaderTree, InsertError, work};
use crate::verify::{contextual, semantic};

/// A header in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: BlockHeight,
    /// It was not known before.
    pub is_new: bool,
}

impl HeaderTree {
    /// Checks a header's work, target and times, and takes it in. A known header is no error.
    ///
    /// # Errors
    /// The rule broken; [`InsertError::UnknownParent`] where the headers before it are missing.
    pub fn insert(&mut self, header: &BlockHeader, now: u32) -> Result<Inserted, InsertError> {
        let hash = header.block_hash();
        if let Some(id) = self.arena.find(&hash) {
            return self.known(id);
        }
        let parent = header.prev_block_hash;
        let parent = self.arena.find(&parent).ok_or(InsertError::UnknownParent { parent })?;
        self.known(parent)?;
        semantic::check_header(header, &hash, &self.spec, now)?;
        let context = self.context_of(parent).ok_or(InsertError::TooLong)?;
        contextual::check_header(header, &context)?;
        self.check_finality(parent)?;
        let parent = self.make_room(parent, work(header.bits))?;
        let pushed = self.arena.push(parent, header, hash, work(header.bits));
        let id = pushed.ok_or(InsertError::TooLong)?;
        self.count_low_work(id);
        if self.arena[id].work > self.arena[self.best_header].work {
            self.best_header = id;
        }
        Ok(Inserted { hash, height: self.arena[id].height, is_new: true })
    }

    fn known(&self, id: NodeId) -> Result<Inserted, InsertError> {
        let node = &self.arena[id];
        if node.flags.is_invalid {
            return Err(InsertError::Invalid { invalid: node.hash });
        }
        Ok(Inserted { hash: node.hash, height: node.height, is_new: false })
    }

    /// A new header may not fork off below the last final block.
    fn check_finality(&self, parent: NodeId) -> Result<(), InsertError> {
        if self.keeps_finality(parent) {
            return Ok(());
        }
        let final_height = self.arena[self.last_final].height;
        Err(InsertError::BelowFinality { final_height })
    }
}
