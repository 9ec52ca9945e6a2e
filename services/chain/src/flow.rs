//! Metrics of what comes in, waits for the writer, and goes.

use pentad_api::chain::v1::RemovalReason;
use pentad_service_kit::Metrics;
use pentad_store::CoinReads;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::refusal::Refusal;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What waits for the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Blocks, headers, and whatever else transactions let pass.
    Blocks,
    Transactions,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Blocks, Self::Transactions];

    const fn labels(self) -> KindLabels {
        let kind = match self {
            Self::Blocks => "blocks",
            Self::Transactions => "transactions",
        };
        KindLabels { kind }
    }
}

/// A job of the writer that has not been dealt with; it has when this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts what goes through the chain service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    jobs: Family<KindLabels, Gauge>,
    /// Jobs that had to wait for room in the queue.
    pub(crate) queue_full: Counter,
    /// Calls that had to wait until fewer transactions waited for a block.
    pub(crate) held_back: Counter,
    refused: Family<ReasonLabels, Counter>,
    removed: Family<ReasonLabels, Counter>,
    coin_reads: Family<OutcomeLabels, Counter>,
}

impl Flow {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let flow = Self::default();
        flow.create_series();
        metrics.register(|registry| flow.register_in(registry.sub_registry_with_prefix("chain")));
        flow
    }

    /// A series that is there from the start has a rate when it first moves.
    fn create_series(&self) {
        for kind in Kind::ALL {
            drop(self.jobs.get_or_create(&kind.labels()));
        }
        let reasons = [RemovalReason::Confirmed, RemovalReason::Evicted, RemovalReason::Expired];
        for reason in reasons.map(removal_name) {
            drop(self.removed.get_or_create(&ReasonLabels { reason }));
        }
        drop(self.refused.get_or_create(&ReasonLabels { reason: "MALFORMED" }));
        self.on_coin_reads(CoinReads::default());
    }

    fn register_in(&self, registry: &mut Registry) {
        registry.register("queue_jobs", "Jobs that wait for the writer", self.jobs.clone());
        for (name, help, counter) in [
            ("queue_full", "Jobs that had to wait for room in the queue", &self.queue_full),
            ("held_back", "Submissions that waited for blocks to come", &self.held_back),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, family) in [
            ("transactions_refused", "Transactions not taken, by reason", &self.refused),
            ("mempool_removed", "Transactions that left the mempool, by reason", &self.removed),
        ] {
            registry.register(name, help, family.clone());
        }
        let reads = self.coin_reads.clone();
        registry.register("coin_reads", "Reads that reached the cache of coins", reads);
    }

    pub(crate) fn wait(&self, kind: Kind) -> Waiting {
        let jobs = self.jobs.get_or_create_owned(&kind.labels());
        jobs.inc();
        Waiting(jobs)
    }

    pub(crate) fn on_refused(&self, refusal: &Refusal) {
        self.refused.get_or_create(&ReasonLabels { reason: refusal.reason }).inc();
    }

    pub(crate) fn on_removed(&self, reason: RemovalReason) {
        self.removed.get_or_create(&ReasonLabels { reason: removal_name(reason) }).inc();
    }

    /// `reads` since the start.
    pub(crate) fn on_coin_reads(&self, reads: CoinReads) {
        for (outcome, count) in [("hit", reads.hits), ("miss", reads.misses)] {
            let counter = self.coin_reads.get_or_create(&OutcomeLabels { outcome });
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

const fn removal_name(reason: RemovalReason) -> &'static str {
    match reason {
        RemovalReason::Unspecified => "unspecified",
        RemovalReason::Confirmed => "confirmed",
        RemovalReason::Conflict => "conflict",
        RemovalReason::Replaced => "replaced",
        RemovalReason::Evicted => "evicted",
        RemovalReason::Expired => "expired",
        RemovalReason::Invalid => "invalid",
    }
}
