//! Dashboards, alerts and docs/operations.md name metrics that a running network has, and leave
//! none of them unexplained.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use pentad_tests::{Collector, Devnet, Receiver as _, metrics_page, wait_for, wait_until};

use crate::coins::create_wallet;
use crate::pbft::pay;
use crate::traces::traced;

const NODES: usize = 4;
/// What workers have, which are not nodes, and what comes with certificates and refusals, which a
/// development network has none of: tests/network/trust.rs and tests/network/workers.rs look for
/// those.
const FOREIGN: [&str; 7] = [
    "pentad_worker_connected",
    "pentad_worker_hash_rate",
    "pentad_worker_solutions_total",
    "pentad_certificate_expiry_timestamp_seconds",
    "pentad_trust_broken",
    "pentad_trust_reloads_total",
    "pentad_calls_refused_total",
];

fn observability(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/observability")).join(path)
}

/// Names that a text speaks of.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !is_part(character));
    words.filter(is_metric).map(str::to_owned).collect()
}

fn is_metric(word: &&str) -> bool {
    ["pentad_", "process_"].iter().any(|prefix| word.starts_with(prefix))
}

/// Names of the series on the metrics pages of all nodes, and their labels.
fn present(devnet: &Devnet) -> BTreeMap<String, BTreeSet<String>> {
    let pages = (1..=NODES).filter_map(|number| metrics_page(&devnet.node(number).metrics()));
    let pages: Vec<String> = pages.collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in pages.iter().flat_map(|page| page.lines()) {
        let series = line.split(' ').next().unwrap_or_default();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        if is_metric(&name) {
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
            found.entry(name.to_owned()).or_default().extend(labels);
        }
    }
    found
}

#[test]
fn every_metric_of_a_dashboard_or_an_alert_is_there() {
    let mut wanted = BTreeSet::new();
    for file in
        ["alerts.yml", "grafana/overview.json", "grafana/consensus.json", "grafana/traces.json"]
    {
        let text = fs::read_to_string(observability(file)).expect("a file of the repository");
        let names = named(&text);
        assert!(names.len() > 10, "{file} names {names:?}");
        wanted.extend(names);
    }
    let wanted: BTreeSet<String> =
        wanted.into_iter().filter(|name| !FOREIGN.contains(&name.as_str())).collect();
    let devnet = Devnet::up_pbft(NODES);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    devnet.on(1, &["send", "--from", &alice, "--to", &bob, "--amount", "1"]).success();
    wait_until("the payment is final", || devnet.balance(2, &bob)[0] == "1.00000000");
    wait_for("all metrics are there", || {
        let present: BTreeSet<String> = present(&devnet).into_keys().collect();
        let missing: Vec<&String> = wanted.difference(&present).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are not")) }
    });
    let present = present(&devnet);
    for (name, labels) in labelled() {
        if let Some(shown) = present.get(&name) {
            assert_eq!(shown, &labels, "labels of {name}, and those of docs/operations.md");
        }
    }
    let explained = explained();
    let shown: BTreeSet<String> = present.keys().map(|name| whole(name)).collect();
    let unexplained: Vec<_> = shown.difference(&explained).collect();
    assert!(unexplained.is_empty(), "docs/operations.md does not explain {unexplained:?}");
    let foreign = BTreeSet::from(FOREIGN.map(str::to_owned));
    let known: BTreeSet<String> = shown.union(&foreign).cloned().collect();
    let gone: Vec<_> = explained.difference(&known).collect();
    assert!(gone.is_empty(), "docs/operations.md explains {gone:?}, which no node shows");
    let unexplained: Vec<_> = foreign.difference(&explained).collect();
    assert!(unexplained.is_empty(), "docs/operations.md does not explain {unexplained:?}");
}

/// The metrics in the tables of docs/operations.md.
fn explained() -> BTreeSet<String> {
    let rows = operations();
    rows.iter().filter_map(|row| row.split('|').nth(1)).flat_map(named).collect()
}

