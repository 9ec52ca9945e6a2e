//! Follows payments until they are deep in the chain. One that vanishes, from the mempool of a
//! chain service that was restarted or from a block that was undone, is submitted again.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pentad_primitives::{OutPoint, Txid};

use crate::error::WalletError;
use crate::ledger::Place;
use crate::payment::{PaymentKey, Progress, SETTLED_DEPTH, Unsettled, Versions};
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
        for versions in inner.journal.list_unsettled() {
            match inner.made(&versions).await? {
                Some((made, SETTLED_DEPTH..)) => inner.settle(&versions, made)?,
                // The mempool may not have heard of the one that is to take its place.
                Some((made, 0)) if made + 1 < versions.len() => vanished.push(versions),
                Some(_) => {}
                None => vanished.push(versions),
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
        mut vanished: Vec<Versions>,
    ) -> Result<(), WalletError> {
        loop {
            let mut refused = Vec::new();
            for versions in &vanished {
                let Some((key, payment)) = versions.last() else { continue };
                match inner.submit_again(key).await? {
                    Some(problem) => refused.push((versions.clone(), problem)),
                    None => drop(self.refused_since.remove(&payment.txid)),
                }
            }
            if refused.is_empty() {
                return Ok(());
            }
            if refused.len() == vanished.len() {
                return refused
                    .iter()
                    .try_for_each(|(versions, problem)| self.on_refused(inner, versions, problem));
            }
            vanished = refused.into_iter().map(|(versions, _)| versions).collect();
        }
    }

    /// The coins may come back, with the branch that held them; if they do not, it is over.
    fn on_refused(
        &mut self,
        inner: &Inner,
        versions: &Versions,
        problem: &str,
    ) -> Result<(), WalletError> {
        let Some((_, payment)) = versions.last() else { return Ok(()) };
        let txid = payment.txid;
        let since = *self.refused_since.entry(txid).or_insert_with(|| {
            tracing::warn!(%txid, problem, "a payment vanished, and is refused now");
            Instant::now()
        });
        if since.elapsed() >= PATIENCE {
            tracing::error!(%txid, problem, "a payment can never be made");
            self.refused_since.remove(&txid);
            inner.fail(versions)?;
        }
        Ok(())
    }
}

/// What the versions of a payment keep others from spending: the coins that they spend, and what
/// those make that were replaced: whoever spent that would be undone with them.
pub(crate) fn claimed(versions: &[(PaymentKey, Unsettled)]) -> Vec<OutPoint> {
    let mut claimed: HashSet<OutPoint> =
        versions.iter().flat_map(|(_, payment)| payment.inputs.iter().copied()).collect();
    let replaced = versions.split_last().map_or([].as_slice(), |(_, replaced)| replaced);
    claimed.extend(replaced.iter().flat_map(|(_, payment)| payment.outputs()));
    claimed.into_iter().collect()
}

impl Inner {
    /// The last version of a payment that the chain service knows, and blocks over it, its own
    /// counted.
    async fn made(&self, versions: &Versions) -> Result<Option<(usize, u32)>, WalletError> {
        for (index, (_, payment)) in versions.iter().enumerate().rev() {
            if let Some(confirmations) = self.confirmations(payment.txid).await? {
                return Ok(Some((index, confirmations)));
            }
        }
        Ok(None)
    }

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
        match self.submit(&record.made.transaction).await {
            Ok(()) => {
                self.journal.note(key, Progress::Submitted)?;
                Ok(None)
            }
            Err(status) if is_refusal(&status) => Ok(Some(status.message().to_owned())),
            Err(status) => Err(status.into()),
        }
    }

    /// One version of a payment is deep in the chain: what the others have claimed beside it is
    /// free. It is settled last, so that a crash leaves none of the others alone.
    fn settle(&self, versions: &Versions, made: usize) -> Result<(), WalletError> {
        let (made_key, made_payment) = &versions[made];
        if versions.len() > 1
            && let Some(record) = self.journal.get(made_key)?
        {
            let before: Vec<Txid> = versions[..made].iter().map(|(_, it)| it.txid).collect();
            self.journal.note_replaced(&made_payment.txid, &before)?;
            for (key, _) in versions.iter().filter(|(key, _)| key != made_key) {
                self.journal.supersede(key, &record.made)?;
            }
        }
        self.journal.note(made_key, Progress::Settled)?;
        self.ledger.release(&claimed(versions));
        Ok(())
    }

    /// The last version of a payment can never be made: coins that no other version needs are free.
    fn fail(&self, versions: &Versions) -> Result<(), WalletError> {
        let Some(((key, _), others)) = versions.split_last() else { return Ok(()) };
        self.journal.note(key, Progress::Failed)?;
        let kept = claimed(others);
        let free = claimed(versions).into_iter().filter(|outpoint| !kept.contains(outpoint));
        self.ledger.release(&free.collect::<Vec<_>>());
        Ok(())
    }
}
