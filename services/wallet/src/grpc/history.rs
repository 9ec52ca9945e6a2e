//! A wallet's history, page by page.

use pentad_api::wallet::v1 as proto;
use pentad_crypto::AddressVersions;
use pentad_keystore::WalletName;

use crate::error::WalletError;
use crate::ledger::{Direction, Entry, LedgerError, TouchPlace};
use crate::wallets::Inner;

pub(super) async fn page(
    inner: &Inner,
    request: proto::GetHistoryRequest,
) -> Result<proto::GetHistoryResponse, WalletError> {
    let proto::GetHistoryRequest { wallet, page_size, page_token } = request;
    let size = super::page_size(page_size)?;
    let below = place_of(&page_token)?;
    let wallet = inner.wallet(wallet.parse()?).await?;
    inner.ledger.catch_up(wallet.name(), &inner.chain.tip().await?).await?;
    let entries = inner.ledger.history(wallet.name(), below, size)?;
    let in_blocks = entries.iter().filter(|entry| entry.place.is_some()).count();
    let last = entries.last().and_then(|entry| entry.place);
    let next_page_token = match last {
        Some(last) if in_blocks == size => format!("{}:{}", last.height, last.index),
        _ => String::new(),
    };
    let versions = inner.chain.network().await?.versions;
    let name = wallet.name();
    let transactions = entries.iter().map(|entry| message(inner, name, &versions, entry));
    let transactions = transactions.collect::<Result<_, _>>()?;
    Ok(proto::GetHistoryResponse { transactions, next_page_token })
}

fn place_of(token: &str) -> Result<Option<TouchPlace>, LedgerError> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = token.split_once(':').and_then(|(height, index)| {
        Some(TouchPlace { height: height.parse().ok()?, index: index.parse().ok()? })
    });
    place.map(Some).ok_or(LedgerError::PageToken)
}

fn message(
    inner: &Inner,
    wallet: &WalletName,
    versions: &AddressVersions,
    entry: &Entry,
) -> Result<proto::WalletTransaction, WalletError> {
    let replaced = inner.journal.replaced(&entry.txid)?;
    let replaced: Vec<String> = replaced.iter().map(ToString::to_string).collect();
    // A label stays with a payment whose fee is raised.
    let mut subjects = vec![entry.txid.to_string()];
    subjects.extend(replaced.iter().rev().cloned());
    if matches!(entry.direction, Direction::Received | Direction::Mined) {
        subjects.extend(entry.to.iter().map(|address| address.encode(versions)));
    }
    let label = inner.labels.first(wallet, &subjects)?;
    let direction = match entry.direction {
        Direction::Received => proto::Direction::Received,
        Direction::Sent => proto::Direction::Sent,
        Direction::Internal => proto::Direction::Internal,
        Direction::Mined => proto::Direction::Mined,
    };
    Ok(proto::WalletTransaction {
        txid: entry.txid.to_string(),
        direction: direction.into(),
        amount: entry.amount,
        fee: entry.fee,
        height: entry.place.map(|place| place.height),
        confirmations: entry.confirmations,
        r#final: entry.is_final,
        time: entry.time,
        replaced,
        label,
    })
}
