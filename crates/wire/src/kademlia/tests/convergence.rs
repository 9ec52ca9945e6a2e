//! How much lookups cost as the overlay grows. `make sim-peers` prints it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::overlay::{Overlay, Random};
use super::simulation::{RECALL_MIN, closest, endpoint, overlay_of, seeds};
use crate::kademlia::datagram::parse_found;
use crate::kademlia::{Datagram, Found, K, NodeId, Outcome, Request, RpcId, Wish};

/// Sizes of the overlays, the last one the goal.
const SIZES: [usize; 4] = [60, 125, 250, 500];
const LOOKUPS: usize = 40;

/// What one lookup looked like from outside.
struct Trace {
    /// How many were asked, one after the other's answer, until the closest contact was known: 1
    /// if the node itself knew it.
    hops: u32,
    requests: usize,
    took: Duration,
    /// Of the truly closest contacts, how many were found.
    found: usize,
}

/// Follows a lookup through its datagrams.
fn lookup(overlay: &mut Overlay, at: SocketAddr, target: NodeId) -> Trace {
    let start = overlay.now;
    overlay.watched = Some((at, Vec::new()));
    let Outcome::Contacts(contacts) = overlay.wish(at, Wish::Contacts(target)) else {
        panic!("contacts were wished for");
    };
    let took = overlay.now - start;
    let (_, datagrams) = overlay.watched.take().expect("it was put there");
    let mut asked = BTreeMap::<RpcId, SocketAddr>::new();
    let mut depths = BTreeMap::<SocketAddr, u32>::new();
    let mut requests = 0;
    for (other, bytes) in datagrams {
        match Datagram::decode(&bytes) {
            Ok(Datagram::Request { id, request: Request::FindNode { target: key, sender } })
                if key == target && sender == *overlay.nodes[&at].dht.own_id() =>
            {
                requests += 1;
                asked.insert(id, other);
                // Whom nobody named it knew by itself.
                depths.entry(other).or_insert(1);
            }
            Ok(Datagram::Reply { id, result }) if asked.get(&id) == Some(&other) => {
                let depth = depths[&other] + 1;
                if let Some(Found::Contacts(named)) = parse_found(result) {
                    for contact in named {
                        depths.entry(contact.endpoint).or_insert(depth);
                    }
                }
            }
            _ => {}
        }
    }
    let expected = closest(overlay, &target, at);
    let found = contacts.iter().filter(|contact| expected.contains(contact)).count();
    let hops = contacts.first().and_then(|nearest| depths.get(&nearest.endpoint));
    Trace { hops: hops.copied().unwrap_or(1), requests, took, found }
}

fn any_endpoint(random: &mut Random, count: usize) -> SocketAddr {
    let count = u64::try_from(count).expect("few nodes");
    endpoint(usize::try_from(random.below(count)).expect("few nodes"))
}

#[test]
fn lookups_among_500_nodes_take_a_logarithmic_number_of_hops() {
    let seed = *seeds().last().expect("two seeds");
    println!("nodes  hops mean/max  requests  time     found   datagrams of a node to join");
    for count in SIZES {
        let mut overlay = overlay_of(count, seed, 0);
        let joined = overlay.sent / count;
        let traces: Vec<Trace> = (0..LOOKUPS)
            .map(|_| {
                let (at, target) = (any_endpoint(&mut overlay.random, count), overlay.random.id());
                lookup(&mut overlay, at, target)
            })
            .collect();
        let lookups = u32::try_from(LOOKUPS).expect("few");
        let hops: u32 = traces.iter().map(|trace| trace.hops).sum();
        let most = traces.iter().map(|trace| trace.hops).max().unwrap_or_default();
        let mean = f64::from(hops) / f64::from(lookups);
        let requests = traces.iter().map(|trace| trace.requests).sum::<usize>() / LOOKUPS;
        let time = traces.iter().map(|trace| trace.took).sum::<Duration>() / lookups;
        let found = traces.iter().map(|trace| trace.found).sum::<usize>() * 100 / (LOOKUPS * K);
        println!(
            "{count:>5}  {mean:>9.2}/{most:<3}  {requests:>8}  {time:>7.1?}  {found:>3} %  \
             {joined:>8}"
        );
        // A hop halves the distance at least: at random it does better.
        let limit = count.ilog2();
        assert!(mean <= f64::from(limit) / 2.0 && most <= limit, "seed {seed}: {mean}, {most}");
        assert!(found >= RECALL_MIN, "seed {seed}: {found} %");
        assert!(time < Duration::from_secs(3), "seed {seed}: {time:?} of virtual time");
    }
}
