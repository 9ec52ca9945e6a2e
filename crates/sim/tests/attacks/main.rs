//! The cases of `docs/attacks.md` that a simulated network can show, named after their numbers.
//! Each runs with one sequence in flight and with four.

mod byzantine;
mod crash;
mod hybrid;
mod network;
mod view_changes;

use pentad_sim::{Setup, World};

/// The windows that every case runs with.
const WINDOWS: [u64; 2] = [1, 4];

/// A network of `replicas` under a window, whose trace explains a failure.
fn world(replicas: u16, window: u64) -> World {
    let mut world = World::new(Setup::new(replicas).seed(window).window(window));
    world.trace.keep();
    world
}

/// How long a view may take to be left and the next to finalise its first block: the timer, and
/// what a few messages and syncs take.
fn one_view_change(world: &World) -> u64 {
    world.setup.view_timeout_ms + 300
}
