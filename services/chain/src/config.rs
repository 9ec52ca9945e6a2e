use std::path::PathBuf;

use pentad_service_kit::{ServerConfig, TelemetryConfig, settings};
use pentad_store::{EngineKind, SledOptions, StoreOptions};
use serde::Deserialize;

/// Configuration of the chain service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChainConfig {
    /// The chain spec, `chain.toml`.
    pub chain_spec: PathBuf,
    /// Where blocks, indexes and the cookie are kept.
    pub data_dir: PathBuf,
    /// The store.
    pub store: StoreConfig,
    /// The mempool.
    pub mempool: MempoolConfig,
    /// Where the service listens.
    pub server: ServerConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// Section `[store]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Bytes of index pages that the engine may keep in memory.
    pub index_cache_bytes_max: u64,
    /// Bytes of recent changes of the index that may wait in memory.
    pub index_layer_bytes_max: usize,
    /// Bytes of unspent outputs of the index that are kept in memory.
    pub coin_cache_bytes_max: usize,
    /// Keep the hash of the UTXO set beside the index. Under PBFT it is always kept.
    pub utxo_set_hash: bool,
    /// Throw the index away at the start and rebuild it from the block log.
    pub reindex: bool,
}

/// Section `[mempool]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MempoolConfig {
    /// Least fee rate, units per 1000 bytes.
    pub min_fee_rate: u64,
    /// Bytes of transactions that may wait.
    pub bytes_max: usize,
    /// Seconds that a transaction may wait.
    pub expiry_seconds: u32,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            chain_spec: PathBuf::from("chain.toml"),
            data_dir: PathBuf::from("pentad-data").join("chain"),
            store: StoreConfig::default(),
            mempool: MempoolConfig::default(),
            server: ServerConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        let options = StoreOptions::default();
        Self {
            index_cache_bytes_max: SledOptions::default().cache_bytes,
            index_layer_bytes_max: options.layer_bytes_max,
            coin_cache_bytes_max: options.coin_cache_bytes_max,
            utxo_set_hash: options.keeps_set_hash,
            reindex: options.reindex,
        }
    }
}

impl StoreConfig {
    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            engine: EngineKind::Sled(SledOptions { cache_bytes: self.index_cache_bytes_max }),
            layer_bytes_max: self.index_layer_bytes_max,
            coin_cache_bytes_max: self.coin_cache_bytes_max,
            keeps_set_hash: self.utxo_set_hash,
            reindex: self.reindex,
            ..StoreOptions::default()
        }
    }
}

settings!(ChainConfig);
