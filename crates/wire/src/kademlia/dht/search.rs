//! Searches: lookups and what they are made for.

use std::time::Duration;

use super::call::Purpose;
use super::{Dht, MAX_SEARCHES, Outcome, Output, Ticket, Wish};
use crate::kademlia::datagram::Request;
use crate::kademlia::lookup::Lookup;
use crate::kademlia::msgpack::Value;
use crate::kademlia::record::{VerifiedRecord, record_key};
use crate::kademlia::values::Source;
use crate::kademlia::{Contact, K, NodeId};

/// A wish under way. The node's own searches have no ticket.
#[derive(Clone, Debug)]
pub(super) enum Search {
    Looking { lookup: Lookup, wish: Wish, ticket: Option<Ticket> },
    Storing { waiting: usize, copies: usize, ticket: Option<Ticket> },
}

impl Dht {
    pub(super) fn on_wish(
        &mut self,
        ticket: Ticket,
        wish: Wish,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        if let Some(outcome) = self.at_hand(&wish, now) {
            out.push(Output::Done(ticket, outcome));
        } else if self.searches.len() >= MAX_SEARCHES {
            out.push(Output::Done(ticket, Outcome::Busy));
        } else {
            self.search(wish, Some(ticket), now, out);
        }
    }

    /// Looks up contacts for the node's own sake, unless too many searches are under way.
    pub(super) fn explore(&mut self, target: NodeId, now: Duration, out: &mut Vec<Output>) {
        if self.searches.len() < MAX_SEARCHES {
            self.search(Wish::Contacts(target), None, now, out);
        }
    }

    /// What can be told without asking anybody.
    fn at_hand(&self, wish: &Wish, now: Duration) -> Option<Outcome> {
        match wish {
            Wish::Value(key) => {
                self.values.get(key, now).map(|value| Outcome::Value(Some(value.clone())))
            }
            Wish::Record(id) => {
                let value = self.values.get(&record_key(self.network, id), now)?;
                self.verified(id, value).map(|record| Outcome::Record(Some(Box::new(record))))
            }
            Wish::Contacts(_) | Wish::Store(..) => None,
        }
    }

    fn search(&mut self, wish: Wish, ticket: Option<Ticket>, now: Duration, out: &mut Vec<Output>) {
        let target = match &wish {
            Wish::Contacts(target) | Wish::Value(target) | Wish::Store(target, _) => *target,
            Wish::Record(id) => record_key(self.network, id),
        };
        self.table.looked_up(&target, now);
        let lookup = Lookup::new(target, self.table.closest(&target, K, None));
        let search = self.next_search;
        self.next_search = search.wrapping_add(1);
        self.searches.insert(search, Search::Looking { lookup, wish, ticket });
        self.advance(search, now, out);
    }

    /// Makes the calls that a lookup wants, and ends it when it wants none.
    pub(super) fn advance(&mut self, search: u64, now: Duration, out: &mut Vec<Output>) {
        loop {
            let Some(Search::Looking { lookup, wish, .. }) = self.searches.get_mut(&search) else {
                return;
            };
            let target = *lookup.target();
            let for_contacts = matches!(wish, Wish::Contacts(_) | Wish::Store(..));
            let contacts = lookup.poll(now);
            if contacts.is_empty() {
                break;
            }
            for contact in contacts {
                let sender = self.own_id;
                let request = if for_contacts {
                    Request::FindNode { sender, target }
                } else {
                    Request::FindValue { sender, key: target }
                };
                let purpose = Purpose::Ask { search, contact };
                if !self.call(contact.endpoint, request, purpose, now, out)
                    && let Some(Search::Looking { lookup, .. }) = self.searches.get_mut(&search)
                {
                    lookup.on_failure(&contact);
                }
            }
        }
        if matches!(self.searches.get(&search), Some(Search::Looking { lookup, .. })
            if lookup.is_done())
        {
            self.conclude(search, now, out);
        }
    }

