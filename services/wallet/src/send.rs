//! One payment, from the request to the mempool.

use std::sync::Arc;

use pentad_api::status::explain;
use pentad_crypto::Address;
use pentad_primitives::{OutPoint, Transaction};
use tonic::{Code, Status};
use tracing::{Instrument as _, info_span};

use crate::audit::{Reservation, Signed, leaving, paid_to_others};
use crate::chain::Network;
use crate::error::WalletError;
use crate::ledger::{Class, Holding, SPENDABLE, Shelf};
use crate::payment::{
    Claim, Made, Order, PaymentKey, Progress, Record, SelectError, Selection, Shortage, Source,
    select, sign, unsigned,
};
use crate::policy::Asked;
use crate::wallets::Inner;
use pentad_keystore::{KeyPath, Signer, Wallet};

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

/// A payment that can be submitted, and its claim on what it uses.
pub(crate) struct Prepared<'a> {
    pub(crate) made: Made,
    pub(crate) claim: Claim<'a>,
}

impl Inner {
    /// Pays. Once it is called it must run to its end: see [`Wallets::send`](crate::Wallets).
    pub(crate) async fn pay(&self, order: Order) -> Result<Sent, WalletError> {
        let network = self.chain.network().await?;
        let wallet = self.payer(&order.source, &network).await?;
        if order.dry_run {
            self.judge(&wallet, &order.paid_to_others(&wallet, &network))?;
            // The claim on its coins ends here.
            let Prepared { made, .. } = self.prepare(&order, &wallet, &network).await?;
            return Ok(Sent::of(made));
        }
        self.has_room(wallet.name(), "", &order.label)?;
        let label = order.label.clone();
        let sent = self.pay_once(order, &wallet, &network).await?;
        if !label.is_empty() {
            let txid = sent.transaction.txid().to_string();
            if let Err(error) = self.label(wallet.name(), vec![(txid.clone(), label)]).await {
                tracing::error!(txid, %error, "a payment is made, but has no label");
            }
        }
        Ok(sent)
    }

    /// A payment under an idempotency key, once; without one, anew.
    async fn pay_once(
        &self,
        order: Order,
        wallet: &Arc<Wallet>,
        network: &Network,
    ) -> Result<Sent, WalletError> {
        let Some(text) = order.idempotency_key.clone() else {
            return self.pay_anew(None, order, wallet, network).await;
        };
        let key = PaymentKey::of_caller(wallet.name(), &text);
        let _turn = self.key_turns.take(&key).await;
        match self.made_before(&key, &order.fingerprint, text).await? {
            Some(sent) => Ok(sent),
            None => self.pay_anew(Some(&key), order, wallet, network).await,
        }
    }

