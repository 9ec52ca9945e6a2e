//! What became of a transaction, and who else claims what it spends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pentad_api::chain::v1 as proto;
use pentad_api::{FieldError, outpoint_message, transaction_from_bytes, txid_from_hex};
use pentad_ledger::Mempool;
use pentad_ledger::utxo::is_spendable;
use pentad_primitives::encode::Encode as _;
use pentad_primitives::{BlockHash, BlockHeight, OutPoint, Transaction, Txid};
use pentad_store::IndexRead as _;

use crate::dry_run::dry_run;
use crate::error::ChainError;
use crate::reader::{Reader, View};
use crate::refusal::Refusal;
use crate::submitter::check_transaction;

/// Contested outputs in one answer.
const CONTESTED_MAX: usize = 1_000;
/// Transactions of an address that are read in search of a spender, for all outputs together.
const HISTORY_MAX: usize = 10_000;
/// Rows of a history read at once.
const ROWS: usize = 500;

/// What the mempool knows about a transaction.
#[derive(Default)]
struct Waiting {
    is_here: bool,
    orphan: Option<Arc<Transaction>>,
    /// Who spends its inputs.
    spenders: HashMap<OutPoint, Txid>,
    /// Those of its inputs that the mempool creates.
    created: HashSet<OutPoint>,
}

/// What became of a transaction.
pub(super) async fn explain(
    reader: &Reader,
    request: proto::ExplainTransactionRequest,
) -> Result<proto::ExplainTransactionResponse, ChainError> {
    use proto::explain_transaction_request::Transaction as Wanted;
    let (txid, transaction) = match request.transaction {
        Some(Wanted::Txid(text)) => {
            let txid = txid_from_hex("txid", &text)?;
            let published = reader.published();
            let orphan = published.with_mempool(|mempool| {
                mempool.orphan(&txid).map(|orphan| Arc::clone(orphan.transaction()))
            });
            (txid, orphan.1)
        }
        Some(Wanted::Raw(bytes)) => {
            let transaction = transaction_from_bytes("raw", &bytes)?;
            (transaction.txid(), Some(Arc::new(transaction)))
        }
        None => {
            let problem = "give a txid or the transaction itself".to_owned();
            return Err(FieldError { field: "transaction", problem }.into());
        }
    };
    // What is too large for any block has no claim on outputs.
    let bytes_max = reader.published().spec.limits().transaction_bytes as usize;
    let claimant = transaction.clone().filter(|tx| tx.encoded_len() <= bytes_max);
    let mut response = locate(reader, txid, claimant).await?;
    let is_settled = matches!(
        response.state(),
        proto::TransactionState::Confirmed | proto::TransactionState::Mempool
    );
    if let Some(transaction) = transaction.filter(|_| !is_settled)
        && let Some(refusal) = refusal(reader, &transaction).await?
    {
        response.reason = refusal.reason.to_owned();
        response.message = refusal.message;
    }
    Ok(response)
}

/// The rule that keeps a transaction out.
async fn refusal(
    reader: &Reader,
    transaction: &Transaction,
) -> Result<Option<Refusal>, ChainError> {
    let limits = reader.published().spec.limits();
    match check_transaction(&transaction.to_bytes(), &limits) {
        Ok(checked) => Ok(dry_run(reader, checked).await?.err()),
        Err((_, refusal)) => Ok(Some(refusal)),
    }
}

/// Where the transaction is, and the outputs that it cannot have.
async fn locate(
    reader: &Reader,
    txid: Txid,
    transaction: Option<Arc<Transaction>>,
) -> Result<proto::ExplainTransactionResponse, ChainError> {
    let gathered_for = transaction.clone();
    reader
        .read_with(
            move |mempool| waiting(mempool, &txid, gathered_for.as_deref()),
            move |view, waiting| {
                use proto::TransactionState as State;
                let mut response = proto::ExplainTransactionResponse {
                    txid: txid.to_string(),
                    ..Default::default()
                };
                if let Some(place) = view.transaction_entry(&txid)? {
                    let hash = view.tip.snapshot.hash_at(place.height)?;
                    response.set_state(State::Confirmed);
                    response.block_hash = hash.map(|hash| hash.to_string()).unwrap_or_default();
                    response.height = place.height.get();
                    response.confirmations = view.depth(place.height);
                    return Ok(response);
                }
                response.set_state(match (waiting.is_here, &waiting.orphan) {
                    (true, _) => State::Mempool,
                    (false, Some(_)) => State::Orphan,
                    (false, None) => State::Unknown,
                });
                let bytes = waiting.orphan.as_ref().or(transaction.as_ref());
                if let Some(transaction) = bytes.filter(|_| !waiting.is_here) {
                    response.contested = contested(&view, transaction, &waiting)?;
                }
                Ok(response)
            },
        )
        .await
}

