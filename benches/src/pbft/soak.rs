//! Minutes of steady load, and how the nodes bear it.

use std::time::Instant;

use crate::load::{Load, sign};
use crate::usage::Usage;
use crate::{Bench, percentiles, view};

/// Coins are spent again after so many seconds: what was kept of them is final by then.
const ROUND_SECONDS: usize = 20;
const MINUTE: usize = 60;

/// Offers `rate` payments a second. Payments are signed before each minute, while the nodes are
/// idle, so that this takes nothing of their processors.
pub(crate) async fn run(rate: usize, minutes: usize) {
    let mut bench = Bench::start(rate * ROUND_SECONDS).await;
    let load = Load::open(&bench.connections);
    println!("minute  offered  final/s   p50 ms   p99 ms  waiting  suspicions  views  memory MB");
    for minute in 1..=minutes {
        let payments = sign(&mut bench.coins, rate * MINUTE, &bench.payee);
        let begun = Instant::now();
        load.offer(&payments, rate, &bench.watch).await;
        let seconds = begun.elapsed().as_secs_f64();
        let waiting = bench.watch.waiting();
        bench.watch.all_are_final().await;
        let latencies = bench.watch.take_latencies();
        let made = latencies.len().saturating_sub(waiting) as f64 / seconds;
        let [p50, p99] = percentiles(latencies);
        let usage = Usage::of(&bench.nodes);
        let memory = usage.resident.iter().map(|bytes| (bytes >> 20).to_string());
        let memory = memory.collect::<Vec<_>>().join(" ");
        let (suspicions, views) = (usage.suspicions, view(&bench.connections[0]).await);
        println!(
            "{minute:>6} {rate:>8} {made:>8.0} {p50:>8.0} {p99:>8.0} {waiting:>8} \
             {suspicions:>11} {views:>6}  {memory}"
        );
    }
    load.close().await;
}
