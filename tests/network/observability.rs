//! Dashboards and alerts name metrics that a running network has, and each is explained.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use pentad_tests::{Devnet, metrics_page, wait_for, wait_until};

use crate::coins::create_wallet;

const NODES: usize = 4;
/// What workers have, which are not nodes, and what comes with certificates and refusals, which a
/// development network has none of: tests/network/trust.rs looks for those.
const FOREIGN: [&str; 4] = [
    "pentad_worker_connected",
    "pentad_certificate_expiry_timestamp_seconds",
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
    let is_metric =
        |word: &&str| ["pentad_", "process_"].iter().any(|prefix| word.starts_with(prefix));
    words.filter(is_metric).map(str::to_owned).collect()
}

/// Names of the series on the metrics pages of all nodes.
fn present(devnet: &Devnet) -> BTreeSet<String> {
    let pages = (1..=NODES).filter_map(|number| metrics_page(&devnet.node(number).metrics()));
    let pages: Vec<String> = pages.collect();
    let lines = pages.iter().flat_map(|page| page.lines());
    let names = lines.filter_map(|line| line.split(['{', ' ']).next());
    names.map(str::to_owned).collect()
}

#[test]
fn every_metric_of_a_dashboard_or_an_alert_is_there() {
    let mut wanted = BTreeSet::new();
    for file in ["alerts.yml", "grafana/overview.json", "grafana/consensus.json"] {
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
        let present = present(&devnet);
        let missing: Vec<&String> = wanted.difference(&present).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are not")) }
    });
    let operations = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let explained = named(&fs::read_to_string(operations).expect("a file of the repository"));
    let present = present(&devnet);
    let parts = ["_bucket", "_sum", "_count"];
    let whole = |name: &str| {
        let base = parts.iter().find_map(|part| name.strip_suffix(part));
        base.unwrap_or(name).to_owned()
    };
    let names = present.iter().filter(|name| name.starts_with("pentad_"));
    let unexplained: BTreeSet<String> =
        names.map(|name| whole(name)).filter(|name| !explained.contains(name)).collect();
    assert!(unexplained.is_empty(), "docs/operations.md does not explain {unexplained:?}");
}
