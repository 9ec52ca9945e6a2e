//! One payment, from the request to the mempool.

use std::sync::Arc;

use pentad_api::status::explain;
use pentad_crypto::Address;
use pentad_primitives::{OutPoint, Transaction};
use tonic::{Code, Status};

use crate::audit::{Reservation, Signed, paid_to_others};
use crate::chain::Network;
use crate::error::WalletError;
use crate::ledger::{Class, Holding, SPENDABLE, Shelf};
use crate::payment::{
    Claim, Order, PaymentKey, Progress, Record, SelectError, Selection, Shortage, Source, select,
    sign, unsigned,
};
use crate::wallets::Inner;
use pentad_keystore::{KeyPath, KeystoreError, Wallet};

/// Reason of the chain service: a transaction hangs on too many unconfirmed ones.
const TOO_MANY_ANCESTORS: &str = "TOO_MANY_ANCESTORS";

/// A payment that is in the mempool, or will be; or, of a dry run, that could be.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) transaction: Transaction,
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
        if order.dry_run {
            self.judge(&wallet, &order.paid_to_others(&wallet, &network))?;
            // The claim on its coins ends here.
            let (transaction, fee, _) = self.prepare(&order, &wallet, &network).await?;
            return Ok(Sent { transaction, fee, repeated: false });
        }
        let Some(text) = order.idempotency_key.clone() else {
            return self.pay_anew(None, order, &wallet, &network).await;
        };
        let key = PaymentKey::of_caller(wallet.name(), &text);
        let _turn = self.key_turns.take(&key).await;
        match self.journal.get(&key)? {
            None => self.pay_anew(Some(&key), order, &wallet, &network).await,
            Some(record) if record.fingerprint == order.fingerprint => {
                self.repeat(&key, record).await
            }
            Some(_) => Err(WalletError::KeyReused(text)),
        }
    }

    /// A new payment: from confirmed coins alone, where the chain service finds that our change
    /// hangs on too many payments that wait for a block.
    async fn pay_anew(
        &self,
        key: Option<&PaymentKey>,
        mut order: Order,
        wallet: &Arc<Wallet>,
        network: &Network,
    ) -> Result<Sent, WalletError> {
        self.permit(&order, wallet, network).await?;
        let refusal = match self.attempt(key, &order, wallet, network).await {
            Err(WalletError::Chain(status)) if explain(&status).reason == TOO_MANY_ANCESTORS => {
                WalletError::Chain(status)
            }
            outcome => return outcome,
        };
        order.confirmed_only = true;
        match self.attempt(key, &order, wallet, network).await {
            // There are no other coins: what was wrong with these is the reason.
            Err(WalletError::NotEnough(_)) => Err(refusal),
            outcome => outcome,
        }
    }

    async fn attempt(
        &self,
        key: Option<&PaymentKey>,
        order: &Order,
        wallet: &Arc<Wallet>,
        network: &Network,
    ) -> Result<Sent, WalletError> {
        match key {
            Some(key) => self.pay_keyed(key, order, wallet, network).await,
            None => self.pay_unkeyed(order, wallet, network).await,
        }
    }

    async fn pay_unkeyed(
        &self,
        order: &Order,
        wallet: &Arc<Wallet>,
        network: &Network,
    ) -> Result<Sent, WalletError> {
        let (transaction, fee, claim) = self.prepare(order, wallet, network).await?;
        // When this fails the coins go back, even if the transaction may have arrived: a retry is
        // a new payment, and would use the same coins. Of the two only one can be made.
        self.submit(&transaction).await?;
        claim.keep();
        let txid = transaction.txid();
        let record = Record::new(Progress::Submitted, order.fingerprint, fee, transaction.clone());
        if let Err(error) = self.journal.put(&PaymentKey::of_transaction(&txid), &record).await {
            tracing::error!(%txid, %error, "a payment is made, but would not survive a crash");
        }
        Ok(Sent { transaction, fee, repeated: false })
    }

    async fn pay_keyed(
        &self,
        key: &PaymentKey,
        order: &Order,
        wallet: &Arc<Wallet>,
        network: &Network,
    ) -> Result<Sent, WalletError> {
        let (transaction, fee, claim) = self.prepare(order, wallet, network).await?;
        let record = Record::new(Progress::Recorded, order.fingerprint, fee, transaction);
        // From here on a retry makes this payment, whatever happens to this process.
        self.journal.put(key, &record).await?;
        match self.submit(&record.transaction).await {
            Ok(()) => {
                claim.keep();
                self.note_submitted(key);
                Ok(Sent { transaction: record.transaction, fee, repeated: false })
            }
            Err(status) if is_refusal(&status) => {
                self.journal.remove(key).await?;
                Err(status.into())
            }
            Err(status) => {
                // It may have arrived. A retry submits the same bytes and needs the same coins.
                claim.keep();
                Err(status.into())
            }
        }
    }

    /// Answers with the payment made under this key before; submits it if that had not happened.
    async fn repeat(&self, key: &PaymentKey, record: Record) -> Result<Sent, WalletError> {
        let Record { progress, fee, transaction, .. } = record;
        let txid = transaction.txid().to_string();
        let sent = Sent { transaction, fee, repeated: true };
        match progress {
            Progress::Recorded => {}
            Progress::Submitted | Progress::Settled => return Ok(sent),
            Progress::Failed => return Err(WalletError::Failed { txid }),
        }
        match self.submit(&sent.transaction).await {
            Ok(()) => {
                self.note_submitted(key);
                Ok(sent)
            }
            // The record stays, and the payment is tried again: it may spend the change of another
            // one that is not back in the mempool yet.
            Err(status) if is_refusal(&status) => {
                Err(WalletError::NotYet { txid, problem: status.message().to_owned() })
            }
            Err(status) => Err(status.into()),
        }
    }

    /// Returns once the ledger has heard of it, too: whoever is answered sees it in the balance.
    pub(crate) async fn submit(&self, transaction: &Transaction) -> Result<(), Status> {
        let txid = transaction.txid();
        self.chain.submit(transaction).await?;
        tracing::info!(%txid, "payment submitted");
        self.ledger.hear_of(transaction).await;
        Ok(())
    }

    /// The payment is made: a journal that fails now costs one more submission later.
    fn note_submitted(&self, key: &PaymentKey) {
        if let Err(error) = self.journal.note(key, Progress::Submitted) {
            tracing::warn!(%error, "cannot note that a payment was submitted");
        }
    }

    /// The wallet that pays.
    async fn payer(&self, source: &Source, network: &Network) -> Result<Arc<Wallet>, WalletError> {
        match source {
            Source::Wallet(name) => self.wallet(name.clone()).await,
            Source::Address(key_hash) => {
                let address = Address::P2pkh(*key_hash);
                let owner = self.blocking(move |keystore| Ok(keystore.owner(&address))).await?;
                let not_ours = || WalletError::NotOurs(address.encode(&network.versions));
                self.looked_after(owner.ok_or_else(not_ours)?)
            }
        }
    }

    /// Chooses and claims coins, signs, and has it in the audit log; says what the fee is.
    pub(crate) async fn prepare<'a>(
        &'a self,
        order: &Order,
        wallet: &'a Arc<Wallet>,
        network: &Network,
    ) -> Result<(Transaction, u64, Claim<'a>), WalletError> {
        // A transaction that anybody may submit is not for show where a policy holds, and cannot be
        // signed where the keys are elsewhere.
        let for_show = order.is_unsigned
            || order.dry_run && (wallet.policy().is_some() || wallet.is_watch_only());
        let signer = if for_show { None } else { Some(wallet.signer()?) };
        let (selection, keys) = self.choose(order, wallet, network).await?;
        let selection = order.refund(selection);
        let outpoints = selection.coins.iter().map(|(_, outpoint)| *outpoint).collect();
        let mut claim = Claim::new(&self.ledger, wallet, outpoints);
        let change_to = match (selection.change, &order.source) {
            (None, _) => None,
            (Some(_), Source::Address(key_hash)) => Some(Address::P2pkh(*key_hash)),
            (Some(_), Source::Wallet(_)) => {
                let change = on_disk(wallet, Wallet::change_address).await?;
                self.ledger.watch_address(wallet.name(), change);
                claim = claim.with_change(change);
                Some(change)
            }
        };
        let transaction = unsigned(order, &selection, change_to)?;
        let fee = selection.fee;
        let Some(signer) = signer else {
            return Ok((transaction, fee, claim));
        };
        let paid = paid_to_others(&transaction.outputs, wallet, &network.versions);
        let reservation = Reservation::new(self, wallet, &paid, fee)?;
        let signing = move || sign(transaction, &keys, &signer);
        let transaction = tokio::task::spawn_blocking(signing).await??;
        let (txid, dry_run) = (transaction.txid().to_string(), order.dry_run);
        let approval = order.approval.clone();
        reservation.sign(Signed { txid, paid, fee, dry_run, approval }).await?;
        Ok((transaction, fee, claim))
    }

    /// Chooses and claims coins; says which keys spend them.
    async fn choose(
        &self,
        order: &Order,
        wallet: &Wallet,
        network: &Network,
    ) -> Result<(Selection, Vec<KeyPath>), WalletError> {
        match self.choose_of_known(order, wallet, network) {
            Err(WalletError::NotEnough(_) | WalletError::TooManyCoins { .. }) => {}
            outcome => return outcome,
        }
        // The chain may be further than what we know of it.
        let tip = self.chain.tip().await?;
        self.ledger.catch_up(wallet.name(), &tip).await?;
        self.choose_of_known(order, wallet, network)
    }

    fn choose_of_known(
        &self,
        order: &Order,
        wallet: &Wallet,
        network: &Network,
    ) -> Result<(Selection, Vec<KeyPath>), WalletError> {
        let nothing = Holding::default();
        let mut state = self.ledger.state();
        let holding = match &order.source {
            Source::Address(key_hash) => state.address(&Address::P2pkh(*key_hash)),
            Source::Wallet(name) => state.wallet(name),
        };
        let holding = holding.unwrap_or(&nothing);
        let shelves = SPENDABLE.iter().zip(holding.shelves());
        let shelves: Vec<&Shelf> = shelves
            .filter(|(class, _)| !(order.confirmed_only && **class == Class::Change))
            .map(|(_, shelf)| shelf)
            .collect();
        let selection = select(&shelves, &order.target()).map_err(|error| match error {
            SelectError::NotEnough { need } => {
                let have = shelves.iter().flat_map(|shelf| shelf.iter()).map(|(units, _)| units);
                WalletError::NotEnough(Shortage {
                    have: have.sum(),
                    need,
                    immature: holding.balance.immature,
                    maturity: network.maturity,
                    pending: holding.pending,
                    claimed: holding.claimed,
                })
            }
            SelectError::TooManyCoins { coins_max } => WalletError::TooManyCoins { coins_max },
        })?;
        let outpoints: Vec<OutPoint> =
            selection.coins.iter().map(|(_, outpoint)| *outpoint).collect();
        let key = |outpoint: &OutPoint| wallet.key_path(&state.coin(outpoint)?.0.address);
        let keys: Option<Vec<KeyPath>> = outpoints.iter().map(key).collect();
        let keys = keys.ok_or(WalletError::NoKey)?;
        // Claimed coins stand on no shelf.
        if state.claim(&outpoints) { Ok((selection, keys)) } else { Err(WalletError::CoinsClaimed) }
    }
}

/// Runs what waits for the wallet's file to be written.
pub(crate) async fn on_disk<T: Send + 'static>(
    wallet: &Arc<Wallet>,
    work: impl FnOnce(&Wallet) -> Result<T, KeystoreError> + Send + 'static,
) -> Result<T, WalletError> {
    let wallet = Arc::clone(wallet);
    Ok(tokio::task::spawn_blocking(move || work(&wallet)).await??)
}

/// The chain service has looked at the transaction, or refused to: it is not in the mempool. With
/// all other codes it may be.
pub(crate) fn is_refusal(status: &Status) -> bool {
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
