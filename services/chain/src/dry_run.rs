//! What would become of a transaction, without anything becoming of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use pentad_ledger::mempool::{Admission, AdmissionError, Rejection};
use pentad_ledger::verify::{CheckedTransaction, verify_signatures};
use pentad_ledger::{Mempool, UtxoView};
use pentad_primitives::{OutPoint, Txid, Utxo};
use pentad_store::{IndexError, IndexRead as _, Snapshot};

use crate::error::ChainError;
use crate::reader::Reader;
use crate::refusal::Refusal;
use crate::view::Published;

/// A transaction that would be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admissible {
    /// Its fee, units.
    pub fee: u64,
    /// Transactions that it would replace, descendants included.
    pub replaces: Vec<Txid>,
}

/// The unspent outputs at a published tip.
pub(crate) struct Utxos<'a>(pub(crate) &'a Snapshot);

impl UtxoView for Utxos<'_> {
    type Error = IndexError;

    fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, IndexError> {
        self.0.utxo(outpoint)
    }
}

/// Checks a transaction in full against the tip and the mempool.
///
/// # Errors
/// When the store fails; a rule that the transaction breaks is no error.
pub(crate) async fn dry_run(
    reader: &Reader,
    transaction: CheckedTransaction,
) -> Result<Result<Admissible, Refusal>, ChainError> {
    let published = Arc::clone(reader.published());
    reader
        .read_with(
            move |mempool| prepare(&published, mempool, transaction.clone()),
            |_, prepared| {
                let (admission, replaces) = match prepared {
                    Ok(prepared) => prepared,
                    Err(AdmissionError::Rejected(rejection)) => {
                        return Ok(Err(Refusal::from(&rejection)));
                    }
                    Err(AdmissionError::View(error)) => return Err(error.into()),
                };
                if let Err(error) = verify_signatures(admission.signature_checks()) {
                    return Ok(Err(Refusal::from(&Rejection::from(error))));
                }
                Ok(Ok(Admissible { fee: admission.fee().units(), replaces }))
            },
        )
        .await
}

/// All but the signatures: the mempool, and with it the tip, stands still meanwhile.
fn prepare(
    published: &Published,
    mempool: &Mempool,
    transaction: CheckedTransaction,
) -> Result<(Admission, Vec<Txid>), AdmissionError<IndexError>> {
    let tip = published.tip();
    let Some(context) = &tip.next else {
        return Err(Rejection::Stale.into());
    };
    let spends = Arc::clone(transaction.transaction());
    let admission = mempool.prepare(transaction, &Utxos(&tip.snapshot), context)?;
    let inputs = spends.inputs.iter().map(|input| input.previous_output);
    let direct = inputs.filter_map(|outpoint| mempool.get(&mempool.spender(&outpoint)?));
    let replaces: BTreeSet<_> = direct
        .flat_map(|entry| mempool.descendants(entry).into_iter().chain([entry]))
        .map(|entry| entry.txid())
        .collect();
    Ok((admission, replaces.into_iter().collect()))
}
