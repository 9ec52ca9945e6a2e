//! Following the mempool as the services of the node do.

use std::time::Duration;

use pentad_api::chain::v1 as proto;
use pentad_primitives::{Encode as _, Transaction, Txid};
use tokio::time::timeout;
use tonic::Streaming;

use super::fixture::{COIN, FEE, Node, alice, bob, directory, genesis_output};
use crate::MempoolEvent;
use crate::view::MEMPOOL_EVENTS_MAX;

const PATIENCE: Duration = Duration::from_secs(20);

type Stream = Streaming<proto::FollowMempoolChangesResponse>;

async fn follow(node: &Node, with_transactions: bool) -> Stream {
    let request = proto::FollowMempoolChangesRequest { with_transactions };
    node.assembly.clone().follow_mempool_changes(request).await.expect("a stream").into_inner()
}

async fn next(stream: &mut Stream) -> proto::FollowMempoolChangesResponse {
    let message = timeout(PATIENCE, stream.message()).await.expect("a message in time");
    message.expect("no error").expect("no end")
}

fn added(transaction: &Transaction, with_transactions: bool) -> proto::MempoolChange {
    let bytes = if with_transactions { transaction.to_bytes() } else { Vec::new() };
    proto::MempoolChange { transaction: bytes.into(), ..removed(&transaction.txid(), 0) }
}

fn removed(txid: &Txid, removed: i32) -> proto::MempoolChange {
    let txid = txid.as_bytes().to_vec().into();
    proto::MempoolChange { txid, removed, ..Default::default() }
}

fn payment(vout: u32) -> Transaction {
    alice().spend(&[genesis_output(vout)], &[(&bob(), 100 * COIN - FEE)])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_present_ones_come_first_then_every_change_in_order() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let payments = [payment(0), payment(1)];
    for with_transactions in [true, false] {
        let mut empty = follow(&node, with_transactions).await;
        let nothing = proto::FollowMempoolChangesResponse { is_reset: true, changes: Vec::new() };
        assert_eq!(next(&mut empty).await, nothing);
    }
    node.submit_transaction(&payments[0]).await.expect("valid");
    let mut streams = [follow(&node, true).await, follow(&node, false).await];
    node.submit_transaction(&payments[1]).await.expect("valid");
    node.mine(1, &bob()).await;
    for (stream, with_transactions) in streams.iter_mut().zip([true, false]) {
        let (mut changes, mut resets) = (Vec::new(), 0);
        while changes.len() < 4 {
            let message = next(stream).await;
            resets += usize::from(message.is_reset);
            assert!(!message.is_reset || changes.is_empty(), "a reset in the middle");
            changes.extend(message.changes);
        }
        assert_eq!(resets, 1);
        let expected = payments.iter().map(|payment| added(payment, with_transactions));
        assert_eq!(changes[..2], expected.collect::<Vec<_>>());
        let confirmed = proto::RemovalReason::Confirmed.into();
        let mut gone = payments.iter().map(|it| removed(&it.txid(), confirmed)).collect::<Vec<_>>();
        gone.sort_by(|one, other| one.txid.cmp(&other.txid));
        changes[2..].sort_by(|one, other| one.txid.cmp(&other.txid));
        assert_eq!(changes[2..], gone);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_slow_starts_over() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    let first = payment(0);
    node.submit_transaction(&first).await.expect("valid");
    let mut stream = follow(&node, true).await;
    next(&mut stream).await;
    // Nothing is taken while far more happens than anybody keeps.
    let noise = MempoolEvent::Removed(Txid::ZERO, proto::RemovalReason::Expired);
    for _ in 0..=MEMPOOL_EVENTS_MAX + 64 {
        node.chain.published().change(|_| ((), None, vec![noise.clone()]));
    }
    let second = payment(1);
    node.submit_transaction(&second).await.expect("valid");
    let mut skipped = 0;
    let mut present = loop {
        let message = next(&mut stream).await;
        if message.is_reset {
            break message.changes;
        }
        skipped += message.changes.len();
    };
    assert!(skipped < MEMPOOL_EVENTS_MAX, "nothing was skipped");
    present.sort_by(|one, other| one.txid.cmp(&other.txid));
    let mut expected = [added(&first, true), added(&second, true)];
    expected.sort_by(|one, other| one.txid.cmp(&other.txid));
    assert_eq!(present, expected);
    node.stop().await;
}
