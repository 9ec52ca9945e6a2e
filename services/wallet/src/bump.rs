//! A higher fee for a payment that waits for a block: another transaction takes its place (BIP125).
//!
//! Both are versions of one payment: they share coins, so one of them is made. The journal keeps
//! both until it is settled which one that is.

use std::sync::Arc;

use pentad_api::Failure;
use pentad_api::wallet::v1::BumpFeeRequest;
use pentad_crypto::{Address, sha256d};
use pentad_keystore::audit::Paid;
use pentad_keystore::{KeyPath, Wallet, WalletName};
use pentad_primitives::{Amount, OutPoint, Script, Transaction, TxIn, TxOut, Txid};
use thiserror::Error;
use tonic::Code;

use crate::audit::{Reservation, Signed, paid_to_others};
use crate::chain::Network;
use crate::error::WalletError;
use crate::ledger::{Class, Holding, SPENDABLE};
use crate::payment::{
    Claim, Made, PaymentKey, Raise, RaiseError, Raised, SEQUENCE_REPLACEABLE, Shortage,
    check_fee_rate, check_key,
};
use crate::policy::Asked;
use crate::send::{Prepared, Sent, is_refusal, signed};
use crate::wallets::{Inner, Wallets};

/// Begins what is hashed of a request: those to send begin with 0 to 2.
const FINGERPRINT_KIND: u8 = 3;

/// A request that is well formed.
#[derive(Clone, Debug)]
pub(crate) struct Bump {
    wallet: WalletName,
    txid: Txid,
    /// Units per 1000 bytes.
    fee_rate: Option<u64>,
    pub(crate) idempotency_key: Option<String>,
    /// Only say what would be made.
    dry_run: bool,
    /// The approval that it has; empty: none.
    pub(crate) approval: String,
    /// As it came.
    request: BumpFeeRequest,
    /// Of what was asked for.
    fingerprint: [u8; 32],
}

/// Why another transaction does not take the place of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BumpError {
    /// Not the id of a transaction.
    #[error("txid: {0}")]
    Txid(String),
    /// The wallet has made no such payment, or long ago.
    #[error("wallet \"{wallet}\" has made no payment {txid} that waits for a block")]
    Unknown {
        /// Which wallet was named.
        wallet: WalletName,
        /// What was named.
        txid: Txid,
    },
    /// A block holds it.
    #[error("the payment {0} is in a block")]
    Confirmed(Txid),
    /// Another transaction has taken its place.
    #[error("the payment {txid} was replaced by {by}")]
    Replaced {
        /// What was named.
        txid: Txid,
        /// What stands in its place now.
        by: Txid,
    },
    /// It does not say that it may be replaced.
    #[error("the payment {0} may not be replaced: it was not made replaceable")]
    NotReplaceable(Txid),
    /// Another payment spends its change.
    #[error("another payment spends what {0} pays: it would be undone")]
    Spent(Txid),
    /// Less than replaces the payment.
    #[error("fee_rate: {asked} units per 1000 bytes do not replace the payment: it takes {least}")]
    FeeTooLow {
        /// What was asked for.
        asked: u64,
        /// What would do.
        least: u64,
    },
}

/// What the caller is told.
pub(crate) fn bump_failure(error: &BumpError) -> Failure {
    let failure = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        BumpError::Txid(_) => failure(Code::InvalidArgument, "INVALID_TXID").with_field("txid"),
        BumpError::Unknown { wallet, .. } => failure(Code::NotFound, "UNKNOWN_PAYMENT")
            .with_field("txid")
            .with_hint(format!("pentad history {wallet} lists what waits")),
        BumpError::Confirmed(_) => failure(Code::FailedPrecondition, "PAYMENT_CONFIRMED")
            .with_hint("it is made: no higher fee is needed"),
        BumpError::Replaced { by, .. } => failure(Code::FailedPrecondition, "PAYMENT_REPLACED")
            .with_hint(format!("raise the fee of {by}")),
        BumpError::NotReplaceable(_) => failure(Code::FailedPrecondition, "NOT_REPLACEABLE")
            .with_hint("spend its change for a higher fee, or wait; next time send --replaceable"),
        BumpError::Spent(_) => failure(Code::FailedPrecondition, "PAYMENT_SPENT")
            .with_hint("raise the fee of the last payment of the chain: miners take them together"),
        BumpError::FeeTooLow { least, .. } => failure(Code::InvalidArgument, "FEE_TOO_LOW")
            .with_field("fee_rate")
            .with_hint(format!("give {least} or more, or leave it out")),
    }
}

