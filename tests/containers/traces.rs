//! A payment's trace out of the services of four organisations, in the viewer beside them, and the
//! way to it from a metric.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pentad_tests::{
    FIVE_SERVICES, Receiver, SeenSpan, VALIDATOR_SPANS, assert_whole, complete, first_whole,
    hybrid_spans, page_body, payment_trace, services, wait_for, within,
};
use serde_json::Value;

use crate::network::{Network, said};

const ORGANISATIONS: [&str; 4] = ["org1", "org2", "org3", "org4"];

/// The viewer of a network.
struct Viewer<'a>(&'a Network);

impl Viewer<'_> {
    fn json(&self, path: &str) -> Option<Value> {
        let [page, _] = self.0.viewer();
        serde_json::from_str(&page_body(&page, path)?).ok()
    }
}

impl Receiver for Viewer<'_> {
    fn endpoint(&self) -> String {
        let [_, endpoint] = self.0.viewer();
        format!("http://{endpoint}")
    }

    fn spans(&self) -> Vec<SeenSpan> {
        let traces = self.json("/traces").unwrap_or_default();
        let ids = traces.as_array().into_iter().flatten().filter_map(|it| it["trace_id"].as_str());
        let spans = ids.filter_map(|id| self.json(&format!("/traces/{id}")));
        let spans = spans.map(serde_json::from_value::<Vec<SeenSpan>>);
        spans.flat_map(|spans| spans.expect("spans as the viewer tells them")).collect()
    }
}

/// Pays out of an organisation's wallet, sampled by the command.
fn pay(network: &Network, organisation: usize, wallet: &str, to: &str, amount: &str) {
    let variables = [("PENTAD_TELEMETRY__OTLP_ENDPOINT", Viewer(network).endpoint())];
    let pay = ["send", "--from", wallet, "--to", to, "--amount", amount, "--wait"];
    network.on_with(organisation, &variables, &pay).success();
}

/// The whole trace of the payment that an organisation made.
fn trace(viewer: &Viewer<'_>, organisation: &str) -> Vec<SeenSpan> {
    let trace = wait_for("the trace is whole", || {
        let trace = payment_trace(viewer, organisation);
        complete(trace, &ORGANISATIONS, &VALIDATOR_SPANS)
    });
    assert_whole(&trace);
    let four = ["pentad-chain", "pentad-consensus", "pentad-peer", "pentad-wallet"];
    for organisation in ORGANISATIONS {
        assert_eq!(services(&trace)[organisation], BTreeSet::from(four), "{organisation}");
    }
    trace
}

#[test]
fn a_payment_is_one_trace_over_twenty_containers() {
    build_prometheus();
    let network = Network::up_with("pbft", "traces prometheus workers");
    let viewer = Viewer(&network);
    let bob = network.create_wallet(2, "bob");
    pay(&network, 1, "genesis", &bob, "10");
    let first = trace(&viewer, "org1");
    let exemplars = wait_for("metrics name the trace", || {
        let exemplars = exemplars(&network, "pentad_chain_commit_seconds_bucket");
        if exemplars.contains(&first[0].trace_id) { Ok(exemplars) } else { Err(exemplars) }
    });
    println!("exemplars of org1: {exemplars}");
    // As alerts do, which compare what the services of a node say.
    let behind = "pentad_chain_height_blocks-on(instance)pentad_wallet_height_blocks";
    wait_for("the services of a node have one label", || {
        let path = format!("/api/v1/query?query={behind}");
        let answer = page_body(&network.prometheus(1), &path).unwrap_or_default();
        if answer.contains("\"instance\":\"node\"") { Ok(()) } else { Err(answer) }
    });
    wait_for("a worker has its node's label and one of its own", || {
        let query = "/api/v1/query?query=pentad_worker_connected";
        let answer = page_body(&network.prometheus(1), query).unwrap_or_default();
        let labels = ["\"instance\":\"node\"", "\"service\":\"worker\"", ":10993\"}"];
        if labels.iter().all(|label| answer.contains(label)) { Ok(()) } else { Err(answer) }
    });
    // With the viewer there, an organisation leaves and comes back.
    network.script(&["stop", "org4"]);
    network.script(&["start", "org4"]);
    network.on(4, &["sync"]).success();
    let carol = network.create_wallet(3, "carol");
    pay(&network, 2, "bob", &carol, "5");
    trace(&viewer, "org2");
}

/// Where work makes the blocks and validators make them final, each container has a part in it.
#[test]
fn a_mined_payment_is_one_trace_of_all_five_services() {
    /// Spans are exported every few seconds.
    const EXPORT: Duration = Duration::from_secs(15);
    let network = Network::up_with("hybrid", "traces");
    let viewer = Viewer(&network);
    let bob = network.create_wallet(2, "bob");
    let trace = first_whole((0..3).map(|_| {
        pay(&network, 1, "genesis", &bob, "10");
        within(EXPORT, || complete(payment_trace(&viewer, "org1"), &ORGANISATIONS, &hybrid_spans()))
    }));
    for organisation in ORGANISATIONS {
        let five = BTreeSet::from(FIVE_SERVICES);
        assert_eq!(services(&trace)[organisation], five, "{organisation}");
    }
}

/// What Prometheus of the first organisation keeps of a histogram's traces, as it tells them.
fn exemplars(network: &Network, histogram: &str) -> String {
    // Seconds since 1970: from the first to the last that Prometheus takes.
    let query = format!("/api/v1/query_exemplars?query={histogram}&start=0&end=4102444800");
    page_body(&network.prometheus(1), &query).unwrap_or_default()
}

fn build_prometheus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = Command::new(root.join("deploy/docker/build-prometheus")).output();
    let built = built.expect("a script that runs");
    assert!(built.status.success(), "{}", said(&built));
}
