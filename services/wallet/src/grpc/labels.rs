//! Labels of addresses and payments.

use std::sync::Arc;

use pentad_api::wallet::v1 as proto;
use pentad_api::wallet::v1::set_label_request::Subject;
use pentad_crypto::Address;
use pentad_keystore::WalletName;
use pentad_primitives::Txid;
use tokio::task::spawn_blocking;

use crate::error::WalletError;
use crate::labels::{LabelError, check};
use crate::metrics::Kept;
use crate::wallets::Inner;

pub(super) async fn set(
    inner: &Inner,
    request: proto::SetLabelRequest,
) -> Result<proto::SetLabelResponse, WalletError> {
    let proto::SetLabelRequest { wallet, subject, label } = request;
    check(&label)?;
    let wallet = inner.wallet(wallet.parse()?).await?;
    let subject = match subject.ok_or(LabelError::NoSubject)? {
        Subject::Address(text) => {
            let versions = inner.chain.network().await?.versions;
            let field = || "address".to_owned();
            let address = Address::decode(&text, &versions)
                .map_err(|problem| WalletError::Address { field: field(), problem })?;
            wallet.key_path(&address).ok_or(WalletError::NotOurs(text))?;
            address.encode(&versions)
        }
        Subject::Txid(text) => {
            let unknown = || LabelError::UnknownTransaction {
                wallet: wallet.name().clone(),
                txid: text.clone(),
            };
            let txid: Txid = text.parse().map_err(|_| unknown())?;
            inner.ledger.catch_up(wallet.name(), &inner.chain.tip().await?).await?;
            if !inner.ledger.has_transaction(wallet.name(), &txid)? {
                return Err(unknown().into());
            }
            txid.to_string()
        }
    };
    inner.label(wallet.name(), vec![(subject, label)]).await?;
    Ok(proto::SetLabelResponse {})
}

pub(super) async fn list(
    inner: &Inner,
    request: proto::ListLabelsRequest,
) -> Result<proto::ListLabelsResponse, WalletError> {
    let proto::ListLabelsRequest { wallet, page_size, page_token } = request;
    let size = super::page_size(page_size)?;
    let wallet = inner.wallet(wallet.parse()?).await?;
    let labels = inner.labels.list(wallet.name(), &page_token, size)?;
    let last = labels.last().filter(|_| labels.len() == size);
    let next_page_token = last.map(|(subject, _)| subject.clone()).unwrap_or_default();
    let labels = labels.into_iter().map(|(subject, label)| message(subject, label)).collect();
    Ok(proto::ListLabelsResponse { labels, next_page_token })
}

/// An id has 64 hex digits; no address is that long.
fn message(subject: String, label: String) -> proto::Label {
    let subject = match subject.parse::<Txid>() {
        Ok(_) => proto::label::Subject::Txid(subject),
        Err(_) => proto::label::Subject::Address(subject),
    };
    proto::Label { subject: Some(subject), label }
}

/// The labels of a wallet's addresses.
pub(super) fn of_addresses(
    inner: &Inner,
    wallet: &WalletName,
) -> Result<Vec<proto::Label>, WalletError> {
    let labels = inner.labels.list(wallet, "", crate::labels::LABELS_MAX)?;
    let labels = labels.into_iter().map(|(subject, label)| message(subject, label));
    let is_address =
        |it: &proto::Label| matches!(it.subject, Some(proto::label::Subject::Address(_)));
    Ok(labels.filter(is_address).collect())
}

impl Inner {
    /// Refuses a label before anything is done, if there is no room for it.
    pub(crate) fn has_room(
        &self,
        wallet: &WalletName,
        subject: &str,
        label: &str,
    ) -> Result<(), WalletError> {
        if label.is_empty() || self.labels.has_room(wallet, subject)? {
            return Ok(());
        }
        Err(LabelError::TooMany(wallet.clone()).into())
    }

    /// Sets labels that were checked; returns once they are durable.
    pub(crate) async fn label(
        &self,
        wallet: &WalletName,
        labels: Vec<(String, String)>,
    ) -> Result<(), WalletError> {
        let (rows, name) = (Arc::clone(&self.labels), wallet.clone());
        let setting = async {
            let is_set = spawn_blocking(move || rows.set(&name, &labels)).await??;
            is_set.then_some(()).ok_or_else(|| LabelError::TooMany(wallet.clone()).into())
        };
        self.metrics.writes.wait(Kept::Payments, setting).await
    }
}