impl Bump {
    pub(crate) fn check(request: BumpFeeRequest, network: &Network) -> Result<Self, WalletError> {
        let wallet: WalletName = request.wallet.parse()?;
        let problem = |error: pentad_primitives::HashParseError| BumpError::Txid(error.to_string());
        let txid = request.txid.parse().map_err(problem)?;
        let asked = request.fee_rate;
        let fee_rate = asked.map(|rate| check_fee_rate(Some(rate), network, rate)).transpose()?;
        let mut bytes = vec![FINGERPRINT_KIND];
        bytes.extend_from_slice(&(wallet.as_str().len() as u64).to_le_bytes());
        bytes.extend_from_slice(wallet.as_str().as_bytes());
        bytes.extend_from_slice(Txid::as_bytes(&txid));
        bytes.extend(fee_rate.map(u64::to_le_bytes).into_iter().flatten());
        Ok(Self {
            wallet,
            txid,
            fee_rate,
            idempotency_key: check_key(request.idempotency_key.clone())?,
            dry_run: request.dry_run,
            approval: String::new(),
            request,
            fingerprint: sha256d(&bytes).to_bytes(),
        })
    }
}

impl Wallets {
    /// As [`Wallets::send`]: it goes on when the caller leaves.
    pub(crate) async fn bump_fee(&self, request: BumpFeeRequest) -> Result<Sent, WalletError> {
        let bump = Bump::check(request, &self.inner.chain.network().await?)?;
        let inner = Arc::clone(&self.inner);
        self.inner.payments.spawn(async move { inner.bump(bump).await }).await?
    }
}

impl Inner {
    /// Once it is called it must run to its end, as a payment.
    pub(crate) async fn bump(&self, bump: Bump) -> Result<Sent, WalletError> {
        let network = self.chain.network().await?;
        let wallet = self.wallet(bump.wallet.clone()).await?;
        let Some(text) = bump.idempotency_key.clone().filter(|_| !bump.dry_run) else {
            return self.bump_anew(None, &bump, &wallet, &network).await;
        };
        let key = PaymentKey::of_caller(wallet.name(), &text);
        let _turn = self.key_turns.take(&key).await;
        match self.made_before(&key, &bump.fingerprint, text).await? {
            Some(sent) => Ok(sent),
            None => self.bump_anew(Some(&key), &bump, &wallet, &network).await,
        }
    }

    async fn bump_anew(
        &self,
        key: Option<&PaymentKey>,
        bump: &Bump,
        wallet: &Arc<Wallet>,
        network: &Network,
    ) -> Result<Sent, WalletError> {
        let Some(before) = self.journal.find(&bump.txid) else {
            return Err(self.not_waiting(bump).await?.into());
        };
        // Nobody submits it again meanwhile, nor puts something else in its place. The caller's own
        // key is none that stands in the journal, so nobody waits for one who waits for him.
        let _turn = self.key_turns.take(&before).await;
        let made = self.replaceable(bump, &before).await?;
        let paid = paid_to_others(&made.transaction.outputs, wallet, &network.versions);
        if bump.dry_run {
            self.judge(wallet, &paid)?;
        } else {
            self.permit(&Asked::Bump(&bump.request), wallet, &paid, &bump.approval).await?;
        }
        let Prepared { made, claim } = self.replacement(bump, &made, paid, wallet, network).await?;
        if bump.dry_run {
            return Ok(Sent::of(made));
        }
        // Written down first, with or without a key: a crash must not leave the one alone that
        // was replaced.
        let own = PaymentKey::of_transaction(&made.transaction.txid());
        let key = key.unwrap_or(&own);
        match self.record_and_submit(key, bump.fingerprint, made, claim).await {
            // A block took it meanwhile.
            Err(WalletError::Chain(status)) if is_refusal(&status) => {
                match self.chain.confirmations(bump.txid).await? {
                    Some(1..) => Err(BumpError::Confirmed(bump.txid).into()),
                    _ => Err(WalletError::Chain(status)),
                }
            }
            outcome => outcome,
        }
    }

