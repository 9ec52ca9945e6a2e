use std::path::PathBuf;

use pentad_service_kit::{ServerConfig, TelemetryConfig, TlsFiles, settings};
use pentad_store::{DiskEngine, DiskOptions, EngineKind, StoreOptions};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

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
    /// Certificate, key and authorities.
    pub tls: TlsFiles,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// Section `[store]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The engine that keeps the index, `lsm` or `sled`; another one than before rebuilds it. Left
    /// out: the one that kept it so far, `lsm` for a new index.
    #[serde(deserialize_with = "engine")]
    pub index_engine: Option<DiskEngine>,
    /// Bytes of index pages that the engine may keep in memory; left out: what suits the engine.
    pub index_cache_bytes_max: Option<u64>,
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
            tls: TlsFiles::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        let options = StoreOptions::default();
        Self {
            index_engine: None,
            index_cache_bytes_max: None,
            index_layer_bytes_max: options.layer_bytes_max,
            coin_cache_bytes_max: options.coin_cache_bytes_max,
            utxo_set_hash: options.keeps_set_hash,
            reindex: options.reindex,
        }
    }
}

impl StoreConfig {
    pub(crate) fn options(&self) -> StoreOptions {
        let mut disk = DiskOptions { engine: self.index_engine, ..DiskOptions::default() };
        if let Some(bytes) = self.index_cache_bytes_max {
            disk.sled.cache_bytes = bytes;
            disk.lsm.cache_bytes = bytes;
        }
        StoreOptions {
            engine: EngineKind::Disk(disk),
            layer_bytes_max: self.index_layer_bytes_max,
            coin_cache_bytes_max: self.coin_cache_bytes_max,
            keeps_set_hash: self.utxo_set_hash,
            reindex: self.reindex,
            ..StoreOptions::default()
        }
    }
}

fn engine<'de, D: Deserializer<'de>>(name: D) -> Result<Option<DiskEngine>, D::Error> {
    String::deserialize(name)?.parse().map(Some).map_err(D::Error::custom)
}

settings!(ChainConfig);

#[cfg(test)]
mod tests {
    use super::*;

    fn store(text: &str) -> Result<StoreOptions, toml::de::Error> {
        toml::from_str(text).map(|config: StoreConfig| config.options())
    }

    #[test]
    fn index_engine_is_named() {
        let named = |engine| EngineKind::Disk(DiskOptions { engine, ..DiskOptions::default() });
        for (text, engine) in [
            ("", None),
            ("index_engine = \"lsm\"", Some(DiskEngine::Lsm)),
            ("index_engine = \"sled\"", Some(DiskEngine::Sled)),
        ] {
            assert_eq!(store(text).expect("a valid section").engine, named(engine), "{text}");
        }
        let error = store("index_engine = \"rocks\"").expect_err("no such engine");
        assert!(error.to_string().contains("those are lsm and sled"), "{error}");
    }

    #[test]
    fn index_cache_is_the_engines_own_unless_it_is_given() {
        let EngineKind::Disk(disk) = store("index_cache_bytes_max = 99").expect("valid").engine
        else {
            panic!("an index on disk")
        };
        assert_eq!((disk.sled.cache_bytes, disk.lsm.cache_bytes), (99, 99));
    }
}
