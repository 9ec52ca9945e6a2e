//! The spans of one payment over all nodes.

use std::collections::{BTreeMap, BTreeSet};

use crate::collector::{Receiver, SeenSpan};

/// What every validator does for a block, and what it does to its ledger then.
pub const VALIDATOR_SPANS: [&str; 11] = [
    "consensus.round",
    "pbft.pre_prepare",
    "pbft.prepare",
    "pbft.commit",
    "safety_log.fsync",
    "chain.admit",
    "chain.connect",
    "chain.check",
    "utxo.write",
    "block.fsync",
    "wallet.apply",
];

/// What every node has of a payment in a block of work.
pub const MINER_SPANS: [&str; 7] = [
    "chain.admit",
    "miner.search",
    "chain.connect",
    "utxo.write",
    "block.fsync",
    "wallet.apply",
    "wallet.notice",
];
/// What every validator has of a block that it agrees on.
const AGREEMENT_SPANS: [&str; 5] =
    ["consensus.round", "pbft.pre_prepare", "pbft.prepare", "pbft.commit", "safety_log.fsync"];
/// The services of a node, by the names under which they export spans.
pub const FIVE_SERVICES: [&str; 5] =
    ["pentad-chain", "pentad-consensus", "pentad-miner", "pentad-peer", "pentad-wallet"];

/// What every node has of a payment in a block of work that validators, of which it is one, made
/// final.
#[must_use]
pub fn hybrid_spans() -> Vec<&'static str> {
    [&MINER_SPANS[..], &AGREEMENT_SPANS].concat()
}

/// The first trace that came out whole: a quorum does not wait for the slowest of four, and then
/// another payment must be followed.
///
/// # Panics
/// When none did, with what the last one lacks.
#[must_use]
pub fn first_whole(traces: impl Iterator<Item = Result<Vec<SeenSpan>, String>>) -> Vec<SeenSpan> {
    let mut last = String::new();
    for trace in traces {
        match trace {
            Ok(trace) => {
                assert_whole(&trace);
                return trace;
            }
            Err(reason) => last = reason,
        }
    }
    panic!("{last}");
}

/// The trace of the last payment that was made on a node.
#[must_use]
pub fn payment_trace(receiver: &impl Receiver, node: &str) -> Vec<SeenSpan> {
    let spans = receiver.spans();
    let is_send = |span: &&SeenSpan| {
        span.instance == node && span.name == "pentad.wallet.v1.WalletService/Send"
    };
    let last = spans.iter().filter(is_send).max_by_key(|span| span.start);
    let Some(trace_id) = last.map(|span| span.trace_id.clone()) else {
        return Vec::new();
    };
    spans.into_iter().filter(|span| span.trace_id == trace_id).collect()
}

/// The services that made spans on each node.
#[must_use]
pub fn services(trace: &[SeenSpan]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut services = BTreeMap::<&str, BTreeSet<&str>>::new();
    for span in trace {
        services.entry(&span.instance).or_default().insert(&span.service);
    }
    services
}

/// A trace, once spans of these names on every node have been exported and all that are above
/// others; nodes export at their own times.
///
/// # Errors
/// With what is missing.
pub fn complete(
    trace: Vec<SeenSpan>,
    nodes: &[&str],
    names: &[&str],
) -> Result<Vec<SeenSpan>, String> {
    let has = |node: &str, name: &str| {
        trace.iter().any(|span| span.instance == node && span.name == name)
    };
    let pairs = nodes.iter().flat_map(|node| names.iter().map(move |name| (node, name)));
    let missing: Vec<_> = pairs.filter(|(node, name)| !has(node, name)).collect();
    let ids: BTreeSet<&str> = trace.iter().map(|span| span.span_id.as_str()).collect();
    let is_known = |id: &str| id.is_empty() || ids.contains(id);
    let orphans: Vec<_> = trace.iter().filter(|span| !is_known(&span.parent_id)).collect();
    let has_root = trace.iter().any(|span| span.parent_id.is_empty());
    if missing.is_empty() && orphans.is_empty() && has_root {
        return Ok(trace);
    }
    Err(format!("missing {missing:?}, above nothing {orphans:#?}, all {trace:#?}"))
}

/// One root, and every other span below one that is there.
///
/// # Panics
/// When it is not so.
pub fn assert_whole(trace: &[SeenSpan]) {
    let ids: BTreeSet<&str> = trace.iter().map(|span| span.span_id.as_str()).collect();
    assert_eq!(ids.len(), trace.len(), "span ids are unique");
    let roots: Vec<&SeenSpan> = trace.iter().filter(|span| span.parent_id.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_eq!((roots[0].name.as_str(), roots[0].service.as_str()), ("pentad send", "pentad"));
    for span in trace.iter().filter(|span| !span.parent_id.is_empty()) {
        assert!(ids.contains(span.parent_id.as_str()), "the parent is missing of {span:?}");
        assert!(span.start <= span.end, "{span:?}");
    }
}
