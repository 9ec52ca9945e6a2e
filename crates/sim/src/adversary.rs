//! A replica under somebody else's power: it runs the honest core, and an adversary decides what
//! leaves, and adds what it likes under the replica's key.

use std::fmt;

use pentad_pbft::{CommitCertificate, Credentials, Message, Recipient, ReplicaId, Status};
use pentad_primitives::Hash256;

use crate::hybrid::Chain;
use crate::keys::SimulatedKeys;
use crate::ledger::{Ledger, Transaction};
use crate::queue::Millis;
use crate::rng::Rng;

/// A message on its way out.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub to: Recipient,
    pub message: Message,
    pub after_ms: Millis,
}

impl Parcel {
    #[must_use]
    pub const fn new(to: Recipient, message: Message) -> Self {
        Self { to, message, after_ms: 0 }
    }

    #[must_use]
    pub const fn after(mut self, after_ms: Millis) -> Self {
        self.after_ms = after_ms;
        self
    }
}

/// What an adversary has at hand.
#[derive(Debug)]
pub struct Forge<'a> {
    pub credentials: Credentials<SimulatedKeys>,
    /// Of the honest core that it runs.
    pub status: Option<Status>,
    pub ledger: &'a Ledger,
    /// Where work makes the blocks; the ledger is empty there.
    pub chain: Option<&'a Chain>,
    pub rng: &'a mut Rng,
    pub now_ms: Millis,
}

impl Forge<'_> {
    /// Everybody else.
    #[must_use]
    pub fn others(&self) -> Vec<ReplicaId> {
        self.credentials.quorum.ids().filter(|id| *id != self.credentials.own).collect()
    }

    /// The certificate of the last block that is final with it.
    #[must_use]
    pub fn last_final(&self) -> Option<CommitCertificate> {
        if let Some(chain) = self.chain {
            return chain.last_certificate().cloned();
        }
        self.ledger.block(self.ledger.height()).map(|block| block.certificate.clone())
    }

    /// The last block that is final with it.
    #[must_use]
    pub fn final_block(&self) -> Hash256 {
        self.chain.map_or_else(|| self.ledger.tip(), Chain::final_block)
    }
}

/// The mind behind a faulty replica. The default does what an honest one does.
pub trait Adversary: fmt::Debug {
    /// What leaves in place of `message`.
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        let _ = forge;
        vec![Parcel::new(to, message)]
    }

    /// What it answers at once to a message, beside what the honest core does with it.
    fn incoming(&mut self, forge: &mut Forge<'_>, message: &Message) -> Vec<Parcel> {
        let _ = (forge, message);
        Vec::new()
    }

    /// What it sends of its own accord; called ten times a second.
    fn plot(&mut self, forge: &mut Forge<'_>) -> Vec<Parcel> {
        let _ = forge;
        Vec::new()
    }

    /// Whether its blocks leave a transaction out.
    fn censors(&self, transaction: Transaction) -> bool {
        let _ = transaction;
        false
    }
}
