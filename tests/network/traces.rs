//! One payment is one trace, from the command that makes it to the commit on every node,
//! and so does a receiver of spans read it that others wrote.

use std::collections::BTreeSet;
use std::time::Duration;

use pentad_tests::{
    Collector, Devnet, FIVE_SERVICES, MINER_SPANS, Receiver, Rotel, SeenSpan, VALIDATOR_SPANS,
    assert_whole, complete, first_whole, hybrid_spans, payment_trace, services, wait_for,
    wait_until, within,
};
use serde_json::json;

use crate::coins::create_wallet;
use crate::pbft::pay;

const NODES: [&str; 4] = ["node1", "node2", "node3", "node4"];

pub(crate) fn traced(receiver: &impl Receiver, sample_ratio: f64) -> Vec<(&'static str, String)> {
    vec![
        ("PENTAD_TELEMETRY__OTLP_ENDPOINT", receiver.endpoint()),
        ("PENTAD_TELEMETRY__SAMPLE_RATIO", sample_ratio.to_string()),
    ]
}

fn wait_for_peers(devnet: &Devnet) {
    for node in 1..=NODES.len() {
        wait_until("everybody is linked to everybody", || devnet.status(node)["peers"] == 3);
    }
}

#[test]
fn a_payment_is_one_trace_over_four_validators() {
    let rotel = Rotel::start();
    // Nothing is sampled but what a command asks for.
    let devnet = Devnet::up_with("pbft", NODES.len(), traced(&rotel, 0.0));
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    pay(&devnet, 1, &alice, &bob, "100");
    wait_for_peers(&devnet);
    devnet.converge(&[1, 2, 3, 4]);
    // Node 1 is the primary; node 2 is not.
    pay(&devnet, 2, &bob, &alice, "50");
    let trace = wait_for("the trace is whole", || {
        complete(payment_trace(&rotel, "node2"), &NODES, &VALIDATOR_SPANS)
    });
    assert_whole(&trace);
    let four = ["pentad-chain", "pentad-consensus", "pentad-peer", "pentad-wallet"];
    for node in NODES {
        assert_eq!(services(&trace)[node], BTreeSet::from(four), "{node}");
    }
    let count = |node: &str, name: &str| {
        trace.iter().filter(|span| span.instance == node && span.name == name).count()
    };
    assert_eq!(count("node1", "consensus.template"), 1, "the primary makes the block");
    for (name, node) in
        [("peer.relay", "node2"), ("wallet.choose", "node2"), ("wallet.sign", "node2")]
    {
        assert_eq!(count(node, name), 1, "{name}");
    }
    for node in ["node1", "node3", "node4"] {
        assert!(count(node, "peer.receive") >= 1, "one hop from node 2 to {node}");
    }
    // What two things have to do with each other, the links say.
    let parent = |span: &SeenSpan| {
        let above = trace.iter().find(|it| it.span_id == span.parent_id);
        above.map(|it| (it.instance.clone(), it.name.clone())).expect("it is there")
    };
    for span in &trace {
        let (node, above) = parent_or_root(span, parent);
        match span.name.as_str() {
            "peer.receive" => assert_eq!((node.as_str(), above.as_str()), ("node2", "peer.relay")),
            "pbft.pre_prepare" | "pbft.prepare" | "pbft.commit" | "safety_log.fsync"
            | "chain.connect" => {
                assert_eq!((node, above.as_str()), (span.instance.clone(), "consensus.round"));
            }
            "utxo.write" | "block.fsync" | "wallet.apply" => {
                assert_eq!((node, above.as_str()), (span.instance.clone(), "chain.connect"));
            }
            "consensus.round" if span.instance != "node1" => {
                assert_eq!((node.as_str(), above.as_str()), ("node1", "consensus.round"));
            }
            _ => {}
        }
    }
    let foreign: BTreeSet<String> = rotel.spans().into_iter().map(|span| span.name).collect();
    assert!(!foreign.contains("block"), "a block's own trace is not sampled: {foreign:?}");
}

