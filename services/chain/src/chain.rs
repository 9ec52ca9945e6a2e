use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pentad_api::chain::v1::admin_service_server::AdminServiceServer;
use pentad_api::chain::v1::assembly_service_server::AssemblyServiceServer;
use pentad_api::chain::v1::chain_service_server::ChainServiceServer;
use pentad_api::chain::v1::event_service_server::EventServiceServer;
use pentad_api::chain::v1::submit_service_server::SubmitServiceServer;
use pentad_ledger::ChainSpec;
use pentad_ledger::mempool::{FeeRate, Policy};
use pentad_ledger::spec::SpecError;
use pentad_pbft::ValidatorSetError;
use pentad_service_kit::{Metrics, Probe, Server, health, sized};
use pentad_store::{DataDir, DataDirError, IndexRead as _, StoreError, StoreOptions};
use thiserror::Error;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::{ChainConfig, MempoolConfig};
use crate::error::ChainError;
use crate::finality::Finality;
use crate::flow::Flow;
use crate::grpc::{Admin, Assembly, ChainQueries, Events, Submit};
use crate::metrics::ChainMetrics;
use crate::progress::Progress;
use crate::reader::Reader;
use crate::submitter::Submitter;
use crate::view::Published;
use crate::writer::{self, Ended, Parts, Started};

/// What a chain is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The network.
    pub spec: ChainSpec,
    /// Where blocks and indexes are kept.
    pub data_dir: PathBuf,
    /// The store.
    pub store: StoreOptions,
    /// What the mempool takes in.
    pub policy: Policy,
}

/// An open chain with its writer at work. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chain {
    reader: Reader,
    submitter: Submitter,
    ended: watch::Receiver<Option<Ended>>,
    data_dir: PathBuf,
}

/// Why a chain cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The chain spec cannot be read.
    #[error("cannot read the chain spec {}: {source}", path.display())]
    SpecFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The chain spec is not valid.
    #[error("{}: {source}", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SpecError,
    },
    /// The validators of the chain spec are no set.
    #[error("the validators of the chain spec: {0}")]
    Validators(#[from] ValidatorSetError),
    /// The data directory is in use, or another network's.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The blocks or the index cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Options {
    /// Reads the chain spec that a configuration names.
    ///
    /// # Errors
    /// When the file cannot be read or is not a valid spec.
    pub fn from_config(config: &ChainConfig) -> Result<Self, OpenError> {
        Ok(Self {
            spec: read_spec(&config.chain_spec)?,
            data_dir: config.data_dir.clone(),
            store: config.store.options(),
            policy: config.mempool.policy(),
        })
    }
}

/// Reads `chain.toml`.
///
/// # Errors
/// When the file cannot be read or is not a valid spec.
pub fn read_spec(path: &Path) -> Result<ChainSpec, OpenError> {
    let path = path.to_owned();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(OpenError::SpecFile { path, source }),
    };
    ChainSpec::from_toml(&text).map_err(|source| OpenError::Spec { path, source })
}

impl MempoolConfig {
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            bytes_max: self.bytes_max,
            expiry_seconds: self.expiry_seconds,
            min_fee_rate: FeeRate(self.min_fee_rate),
            ..Policy::default()
        }
    }
}

impl Default for MempoolConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            min_fee_rate: policy.min_fee_rate.0,
            bytes_max: policy.bytes_max,
            expiry_seconds: policy.expiry_seconds,
        }
    }
}

impl Chain {
    /// Opens a chain: locks the data directory, mends what a crash left, connects what the block
    /// log holds. Blocks the thread while it does.
    ///
    /// # Errors
    /// When the data directory is in use or another network's, or its blocks are damaged.
    pub fn open(
        options: Options,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        Self::open_watched(options, clock, metrics, watch::Sender::new(Progress::BEGIN))
    }

    /// As [`Self::open`], and tells how far it is: a rebuild of the index verifies every block.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn open_watched(
        options: Options,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
        progress: watch::Sender<Progress>,
    ) -> Result<Self, OpenError> {
        let Options { spec, data_dir, mut store, policy } = options;
        let finality = Finality::of(&spec)?;
        // Validators sign it at each checkpoint.
        store.keeps_set_hash |= finality.is_instant();
        let directory = DataDir::open(&data_dir, &spec.spec_hash())?;
        let (flow, metrics) = (Flow::register(metrics), ChainMetrics::register(metrics));
        let parts = Parts {
            spec: spec.clone(),
            finality,
            directory,
            options: store,
            policy,
            clock,
            flow,
            metrics,
            progress,
        };
        let Started { published, jobs, ended } = writer::start(parts)?;
        let submitter = Submitter::new(spec, Arc::clone(&published), jobs);
        let reader = Reader::new(published);
        Ok(Self { reader, submitter, ended, data_dir })
    }

    /// Adds the chain's gRPC services to a server.
    #[must_use]
    pub fn add_to(&self, server: Server) -> Server {
        let Self { reader, submitter, data_dir, .. } = self.clone();
        let probe = self.probe();
        let probe = || [probe.clone()];
        let queries = ChainQueries::new(reader.clone());
        let events = Events { reader: reader.clone() };
        let submit = Submit { reader: reader.clone(), submitter: submitter.clone() };
        let admin = Admin::new(reader.clone(), submitter.clone(), data_dir);
        let assembly = Assembly { reader, submitter };
        server
            .service(sized!(ChainServiceServer::new(queries)), probe())
            .service(sized!(SubmitServiceServer::new(submit)), probe())
            .service(sized!(EventServiceServer::new(events)), probe())
            .service(sized!(AssemblyServiceServer::new(assembly)), probe())
            .service(sized!(AdminServiceServer::new(admin)), probe())
    }

    /// Healthy while the writer lives and the index knows the tip.
    #[must_use]
    pub fn probe(&self) -> Probe {
        let chain = self.clone();
        health::probe("store", move || {
            let chain = chain.clone();
            async move {
                // The writer's thread holds the other end, and lets go even if it panics.
                if chain.ended.has_changed().is_err() {
                    return Err("the writer has ended".to_owned());
                }
                let read = chain.reader.read(|view| {
                    let known = view.tip.snapshot.hash_at(view.tip.height)?;
                    Ok(known == Some(view.tip.hash))
                });
                match read.await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("the index does not know the tip".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
    }

    /// Reads of the chain.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The way to hand in blocks and transactions.
    #[must_use]
    pub fn submitter(&self) -> &Submitter {
        &self.submitter
    }

    /// What is published to readers.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        self.reader.published()
    }

    /// Waits until the writer has ended. [`Ended::Failed`] asks the node to stop: it cannot
    /// acknowledge anything any more.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let lost = || Ended::Failed("the writer's thread panicked".to_owned());
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_else(lost),
            Err(_) => lost(),
        }
    }

    /// Puts everything on disk and lets go of the data directory.
    ///
    /// # Errors
    /// When the store failed; the next start will mend what there is to mend.
    pub async fn stop(&self) -> Result<(), ChainError> {
        match self.submitter.stop().await {
            Ok(()) | Err(ChainError::Stopped) => {}
            Err(error) => return Err(error),
        }
        match self.ended().await {
            Ended::Stopped => Ok(()),
            Ended::Failed(_) => Err(ChainError::Stopped),
        }
    }
}
