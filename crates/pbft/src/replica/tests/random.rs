//! Random schedules: messages reordered, lost and doubled, timers at any time, nodes killed and
//! started again, links cut. Nothing of it may fork; and once the network is whole, it goes on.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use super::network::{Network, Random};
use crate::event::{Input, Timer};
use crate::identifiers::View;

const HEIGHT: usize = 6;

fn play(seed: u64) {
    let mut random = Random(seed);
    let replicas = [4, 4, 4, 7, 2, 3][random.place(6)];
    let window = [1, 1, 2, 4][random.place(4)];
    let mut network = Network::with_window(replicas, window);
    network.work(HEIGHT);
    for _ in 0..400 + random.below(1_200) {
        disturb(&mut network, &mut random);
    }
    recover(&mut network, seed);
}

fn disturb(network: &mut Network, random: &mut Random) {
    let place = random.place(network.nodes.len());
    match random.below(100) {
        0..80 => {
            let Some(last) = network.queue.len().checked_sub(1) else {
                return;
            };
            let at = random.place(last.min(12) + 1);
            let (from, to, message) = network.queue.remove(at).unwrap();
            if random.chance(5) {
                network.queue.push_back((from, to, message.clone()));
            }
            if !random.chance(12) && !network.cut.contains(&(from, to)) {
                network.deliver(to, message);
            }
        }
        80..86 => {
            network.fire(place, Timer::View);
        }
        86..95 => {
            network.fire(place, Timer::Resend);
        }
        95 => network.restart(place),
        96 => {
            let other = random.place(network.nodes.len());
            network.cut.insert((place, other));
        }
        97 => network.heal(),
        98 => {
            let other = random.place(network.nodes.len());
            network.sync(other, place);
        }
        _ => {
            let view = View::new(network.views()[place].0);
            network.step(place, Input::Suspect { view });
        }
    }
}

/// Every link works, every timer runs out in its time: all reach the height.
fn recover(network: &mut Network, seed: u64) {
    network.heal();
    for round in 0..60 {
        network.run();
        if network.heights().iter().all(|height| *height >= HEIGHT) {
            break;
        }
        for _ in 0..3 {
            network.fire_all(Timer::Resend);
            network.run();
        }
        // As the peers' sync does.
        let (longest, _) = network.heights().into_iter().enumerate().max_by_key(|h| h.1).unwrap();
        for place in network.all() {
            network.sync(longest, place);
        }
        network.run();
        if round % 2 == 1 {
            network.fire_all(Timer::View);
        }
    }
    let heights = network.heights();
    assert!(
        heights.iter().all(|height| *height >= HEIGHT),
        "seed {seed}: {heights:?} in {:?}\n{:#?}",
        network.views(),
        network.nodes.iter().map(|node| node.replica.status()).collect::<Vec<_>>()
    );
    for (place, node) in network.nodes.iter().enumerate() {
        assert_eq!(node.halted, None, "seed {seed}: {place} halted");
        assert!(node.evidence.is_empty(), "seed {seed}: {place} accuses {:?}", node.evidence);
    }
}

#[test]
fn random_schedules_agree_and_recover() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let start = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap();
    for seed in (0..200).map(|count| start.wrapping_add(count)) {
        println!("seed {seed}: PENTAD_SEED={seed} replays it");
        play(seed);
    }
}

#[test]
fn a_given_schedule_is_replayed() {
    let given = env::var("PENTAD_SEED").ok().map(|seed| seed.parse().expect("a number"));
    play(given.unwrap_or(1));
}
