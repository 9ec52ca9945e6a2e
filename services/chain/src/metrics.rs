use pentad_primitives::BlockHeight;
use pentad_service_kit::Metrics;
use pentad_service_kit::metrics::TracedHistogram;
use pentad_store::StoreMemory;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::exponential_buckets;

/// The metrics of the chain service.
#[derive(Clone, Debug)]
pub(crate) struct ChainMetrics {
    height: Gauge,
    mempool_transactions: Gauge,
    mempool_bytes: Gauge,
    index_layer_bytes: Gauge,
    coin_cache_bytes: Gauge,
    reorganisations: Counter,
    blocks_undone: Counter,
    pub(crate) blocks_prechecked: Counter,
    pub(crate) connect_seconds: TracedHistogram,
    pub(crate) commit_seconds: TracedHistogram,
}

impl ChainMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let chain = Self {
            height: Gauge::default(),
            mempool_transactions: Gauge::default(),
            mempool_bytes: Gauge::default(),
            index_layer_bytes: Gauge::default(),
            coin_cache_bytes: Gauge::default(),
            reorganisations: Counter::default(),
            blocks_undone: Counter::default(),
            blocks_prechecked: Counter::default(),
            // 0.25 ms to 8 s.
            connect_seconds: TracedHistogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            commit_seconds: TracedHistogram::new(exponential_buckets(0.000_25, 2.0, 16)),
        };
        metrics.register(|registry| {
            let chain = chain.clone();
            registry.register("chain_height_blocks", "Height of the tip", chain.height);
            registry.register(
                "chain_mempool_transactions",
                "Transactions in the mempool",
                chain.mempool_transactions,
            );
            registry.register(
                "chain_mempool_bytes",
                "Encoded bytes of the transactions in the mempool",
                chain.mempool_bytes,
            );
            registry.register(
                "chain_index_layer_bytes",
                "Memory of changes that the index engine does not have yet",
                chain.index_layer_bytes,
            );
            registry.register(
                "chain_coin_cache_bytes",
                "Memory of unspent outputs that are kept above the index engine",
                chain.coin_cache_bytes,
            );
            registry.register(
                "chain_reorganisations",
                "Times that blocks left the main chain; a deep reorganisation counts several times",
                chain.reorganisations,
            );
            registry.register(
                "chain_undone_blocks",
                "Blocks taken off the main chain",
                chain.blocks_undone,
            );
            registry.register(
                "chain_prechecked_blocks",
                "Blocks connected without another check, for they had been checked as proposals",
                chain.blocks_prechecked,
            );
            registry.register(
                "chain_connect_seconds",
                "Time to check a block and connect it in memory, the write to disk apart",
                chain.connect_seconds,
            );
            registry.register(
                "chain_commit_seconds",
                "Time to make a group of connected blocks durable",
                chain.commit_seconds,
            );
        });
        chain
    }

    pub(crate) fn on_tip(&self, height: BlockHeight, undone: usize, mempool: usize) {
        self.height.set(i64::from(height.get()));
        if undone > 0 {
            self.reorganisations.inc();
            self.blocks_undone.inc_by(undone as u64);
        }
        self.on_mempool(mempool);
    }

    pub(crate) fn on_memory(&self, memory: StoreMemory, mempool_bytes: usize) {
        self.mempool_bytes.set(i64::try_from(mempool_bytes).unwrap_or(i64::MAX));
        self.index_layer_bytes.set(i64::try_from(memory.layers).unwrap_or(i64::MAX));
        self.coin_cache_bytes.set(i64::try_from(memory.coin_cache).unwrap_or(i64::MAX));
    }

    pub(crate) fn on_mempool(&self, transactions: usize) {
        self.mempool_transactions.set(i64::try_from(transactions).unwrap_or(i64::MAX));
    }
}
