//! One payment, from the request to the mempool.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use pentad_crypto::{Address, KeyHash};
use pentad_primitives::{OutPoint, Transaction, Txid};
use tonic::{Code, Status};

use crate::chain::Network;
use crate::error::WalletError;
use crate::keystore::{Chain, Wallet};
use crate::payment::{
    Coins, Order, PaymentKey, Record, SelectError, Selection, Source, select, sign,
};
use crate::wallets::Inner;

/// A payment that is in the mempool, or will be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) txid: Txid,
    /// Units.
    pub(crate) fee: u64,
    /// It had been made before, under the same idempotency key.
    pub(crate) repeated: bool,
}

impl Inner {
    /// Pays. Once it is called it must run to its end: see [`Wallets::send`](crate::Wallets).
    pub(crate) async fn pay(&self, order: Order) -> Result<Sent, WalletError> {
        let network = self.chain.network().await?;
        let wallet = self.payer(&order.source, &network).await?;
        let key = order
            .idempotency_key
            .as_deref()
            .map(|key| (PaymentKey::new(wallet.name(), key), key));
        // One payment of a wallet at a time chooses its coins: the next one sees what it claimed.
        let turn = wallet.spending.lock().await;
        if let Some((key, text)) = &key
            && let Some(record) = self.journal.get(key)?
        {
            drop(turn);
            if record.fingerprint != order.fingerprint {
                return Err(WalletError::KeyReused((*text).to_owned()));
            }
            return self.repeat(key, record).await;
        }
        let (transaction, claim, fee) = self.prepare(&order, &wallet, &network).await?;
        let key = key.map(|(key, _)| key);
        let record = Record::new(order.fingerprint, fee, transaction);
        if let Some(key) = &key {
            // From here on the payment will be made, whatever happens to this process.
            self.journal.put(key, &record).await?;
        }
        drop(turn);
        let txid = record.transaction.txid();
        self.provenance.is_ours(txid);
        match (self.chain.submit(&record.transaction).await, key) {
            (Ok(()), key) => {
                claim.keep();
                if let Some(key) = key {
                    self.note_submitted(&key, record);
                }
                tracing::info!(%txid, wallet = %wallet.name(), fee, "payment submitted");
                Ok(Sent {
                    txid,
                    fee,
                    repeated: false,
                })
            }
            (Err(status), Some(key)) if is_refusal(&status) => {
                self.journal.remove(&key).await?;
                Err(WalletError::Chain(Box::new(status)))
            }
            (Err(status), Some(_)) => {
                // It may have arrived. A retry submits the same bytes and needs the same coins.
                claim.keep();
                Err(WalletError::Chain(Box::new(status)))
            }
            // Without a key a retry is a new payment. The coins go back, so that it would use the
            // same ones: of two payments with one coin, only one can be made.
            (Err(status), None) => Err(WalletError::Chain(Box::new(status))),
        }
    }

    /// Answers with the payment made under this key before; submits it if that had not happened.
    async fn repeat(&self, key: &PaymentKey, record: Record) -> Result<Sent, WalletError> {
        let sent = Sent {
            txid: record.transaction.txid(),
            fee: record.fee,
            repeated: true,
        };
        if record.submitted {
            return Ok(sent);
        }
        match self.chain.submit(&record.transaction).await {
            Ok(()) => {
                self.note_submitted(key, record);
                tracing::info!(txid = %sent.txid, "payment submitted at a retry");
                Ok(sent)
            }
            // The record stays: the first attempt may have been paid and spent since.
            Err(status) if is_refusal(&status) => Err(WalletError::NotRepeatable {
                txid: sent.txid.to_string(),
                problem: status.message().to_owned(),
            }),
            Err(status) => Err(WalletError::Chain(Box::new(status))),
        }
    }

    /// The payment is made: a journal that fails now costs a later retry one more submission.
    fn note_submitted(&self, key: &PaymentKey, record: Record) {
        if let Err(error) = self.journal.mark_submitted(key, record) {
            tracing::warn!(%error, "cannot note that a payment was submitted");
        }
    }

    /// The wallet that pays.
    async fn payer(&self, source: &Source, network: &Network) -> Result<Arc<Wallet>, WalletError> {
        match source {
            Source::Wallet(name) => self.wallet(name.clone()).await,
            Source::Address(key_hash) => {
                let key_hash = *key_hash;
                let owner = self
                    .blocking(move |keystore| Ok(keystore.owner(&key_hash)))
                    .await?;
                owner.ok_or_else(|| {
                    WalletError::NotOurs(Address::P2pkh(key_hash).encode(&network.versions))
                })
            }
        }
    }

    /// Chooses and claims coins, and signs.
    async fn prepare(
        &self,
        order: &Order,
        wallet: &Arc<Wallet>,
        network: &Network,
    ) -> Result<(Transaction, Claim<'_>, u64), WalletError> {
        let signer = wallet.signer()?;
        let keys = match order.source {
            Source::Address(key_hash) => vec![key_hash],
            Source::Wallet(_) => wallet.key_hashes(),
        };
        let outputs = self.chain.outputs(&keys).await?;
        let coins =
            Coins::sort(outputs, wallet, &self.leases, &self.provenance, &self.chain).await?;
        let selection = select(&coins.spendable, &order.target()).map_err(|error| match error {
            SelectError::NotEnough { need } => {
                WalletError::NotEnough(coins.shortage(need, network.maturity))
            }
            SelectError::TooManyCoins { coins_max } => WalletError::TooManyCoins { coins_max },
        })?;
        let claim = self.claim(&selection)?;
        let change_to = match (selection.change, &order.source) {
            (None, _) => None,
            (Some(_), Source::Address(key_hash)) => Some(*key_hash),
            (Some(_), Source::Wallet(_)) => Some(issue(wallet, Chain::Change).await?),
        };
        let (order, fee) = (order.clone(), selection.fee);
        let signing = move || sign(&order, &selection, change_to, &signer);
        let transaction = tokio::task::spawn_blocking(signing).await??;
        Ok((transaction, claim, fee))
    }

    fn claim(&self, selection: &Selection) -> Result<Claim<'_>, WalletError> {
        let outpoints: Vec<OutPoint> = selection.coins.iter().map(|coin| coin.outpoint).collect();
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if leases.claim(&outpoints, Instant::now()) {
            return Ok(Claim {
                service: self,
                outpoints,
            });
        }
        // One wallet's payments take turns: this is a wallet of the same keys under another name.
        Err(WalletError::CoinsClaimed)
    }
}

/// Hands out the next address of a chain.
pub(crate) async fn issue(wallet: &Arc<Wallet>, chain: Chain) -> Result<KeyHash, WalletError> {
    let wallet = Arc::clone(wallet);
    Ok(tokio::task::spawn_blocking(move || wallet.issue(chain)).await??)
}

/// Coins claimed by a payment; given back when it fails.
struct Claim<'a> {
    service: &'a Inner,
    outpoints: Vec<OutPoint>,
}

impl Claim<'_> {
    /// The payment is made: the claim lasts until it runs out, long after the chain service shows
    /// the coins as spent.
    fn keep(mut self) {
        self.outpoints.clear();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut leases = self
            .service
            .leases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        leases.release(&self.outpoints);
    }
}

/// The chain service has looked at the transaction, or refused to: it is not in the mempool. With
/// all other codes it may be.
fn is_refusal(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}
