//! Admitting transactions to the mempool.

use pentad_api::chain::v1::RemovalReason;
use pentad_ledger::mempool::{Admission as PreparedAdmission, AdmissionError, Rejection, Removal};
use pentad_ledger::verify::{CheckedTransaction, SignatureError};
use pentad_store::{IndexRead as _, StoreError};

use super::{Admission, Utxos, Writer, signatures};
use crate::ahead::{Ready, Verdict};
use crate::refusal::Refusal;
use crate::view::MempoolEvent;

impl Writer {
    /// Takes in a transaction that was checked ahead, as far as it was.
    pub(super) fn on_ready(
        &mut self,
        ready: Ready,
    ) -> Result<Result<Admission, Refusal>, StoreError> {
        let Ready { transaction, verdict, span } = ready;
        let txid = transaction.txid();
        // Before anybody hears of the transaction.
        let is_traced = span.as_ref().is_some_and(|span| {
            let context = span.context();
            self.published.traces.insert(txid, context)
        });
        let outcome = match verdict {
            Verdict::Sound(admission) => self.on_prepared(transaction, *admission),
            Verdict::Unsound(error) => self.on_transaction(transaction, Some(error)),
            Verdict::Open => self.on_transaction(transaction, None),
        }?;
        if is_traced && !outcome.as_ref().is_ok_and(|admission| admission.is_new) {
            self.published.traces.remove(&txid);
        }
        if let Err(refusal) = &outcome {
            self.published.flow.on_refused(refusal);
        }
        if let Some(mut span) = span {
            span.set("txid", txid.to_string());
            span.set("outcome", outcome_name(&outcome));
        }
        Ok(outcome)
    }

    /// Checks a transaction in full and takes it into the mempool, and with it the orphans that
    /// waited for it. `unsound` is what is known to be wrong with its signatures.
    pub(super) fn on_transaction(
        &mut self,
        transaction: CheckedTransaction,
        unsound: Option<SignatureError>,
    ) -> Result<Result<Admission, Refusal>, StoreError> {
        let txid = transaction.txid();
        let span = tracing::debug_span!("admit", %txid);
        let _entered = span.enter();
        if self.published.mempool().contains(&txid) || self.store.transaction(&txid)?.is_some() {
            return Ok(Ok(Admission { txid, is_new: false }));
        }
        if let Err(rejection) = self.admit(&transaction, unsound)? {
            if matches!(rejection, Rejection::MissingInputs { .. }) {
                let now = self.clock.unix_seconds();
                self.published.change(|mempool| {
                    mempool.keep_orphan(transaction, now);
                    ((), None, Vec::new())
                });
            }
            let refusal = Refusal::from(&rejection);
            tracing::debug!(reason = refusal.reason, "transaction refused: {}", refusal.message);
            return Ok(Err(refusal));
        }
        self.adopt(vec![txid])?;
        Ok(Ok(Admission { txid, is_new: true }))
    }

    /// Takes in a transaction whose signatures are sound.
    fn on_prepared(
        &mut self,
        transaction: CheckedTransaction,
        admission: PreparedAdmission,
    ) -> Result<Result<Admission, Refusal>, StoreError> {
        let txid = transaction.txid();
        if self.commit(admission).is_err() {
            // Something has come between: let the full check say what.
            return self.on_transaction(transaction, None);
        }
        self.adopt(vec![txid])?;
        Ok(Ok(Admission { txid, is_new: true }))
    }

    /// Signatures are checked while readers go on; entries move in one short step.
    fn admit(
        &mut self,
        transaction: &CheckedTransaction,
        unsound: Option<SignatureError>,
    ) -> Result<Result<(), Rejection>, StoreError> {
        let admission = match self.prepare(transaction)? {
            Ok(admission) => admission,
            Err(rejection) => return Ok(Err(rejection)),
        };
        if let Some(error) = unsound {
            return Ok(Err(error.into()));
        }
        let verified = &self.published.signatures;
        let key = verified.key(&transaction.txid(), admission.spent());
        if !verified.contains(&key) {
            if let Err(error) = signatures::verify(admission.signature_checks().collect()) {
                return Ok(Err(error.into()));
            }
            verified.insert(key);
        }
        Ok(self.commit(admission))
    }

    /// Everything but the signatures.
    fn prepare(
        &self,
        transaction: &CheckedTransaction,
    ) -> Result<Result<PreparedAdmission, Rejection>, StoreError> {
        let Some(context) = self.tree.tip_context() else {
            return Ok(Err(Rejection::Stale));
        };
        let utxos = Utxos(&self.store);
        match self.published.mempool().prepare(transaction.clone(), &utxos, &context) {
            Ok(admission) => Ok(Ok(admission)),
            Err(AdmissionError::Rejected(rejection)) => Ok(Err(rejection)),
            Err(AdmissionError::View(error)) => Err(error.into()),
        }
    }

    fn commit(&self, admission: PreparedAdmission) -> Result<(), Rejection> {
        let Some(context) = self.tree.tip_context() else {
            return Err(Rejection::Stale);
        };
        let txid = admission.transaction().txid();
        let now = self.clock.unix_seconds();
        let count =
            self.published.change(|mempool| match mempool.commit(admission, &context, now) {
                Ok(admitted) => {
                    let gone = |reason| move |txid| MempoolEvent::Removed(txid, reason);
                    let replaced = admitted.replaced.into_iter();
                    let evicted = admitted.evicted.into_iter();
                    let entered = mempool.get(&txid).map(MempoolEvent::added);
                    let events = replaced
                        .map(gone(RemovalReason::Replaced))
                        .chain(entered)
                        .chain(evicted.map(gone(RemovalReason::Evicted)));
                    (Ok(mempool.len()), None, events.collect())
                }
                Err(rejection) => (Err(rejection), None, Vec::new()),
            });
        count.map(|count| self.metrics.on_mempool(count))
    }

    /// Admits the orphans of transactions that have just come, and theirs in turn.
    pub(super) fn adopt(
        &mut self,
        mut parents: Vec<pentad_primitives::Txid>,
    ) -> Result<(), StoreError> {
        while let Some(parent) = parents.pop() {
            let orphans =
                self.published.change(|mempool| (mempool.adopt(&parent), None, Vec::new()));
            for orphan in orphans {
                match self.admit(&orphan, None)? {
                    Ok(()) => parents.push(orphan.txid()),
                    Err(rejection) => {
                        tracing::debug!(txid = %orphan.txid(), %rejection, "orphan refused");
                    }
                }
            }
        }
        Ok(())
    }
}

/// What became of a transaction, in a word.
fn outcome_name(outcome: &Result<Admission, Refusal>) -> &'static str {
    match outcome {
        Ok(Admission { is_new: true, .. }) => "admitted",
        Ok(Admission { is_new: false, .. }) => "already known",
        Err(refusal) => refusal.reason,
    }
}

/// The reason in the words of the API.
pub(super) const fn removal_reason(removal: Removal) -> RemovalReason {
    match removal {
        Removal::Confirmed => RemovalReason::Confirmed,
        Removal::Conflict => RemovalReason::Conflict,
        Removal::Reorganised => RemovalReason::Invalid,
        Removal::Evicted => RemovalReason::Evicted,
        Removal::Expired => RemovalReason::Expired,
    }
}
