//! A worker of a node's miner, which solves nothing: it notes when work on which tip comes.

use std::time::Instant;

use pentad_api::miner::v1::miner_service_client::MinerServiceClient;
use pentad_api::miner::v1::work_service_client::WorkServiceClient;
use pentad_api::miner::v1::{
    StartMiningRequest, TakeWorkRequest, WorkerHello, take_work_request, take_work_response,
};
use pentad_bench::node::Node;
use pentad_primitives::{BlockHeader, Decode as _};
use tokio::sync::mpsc;

use crate::hop::Seen;

/// The tips that work comes for, each when the first of it is there.
pub(crate) async fn tips(node: &Node) -> Seen {
    let connection = node.connection().expect("a live node");
    let request = StartMiningRequest { workers_only: true, ..Default::default() };
    let mut miner = MinerServiceClient::new(connection.clone());
    miner.start_mining(request).await.expect("a miner");
    let hello = WorkerHello { name: "bench".to_owned(), slots: 2 };
    let message = Some(take_work_request::Message::Hello(hello));
    let (say, said) = mpsc::channel(1);
    say.send(TakeWorkRequest { message }).await.expect("room for one");
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let work = WorkServiceClient::new(connection).take_work(said).await;
    let mut work = work.expect("a stream").into_inner();
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        // What a worker says is over when it leaves.
        let _say = say;
        let mut last = None;
        while let Ok(Some(message)) = work.message().await {
            let Some(take_work_response::Message::Work(work)) = message.message else { continue };
            let header = work.headers.first().map(|header| BlockHeader::from_bytes(header));
            let Some(header) = header else { continue };
            let tip = header.expect("80 bytes").prev_block_hash.to_string();
            if last.replace(tip.clone()).as_ref() != Some(&tip)
                && sender.send((tip, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    seen
}
