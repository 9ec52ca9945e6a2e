//! Metrics of the wallet service. A coin is leased from the moment that it is chosen until its
//! payment has failed or is settled.

use std::sync::{Arc, Weak};

use pentad_service_kit::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

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

/// What the service counts.
#[derive(Debug, Default)]
pub(crate) struct WalletMetrics {
    granted: Counter,
    refused: Family<CauseLabels, Counter>,
}

impl WalletMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        // A series that is there from the start has a rate when it first moves.
        let lacks = [Lack::Coins, Lack::Claimed, Lack::Maturity, Lack::Block].map(lack_name);
        for cause in lacks.into_iter().chain([TOO_SMALL, RACED]) {
            drop(own.refused.get_or_create(&CauseLabels { cause }));
        }
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("wallet");
            let granted = own.granted.clone();
            registry.register("leases_granted", "Times that coins were leased", granted);
            let refused = own.refused.clone();
            registry.register("leases_refused", "Times that they were not, by cause", refused);
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
