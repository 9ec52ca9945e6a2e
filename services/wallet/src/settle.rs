//! Follows payments until they are deep in the chain. One that vanishes, from the mempool of a
//! chain service that was restarted or from a block that was undone, is submitted again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pentad_primitives::Txid;

use crate::error::WalletError;
use crate::payment::{PaymentKey, Progress, Unsettled};
use crate::send::is_refusal;
use crate::wallets::Inner;

/// Blocks over a payment, its own counted, from which on it is not looked at any more.
const SETTLED_DEPTH: u32 = 6;
/// Payments are looked at when the tip changes, and otherwise this often.
const ROUND_INTERVAL: Duration = Duration::from_secs(30);
/// A payment that was refused for so long can never be made: others have spent its coins.
const PATIENCE: Duration = Duration::from_secs(600);

/// What one round leaves for the next.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    last: Option<(Instant, String)>,
    refused_since: HashMap<Txid, Instant>,
}

impl Rounds {
    /// Looks at the payments that are not settled, if it is time to.
    pub(crate) async fn run(&mut self, inner: &Inner) -> Result<(), WalletError> {
        let payments = inner.journal.list_unsettled();
        if payments.is_empty() {
            return Ok(());
        }
        let tip = inner.chain.tip().await?;
        let due =
            |(time, seen): &(Instant, String)| time.elapsed() >= ROUND_INTERVAL || *seen != tip;
        if !self.last.as_ref().is_none_or(due) {
            return Ok(());
        }
        let mut vanished = Vec::new();
        for (key, payment) in payments {
            match inner.chain.confirmations(payment.txid).await? {
                None => vanished.push((key, payment)),
                Some(SETTLED_DEPTH..) => inner.end(&key, &payment, Progress::Settled)?,
                Some(_) => {}
            }
        }
        self.submit_again(inner, vanished).await?;
        self.last = Some((Instant::now(), tip));
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
            let before = vanished.len();
            let mut refused = Vec::new();
            for (key, payment) in vanished {
                if inner.submit_again(&key).await? {
                    self.refused_since.remove(&payment.txid);
                } else {
                    refused.push((key, payment));
                }
            }
            vanished = refused;
            if vanished.len() == before || vanished.is_empty() {
                break;
            }
        }
        for (key, payment) in vanished {
            let txid = payment.txid;
            let since = *self.refused_since.entry(txid).or_insert_with(Instant::now);
            if since.elapsed() >= PATIENCE {
                tracing::error!(%txid, "a payment can never be made: others spent its coins");
                inner.end(&key, &payment, Progress::Failed)?;
                self.refused_since.remove(&txid);
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Submits a payment of the journal; says whether it was taken.
    async fn submit_again(&self, key: &PaymentKey) -> Result<bool, WalletError> {
        // The call that makes this payment may be under way, and may remove it.
        let _turn = self.key_turns.take(key).await;
        let Some(record) = self.journal.get(key)? else {
            return Ok(true);
        };
        match self.submit(&record.transaction).await {
            Ok(()) => {
                self.journal.note(key, Progress::Submitted)?;
                Ok(true)
            }
            Err(status) if is_refusal(&status) => {
                let (txid, problem) = (record.transaction.txid(), status.message());
                tracing::warn!(%txid, problem, "a payment that vanished was refused");
                Ok(false)
            }
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
        self.leases().release(&payment.inputs);
        Ok(())
    }
}
