//! New containers for all four validators, one organisation after the other, under load.

use std::thread;
use std::time::{Duration, Instant};

use crate::load::under_load;
use crate::network::{Network, ORGANISATIONS};

/// How long no block may become final: a primary that leaves costs a view timer of two seconds, on
/// a machine that starts containers meanwhile.
const STALL_MAX: Duration = Duration::from_secs(15);

#[test]
fn an_upgrade_organisation_by_organisation_never_stops_finality() {
    let network = Network::up("pbft");
    under_load(&network, || {
        let started = Instant::now();
        let upgrade = network.command(&["upgrade"]).spawn().expect("a script that runs");
        let longest = longest_stall(&network, upgrade);
        println!("upgraded in {:.1?}, finality stood still for {longest:.1?}", started.elapsed());
        assert!(longest <= STALL_MAX, "no block became final for {longest:?}");
    });
}

/// Watches the final height of whichever organisation is ahead until the upgrade is through.
fn longest_stall(network: &Network, mut upgrade: std::process::Child) -> Duration {
    let (mut height, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
    loop {
        let heights = (1..=ORGANISATIONS).filter_map(|it| network.final_height(it));
        let highest = heights.max().unwrap_or(height);
        longest = longest.max(since.elapsed());
        if highest > height {
            (height, since) = (highest, Instant::now());
        }
        if let Some(status) = upgrade.try_wait().expect("it is our child") {
            assert!(status.success(), "the upgrade failed: {status}");
            return longest;
        }
        assert!(longest < 4 * STALL_MAX, "finality has stopped");
        thread::sleep(Duration::from_millis(50));
    }
}