fn parent_or_root(
    span: &SeenSpan,
    parent: impl Fn(&SeenSpan) -> (String, String),
) -> (String, String) {
    if span.parent_id.is_empty() { (String::new(), String::new()) } else { parent(span) }
}

/// The miner has no part where validators order the blocks.
#[test]
fn a_payment_is_one_trace_over_four_miners() {
    trace_over_miners(&Rotel::start());
    let collector = Collector::start();
    let trace = trace_over_miners(&collector);
    // The block has a trace of its own, which begins where it was found; both lead to each other.
    let spans = collector.spans();
    let block = spans.iter().find(|span| span.name == "miner.block").expect("the block's trace");
    let connected = |trace_id: &str, node: &str| {
        let is_it = |it: &&SeenSpan| {
            it.trace_id == trace_id && it.instance == node && it.name == "chain.connect"
        };
        spans.iter().find(is_it).cloned().unwrap_or_else(|| panic!("{node} connects the block"))
    };
    for node in NODES {
        let of_block = connected(&block.trace_id, node);
        let of_payment = connected(&trace[0].trace_id, node);
        assert!(of_block.links.contains(&of_payment.trace_id), "{of_block:?}");
        assert!(of_payment.links.contains(&of_block.trace_id), "{of_payment:?}");
    }
}

/// Where work makes the blocks and validators make them final, all five services of every node have
/// a part in it.
#[test]
fn a_payment_is_one_trace_of_five_services_on_four_nodes() {
    /// Spans are exported every few seconds.
    const EXPORT: Duration = Duration::from_secs(15);
    let rotel = Rotel::start();
    let devnet = Devnet::up_with("hybrid", NODES.len(), traced(&rotel, 1.0));
    let bob = create_wallet(&devnet, 2, "bob");
    wait_for_peers(&devnet);
    // A quorum does not wait for the slowest of four: then another payment is followed.
    let traces = (0..4).map(|payments| {
        let height = 1 + payments * 7;
        mine_a_payment(&devnet, &bob, height);
        // What makes its block deep enough.
        devnet.generate(1, 6);
        for node in 1..=NODES.len() {
            wait_until("its block is final", || {
                devnet.status(node)["final_height"].as_u64() >= Some(height)
            });
        }
        within(EXPORT, || complete(payment_trace(&rotel, "node1"), &NODES, &hybrid_spans()))
    });
    let trace = first_whole(traces);
    for node in NODES {
        assert_eq!(services(&trace)[node], BTreeSet::from(FIVE_SERVICES), "{node}");
    }
}

/// A payment on node 1 of a network of miners.
fn trace_over_miners(receiver: &impl Receiver) -> Vec<SeenSpan> {
    let devnet = Devnet::up_with("pow", NODES.len(), traced(receiver, 1.0));
    let bob = create_wallet(&devnet, 2, "bob");
    wait_for_peers(&devnet);
    mine_a_payment(&devnet, &bob, 1);
    let trace = wait_for("the trace is whole", || {
        complete(payment_trace(receiver, "node1"), &NODES, &MINER_SPANS)
    });
    assert_whole(&trace);
    let four = ["pentad-chain", "pentad-miner", "pentad-peer", "pentad-wallet"];
    for node in NODES {
        assert_eq!(services(&trace)[node], BTreeSet::from(four), "{node}");
    }
    trace
}

/// A payment on node 1 in the block of this height, which every node had to search.
fn mine_a_payment(devnet: &Devnet, to: &str, height: u64) {
    let from = devnet.genesis_address();
    devnet.on(1, &["send", "--from", &from, "--to", to, "--amount", "1"]).success();
    for node in 1..=NODES.len() {
        wait_until("the payment waits everywhere", || devnet.balance(node, to)[1] != "0.00000000");
        // They have the block to search, and nobody to search it.
        devnet.on(node, &["miner", "start-mining", "--workers-only"]).success();
        wait_until("there is work", || {
            devnet.on(node, &["miner", "get-status"]).success()["height"] == json!(height)
        });
    }
    devnet.generate(1, 1);
    devnet.converge(&[1, 2, 3, 4]);
}
