//! Checking transactions ahead of the writer, on the caller's thread and against what is
//! published, so that the writer has only to take them in.

use pentad_ledger::mempool::Admission;
use pentad_ledger::verify::{CheckedTransaction, SignatureError};
use pentad_service_kit::telemetry::RecordedSpan;

use crate::dry_run::Utxos;
use crate::view::Published;
use crate::writer::signatures::verify_each;

/// A transaction of legal form on its way to the writer.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) transaction: CheckedTransaction,
    pub(crate) verdict: Verdict,
    /// Of its admission, if it is traced.
    pub(crate) span: Option<RecordedSpan>,
}

/// What was found out ahead of the writer.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Everything is in order, as long as the tip is the one that the admission names.
    Sound(Box<Admission>),
    /// Its signatures can never be valid. Another rule that it breaks may come first.
    Unsound(SignatureError),
    /// It breaks a rule that is the writer's to judge, or its parents are not there yet.
    Open,
}

/// Checks transactions, independently of one another, their signatures on all cores.
pub(crate) fn check(published: &Published, transactions: Vec<CheckedTransaction>) -> Vec<Ready> {
    let prepared: Vec<_> = transactions.iter().map(|one| prepare(published, one)).collect();
    let checks = prepared.iter().map(|admission| {
        let unknown =
            admission.iter().filter(|it| !published.signatures.contains(&key(published, it)));
        unknown.flat_map(Admission::signature_checks).collect()
    });
    let outcomes = verify_each(checks.collect());
    let each = transactions.into_iter().zip(prepared).zip(outcomes);
    each.map(|((transaction, admission), outcome)| {
        let verdict = match (admission, outcome) {
            (Some(admission), Ok(())) => {
                published.signatures.insert(key(published, &admission));
                Verdict::Sound(Box::new(admission))
            }
            (Some(_), Err(error)) => Verdict::Unsound(error),
            (None, _) => Verdict::Open,
        };
        Ready { transaction, verdict, span: None }
    })
    .collect()
}

/// Every rule but the signatures; `None` unless all are kept.
fn prepare(published: &Published, transaction: &CheckedTransaction) -> Option<Admission> {
    let mempool = published.mempool();
    let tip = published.tip();
    let context = tip.next.as_ref()?;
    let admission = mempool.prepare(transaction.clone(), &Utxos(&tip.snapshot), context).ok()?;
    // Else what was read may be of a later tip.
    tip.snapshot.is_intact().then_some(admission)
}

fn key(published: &Published, admission: &Admission) -> crate::signature_cache::Verified {
    published.signatures.key(&admission.transaction().txid(), admission.spent())
}
