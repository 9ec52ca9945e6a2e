//! Follows payments until they are deep in the chain. One that vanishes, from the mempool of a
//! chain service that was restarted or from a block that was undone, is submitted again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pentad_primitives::Txid;

use crate::error::WalletError;
use crate::ledger::Place;
use crate::payment::{PaymentKey, Progress, SETTLED_DEPTH, Unsettled};
use crate::send::is_refusal;
use crate::wallets::Inner;

/// Payments are looked at when the tip changes, and otherwise this often.
const ROUND_INTERVAL: Duration = Duration::from_secs(30);
/// A payment that was refused for so long can never be made: others have spent its coins.
const PATIENCE: Duration = Duration::from_secs(600);

/// What one round leaves for the next.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    last: Option<(Instant, Option<Place>)>,
    refused_since: HashMap<Txid, Instant>,
}

impl Rounds {
    /// Looks at the payments that are not settled, if it is time to.
    pub(crate) async fn run(&mut self, inner: &Inner) -> Result<(), WalletError> {
        let place = inner.ledger.state().place();
        let due = |(time, seen): &(Instant, Option<Place>)| {
            time.elapsed() >= ROUND_INTERVAL || *seen != place
        };
        if !self.last.as_ref().is_none_or(due) {
            return Ok(());
        }
        let mut vanished = Vec::new();
        for (key, payment) in inner.journal.list_unsettled() {
            match inner.confirmations(payment.txid).await? {
                None => vanished.push((key, payment)),
                Some(SETTLED_DEPTH..) => inner.end(&key, &payment, Progress::Settled)?,
                Some(_) => {}
            }
        }
        self.submit_again(inner, vanished).await?;
        self.last = Some((Instant::now(), place));
        Ok(())
    }

    /// A payment may spend the change of another: as long as some are taken, the rest is tried
    /// once more.
    async fn submit_again(
        &mut self,
        inner: &Inner,
        mut vanished: Vec<(PaymentKey, Unsettled)>,
    ) -> Result<(), WalletError> {
        loop {
            let mut refused = Vec::new();
            for (key, payment) in &vanished {
                match inner.submit_again(key).await? {
                    Some(problem) => refused.push((key.clone(), payment.clone(), problem)),
                    None => drop(self.refused_since.remove(&payment.txid)),
                }
            }
            if refused.is_empty() {
                return Ok(());
            }
            if refused.len() == vanished.len() {
                return refused.iter().try_for_each(|(key, payment, problem)| {
                    self.on_refused(inner, key, payment, problem)
                });
            }
            vanished = refused.into_iter().map(|(key, payment, _)| (key, payment)).collect();
        }
    }

    /// The coins may come back, with the branch that held them; if they do not, it is over.
    fn on_refused(
        &mut self,
        inner: &Inner,
        key: &PaymentKey,
        payment: &Unsettled,
        problem: &str,
    ) -> Result<(), WalletError> {
        let txid = payment.txid;
        let since = *self.refused_since.entry(txid).or_insert_with(|| {
            tracing::warn!(%txid, problem, "a payment vanished, and is refused now");
            Instant::now()
        });
        if since.elapsed() >= PATIENCE {
            tracing::error!(%txid, problem, "a payment can never be made");
            self.refused_since.remove(&txid);
            inner.end(key, payment, Progress::Failed)?;
        }
        Ok(())
    }
}

impl Inner {
    /// Blocks over a payment, its own counted: 0 in the mempool; `None` when it is unknown. The
    /// chain service is asked about what the ledger has not heard of.
    async fn confirmations(&self, txid: Txid) -> Result<Option<u32>, WalletError> {
        match self.ledger.confirmations(&txid) {
            None => self.chain.confirmations(txid).await,
            known => Ok(known),
        }
    }

    /// Submits a payment of the journal; says why, if it was refused.
    async fn submit_again(&self, key: &PaymentKey) -> Result<Option<String>, WalletError> {
        // The call that makes this payment may be under way, and may remove it.
        let _turn = self.key_turns.take(key).await;
        let Some(record) = self.journal.get(key)? else {
            return Ok(None);
        };
        match self.submit(&record.transaction).await {
            Ok(()) => {
                self.journal.note(key, Progress::Submitted)?;
                Ok(None)
            }
            Err(status) if is_refusal(&status) => Ok(Some(status.message().to_owned())),
            Err(status) => Err(status.into()),
        }
    }

    /// Nothing more will happen to a payment: what is left of its coins is free.
    fn end(
        &self,
        key: &PaymentKey,
        payment: &Unsettled,
        progress: Progress,
    ) -> Result<(), WalletError> {
        self.journal.note(key, progress)?;
        self.ledger.release(&payment.inputs);
        Ok(())
    }
}
