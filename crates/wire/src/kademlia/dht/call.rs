//! Requests of our own, and what came of them.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Dht, Output};
use crate::kademlia::Contact;
use crate::kademlia::contact::is_plausible;
use crate::kademlia::datagram::{self, Datagram, Found, Request, RpcId};
use crate::kademlia::msgpack::Value;
use crate::kademlia::table::Insertion;

/// How long a reply is waited for; as long as the Python package waits.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// After this time without a reply the same datagram is sent once more. Python never does, and
/// does not mind.
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// Requests of ours on their way at once.
const MAX_CALLS: usize = 2_048;

/// Why a request was sent.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// To learn who answers at an endpoint.
    Greet,
    /// To see whether a contact is still there.
    Probe(Contact),
    /// A step of a search.
    Ask { search: u64, contact: Contact },
    /// The end of a search that stores a value.
    Store { search: u64, contact: Contact },
}

impl Purpose {
    fn is_ping(&self) -> bool {
        matches!(self, Self::Greet | Self::Probe(_))
    }

    /// The contact that the call was meant for; none if only an endpoint was known.
    fn contact(&self) -> Option<&Contact> {
        match self {
            Self::Greet => None,
            Self::Probe(contact) | Self::Ask { contact, .. } | Self::Store { contact, .. } => {
                Some(contact)
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Call {
    to: SocketAddr,
    purpose: Purpose,
    deadline: Duration,
    /// The datagram and when it is sent a second time, unless answered by then.
    again: Option<(Duration, Vec<u8>)>,
}

/// The requests that are on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    calls: HashMap<RpcId, Call>,
    /// Endpoints with a ping on its way: one at a time.
    pinging: HashSet<SocketAddr>,
}

impl Calls {
    pub fn is_pinging(&self, endpoint: SocketAddr) -> bool {
        self.pinging.contains(&endpoint)
    }

    pub fn contains(&self, id: &RpcId) -> bool {
        self.calls.contains_key(id)
    }

    fn insert(&mut self, id: RpcId, call: Call) {
        if call.purpose.is_ping() {
            self.pinging.insert(call.to);
        }
        self.calls.insert(id, call);
    }

    fn take(&mut self, id: &RpcId) -> Option<Call> {
        let call = self.calls.remove(id)?;
        if call.purpose.is_ping() {
            self.pinging.remove(&call.to);
        }
        Some(call)
    }

    /// The datagrams that are due to be sent again.
    fn take_resends(&mut self, now: Duration) -> Vec<(SocketAddr, Vec<u8>)> {
        let due = |call: &mut Call| Some((call.to, call.again.take_if(|it| it.0 <= now)?.1));
        self.calls.values_mut().filter_map(due).collect()
    }

    /// Takes out the calls that nobody answered in time, oldest first.
    fn take_expired(&mut self, now: Duration) -> Vec<Call> {
        let mut expired: Vec<(Duration, RpcId)> = self
            .calls
            .iter()
            .filter(|(_, call)| call.deadline <= now)
            .map(|(id, call)| (call.deadline, *id))
            .collect();
        expired.sort_unstable();
        expired.iter().filter_map(|(_, id)| self.take(id)).collect()
    }
}

impl Dht {
    /// Sends a request; false if too many are on their way.
    pub(super) fn call(
        &mut self,
        to: SocketAddr,
        request: Request,
        purpose: Purpose,
        now: Duration,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.calls.calls.len() >= MAX_CALLS {
            return false;
        }
        let id = RpcId(self.random.next());
        let bytes = Datagram::Request { id, request }.encode();
        let deadline = now.saturating_add(CALL_TIMEOUT);
        let again = Some((now.saturating_add(RESEND_AFTER), bytes.clone()));
        self.calls.insert(id, Call { to, purpose, deadline, again });
        out.push(Output::Send { to, bytes });
        true
    }

    /// Pings an endpoint unless a ping to it is already on its way.
    pub(super) fn ping(
        &mut self,
        to: SocketAddr,
        purpose: Purpose,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        if !self.calls.is_pinging(to) {
            // With too many calls on their way this one is left out: pings are made again.
            self.call(to, Request::Ping { sender: self.own_id }, purpose, now, out);
        }
    }

    /// A reply counts by its id alone, and for the endpoint that the id was sent to: its source
    /// may be another address of the same host, or a forgery that must gain nothing by it.
    /// (The id of a greeting holds for its endpoint only.)
    pub(super) fn on_reply(
        &mut self,
        from: SocketAddr,
        id: RpcId,
        result: Value,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        let Some(Call { to, purpose, .. }) = self.calls.take(&id) else {
            if self.random.is_greeting(&id, from, now) {
                self.on_pong(from, None, &result, now, out);
            }
            return;
        };
        match purpose {
            Purpose::Greet => self.on_pong(to, None, &result, now, out),
            Purpose::Probe(contact) => self.on_pong(to, Some(&contact), &result, now, out),
            Purpose::Ask { search, contact } => {
                self.on_heard(&contact, now, out);
                match datagram::parse_found(result) {
                    Some(Found::Contacts(mut contacts)) => {
                        contacts.retain(|it| self.is_worth_asking(it, to));
                        self.on_contacts(search, &contact, contacts, now, out);
                    }
                    Some(Found::Value(value)) => self.on_value(search, &contact, value, now, out),
                    None => self.on_ask_failed(search, &contact, now, out),
                }
            }
            Purpose::Store { search, contact } => {
                self.on_heard(&contact, now, out);
                self.on_stored(search, result == Value::Bool(true), out);
            }
        }
    }

    /// Only here does an endpoint become a contact: it answered our ping with its id.
    fn on_pong(
        &mut self,
        endpoint: SocketAddr,
        expected: Option<&Contact>,
        result: &Value,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        let id = datagram::parse_pong(result);
        self.admission.prove(endpoint, id, now);
        self.answer_parked(endpoint, now, out);
        let Some(id) = id else {
            // No id at all is as good as no answer.
            if let Some(contact) = expected {
                self.on_silence(contact, now, out);
            }
            return;
        };
        let contact = Contact { id, endpoint };
        match self.table.insert(contact) {
            Insertion::Added => {
                out.push(Output::Discovered(contact));
                self.on_newcomer(now, out);
            }
            Insertion::Cached { challenge } => {
                out.push(Output::Discovered(contact));
                self.ping(challenge.endpoint, Purpose::Probe(challenge), now, out);
            }
            Insertion::Touched | Insertion::Refused => {}
        }
    }

    /// A contact answered a question. If it is not in the table its id is hearsay: ask for it.
    fn on_heard(&mut self, contact: &Contact, now: Duration, out: &mut Vec<Output>) {
        let endpoint = contact.endpoint;
        self.admission.prove(endpoint, None, now);
        self.answer_parked(endpoint, now, out);
        if !self.table.touch(contact) && self.admission.id_at(endpoint, now).is_none() {
            self.ping(endpoint, Purpose::Greet, now, out);
        }
    }

    fn is_worth_asking(&self, contact: &Contact, teller: SocketAddr) -> bool {
        contact.id != self.own_id && is_plausible(contact.endpoint, teller)
    }

    /// Sends again what is late, and gives up on what is overdue.
    pub(super) fn check_calls(&mut self, now: Duration, out: &mut Vec<Output>) {
        let resends = self.calls.take_resends(now);
        out.extend(resends.into_iter().map(|(to, bytes)| Output::Send { to, bytes }));
        for call in self.calls.take_expired(now) {
            if let Some(contact) = call.purpose.contact() {
                self.on_silence(contact, now, out);
            }
            match call.purpose {
                Purpose::Ask { search, contact } => self.on_ask_failed(search, &contact, now, out),
                Purpose::Store { search, .. } => self.on_stored(search, false, out),
                Purpose::Greet | Purpose::Probe(_) => {}
            }
        }
    }

    /// A contact left a call unanswered: it is asked once more, and then leaves the table.
    fn on_silence(&mut self, contact: &Contact, now: Duration, out: &mut Vec<Output>) {
        // One burst of lost datagrams is one silence: the probe after it tells more.
        if !self.table.contains(contact) || self.calls.is_pinging(contact.endpoint) {
            return;
        }
        if self.table.fail(contact) {
            self.on_loss(contact.endpoint, now);
        } else {
            self.ping(contact.endpoint, Purpose::Probe(*contact), now, out);
        }
    }
}
