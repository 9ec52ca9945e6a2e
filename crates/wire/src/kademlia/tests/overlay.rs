//! A network of nodes in virtual time, for the tests of the whole protocol.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::kademlia::{
    Contact, Dht, Input, NetworkId, NodeId, Outcome, Output, Settings, Ticket, Wish,
};

pub const NETWORK: NetworkId = NetworkId(*b"genesis!");
const TICK: Duration = Duration::from_millis(200);

/// SplitMix64 (Steele et al. 2014): small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn id(&mut self) -> NodeId {
        NodeId::of_name(&self.next().to_be_bytes())
    }
}

/// Datagrams, and to or from whom each went.
pub type Datagrams = Vec<(SocketAddr, Vec<u8>)>;

/// Nodes, the datagrams between them, and what they have put out.
pub struct Overlay {
    pub random: Random,
    pub now: Duration,
    /// Datagrams lost, in percent.
    pub loss: u64,
    pub nodes: BTreeMap<SocketAddr, Node>,
    /// Datagrams sent.
    pub sent: usize,
    /// What one node sends and receives, and to or from whom.
    pub watched: Option<(SocketAddr, Datagrams)>,
    /// What is to come, in order of time and then of making.
    events: BTreeMap<(Duration, u64), (SocketAddr, Event)>,
    made: u64,
    done: BTreeMap<Ticket, Outcome>,
}

enum Event {
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    Tick,
}

pub struct Node {
    pub dht: Dht,
    bootstrap: Vec<SocketAddr>,
}

impl Overlay {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            now: Duration::ZERO,
            loss: 0,
            nodes: BTreeMap::new(),
            sent: 0,
            watched: None,
            events: BTreeMap::new(),
            made: 0,
            done: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, endpoint: SocketAddr, bootstrap: &[SocketAddr]) -> NodeId {
        let own_id = self.random.id();
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.random.next().to_be_bytes());
        let settings = Settings { own_id, network: NETWORK, seed, remembered: vec![] };
        let dht = Dht::new(settings, self.now);
        self.nodes.insert(endpoint, Node { dht, bootstrap: bootstrap.to_vec() });
        let first_tick = Duration::from_millis(self.random.below(200));
        self.schedule(first_tick, endpoint, Event::Tick);
        own_id
    }

    pub fn contacts(&self) -> Vec<Contact> {
        let contact = |(endpoint, node): (&SocketAddr, &Node)| Contact {
            id: *node.dht.own_id(),
            endpoint: *endpoint,
        };
        self.nodes.iter().map(contact).collect()
    }

    pub fn table_len(&self, endpoint: SocketAddr) -> usize {
        self.nodes[&endpoint].dht.table().len()
    }

    pub fn input(&mut self, at: SocketAddr, input: Input) {
        let Some(node) = self.nodes.get_mut(&at) else {
            return;
        };
        let bootstrap = node.bootstrap.clone();
        for output in node.dht.step(self.now, input) {
            match output {
                Output::Send { to, bytes } => self.send(at, to, bytes),
                Output::Bootstrap => self.input(at, Input::Bootstrap(bootstrap.clone())),
                Output::Done(ticket, outcome) => {
                    self.done.insert(ticket, outcome);
                }
                Output::Discovered(_) => {}
            }
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.sent += 1;
        self.watch(from, to, &bytes);
        if self.random.below(100) < self.loss {
            return;
        }
        let delay = Duration::from_millis(10 + self.random.below(70));
        self.schedule(delay, to, Event::Datagram { from, bytes });
    }

    fn watch(&mut self, node: SocketAddr, other: SocketAddr, bytes: &[u8]) {
        if let Some((watched, datagrams)) = &mut self.watched
            && *watched == node
        {
            datagrams.push((other, bytes.to_vec()));
        }
    }

    fn schedule(&mut self, delay: Duration, at: SocketAddr, event: Event) {
        self.made += 1;
        self.events.insert((self.now + delay, self.made), (at, event));
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.events.first_entry().filter(|next| next.key().0 <= end) {
            self.now = next.key().0;
            let (at, event) = next.remove();
            match event {
                Event::Datagram { from, bytes } => {
                    self.watch(at, from, &bytes);
                    self.input(at, Input::Datagram { from, bytes });
                }
                Event::Tick => {
                    self.schedule(TICK, at, Event::Tick);
                    self.input(at, Input::Tick);
                }
            }
        }
        self.now = end;
    }

    /// Grants a wish of the node at `at`, however long it takes.
    pub fn wish(&mut self, at: SocketAddr, wish: Wish) -> Outcome {
        let ticket = Ticket(self.random.next());
        self.input(at, Input::Wish(ticket, wish));
        for _ in 0..1_000 {
            if let Some(outcome) = self.done.remove(&ticket) {
                return outcome;
            }
            self.run(Duration::from_millis(100));
        }
        panic!("a search takes no 100 s");
    }
}
