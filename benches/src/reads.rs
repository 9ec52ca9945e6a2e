//! Point reads while blocks connect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pentad_api::Connection;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use tokio::task::JoinHandle;

/// Pause between two reads: a reader that never waits would measure how cores are shared.
const PAUSE: Duration = Duration::from_millis(2);

/// Reads of a block, of an address's unspent outputs and of its balance in turn, until stopped.
pub(crate) struct Reads {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Duration>>,
}

impl Reads {
    pub(crate) fn start(connection: Connection, address: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut client = ChainServiceClient::new(connection);
            let mut took = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                for kind in 0..3 {
                    let begun = Instant::now();
                    read(&mut client, kind, &address).await;
                    took.push(begun.elapsed());
                    tokio::time::sleep(PAUSE).await;
                }
            }
            took
        });
        Self { stop, task }
    }

    /// How long each took, shortest first.
    pub(crate) async fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::SeqCst);
        let mut took = self.task.await.expect("no panic");
        took.sort_unstable();
        took
    }
}

async fn read(client: &mut ChainServiceClient<Connection>, kind: u8, address: &str) {
    let address = address.to_owned();
    let outcome = match kind {
        0 => {
            let block = Some(proto::get_block_request::Block::Height(0));
            client.get_block(proto::GetBlockRequest { block }).await.map(drop)
        }
        1 => {
            let addresses = vec![address];
            let request = proto::GetUtxosRequest { addresses, ..Default::default() };
            client.get_utxos(request).await.map(drop)
        }
        _ => client.get_balance(proto::GetBalanceRequest { address }).await.map(drop),
    };
    outcome.expect("an answer");
}
