//! A network of relays in virtual time: everybody hears of a transaction, nobody twice over a link
//! for no reason.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pentad_primitives::Txid;

use crate::PeerId;
use crate::kademlia::tests::overlay::Random;
use crate::kademlia::tests::simulation::seeds;
use crate::relay::Relay;

const NODES: usize = 500;
/// Links that a node opens by itself.
const OUTBOUND: usize = 8;
/// Links that a node takes.
const INBOUND: usize = 64;
/// What the chain service takes to admit a transaction.
const ADMISSION: Duration = Duration::from_millis(2);
const TRANSACTIONS: u8 = 20;

struct Network {
    random: Random,
    now: Duration,
    nodes: Vec<Relay>,
    /// Links of each node, by the number that it knows the other one by.
    links: Vec<BTreeSet<usize>>,
    /// Who passes nothing on.
    silent: BTreeSet<usize>,
    held: BTreeMap<Txid, BTreeMap<usize, Duration>>,
    messages: usize,
    events: BTreeMap<(Duration, usize), Event>,
    made: usize,
}

enum Event {
    Received { at: usize, from: usize, txid: Txid },
    Admitted { at: usize, txid: Txid },
}

fn peer(node: usize) -> PeerId {
    PeerId(u64::try_from(node).expect("few nodes"))
}

impl Network {
    /// Links to nodes picked at random, as discovery offers them.
    fn new(seed: u64, silent_percent: u64) -> Self {
        let mut random = Random(seed);
        let mut links = vec![BTreeSet::new(); NODES];
        let mut inbound = vec![0; NODES];
        for node in 0..NODES {
            let mut opened = 0;
            while opened < OUTBOUND {
                let other = usize::try_from(random.below(NODES as u64)).expect("few nodes");
                if other != node && inbound[other] < INBOUND && links[node].insert(other) {
                    links[other].insert(node);
                    inbound[other] += 1;
                    opened += 1;
                }
            }
        }
        let mut nodes: Vec<Relay> = (0..NODES).map(|_| Relay::new()).collect();
        for (node, links) in links.iter().enumerate() {
            links.iter().for_each(|other| nodes[node].connect(peer(*other)));
        }
        let silent = (1..NODES).filter(|_| random.below(100) < silent_percent).collect();
        Self {
            random,
            now: Duration::ZERO,
            nodes,
            links,
            silent,
            held: BTreeMap::new(),
            messages: 0,
            events: BTreeMap::new(),
            made: 0,
        }
    }

    fn schedule(&mut self, delay: Duration, event: Event) {
        self.made += 1;
        self.events.insert((self.now + delay, self.made), event);
    }

    fn run(&mut self) {
        while let Some(((now, _), event)) = self.events.pop_first() {
            self.now = now;
            match event {
                Event::Received { at, from, txid } => {
                    if self.nodes[at].on_transaction(peer(from), &txid) {
                        self.schedule(ADMISSION, Event::Admitted { at, txid });
                    }
                }
                Event::Admitted { at, txid } => self.admitted(at, txid),
            }
        }
    }

    fn admitted(&mut self, at: usize, txid: Txid) {
        self.held.entry(txid).or_default().insert(at, self.now);
        self.nodes[at].hold(&txid);
        if self.silent.contains(&at) {
            return;
        }
        for PeerId(to) in self.nodes[at].recipients(txid.as_bytes()) {
            let to = usize::try_from(to).expect("few nodes");
            self.messages += 1;
            let delay = Duration::from_millis(10 + self.random.below(70));
            self.schedule(delay, Event::Received { at: to, from: at, txid });
        }
    }
}

fn relay(seed: u64, silent_percent: u64) {
    let mut network = Network::new(seed, silent_percent);
    let links: usize = network.links.iter().map(BTreeSet::len).sum::<usize>() / 2;
    let mut slowest = Duration::ZERO;
    for number in 0..TRANSACTIONS {
        let txid = Txid::from_bytes([number; 32]);
        let start = network.now;
        network.schedule(Duration::ZERO, Event::Admitted { at: 0, txid });
        network.run();
        let held = &network.held[&txid];
        assert_eq!(held.len(), NODES, "seed {seed}: not everybody has transaction {number}");
        slowest = slowest.max(*held.values().max().expect("everybody") - start);
    }
    let messages = network.messages / usize::from(TRANSACTIONS);
    println!(
        "{NODES} nodes, {silent_percent} % silent, {links} links: on all after {slowest:.1?} of \
         virtual time at most; a transaction takes {:.1} messages a node",
        f64::from(u32::try_from(messages).expect("few"))
            / f64::from(u32::try_from(NODES).expect("few"))
    );
    // Each link carries it once; twice where both sides send at the same moment.
    assert!(messages <= 2 * links, "seed {seed}: {messages} messages over {links} links");
    assert!(slowest < Duration::from_secs(1), "seed {seed}: {slowest:?}");
}

#[test]
fn a_transaction_reaches_500_nodes() {
    for seed in seeds() {
        relay(seed, 0);
    }
}

/// Attack 39: who keeps what he hears to himself does not stop it.
#[test]
fn a_transaction_reaches_500_nodes_past_a_third_that_pass_nothing_on() {
    for seed in seeds() {
        relay(seed, 33);
    }
}