    /// What was made under a key before, if it is what is asked for now. The caller has its turn.
    pub(crate) async fn made_before(
        &self,
        key: &PaymentKey,
        fingerprint: &[u8; 32],
        text: String,
    ) -> Result<Option<Sent>, WalletError> {
        match self.journal.get(key)? {
            None => Ok(None),
            Some(record) if record.fingerprint == *fingerprint => {
                Ok(Some(self.repeat(key, record).await?))
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
        let foreign = order.paid_to_others(wallet, network);
        self.permit(&Asked::Send(&order.request), wallet, &foreign, &order.approval).await?;
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
        let Prepared { made, claim } = self.prepare(order, wallet, network).await?;
        // When this fails the coins go back, even if the transaction may have arrived: a retry is
        // a new payment, and would use the same coins. Of the two only one can be made.
        self.submit(&made.transaction).await?;
        claim.keep();
        let txid = made.transaction.txid();
        let record = Record::new(Progress::Submitted, order.fingerprint, made);
        if let Err(error) = self.journal.put(&PaymentKey::of_transaction(&txid), &record).await {
            tracing::error!(%txid, %error, "a payment is made, but would not survive a crash");
        }
        Ok(Sent::of(record.made))
    }

    async fn pay_keyed(
        &self,
        key: &PaymentKey,
        order: &Order,
        wallet: &Arc<Wallet>,
        network: &Network,
    ) -> Result<Sent, WalletError> {
        let Prepared { made, claim } = self.prepare(order, wallet, network).await?;
        self.record_and_submit(key, order.fingerprint, made, claim).await
    }

    pub(crate) async fn record_and_submit(
        &self,
        key: &PaymentKey,
        fingerprint: [u8; 32],
        made: Made,
        claim: Claim<'_>,
    ) -> Result<Sent, WalletError> {
        let record = Record::new(Progress::Recorded, fingerprint, made);
        // From here on a retry makes this payment, whatever happens to this process.
        self.journal.put(key, &record).await?;
        match self.submit(&record.made.transaction).await {
            Ok(()) => {
                claim.keep();
                self.note_submitted(key);
                Ok(Sent::of(record.made))
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

    /// Answers with the payment made under this key before, or with what took its place since;
    /// submits it if that had not happened.
    async fn repeat(&self, key: &PaymentKey, record: Record) -> Result<Sent, WalletError> {
        let (key, record) = self.standing(key, record).await?;
        let Record { progress, made, .. } = record;
        let txid = made.transaction.txid().to_string();
        let sent = Sent { repeated: true, ..Sent::of(made) };
        match progress {
            Progress::Recorded => {}
            Progress::Submitted | Progress::Settled => return Ok(sent),
            Progress::Failed => return Err(WalletError::Failed { txid }),
        }
        match self.submit(&sent.transaction).await {
            Ok(()) => {
                self.note_submitted(&key);
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

    /// What stands for a payment now: one that took its place, unless it is in a block itself.
    async fn standing(
        &self,
        key: &PaymentKey,
        record: Record,
    ) -> Result<(PaymentKey, Record), WalletError> {
        let txid = record.made.transaction.txid();
        if let Some((successor, _)) = self.journal.successor(&txid)
            // The ledger may not have heard of its block yet.
            && self.chain.confirmations(txid).await?.is_none_or(|blocks| blocks == 0)
            && let Some(standing) = self.journal.get(&successor)?
        {
            return Ok((successor, standing));
        }
        Ok((key.clone(), record))
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
    ) -> Result<Prepared<'a>, WalletError> {
        // A transaction that anybody may submit is not for show where a policy holds, and cannot be
        // signed where the keys are elsewhere.
        let for_show = order.is_unsigned
            || order.dry_run && (wallet.policy().is_some() || wallet.is_watch_only());
        let signer = if for_show { None } else { Some(wallet.signer()?) };
        let choosing = self.choose(order, wallet, network);
        let chosen = choosing.instrument(info_span!("wallet.choose")).await;
        self.metrics.on_chosen(&chosen);
        let (selection, keys) = chosen?;
        let selection = order.refund(selection);
        let outpoints = selection.coins.iter().map(|(_, outpoint)| *outpoint).collect();
        let mut claim = Claim::new(&self.ledger, wallet, outpoints);
        let change_to = match (selection.change, &order.source) {
            (None, _) => None,
            (Some(_), Source::Address(key_hash)) => Some(Address::P2pkh(*key_hash)),
            (Some(_), Source::Wallet(_)) => {
                let change = self.change_address(wallet).await?;
                claim = claim.with_change(change);
                Some(change)
            }
        };
        let transaction = unsigned(order, &selection, change_to)?;
        let mut made = Made {
            fee: selection.fee,
            // The last output.
            change: change_to.and_then(|_| u32::try_from(transaction.outputs.len() - 1).ok()),
            of_address: matches!(order.source, Source::Address(_)),
            replaces: None,
            transaction,
        };
        if let Some(signer) = signer {
            let paid = paid_to_others(&made.transaction.outputs, wallet, &network.versions);
            let reservation = Reservation::new(self, wallet, leaving(&paid, made.fee))?;
            let (dry_run, approval) = (order.dry_run, order.approval.clone());
            let signing = signed(made, keys, signer);
            made = signing.instrument(info_span!("wallet.sign")).await?;
            let noting = reservation.sign(Signed { made: &made, paid, dry_run, approval });
            noting.instrument(info_span!("wallet.audit")).await?;
        }
        Ok(Prepared { made, claim })
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

impl Sent {
    pub(crate) fn of(made: Made) -> Self {
        Self { transaction: made.transaction, fee: made.fee, repeated: false }
    }
}

/// The payment, signed with the keys of its inputs.
pub(crate) async fn signed(
    made: Made,
    keys: Vec<KeyPath>,
    signer: Signer,
) -> Result<Made, WalletError> {
    let unsigned = made.transaction.clone();
    let signing = move || sign(unsigned, &keys, &signer);
    Ok(Made { transaction: tokio::task::spawn_blocking(signing).await??, ..made })
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
