//! Adversaries that say nothing false, but too little, too late, or out of order.

use pentad_pbft::{Message, Recipient};

use super::recipients;
use crate::adversary::{Adversary, Forge, Parcel};
use crate::ledger::Transaction;
use crate::queue::Millis;

/// Sends nothing at all.
#[derive(Debug)]
pub struct Silent;

impl Adversary for Silent {
    fn outgoing(&mut self, _: &mut Forge<'_>, _: Recipient, _: Message) -> Vec<Parcel> {
        Vec::new()
    }
}

/// Proposes as late as it can without being left.
#[derive(Debug)]
pub struct Slow {
    pub delay_ms: Millis,
}

impl Adversary for Slow {
    fn outgoing(&mut self, _: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        let delay = if matches!(message, Message::PrePrepare(_)) { self.delay_ms } else { 0 };
        vec![Parcel::new(to, message).after(delay)]
    }
}

/// Leaves every `every`-th transaction out of its blocks.
#[derive(Debug)]
pub struct Censor {
    pub every: u64,
}

impl Adversary for Censor {
    fn censors(&self, transaction: Transaction) -> bool {
        transaction.is_multiple_of(self.every)
    }
}

/// Sends to some, late, twice, and what it heard from others long ago.
#[derive(Debug, Default)]
pub struct Chaos {
    heard: Vec<Message>,
}

/// Messages that [`Chaos`] remembers.
const HEARD_MAX: usize = 64;

impl Adversary for Chaos {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        for replica in recipients(forge, to) {
            if forge.rng.chance(700) {
                let parcel = Parcel::new(Recipient::One(replica), message.clone());
                let delay = if forge.rng.chance(300) { forge.rng.below(800) } else { 0 };
                parcels.push(parcel.after(delay));
            }
        }
        parcels
    }

    fn incoming(&mut self, forge: &mut Forge<'_>, message: &Message) -> Vec<Parcel> {
        if self.heard.len() < HEARD_MAX {
            self.heard.push(message.clone());
        } else {
            let place = forge.rng.index(HEARD_MAX);
            self.heard[place] = message.clone();
        }
        Vec::new()
    }

    fn plot(&mut self, forge: &mut Forge<'_>) -> Vec<Parcel> {
        if self.heard.is_empty() {
            return Vec::new();
        }
        vec![Parcel::new(Recipient::All, forge.rng.pick(&self.heard).clone())]
    }
}
