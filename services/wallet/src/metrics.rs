//! Metrics of the wallet service. A coin is leased from the moment that it is chosen until its
//! payment has failed or is settled.

use std::sync::{Arc, Weak};
use std::time::Instant;

use pentad_service_kit::Metrics;
use pentad_service_kit::metrics::TracedHistogram;
use pentad_service_kit::telemetry::TraceContext;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::Unit;

use crate::error::WalletError;
use crate::payment::Lack;
use crate::wallets::Inner;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

/// The coins are there, and more of them than fit into a transaction.
const TOO_SMALL: &str = "too_small";
/// Another payment took the coins a moment before.
const RACED: &str = "raced";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabels {
    file: &'static str,
}

/// What has to be durable before a call goes on. The ledger is not among it: nobody waits for that.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    /// The journal of payments, the labels in it too.
    Payments,
    Audit,
    /// A wallet's file, because addresses are handed out.
    Wallet,
}

impl Kept {
    const ALL: [Self; 3] = [Self::Payments, Self::Audit, Self::Wallet];

    const fn labels(self) -> FileLabels {
        let file = match self {
            Self::Payments => "payments",
            Self::Audit => "audit",
            Self::Wallet => "wallet",
        };
        FileLabels { file }
    }
}

/// How long calls wait for durable writes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WriteTimes(Family<FileLabels, TracedHistogram, fn() -> TracedHistogram>);

impl Default for WriteTimes {
    fn default() -> Self {
        // 0.25 ms to 8 s.
        let times = || TracedHistogram::new(exponential_buckets(0.000_25, 2.0, 16));
        Self(Family::new_with_constructor(times))
    }
}

impl WriteTimes {
    /// Waits for a write; one that failed is not counted.
    pub(crate) async fn wait<T, E>(
        &self,
        kept: Kept,
        write: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let started = Instant::now();
        let written = write.await?;
        let times = self.0.get_or_create(&kept.labels());
        times.observe(started.elapsed(), TraceContext::current());
        Ok(written)
    }
}

/// What the service counts.
#[derive(Debug, Default)]
pub(crate) struct WalletMetrics {
    granted: Counter,
    refused: Family<CauseLabels, Counter>,
    pub(crate) writes: WriteTimes,
}

impl WalletMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        // A series that is there from the start has a rate when it first moves.
        let lacks = [Lack::Coins, Lack::Claimed, Lack::Maturity, Lack::Block].map(lack_name);
        for cause in lacks.into_iter().chain([TOO_SMALL, RACED]) {
            drop(own.refused.get_or_create(&CauseLabels { cause }));
        }
        for kept in Kept::ALL {
            drop(own.writes.0.get_or_create(&kept.labels()));
        }
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("wallet");
            let granted = own.granted.clone();
            registry.register("leases_granted", "Times that coins were leased", granted);
            let refused = own.refused.clone();
            registry.register("leases_refused", "Times that they were not, by cause", refused);
            let (writes, help) =
                (own.writes.0.clone(), "One durable write, as a call waits for it");
            registry.register_with_unit("write", help, Unit::Seconds, writes);
        });
        own
    }

    /// Coins were asked for: they are leased, or not.
    pub(crate) fn on_chosen<T>(&self, outcome: &Result<T, WalletError>) {
        let cause = match outcome {
            Ok(_) => {
                self.granted.inc();
                return;
            }
            Err(WalletError::NotEnough(shortage)) => lack_name(shortage.lack()),
            Err(WalletError::TooManyCoins { .. }) => TOO_SMALL,
            Err(WalletError::CoinsClaimed) => RACED,
            // It did not come to that.
            Err(_) => return,
        };
        self.refused.get_or_create(&CauseLabels { cause }).inc();
    }
}

const fn lack_name(lack: Lack) -> &'static str {
    match lack {
        Lack::Maturity => "immature",
        Lack::Block => "unconfirmed",
        Lack::Claimed => "leased",
        Lack::Coins => "poor",
    }
}

/// Shows how the wallets stand whenever somebody asks.
pub(crate) fn sample(metrics: &Metrics, wallets: &Arc<Inner>) {
    let show = |name, help, read: fn(&Inner) -> Option<usize>| {
        let wallets: Weak<Inner> = Arc::downgrade(wallets);
        let read = move || i64::try_from(read(wallets.upgrade()?.as_ref())?).ok();
        metrics.sample(name, help, read);
    };
    show("wallet_leased_coins", "Coins that no other payment may use now", |wallets| {
        Some(wallets.ledger.state().claimed())
    });
    show("wallet_payments_unsettled", "Payments that are not deep in the chain", |wallets| {
        Some(wallets.journal.unsettled_len())
    });
    show("wallet_height_blocks", "The block that all coins belong to", |wallets| {
        usize::try_from(wallets.ledger.state().place()?.height).ok()
    });
}
