//! Requests of others.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::call::CALL_TIMEOUT;
use super::{Dht, Output};
use crate::kademlia::datagram::{self, Datagram, Request, RpcId};
use crate::kademlia::msgpack::Value;
use crate::kademlia::record::VerifiedRecord;
use crate::kademlia::values::Source;
use crate::kademlia::{Contact, K, NodeId};

/// Requests that wait for their senders to be proven.
const MAX_PARKED: usize = 128;
/// Of those, requests of one endpoint.
const MAX_PARKED_PER_ENDPOINT: usize = 4;

/// Requests whose answers may only go to proven endpoints. They are answered when the ping back
/// is, one round trip later; what forged senders leave here is forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Parking {
    requests: VecDeque<Parked>,
}

#[derive(Clone, Debug)]
struct Parked {
    from: SocketAddr,
    id: RpcId,
    request: Request,
    until: Duration,
}

impl Parking {
    fn park(&mut self, from: SocketAddr, id: RpcId, request: Request, now: Duration) {
        self.expire(now);
        let of_sender = self.requests.iter().filter(|parked| parked.from == from).count();
        if of_sender >= MAX_PARKED_PER_ENDPOINT {
            return;
        }
        // Whoever is there proves it within a round trip; those who wait longest are forgeries.
        if self.requests.len() >= MAX_PARKED {
            self.requests.pop_front();
        }
        let until = now.saturating_add(CALL_TIMEOUT);
        self.requests.push_back(Parked { from, id, request, until });
    }

    fn take(&mut self, from: SocketAddr, now: Duration) -> Vec<(RpcId, Request)> {
        self.expire(now);
        let (theirs, others) =
            std::mem::take(&mut self.requests).into_iter().partition(|it: &Parked| it.from == from);
        self.requests = others;
        let theirs: VecDeque<Parked> = theirs;
        theirs.into_iter().map(|parked| (parked.id, parked.request)).collect()
    }

    pub(super) fn expire(&mut self, now: Duration) {
        self.requests.retain(|parked| parked.until > now);
    }
}

impl Dht {
    /// `ping` and `stun` are answered at once, all else once the sender is proven. Senders whose
    /// id is not known to answer there are pinged back; only that makes them contacts.
    pub(super) fn on_request(
        &mut self,
        from: SocketAddr,
        id: RpcId,
        request: Request,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        if let Some(sender) = request.sender().filter(|sender| *sender != self.own_id) {
            if self.admission.id_at(from, now) == Some(sender) {
                self.table.touch(&Contact { id: sender, endpoint: from });
            } else {
                // The ping goes first: whoever is new answers it before it asks on.
                self.greet(from, now, out);
            }
        }
        let cheap = matches!(request, Request::Ping { .. } | Request::Stun);
        if cheap || self.admission.is_proven(from, now) {
            self.answer(from, id, request, now, out);
        } else {
            self.parking.park(from, id, request, now);
        }
    }

    /// Answers what `endpoint` asked before it was proven.
    pub(super) fn answer_parked(
        &mut self,
        endpoint: SocketAddr,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        for (id, request) in self.parking.take(endpoint, now) {
            self.answer(endpoint, id, request, now, out);
        }
    }

    fn answer(
        &mut self,
        from: SocketAddr,
        id: RpcId,
        request: Request,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        let result = match request {
            Request::Ping { .. } => datagram::pong(&self.own_id),
            Request::Stun => datagram::endpoint_seen(from),
            Request::FindNode { target, .. } => self.contacts_near(&target, from),
            Request::FindValue { key, .. } => match self.values.get(&key, now) {
                Some(value) => datagram::value_found(value.clone()),
                None => self.contacts_near(&key, from),
            },
            Request::Store { key, value, .. } => {
                Value::Bool(self.keep(Source::of(from), &key, value, now))
            }
        };
        let bytes = Datagram::Reply { id, result }.encode();
        if self.admission.spend(from, bytes.len(), now) {
            out.push(Output::Send { to: from, bytes });
        }
    }

    fn contacts_near(&self, target: &NodeId, asking: SocketAddr) -> Value {
        datagram::contact_list(&self.table.closest(target, K, Some(asking)))
    }

    /// Keeps a value for the overlay; false if the store refuses it.
    pub(super) fn keep(
        &mut self,
        source: Source,
        key: &NodeId,
        value: Value,
        now: Duration,
    ) -> bool {
        let sequence = VerifiedRecord::from_value(&value)
            .ok()
            .filter(|verified| verified.key() == *key)
            .map(|verified| verified.record.sequence);
        self.values.put(source, key, value, sequence, now).is_ok()
    }

    /// Asks a stranger for its id, on the credit of what it sent.
    fn greet(&mut self, to: SocketAddr, now: Duration, out: &mut Vec<Output>) {
        let id = self.random.greeting(to, now);
        let request = Request::Ping { sender: self.own_id };
        let bytes = Datagram::Request { id, request }.encode();
        if !self.calls.is_pinging(to) && self.admission.spend(to, bytes.len(), now) {
            out.push(Output::Send { to, bytes });
        }
    }
}
