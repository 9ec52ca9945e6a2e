//! The transactions of an address, and proofs of transactions.

use bytes::Bytes;
use pentad_api::chain::v1 as proto;
use pentad_api::{FieldError, proof_message};
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{BlockHeight, Transaction, Txid, merkle};
use pentad_store::{HistoryEntry, IndexRead as _, read_block};

use super::address::script_of;
use super::capped;
use crate::error::ChainError;
use crate::reader::{BlockRef, Reader, View};

/// Transactions in one answer unless the caller says otherwise.
const PAGE_SIZE_DEFAULT: u32 = 1_000;
/// Transactions in one answer: about 2 MB.
const PAGE_SIZE_MAX: u32 = 10_000;
/// Headers in a proof, 800 kB: more blocks without a certificate follow one another only where a
/// node has missed a day of finality.
const SUCCESSORS_MAX: u32 = 10_000;

/// One page of the history of an address.
pub(super) async fn history(
    reader: &Reader,
    request: proto::GetHistoryRequest,
) -> Result<proto::GetHistoryResponse, ChainError> {
    let script = script_of("address", &request.address, &reader.published().spec)?;
    let size = capped("page_size", request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
    let after = after_token(&request.page_token)?;
    reader
        .read(move |view| {
            let rows = view.tip.snapshot.history_of(&script, after, size.saturating_add(1))?;
            let shown = rows.get(..size).unwrap_or(&rows);
            let last = shown.last().filter(|_| rows.len() > size);
            Ok(proto::GetHistoryResponse {
                entries: entries(&view, shown)?,
                next_page_token: last
                    .map(|last| format!("{}:{}", last.height, last.index))
                    .unwrap_or_default(),
                height: view.tip.height.get(),
                tip: view.tip.hash.to_string(),
            })
        })
        .await
}

fn entries(view: &View<'_>, rows: &[HistoryEntry]) -> Result<Vec<proto::HistoryEntry>, ChainError> {
    let mut messages: Vec<proto::HistoryEntry> = Vec::with_capacity(rows.len());
    for row in rows {
        let height = row.height.get();
        // Rows of one block follow one another.
        let known = messages.last().filter(|last| last.height == height);
        let (block_hash, time) = match known {
            Some(last) => (last.block_hash.clone(), last.time),
            None => {
                let (hash, entry) = view.block(BlockRef::Height(row.height))?;
                (hash.to_string(), entry.header.time)
            }
        };
        messages.push(proto::HistoryEntry {
            txid: row.txid.to_string(),
            height,
            index: row.index,
            block_hash,
            time,
            confirmations: view.depth(row.height),
        });
    }
    Ok(messages)
}

fn after_token(token: &str) -> Result<Option<(BlockHeight, u32)>, ChainError> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = token.split_once(':').and_then(|(height, index)| {
        Some((BlockHeight::new(height.parse().ok()?), index.parse().ok()?))
    });
    let malformed = || FieldError {
        field: "page_token",
        problem: "not a token of this service; hand in next_page_token as it came".to_owned(),
    };
    Ok(Some(place.ok_or_else(malformed)?))
}

/// The proof that the main chain holds a transaction.
pub(super) async fn proof(
    reader: &Reader,
    txid: Txid,
) -> Result<proto::GetProofResponse, ChainError> {
    reader
        .read(move |view| {
            let place = view.transaction_entry(&txid)?.ok_or(ChainError::Unconfirmed(txid))?;
            let (_, entry) = view.block(BlockRef::Height(place.height))?;
            let block = read_block(&view.published.log, entry.body)?;
            let txids: Vec<Txid> = block.transactions.iter().map(Transaction::txid).collect();
            let index = txids.iter().position(|candidate| *candidate == txid);
            let index = index.ok_or(ChainError::Broken)?;
            let path = u32::try_from(index).ok().and_then(|index| merkle::prove(&txids, index));
            let path = path.ok_or(ChainError::Broken)?;
            let (certificate, successors) = finality_proof(&view, place.height)?;
            Ok(proto::GetProofResponse {
                proof: Some(proof_message(&block.transactions[index], &block.header, &path)),
                height: place.height.get(),
                confirmations: view.depth(place.height),
                certificate,
                successors,
            })
        })
        .await
}

/// The certificate of a block of the main chain, or the next one above it with the headers that
/// lead there; nothing where there is none.
fn finality_proof(view: &View<'_>, height: BlockHeight) -> Result<(Bytes, Vec<Bytes>), ChainError> {
    let last = view.tip.final_height.get().min(height.get().saturating_add(SUCCESSORS_MAX));
    let mut successors = Vec::new();
    for at in height.get()..=last {
        let (_, entry) = view.block(BlockRef::Height(BlockHeight::new(at)))?;
        if at > height.get() {
            successors.push(entry.header.to_bytes().into());
        }
        if let Some(certificate) = view.certificate(&entry)? {
            return Ok((certificate, successors));
        }
    }
    Ok((Bytes::new(), Vec::new()))
}
