//! Payments that wait for a second person, and what their making has to pass.

use std::fmt::Write as _;
use std::sync::{Arc, MutexGuard, PoisonError};

use pentad_api::encoding::{decode, encode};
use pentad_api::wallet::v1::{BumpFeeRequest, SendRequest};
use pentad_crypto::{Address, sha256d};
use pentad_keystore::Wallet;
use pentad_keystore::audit::{Event, Paid};

use super::judge::coins;
use super::{Book, Judgement, Pending, PolicyError, judge};
use crate::bump::Bump;
use crate::error::WalletError;
use crate::message;
use crate::payment::{Order, unix_time};
use crate::send::Sent;
use crate::wallets::{Inner, Wallets};

/// Bytes of an approval's id.
const ID_BYTES: usize = 16;

impl Inner {
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the policy of the wallet lets payments to others be made now, or by whom they have
    /// to be approved.
    pub(crate) fn judge(
        &self,
        wallet: &Wallet,
        foreign: &[Paid],
    ) -> Result<Judgement, WalletError> {
        let policy = wallet.policy();
        let json = policy.as_ref().map_or_else(|| "{}".to_owned(), |policy| policy.to_json());
        self.book().check_policy(wallet.name().as_str(), &json)?;
        Ok(policy.map_or(Ok(Judgement::Pay), |policy| judge(&policy, foreign))?)
    }

    /// Lets a payment pass, or writes down that it waits.
    pub(crate) async fn permit(
        &self,
        asked: &Asked<'_>,
        wallet: &Wallet,
        foreign: &[Paid],
        approval: &str,
    ) -> Result<(), WalletError> {
        match self.judge(wallet, foreign)? {
            Judgement::Ask { reason } if approval.is_empty() => {
                let approval = self.ask(asked, wallet, foreign, &reason).await?;
                Err(PolicyError::Waits { approval, reason }.into())
            }
            Judgement::Ask { .. } | Judgement::Pay => Ok(()),
        }
    }

    /// Writes down that a payment waits; returns what names it. The same request waits once.
    async fn ask(
        &self,
        asked: &Asked<'_>,
        wallet: &Wallet,
        foreign: &[Paid],
        reason: &str,
    ) -> Result<String, WalletError> {
        let _turn = self.asking.lock().await;
        let (request, replaces) = match asked {
            Asked::Send(request) => (hex::encode(encode(*request)), String::new()),
            Asked::Bump(request) => (hex::encode(encode(*request)), request.txid.clone()),
        };
        if let Some((id, _)) = self.book().room(wallet.name().as_str(), &request, unix_time())? {
            return Ok(id);
        }
        // No id is ever given twice: the log has grown since.
        let head = self.audit.head().hash;
        let id = sha256d(format!("{head} {} {request}", wallet.name()).as_bytes()).to_bytes();
        let approval = hex::encode(&id[..ID_BYTES]);
        let mut text = text(&approval, wallet, foreign);
        if let Asked::Bump(request) = asked {
            write!(text, ", in the place of {}", request.txid).expect("a String grows");
            if let Some(rate) = request.fee_rate {
                write!(text, ", at {rate} units per 1000 bytes").expect("a String grows");
            }
        }
        let (approval_id, reason) = (approval.clone(), reason.to_owned());
        let event =
            Event::ApprovalRequested { approval: approval_id, reason, request, text, replaces };
        self.note(wallet, event).await?;
        tracing::info!(wallet = %wallet.name(), approval, "a payment waits for approval");
        Ok(approval)
    }

    /// A payment that waits.
    pub(crate) fn waiting(&self, approval: &str) -> Result<Pending, PolicyError> {
        let pending = self.book().pending(None, unix_time());
        let found = pending.into_iter().find(|(id, _)| id == approval);
        found
            .map(|(_, pending)| pending)
            .ok_or_else(|| PolicyError::UnknownApproval(approval.to_owned()))
    }

    /// Checks that the approver of the wallet's policy signed a payment's text.
    async fn check_signature(
        &self,
        wallet: &Wallet,
        pending: &Pending,
        signature: &str,
    ) -> Result<String, WalletError> {
        let nobody = || PolicyError::Signature("the policy names no approver any more".to_owned());
        let approver = wallet.policy().and_then(|policy| policy.approver.clone());
        let approver = approver.ok_or_else(nobody)?;
        let owner = message::owner(&approver, &self.chain.network().await?.versions)?;
        let address = Address::P2pkh(owner);
        if self.blocking(move |keystore| Ok(keystore.has_key(&address))).await? {
            let problem = "the approver's key is on this node by now".to_owned();
            return Err(PolicyError::Signature(problem).into());
        }
        message::verify(&owner, &pending.text, signature)
            .map_err(|error| PolicyError::Signature(error.to_string()))?;
        Ok(approver)
    }
}

impl Wallets {
    /// Makes a payment that waited, if its approver signed it.
    pub(crate) async fn approve(
        &self,
        approval: String,
        signature: &str,
    ) -> Result<Sent, WalletError> {
        let inner = Arc::clone(&self.inner);
        let pending = inner.waiting(&approval)?;
        let wallet = inner.wallet(pending.wallet.parse()?).await?;
        let approver = inner.check_signature(&wallet, &pending, signature).await?;
        inner.note(&wallet, Event::Approved { approval: approval.clone(), approver }).await?;
        let request = hex::decode(&pending.request).unwrap_or_default().into();
        let unreadable = |_| PolicyError::UnknownApproval(approval.clone());
        // However often it is approved, it is paid once.
        let own_key = || format!("approval {approval}");
        let network = inner.chain.network().await?;
        if pending.replaces.is_empty() {
            let mut order =
                Order::check(decode(request).map_err(unreadable)?, &network, inner.fee_rate)?;
            order.idempotency_key.get_or_insert_with(own_key);
            order.approval = approval;
            self.inner.payments.spawn(async move { inner.pay(order).await }).await?
        } else {
            let mut bump = Bump::check(decode(request).map_err(unreadable)?, &network)?;
            bump.idempotency_key.get_or_insert_with(own_key);
            bump.approval = approval;
            self.inner.payments.spawn(async move { inner.bump(bump).await }).await?
        }
    }

    /// Gives up a payment that waits.
    pub(crate) async fn reject(&self, approval: String) -> Result<(), WalletError> {
        let pending = self.inner.waiting(&approval)?;
        let wallet = self.inner.wallet(pending.wallet.parse()?).await?;
        self.inner.note(&wallet, Event::Rejected { approval }).await
    }
}

/// What somebody has asked for.
pub(crate) enum Asked<'a> {
    Send(&'a SendRequest),
    Bump(&'a BumpFeeRequest),
}

/// What the approver signs: it names the payment and says all that it pays, so that the signature
/// is good for nothing else.
fn text(approval: &str, wallet: &Wallet, foreign: &[Paid]) -> String {
    let mut text = format!("Pentad approval {approval}: wallet {} pays", wallet.name());
    for (index, paid) in foreign.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma} {} to {}", coins(paid.amount), paid.to).expect("a String grows");
    }
    text
}
