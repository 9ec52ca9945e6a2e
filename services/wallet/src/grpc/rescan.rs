//! A rescan and its progress.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::unfold;
use pentad_api::wallet::v1 as proto;
use pentad_keystore::WalletName;
use tokio::sync::watch;
use tonic::Status;

use crate::error::WalletError;
use crate::ledger::Progress;
use crate::wallets::Inner;

pub(super) type Stream =
    Pin<Box<dyn futures_util::Stream<Item = Result<proto::RescanResponse, Status>> + Send>>;

/// Begins to look for all coins of a wallet again.
pub(super) async fn begin(
    inner: &Arc<Inner>,
    request: proto::RescanRequest,
) -> Result<Stream, WalletError> {
    let wallet = inner.wallet(request.wallet.parse()?).await?;
    let tip = inner.chain.tip().await?;
    inner.learn_addresses(&wallet).await?;
    inner.ledger.rescan(&wallet)?;
    let watcher = Watcher {
        inner: Arc::clone(inner),
        wallet: wallet.name().clone(),
        progress: inner.ledger.progress(),
        last: proto::RescanResponse { to_height: tip.height, ..Default::default() },
    };
    Ok(Box::pin(unfold(Some(watcher), |watcher| async {
        let mut watcher = watcher?;
        Some(match watcher.next().await {
            Ok(message) if message.done => (Ok(message), None),
            Ok(message) => (Ok(message), Some(watcher)),
            Err(error) => (Err(error.into()), None),
        })
    })))
}

struct Watcher {
    inner: Arc<Inner>,
    wallet: WalletName,
    progress: watch::Receiver<Progress>,
    last: proto::RescanResponse,
}

impl Watcher {
    async fn next(&mut self) -> Result<proto::RescanResponse, WalletError> {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            let theirs = progress.scan.filter(|scan| scan.wallets.contains(&self.wallet));
            if self.inner.ledger.is_complete(&self.wallet)? {
                let height = progress.place.map_or(self.last.to_height, |place| place.height);
                let transactions = self.inner.ledger.count(&self.wallet)?;
                return Ok(proto::RescanResponse {
                    height,
                    to_height: height,
                    transactions,
                    done: true,
                });
            }
            if let Some(scan) = theirs {
                let message = proto::RescanResponse {
                    height: scan.height,
                    to_height: scan.to,
                    transactions: scan.found,
                    done: false,
                };
                if message != self.last {
                    self.last = message;
                    return Ok(self.last);
                }
            }
            // Whoever tells of progress lives as long as the ledger.
            if self.progress.changed().await.is_err() {
                return Err(WalletError::ChainAnswer("no more events".to_owned()));
            }
        }
    }
}
