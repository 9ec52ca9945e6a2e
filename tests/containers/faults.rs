//! Peer and consensus containers cut off, paused and killed under load, one after the other.

use std::time::{Duration, Instant};

use pentad_tests::wait_until;

use crate::load::under_load;
use crate::network::{Network, ORGANISATIONS, docker};

/// How long the other three may need for the next final blocks: the view timer of two seconds, once
/// more for a view whose primary is the victim as well, and a slow machine.
const PROGRESS_MAX: Duration = Duration::from_secs(10);
/// How long the victim may need to have what the others have: what is lost is noticed by a
/// heartbeat that stays away, and dialed anew after a pause.
const HEALING_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Disconnect,
    Pause,
    Kill,
}

/// Every fault of both services, each at another organisation than the one before.
const ROUNDS: [(usize, &str, Fault); 6] = [
    (1, "consensus", Fault::Kill),
    (2, "peer", Fault::Disconnect),
    (3, "consensus", Fault::Pause),
    (4, "peer", Fault::Kill),
    (1, "peer", Fault::Pause),
    (2, "consensus", Fault::Disconnect),
];

fn begin(network: &Network, organisation: usize, service: &str, fault: Fault) {
    let container = network.container(organisation, service);
    match fault {
        Fault::Disconnect => {
            docker(&["network", "disconnect", &cut(network, organisation, service), &container])
        }
        Fault::Pause => docker(&["pause", &container]),
        Fault::Kill => docker(&["kill", &container]),
    };
}

fn end(network: &Network, organisation: usize, service: &str, fault: Fault) {
    let container = network.container(organisation, service);
    match fault {
        Fault::Disconnect => {
            let alias = match service {
                "peer" => format!("peer.org{organisation}"),
                _ => service.to_owned(),
            };
            let from = cut(network, organisation, service);
            docker(&["network", "connect", "--alias", &alias, &from, &container])
        }
        Fault::Pause => docker(&["unpause", &container]),
        Fault::Kill => docker(&["start", &container]),
    };
}

/// The network that a container is cut off from: the peer service from the others', another from
/// its own node.
fn cut(network: &Network, organisation: usize, service: &str) -> String {
    match service {
        "peer" => network.consortium().to_owned(),
        _ => network.own(organisation),
    }
}

fn round(network: &Network, (organisation, service, fault): (usize, &str, Fault)) {
    let witness = organisation % ORGANISATIONS + 1;
    let height = |organisation| network.final_height(organisation);
    let before = height(witness).expect("it is up");
    let started = Instant::now();
    begin(network, organisation, service, fault);
    // One block may have been under way; the next one needs those that are left.
    wait_until("blocks become final without the victim", || {
        height(witness).is_some_and(|height| height >= before + 2)
    });
    let progress = started.elapsed();
    end(network, organisation, service, fault);
    let target = height(witness).expect("it is up");
    let started = Instant::now();
    wait_until("the victim catches up", || {
        height(organisation).is_some_and(|height| height >= target)
    });
    let healing = started.elapsed();
    println!(
        "{fault:?} of {service} of org{organisation}: others go on in {progress:.1?}, it in \
         {healing:.1?}"
    );
    assert!(progress <= PROGRESS_MAX, "no progress for {progress:?}");
    assert!(healing <= HEALING_MAX, "not healed for {healing:?}");
}

#[test]
fn faults_of_containers_lose_nothing_and_heal() {
    let network = Network::up("pbft");
    under_load(&network, || ROUNDS.into_iter().for_each(|it| round(&network, it)));
}