    /// What is wrong with a payment that does not wait.
    async fn not_waiting(&self, bump: &Bump) -> Result<BumpError, WalletError> {
        Ok(match self.chain.confirmations(bump.txid).await? {
            Some(1..) => BumpError::Confirmed(bump.txid),
            _ => BumpError::Unknown { wallet: bump.wallet.clone(), txid: bump.txid },
        })
    }

    /// The payment, if something else may take its place.
    async fn replaceable(&self, bump: &Bump, key: &PaymentKey) -> Result<Made, WalletError> {
        let txid = bump.txid;
        // Not asked of the ledger, which may not have heard of its block yet.
        if let Some(1..) = self.chain.confirmations(txid).await? {
            return Err(BumpError::Confirmed(txid).into());
        }
        if let Some((_, by)) = self.journal.successor(&txid) {
            return Err(BumpError::Replaced { txid, by }.into());
        }
        let record = self.journal.get(key)?;
        let made = record.map(|record| record.made).filter(|it| it.transaction.txid() == txid);
        let Some(made) = made else {
            return Err(self.not_waiting(bump).await?.into());
        };
        if made.transaction.inputs.iter().all(|input| input.sequence > SEQUENCE_REPLACEABLE) {
            return Err(BumpError::NotReplaceable(txid).into());
        }
        Ok(made)
    }

    /// Chooses and claims what the fee takes, signs, and has it in the audit log.
    async fn replacement<'a>(
        &'a self,
        bump: &Bump,
        before: &Made,
        paid: Vec<Paid>,
        wallet: &'a Arc<Wallet>,
        network: &Network,
    ) -> Result<Prepared<'a>, WalletError> {
        let for_show = bump.dry_run && wallet.policy().is_some();
        let signer = if for_show { None } else { Some(wallet.signer()?) };
        let chosen = match self.raise_of_known(bump, before, wallet, network) {
            // The chain may be further than what we know of it.
            Err(WalletError::NotEnough(_) | WalletError::Bump(BumpError::Unknown { .. })) => {
                let tip = self.chain.tip().await?;
                self.ledger.catch_up(wallet.name(), &tip).await?;
                self.raise_of_known(bump, before, wallet, network)
            }
            outcome => outcome,
        };
        self.metrics.on_chosen(&chosen);
        let Chosen { raised, keys, claimed, first } = chosen?;
        let mut claim = Claim::new(&self.ledger, wallet, claimed);
        let change_to = match (raised.change, before.change, before.of_address) {
            (Some(_), None, false) => {
                let change = self.change_address(wallet).await?;
                claim = claim.with_change(change);
                change
            }
            _ => first,
        };
        let mut made = replacement(before, &raised, change_to.script_pubkey());
        if let Some(signer) = signer {
            let reservation = Reservation::new(self, wallet, made.fee.saturating_sub(before.fee))?;
            made = signed(made, keys, signer).await?;
            let (dry_run, approval) = (bump.dry_run, bump.approval.clone());
            reservation.sign(Signed { made: &made, paid, dry_run, approval }).await?;
        }
        Ok(Prepared { made, claim })
    }

    fn raise_of_known(
        &self,
        bump: &Bump,
        before: &Made,
        wallet: &Wallet,
        network: &Network,
    ) -> Result<Chosen, WalletError> {
        let nothing = Holding::default();
        let mut state = self.ledger.state();
        let txid = bump.txid;
        let outputs = (0..).zip(&before.transaction.outputs);
        let mut claimed: Vec<OutPoint> = outputs.map(|(vout, _)| OutPoint { txid, vout }).collect();
        let is_used = |outpoint: &OutPoint| {
            let class = state.coin(outpoint).map(|(_, class)| class);
            matches!(class, Some(Class::Spent | Class::Claimed))
        };
        if claimed.iter().any(is_used) {
            return Err(BumpError::Spent(txid).into());
        }
        let key = |outpoint: &OutPoint| {
            let address = state.coin(outpoint)?.0.address;
            Some((address, wallet.key_path(&address)?))
        };
        let spent = before.transaction.inputs.iter().map(|input| input.previous_output);
        let owned: Option<Vec<(Address, KeyPath)>> = spent.map(|outpoint| key(&outpoint)).collect();
        let unknown = || BumpError::Unknown { wallet: wallet.name().clone(), txid };
        let owned = owned.ok_or_else(unknown)?;
        let first = owned.first().ok_or_else(unknown)?.0;
        let holding = match before.of_address {
            true => state.address(&first),
            false => state.wallet(wallet.name()),
        };
        let holding = holding.unwrap_or(&nothing);
        // Those that wait for a block are none that a replacement may spend.
        let shelves = SPENDABLE.iter().zip(holding.shelves());
        let shelves = shelves.filter(|(class, _)| **class != Class::Change);
        let coins = shelves.flat_map(|(_, shelf)| shelf.iter().rev().copied());
        let raised = Raise {
            made: before,
            fee_rate: bump.fee_rate,
            fee_rate_min: check_fee_rate(None, network, self.fee_rate)?,
            replacement_fee_rate: network.replacement_fee_rate,
        }
        .run(coins);
        let raised = raised.map_err(|error| failure(error, holding, network))?;
        let added = raised.added.iter().map(|(_, outpoint)| *outpoint);
        let more: Option<Vec<_>> = added.clone().map(|outpoint| key(&outpoint)).collect();
        let keys = owned.into_iter().chain(more.ok_or(WalletError::NoKey)?);
        let keys = keys.map(|(_, path)| path).collect();
        claimed.extend(added);
        if !state.claim(&claimed) {
            return Err(WalletError::CoinsClaimed);
        }
        Ok(Chosen { raised, keys, claimed, first })
    }
}

