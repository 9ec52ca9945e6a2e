//! The protocol as a step machine.

mod answer;
mod call;
mod search;
mod upkeep;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pentad_primitives::hash::sha256;

use self::answer::Parking;
use self::call::Calls;
use self::search::Search;
use self::upkeep::Upkeep;
use super::admission::Admission;
use super::datagram::{Datagram, RpcId};
use super::msgpack::Value;
use super::record::{NetworkId, VerifiedRecord};
use super::{Contact, NodeId, RoutingTable, ValueStore};

/// Searches at once, the node's own included.
pub const MAX_SEARCHES: usize = 64;

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The own id; see [`super::node_id`].
    pub own_id: NodeId,
    /// The network whose records are looked for.
    pub network: NetworkId,
    /// Entropy from which the ids of requests and lookups are derived. Secret, and never used
    /// twice.
    pub seed: [u8; 32],
    /// Endpoints that answered in an earlier life.
    pub remembered: Vec<SocketAddr>,
}

/// Names a wish in its [`Output::Done`]; the caller chooses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A UDP payload arrived.
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    /// Time has passed. Due at least every second; timeouts are as precise as these are frequent.
    Tick,
    /// Nodes that were configured to be asked first, in answer to [`Output::Bootstrap`].
    Bootstrap(Vec<SocketAddr>),
    /// Something is wanted of the overlay.
    Wish(Ticket, Wish),
}

/// What can be wanted of the overlay.
#[derive(Clone, PartialEq, Debug)]
pub enum Wish {
    /// The contacts closest to an id.
    Contacts(NodeId),
    /// The value under a key.
    Value(NodeId),
    /// The endpoint record that a node of this network signed.
    Record(NodeId),
    /// That the contacts closest to a key keep a value under it.
    Store(NodeId, Value),
}

/// What a node wants done, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send a UDP payload.
    Send { to: SocketAddr, bytes: Vec<u8> },
    /// A contact has answered for the first time. Its endpoint is a hint where to try TCP.
    Discovered(Contact),
    /// Resolve the configured bootstrap names and put them in as [`Input::Bootstrap`].
    Bootstrap,
    /// A wish has come to its end.
    Done(Ticket, Outcome),
}

/// How a wish ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Closest first, at most [`super::K`], each of them answered.
    Contacts(Vec<Contact>),
    /// None if no node asked has it.
    Value(Option<Value>),
    /// None if no node asked has a valid one.
    Record(Option<Box<VerifiedRecord>>),
    /// How many nodes keep the value, this one included if it is close enough.
    Stored(usize),
    /// Too many searches are under way.
    Busy,
}

/// One node of the overlay.
#[derive(Clone, Debug)]
pub struct Dht {
    own_id: NodeId,
    network: NetworkId,
    random: RandomIds,
    table: RoutingTable,
    values: ValueStore,
    admission: Admission,
    parking: Parking,
    calls: Calls,
    searches: BTreeMap<u64, Search>,
    next_search: u64,
    upkeep: Upkeep,
}

impl Dht {
    /// A node that knows nobody yet, at time `now`.
    pub fn new(settings: Settings, now: Duration) -> Self {
        let random = RandomIds { seed: settings.seed, counter: 0 };
        let rank = |endpoint: &SocketAddr| random.derive(format!("rank {endpoint}").as_bytes());
        let remembered = Upkeep::draw(&settings.remembered, rank);
        Self {
            own_id: settings.own_id,
            network: settings.network,
            random,
            table: RoutingTable::new(settings.own_id, now),
            values: ValueStore::new(settings.own_id),
            admission: Admission::new(),
            parking: Parking::default(),
            calls: Calls::default(),
            searches: BTreeMap::new(),
            next_search: 0,
            upkeep: Upkeep::new(remembered, now),
        }
    }

    /// The own id.
    pub fn own_id(&self) -> &NodeId {
        &self.own_id
    }

    /// The contacts known.
    pub fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// The values kept for the overlay.
    pub fn values(&self) -> &ValueStore {
        &self.values
    }

    /// Takes in what happened at time `now`; `now` never decreases from step to step.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Datagram { from, bytes } => self.on_datagram(from, &bytes, now, &mut out),
            Input::Tick => self.on_tick(now, &mut out),
            Input::Bootstrap(endpoints) => self.on_bootstrap(&endpoints, now, &mut out),
            Input::Wish(ticket, wish) => self.on_wish(ticket, wish, now, &mut out),
        }
        out
    }

    fn on_datagram(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        // An IPv4 peer of a dual-stack socket is the same peer as on an IPv4 socket.
        let from = match from.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::from((v4, from.port())),
            IpAddr::V6(_) => from,
        };
        if from.port() == 0 || !self.may_be_read(from, bytes, now) {
            return;
        }
        match Datagram::decode(bytes) {
            Ok(Datagram::Request { id, request }) => {
                self.admission.credit(from, bytes.len(), now);
                self.on_request(from, id, request, now, out);
            }
            Ok(Datagram::Reply { id, result }) => self.on_reply(from, id, result, now, out),
            // The protocol has no error reply: what cannot be read is not answered.
            Err(_) => {}
        }
    }

    /// Replies that we wait for are always read; all else is metered before it costs anything.
    fn may_be_read(&mut self, from: SocketAddr, bytes: &[u8], now: Duration) -> bool {
        let awaited = Datagram::reply_id(bytes)
            .is_some_and(|id| self.calls.contains(&id) || self.random.is_greeting(&id, from, now));
        awaited || self.admission.admits(from, now)
    }
}

/// How long the id of a greeting holds at least, and half of how long it holds at most.
const GREETING_EPOCH: Duration = Duration::from_secs(8);

/// Unguessable ids from one seed: SHA-256 of the seed and what the id is for, cut to 20 bytes.
/// The seed has 256 bits and no output reveals it, so no id foretells another.
#[derive(Clone)]
struct RandomIds {
    seed: [u8; 32],
    counter: u64,
}

impl RandomIds {
    fn next(&mut self) -> [u8; 20] {
        self.counter = self.counter.wrapping_add(1);
        self.derive(&self.counter.to_be_bytes())
    }

    /// The id of a greeting to `endpoint`. Nothing is kept for it, so that a flood of forged
    /// senders fills no memory; it is made again when the reply comes.
    fn greeting(&self, endpoint: SocketAddr, now: Duration) -> RpcId {
        let epoch = now.as_secs().checked_div(GREETING_EPOCH.as_secs()).unwrap_or(0);
        // The text of an endpoint is never as short as a counter, so the two kinds do not meet.
        RpcId(self.derive(format!("{endpoint}, epoch {epoch}").as_bytes()))
    }

    fn is_greeting(&self, id: &RpcId, endpoint: SocketAddr, now: Duration) -> bool {
        let earlier = now.saturating_sub(GREETING_EPOCH);
        [now, earlier].iter().any(|time| self.greeting(endpoint, *time) == *id)
    }

    fn derive(&self, purpose: &[u8]) -> [u8; 20] {
        let digest = sha256(&[self.seed.as_slice(), purpose].concat());
        let mut id = [0; 20];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        id
    }
}

impl std::fmt::Debug for RandomIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RandomIds(..)")
    }
}