    pub(super) fn on_contacts(
        &mut self,
        search: u64,
        from: &Contact,
        contacts: Vec<Contact>,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        if let Some(Search::Looking { lookup, .. }) = self.searches.get_mut(&search) {
            lookup.on_answer(from, contacts);
            self.advance(search, now, out);
        }
    }

    /// A value ends its search, a record only if it is the one.
    pub(super) fn on_value(
        &mut self,
        search: u64,
        from: &Contact,
        value: Value,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        let outcome = match self.searches.get(&search) {
            Some(Search::Looking { wish: Wish::Value(_), .. }) => Some(Outcome::Value(Some(value))),
            Some(Search::Looking { wish: Wish::Record(id), .. }) => {
                self.verified(id, &value).map(|record| Outcome::Record(Some(Box::new(record))))
            }
            _ => None,
        };
        match outcome {
            Some(outcome) => self.finish(search, outcome, out),
            None => self.on_contacts(search, from, Vec::new(), now, out),
        }
    }

    pub(super) fn on_ask_failed(
        &mut self,
        search: u64,
        contact: &Contact,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        if let Some(Search::Looking { lookup, .. }) = self.searches.get_mut(&search) {
            lookup.on_failure(contact);
            self.advance(search, now, out);
        }
    }

    pub(super) fn on_stored(&mut self, search: u64, kept: bool, out: &mut Vec<Output>) {
        let Some(Search::Storing { waiting, copies, .. }) = self.searches.get_mut(&search) else {
            return;
        };
        *waiting = waiting.saturating_sub(1);
        *copies = copies.saturating_add(usize::from(kept));
        if *waiting == 0 {
            let outcome = Outcome::Stored(*copies);
            self.finish(search, outcome, out);
        }
    }

    /// The lookup has ended: what was it for?
    fn conclude(&mut self, search: u64, now: Duration, out: &mut Vec<Output>) {
        let Some(Search::Looking { lookup, wish, ticket }) = self.searches.remove(&search) else {
            return;
        };
        let closest = lookup.closest();
        let outcome = match wish {
            Wish::Contacts(_) => Outcome::Contacts(closest),
            Wish::Value(_) => Outcome::Value(None),
            Wish::Record(_) => Outcome::Record(None),
            Wish::Store(key, value) => {
                let (waiting, copies) = self.store_at(search, &key, &value, &closest, now, out);
                if waiting > 0 {
                    self.searches.insert(search, Search::Storing { waiting, copies, ticket });
                    return;
                }
                Outcome::Stored(copies)
            }
        };
        if let Some(ticket) = ticket {
            out.push(Output::Done(ticket, outcome));
        }
    }

    /// Stores at all contacts found, and here too if this node is as close as they are.
    /// Returns how many were asked and how many copies there are already.
    fn store_at(
        &mut self,
        search: u64,
        key: &NodeId,
        value: &Value,
        contacts: &[Contact],
        now: Duration,
        out: &mut Vec<Output>,
    ) -> (usize, usize) {
        let distance = self.own_id.distance(key);
        let is_close = contacts.len() < K
            || contacts.last().is_some_and(|farthest| distance < farthest.id.distance(key));
        let copies = usize::from(is_close && self.keep(Source::OWN, key, value.clone(), now));
        let asked = contacts.iter().filter(|contact| {
            let request = Request::Store { sender: self.own_id, key: *key, value: value.clone() };
            let purpose = Purpose::Store { search, contact: **contact };
            self.call(contact.endpoint, request, purpose, now, out)
        });
        (asked.count(), copies)
    }

    fn finish(&mut self, search: u64, outcome: Outcome, out: &mut Vec<Output>) {
        let ticket = match self.searches.remove(&search) {
            Some(Search::Looking { ticket, .. } | Search::Storing { ticket, .. }) => ticket,
            None => None,
        };
        if let Some(ticket) = ticket {
            out.push(Output::Done(ticket, outcome));
        }
    }

    /// The value as the endpoint record of node `id` in this network.
    fn verified(&self, id: &NodeId, value: &Value) -> Option<VerifiedRecord> {
        VerifiedRecord::from_value(value)
            .ok()
            .filter(|it| it.node == *id && it.record.network == self.network)
    }
}
