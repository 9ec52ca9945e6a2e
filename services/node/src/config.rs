//! The configuration of a node: that of its services, and what they share.

use std::path::PathBuf;

use pentad_chain::{ChainConfig, MempoolConfig, StoreConfig};
use pentad_consensus::ConsensusConfig;
use pentad_miner::MinerConfig;
use pentad_peer::PeerConfig;
use pentad_service_kit::{ServerConfig, TelemetryConfig, TlsFiles, settings};
use pentad_wallet::WalletConfig;
use serde::Deserialize;

/// Configuration of `pentad-node`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The chain spec, `chain.toml`.
    pub chain_spec: PathBuf,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The store of the chain service.
    pub store: StoreConfig,
    /// The mempool of the chain service.
    pub mempool: MempoolConfig,
    /// The wallet service.
    pub wallet: WalletConfig,
    /// The miner service.
    pub miner: MinerConfig,
    /// The peer service.
    pub peer: PeerConfig,
    /// The consensus service.
    pub consensus: ConsensusConfig,
    /// Where the node listens.
    pub server: ServerConfig,
    /// Certificate, key and authorities.
    pub tls: TlsFiles,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            chain_spec: PathBuf::from("chain.toml"),
            data_dir: PathBuf::from("pentad-data"),
            store: StoreConfig::default(),
            mempool: MempoolConfig::default(),
            wallet: WalletConfig::default(),
            miner: MinerConfig::default(),
            peer: PeerConfig::default(),
            consensus: ConsensusConfig::default(),
            server: ServerConfig::default(),
            tls: TlsFiles::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl NodeConfig {
    /// That of the chain service, whose part it is.
    pub(crate) fn chain(&self) -> ChainConfig {
        ChainConfig {
            chain_spec: self.chain_spec.clone(),
            data_dir: self.data_dir.join("chain"),
            store: self.store.clone(),
            mempool: self.mempool.clone(),
            ..ChainConfig::default()
        }
    }
}

settings!(NodeConfig);