/// What a replacement is made of.
struct Chosen {
    raised: Raised,
    /// Of all inputs, in order.
    keys: Vec<KeyPath>,
    /// Further coins, and what the first payment makes: nobody may spend that any more.
    claimed: Vec<OutPoint>,
    /// Whose coin the first input spends.
    first: Address,
}

fn failure(error: RaiseError, holding: &Holding, network: &Network) -> WalletError {
    match error {
        RaiseError::FeeTooLow { asked, least } => BumpError::FeeTooLow { asked, least }.into(),
        RaiseError::NotEnough { have, need } => WalletError::NotEnough(Shortage {
            have,
            need,
            immature: holding.balance.immature,
            maturity: network.maturity,
            pending: holding.pending,
            claimed: holding.claimed,
        }),
        RaiseError::TooLong => WalletError::TooManyCoins {
            coins_max: holding.shelves().iter().map(|it| it.len()).sum(),
        },
    }
}

/// The transaction that takes the place of `before`; nothing is signed yet.
fn replacement(before: &Made, raised: &Raised, change_script: Script) -> Made {
    let old = &before.transaction;
    let sequence = old.inputs.first().map_or(SEQUENCE_REPLACEABLE, |input| input.sequence);
    let input = |previous_output| TxIn { previous_output, script_sig: Script::default(), sequence };
    let spent = old.inputs.iter().map(|input| input.previous_output);
    let inputs = spent.chain(raised.added.iter().map(|(_, outpoint)| *outpoint)).map(input);
    let mut outputs = old.outputs.clone();
    let units = |units| Amount::from_units(units).expect("a part of coins that exist");
    let place = before.change.and_then(|index| usize::try_from(index).ok());
    let change = match (place, raised.change) {
        (Some(index), Some(change)) => {
            outputs[index].amount = units(change);
            before.change
        }
        (Some(index), None) => {
            outputs.remove(index);
            None
        }
        (None, Some(change)) => {
            outputs.push(TxOut { amount: units(change), script_pubkey: change_script });
            u32::try_from(outputs.len() - 1).ok()
        }
        (None, None) => None,
    };
    let transaction = Transaction { inputs: inputs.collect(), outputs, ..old.clone() };
    let (fee, of_address) = (raised.fee, before.of_address);
    Made { transaction, fee, change, of_address, replaces: Some(old.txid()) }
}
