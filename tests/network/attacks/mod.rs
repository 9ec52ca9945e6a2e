//! Attacks 35 to 46 of docs/attacks.md on a real process: it stays within its memory and goes on
//! serving the others.

mod blocks;
mod discovery;
mod floods;
mod links;
mod slots;

use std::fs;
use std::time::{Duration, Instant};

use pentad_tests::{Devnet, Node, metrics_page, wait_until};

/// The memory of a process and the CPU time it took, from /proc.
struct Watch {
    pid: u32,
    resident: u64,
    cpu: Duration,
    since: Instant,
}

const MIB: u64 = 1 << 20;

impl Watch {
    fn on(node: &Node) -> Self {
        let pid = node.pid();
        Self { pid, resident: resident(pid), cpu: cpu(pid), since: Instant::now() }
    }

    /// What it has taken since, in bytes.
    fn grown(&self) -> u64 {
        resident(self.pid).saturating_sub(self.resident)
    }

    fn assert_grown_less_than(&self, limit: u64) {
        let grown = self.grown();
        assert!(grown < limit, "{} MiB more than before", grown / MIB);
    }

    /// Cores kept busy since, on average.
    fn cores(&self) -> f64 {
        (cpu(self.pid) - self.cpu).as_secs_f64() / self.since.elapsed().as_secs_f64()
    }
}

/// CPU time of all threads. The kernel counts in hundredths of a second.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>());
    Duration::from_millis(10 * ticks.map(|ticks| ticks.expect("a number")).sum::<u64>())
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kib * 1024
}

/// A counter or gauge of a node's metrics page, its labels included in the name.
fn metric(node: &Node, name: &str) -> u64 {
    let page = metrics_page(&node.metrics()).expect("it runs");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("a whole number"))
}

/// Blocks of either node still reach the other.
fn assert_others_are_served(devnet: &Devnet) {
    for miner in [1, 2] {
        let tip = devnet.generate(miner, 1).pop().expect("a hash");
        assert_eq!(devnet.converge(&[1, 2]), tip);
    }
    wait_until("it is healthy", || devnet.status(1)["healthy"] == true);
}