fn waiting(mempool: &Mempool, txid: &Txid, transaction: Option<&Transaction>) -> Waiting {
    let mut waiting = Waiting {
        is_here: mempool.contains(txid),
        orphan: mempool.orphan(txid).map(|orphan| Arc::clone(orphan.transaction())),
        ..Waiting::default()
    };
    let inputs = transaction.or(waiting.orphan.as_deref()).map(|tx| tx.inputs.clone());
    for outpoint in inputs.unwrap_or_default().iter().map(|input| input.previous_output) {
        if let Some(spender) = mempool.spender(&outpoint) {
            waiting.spenders.insert(outpoint, spender);
        }
        if mempool.output(&outpoint).is_some() {
            waiting.created.insert(outpoint);
        }
    }
    waiting
}

/// The outputs that a transaction spends and cannot have.
fn contested(
    view: &View<'_>,
    transaction: &Transaction,
    waiting: &Waiting,
) -> Result<Vec<proto::ContestedOutput>, ChainError> {
    use proto::OutputClaim as Claim;
    let mut contested = Vec::new();
    let mut left = HISTORY_MAX;
    for outpoint in transaction.inputs.iter().map(|input| input.previous_output) {
        if contested.len() == CONTESTED_MAX {
            break;
        }
        let mut message = proto::ContestedOutput {
            outpoint: Some(outpoint_message(&outpoint)),
            ..Default::default()
        };
        if let Some(spender) = waiting.spenders.get(&outpoint) {
            message.set_claim(Claim::Mempool);
            message.spender = spender.to_string();
        } else if waiting.created.contains(&outpoint)
            || view.tip.snapshot.utxo(&outpoint)?.is_some()
        {
            continue;
        } else {
            match confirmed_spender(view, &outpoint, &mut left)? {
                Spender::NoTransaction => message.set_claim(Claim::UnknownTransaction),
                Spender::NoOutput => message.set_claim(Claim::NoSuchOutput),
                Spender::NotFound => message.set_claim(Claim::Block),
                Spender::Found { txid, block_hash, height } => {
                    message.set_claim(Claim::Block);
                    message.spender = txid.to_string();
                    message.block_hash = block_hash.to_string();
                    message.height = height.get();
                }
            }
        }
        contested.push(message);
    }
    Ok(contested)
}

enum Spender {
    /// No known transaction creates the output.
    NoTransaction,
    /// The transaction that should create it has no such output.
    NoOutput,
    /// Spent, by one in a history too long to search.
    NotFound,
    Found {
        txid: Txid,
        block_hash: BlockHash,
        height: BlockHeight,
    },
}

/// Who spent an output of the main chain: searched in the history of its script, since there is
/// no index of spends.
fn confirmed_spender(
    view: &View<'_>,
    outpoint: &OutPoint,
    left: &mut usize,
) -> Result<Spender, ChainError> {
    let Some((creator, _, created_at)) = view.transaction(&outpoint.txid)? else {
        return Ok(Spender::NoTransaction);
    };
    let output = usize::try_from(outpoint.vout).ok().and_then(|at| creator.outputs.get(at));
    let Some(output) = output.filter(|output| is_spendable(&output.script_pubkey)) else {
        return Ok(Spender::NoOutput);
    };
    let script = &output.script_pubkey;
    let mut after = created_at.prev().map(|height| (height, u32::MAX));
    while *left > 0 {
        let rows = view.tip.snapshot.history_of(script, after, ROWS.min(*left))?;
        let Some(last) = rows.last() else { break };
        after = Some((last.height, last.index));
        for row in &rows {
            *left -= 1;
            let Some((candidate, block_hash, height)) = view.transaction(&row.txid)? else {
                continue;
            };
            if candidate.inputs.iter().any(|input| input.previous_output == *outpoint) {
                return Ok(Spender::Found { txid: row.txid, block_hash, height });
            }
        }
    }
    Ok(Spender::NotFound)
}
