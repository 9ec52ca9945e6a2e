//! From one node to the next.

use std::time::{Duration, Instant};

use pentad_api::chain::v1::assembly_service_client::AssemblyServiceClient;
use pentad_api::chain::v1::event_service_client::EventServiceClient;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{
    FollowMempoolRequest, FollowTipRequest, GetTemplateRequest, SubmitBlockRequest,
    SubmitTransactionRequest, follow_mempool_response, follow_tip_response,
};
use pentad_api::{Connection, block_from_bytes};
use pentad_bench::node::Node;
use pentad_bench::payments::{Coin, key, pay, script};
use pentad_primitives::{Encode as _, Target, Transaction};
use pentad_service_kit::sized;
use tokio::sync::mpsc;

use crate::print_latency;
use crate::work;

/// Payments handed in one at a time.
const SINGLE: usize = 400;
/// Blocks handed in one at a time, and the payments in each.
const BLOCKS: usize = 60;
const PAYMENTS: usize = 20;

/// Displayed ids of what a node took, and when it was told.
pub(crate) type Seen = mpsc::UnboundedReceiver<(String, Instant)>;

/// Prints how long payments and blocks take from the call that hands them to one node until the
/// other node tells of them.
pub(crate) async fn measure(from: &Node, to: &Node, coins: &[Coin]) {
    let connection = from.connection().expect("a live node");
    let (mut arrivals, mut tips) = (transactions(to).await, blocks(to).await);
    let payee = script(&key(0));
    let mut payments = coins.iter().map(|coin| pay(coin, &payee).0);
    let mut latencies = Vec::new();
    for payment in payments.by_ref().take(SINGLE) {
        latencies.push(submit(&connection, &mut arrivals, &payment).await);
    }
    print_latency("a new payment over one hop, from its submission", latencies);
    mine(&connection, &mut tips).await;

    let mut latencies = Vec::new();
    for _ in 0..BLOCKS {
        for payment in payments.by_ref().take(PAYMENTS) {
            submit(&connection, &mut arrivals, &payment).await;
        }
        latencies.push(mine(&connection, &mut tips).await);
    }
    let name = format!("a new block of {PAYMENTS} payments over one hop, from its submission");
    print_latency(&name, latencies);

    let mut works = work::tips(to).await;
    let mut latencies = Vec::new();
    for _ in 0..BLOCKS {
        for payment in payments.by_ref().take(PAYMENTS) {
            submit(&connection, &mut arrivals, &payment).await;
        }
        let (tip, _) = hand_in(&connection).await;
        let at = arrived(&mut tips, &tip).await;
        latencies.push(arrived(&mut works, &tip).await.saturating_duration_since(at));
    }
    print_latency("a new tip to new work at a worker, from the event of the tip", latencies);

    let rest: Vec<Transaction> = payments.collect();
    for payment in &rest {
        submit(&connection, &mut arrivals, payment).await;
    }
    let took = mine(&connection, &mut tips).await;
    let name = format!("a new block of {} payments over one hop", rest.len());
    print_latency(&name, vec![took]);
}

/// Hands in a payment, waits until the other node has it, and gives how long that took.
async fn submit(connection: &Connection, arrivals: &mut Seen, payment: &Transaction) -> Duration {
    let transaction = payment.to_bytes().into();
    let request = SubmitTransactionRequest { transaction, ..Default::default() };
    let begun = Instant::now();
    let mut client = SubmitServiceClient::new(connection.clone());
    client.submit_transaction(request).await.expect("a valid payment");
    arrived(arrivals, &payment.txid().to_string()).await - begun
}

/// Hands in a block of what waits, as [`submit`] does.
async fn mine(connection: &Connection, tips: &mut Seen) -> Duration {
    let (tip, begun) = hand_in(connection).await;
    arrived(tips, &tip).await - begun
}

/// Hands in a block of what waits; its hash and when that was.
async fn hand_in(connection: &Connection) -> (String, Instant) {
    let request = GetTemplateRequest {
        payout_script: script(&key(0)).as_bytes().to_vec().into(),
        extra_nonce: 0,
    };
    let template =
        sized!(AssemblyServiceClient::new(connection.clone())).get_template(request).await;
    let template = template.expect("a template").into_inner();
    let mut block = block_from_bytes("block", &template.block).expect("a block");
    let target = Target::from_compact(block.header.bits).expect("valid bits");
    while !target.is_met_by(&block.block_hash()) {
        block.header.nonce += 1;
    }
    let request = SubmitBlockRequest { block: block.to_bytes().into(), ..Default::default() };
    let begun = Instant::now();
    sized!(SubmitServiceClient::new(connection.clone()))
        .submit_block(request)
        .await
        .expect("a valid block");
    (block.block_hash().to_string(), begun)
}

/// When that one came.
async fn arrived(seen: &mut Seen, id: &str) -> Instant {
    loop {
        let (other, at) = seen.recv().await.expect("a live node");
        if other == id {
            return at;
        }
    }
}

async fn transactions(node: &Node) -> Seen {
    let mut client = EventServiceClient::new(node.connection().expect("a live node"));
    let events = client.follow_mempool(FollowMempoolRequest { with_transactions: false }).await;
    let mut events = events.expect("a stream").into_inner();
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(message)) = events.message().await {
            if let Some(follow_mempool_response::Event::Added(added)) = message.event
                && sender.send((added.txid, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    seen
}

async fn blocks(node: &Node) -> Seen {
    let mut client = EventServiceClient::new(node.connection().expect("a live node"));
    let events = client.follow_tip(FollowTipRequest::default()).await;
    let mut events = events.expect("a stream").into_inner();
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(message)) = events.message().await {
            if let Some(follow_tip_response::Event::Apply(block)) = message.event
                && let Some(header) = block.header
                && sender.send((header.hash, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    seen
}
