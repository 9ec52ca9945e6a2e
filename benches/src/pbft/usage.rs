//! What the nodes have used.

use std::time::Duration;

use pentad_bench::node::Node;
use pentad_bench::validators::NODES;

/// Sums over all nodes, but for the memory.
pub(crate) struct Usage {
    fsyncs: f64,
    blocks: f64,
    pub(crate) suspicions: f64,
    pub(crate) resident: Vec<u64>,
    cpu: Duration,
    own_cpu: Duration,
}

impl Usage {
    pub(crate) fn of(nodes: &[Node]) -> Self {
        let sum = |name: &str| nodes.iter().map(|node| node.metric(name)).sum();
        Self {
            fsyncs: sum("pentad_consensus_log_fsyncs_total"),
            blocks: sum("pentad_consensus_blocks_final_total"),
            suspicions: sum("pentad_consensus_suspicions_total"),
            resident: nodes.iter().map(Node::resident_bytes).collect(),
            cpu: nodes.iter().map(Node::cpu).sum(),
            own_cpu: pentad_bench::meter::cpu(),
        }
    }

    /// What `payments` payments took since `before`.
    pub(crate) fn print_since(&self, before: &Self, payments: usize) {
        let fsyncs = (self.fsyncs - before.fsyncs) / (self.blocks - before.blocks);
        println!("{:<60} {fsyncs:>8.2}", "  fsyncs of the safety log for each block and replica");
        println!("{:<60} {:>8.2}", "  with that of the block log", fsyncs + 1.0);
        let suspicions = self.suspicions - before.suspicions;
        println!("{:<60} {suspicions:>8}", "  primaries held to censor, by all nodes together");
        self.print_cpu_since(before, payments);
        let [first, last] = [before, self].map(|usage| usage.resident.iter().max());
        for (when, bytes) in [("before", first), ("after", last)] {
            let name = format!("  largest resident memory {when}");
            println!("{name:<60} {:>5} MB", bytes.copied().unwrap_or_default() >> 20);
        }
    }

    pub(crate) fn print_cpu_since(&self, before: &Self, payments: usize) {
        let [own, nodes] = [self.own_cpu - before.own_cpu, self.cpu - before.cpu];
        let per = |cpu: Duration, count: usize| cpu.as_secs_f64() * 1e6 / count as f64;
        let cost = per(nodes, payments * NODES);
        println!("{:<60} {cost:>8.0} µs", "  CPU of each node for each payment");
        let cost = per(own, payments);
        println!("{:<60} {cost:>8.0} µs", "  CPU of the generator for each payment");
    }
}
