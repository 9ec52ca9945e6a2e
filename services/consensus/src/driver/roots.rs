//! Asking the chain service for the root of the state at checkpoints, while blocks go on.

use pentad_pbft::{Input, Output, Sequence};

use super::Driver;
use crate::backoff::backoff;
use crate::chain::Root;
use crate::event::Event;
use crate::validator::checkpoint;

/// One question at a time: by the answer, there may be a later checkpoint, which will do.
#[derive(Debug)]
pub(super) struct Roots {
    /// The checkpoint that was asked about last.
    asked: Sequence,
    is_open: bool,
}

impl Roots {
    /// The root of this checkpoint is known.
    pub(super) const fn since(checkpoint: Sequence) -> Self {
        Self { asked: checkpoint, is_open: false }
    }
}

impl Driver {
    /// Asks about the last checkpoint, if there is a new one. Blocks that sync brought may have
    /// left it behind.
    pub(super) fn ask_for_root(&mut self) {
        let sequence = checkpoint(self.executed, &self.parts.pbft);
        if self.roots.is_open || sequence <= self.roots.asked {
            return;
        }
        self.roots = Roots { asked: sequence, is_open: true };
        let (chain, events) = (self.parts.chain.clone(), self.parts.events.clone());
        tokio::spawn(async move {
            let mut backoff = backoff();
            while !events.is_closed() {
                match chain.root(sequence).await {
                    Ok(root) => {
                        // Nobody listens any more at the end of the service.
                        events.send(Event::Root(root)).await.ok();
                        return;
                    }
                    Err(error) => tracing::warn!(%error, %sequence, "no root of the state"),
                }
                backoff.pause().await;
            }
        });
    }

    pub(super) fn on_root(&mut self, root: Root, outputs: &mut Vec<Output>) {
        let Root { sequence, digest, root } = root;
        self.roots.is_open = false;
        self.step(Input::Root { sequence, digest, root }, outputs);
        self.ask_for_root();
    }
}
