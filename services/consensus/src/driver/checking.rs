//! Asking the chain service whether a proposed block is valid.

use std::sync::Arc;

use pentad_pbft::{ReplicaId, Sequence, View};
use pentad_primitives::Hash256;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::Driver;
use crate::backoff::backoff;
use crate::body::{self, Link};
use crate::chain::{ChainClient, Verdict};
use crate::event::Event;

/// A question of the core.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) view: View,
    pub(super) sequence: Sequence,
    pub(super) digest: Hash256,
    pub(super) parent: Hash256,
    pub(super) body: Arc<[u8]>,
    pub(super) proposer: Option<ReplicaId>,
    pub(super) is_first: bool,
}

/// Questions without an answer. One that is dropped is not asked any more.
#[derive(Debug)]
pub(super) struct Checks {
    open: Vec<(Sequence, View, AbortOnDropHandle<()>)>,
    /// The last final block, for questions about blocks above it; marked anew whenever the chain
    /// moves.
    tip: watch::Sender<Sequence>,
}

impl Default for Checks {
    fn default() -> Self {
        Self { open: Vec::new(), tip: watch::Sender::new(Sequence::GENESIS) }
    }
}

impl Checks {
    /// The chain moved above its last final block.
    pub(super) fn on_move(&self) {
        self.tip.send_modify(|_| {});
    }

    /// The last final block is this one now.
    pub(super) fn on_tip(&mut self, tip: Sequence) {
        self.open.retain(|(sequence, _, task)| *sequence > tip && !task.is_finished());
        self.tip.send_replace(tip);
    }
}

impl Driver {
    pub(super) fn on_question(&mut self, question: Question) {
        let (sequence, view) = (question.sequence, question.view);
        let span = self.rounds.open(view, sequence);
        let (chain, events) = (self.parts.chain.clone(), self.parts.events.clone());
        let tip = self.checks.tip.subscribe();
        let asking = async move {
            let Some(verdict) = ask(&chain, &question, tip).await else { return };
            let Question { view, sequence, digest, .. } = question;
            // Nobody listens any more at the end of the service.
            events.send(Event::Checked { view, sequence, digest, verdict }).await.ok();
        };
        let task = AbortOnDropHandle::new(tokio::spawn(asking.instrument(span)));
        // A later view's question takes the place of an earlier one's.
        self.checks.open.retain(|(other, asked_in, task)| {
            !task.is_finished() && (*other != sequence || *asked_in >= view)
        });
        self.checks.open.push((sequence, view, task));
    }
}

/// The chain's verdict, however long the chain takes; none when the sequence was decided
/// meanwhile.
async fn ask(
    chain: &ChainClient,
    question: &Question,
    mut tip: watch::Receiver<Sequence>,
) -> Option<Result<(), String>> {
    let Question { sequence, digest, parent, body, proposer, is_first, .. } = question;
    if body::link(body) != Some(Link { digest: *digest, parent: *parent }) {
        return Some(Err("the body is not that block on that parent".to_owned()));
    }
    let mut backoff = backoff();
    loop {
        let at = *tip.borrow_and_update();
        if at >= *sequence {
            return None;
        }
        match chain.check(body, *proposer, *is_first).await {
            Ok(Verdict::Valid) => return Some(Ok(())),
            Ok(Verdict::Invalid(reason)) => return Some(Err(reason)),
            // What the tip's stream tells may be behind the tip itself.
            Ok(Verdict::Later) => tip.changed().await.ok()?,
            Err(error) => {
                tracing::debug!(%error, "the chain service gave no verdict");
                backoff.pause().await;
            }
        }
    }
}