/// The same with their labels, as far as they are counters and gauges.
fn labelled() -> BTreeMap<String, BTreeSet<String>> {
    let rows = operations();
    let cells = rows.iter().filter_map(|row| row.split('|').nth(1));
    let metrics = cells.flat_map(|cell| cell.split('`')).map(|metric| {
        let (name, labels) = metric.trim_end_matches('}').split_once('{').unwrap_or((metric, ""));
        let labels = labels.split(',').filter(|label| !label.is_empty());
        (name.to_owned(), labels.map(str::to_owned).collect())
    });
    metrics.collect()
}

/// The rows of the tables of docs/operations.md.
fn operations() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let text = fs::read_to_string(path).expect("a file of the repository");
    text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
}

/// The metric that a series belongs to.
fn whole(name: &str) -> String {
    let parts = ["_bucket", "_sum", "_count"];
    parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name).to_owned()
}

#[test]
fn every_alert_is_explained() {
    let text = fs::read_to_string(observability("alerts.yml")).expect("a file of the repository");
    let alerts: BTreeSet<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let rows = operations();
    let explained = rows.iter().filter_map(|row| row.split('`').nth(1));
    let explained: BTreeSet<&str> = explained.filter(|name| name.starts_with("Pentad")).collect();
    assert_eq!(alerts, explained, "docs/operations.md and deploy/observability/alerts.yml differ");
}

/// Histograms of times that a payment moves at the primary and at the wallet that makes it.
const WITH_EXEMPLARS: [&str; 7] = [
    "pentad_consensus_finality_seconds",
    "pentad_consensus_phase_seconds",
    "pentad_consensus_log_write_seconds",
    "pentad_chain_connect_seconds",
    "pentad_chain_commit_seconds",
    "pentad_wallet_write_seconds",
    "pentad_rpc_duration_seconds",
];

/// The traces that a metric's buckets name on a page.
fn exemplars(page: &str, metric: &str) -> BTreeSet<String> {
    let start = format!("{metric}_bucket{{");
    let lines = page.lines().filter(|line| line.starts_with(&start));
    let ids = lines.filter_map(|line| line.split_once("# {trace_id=\"")?.1.split('"').next());
    ids.map(str::to_owned).collect()
}

#[test]
fn exemplars_name_traces_that_the_collector_has() {
    let collector = Collector::start();
    // Nothing is sampled but what a command asks for.
    let devnet = Devnet::up_with("pbft", NODES, traced(&collector, 0.0));
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 1, "bob");
    let page = || metrics_page(&devnet.node(1).metrics()).expect("the node is up");
    let before = page();
    for metric in WITH_EXEMPLARS.iter().filter(|name| name.contains("consensus")) {
        assert!(exemplars(&before, metric).is_empty(), "{metric} before any payment");
    }
    pay(&devnet, 1, &alice, &bob, "100");
    let page = wait_for("each histogram names a trace", || {
        let page = page();
        let is_missing = |metric: &&&str| exemplars(&page, metric).is_empty();
        let missing: Vec<_> = WITH_EXEMPLARS.iter().filter(is_missing).collect();
        if missing.is_empty() { Ok(page.clone()) } else { Err(format!("{missing:?} do not")) }
    });
    let named: BTreeSet<String> =
        WITH_EXEMPLARS.iter().flat_map(|metric| exemplars(&page, metric)).collect();
    wait_for("the collector has them", || {
        let spans = collector.spans();
        let known: BTreeSet<String> = spans.iter().map(|span| span.trace_id.clone()).collect();
        let unknown: Vec<&String> = named.difference(&known).collect();
        if unknown.is_empty() { Ok(()) } else { Err(format!("it has not {unknown:?}")) }
    });
    // What a consensus metric names is the payment itself.
    let spans = collector.spans();
    let payment = spans.iter().find(|span| span.name == "pentad send").expect("it is sampled");
    let finality = exemplars(&page, "pentad_consensus_finality_seconds");
    assert_eq!(finality, BTreeSet::from([payment.trace_id.clone()]));
}
