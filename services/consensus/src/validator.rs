//! A validator, from its safety log to the running driver.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use pentad_api::Connection;
use pentad_crypto::PublicKey;
use pentad_ledger::ChainSpec;
use pentad_ledger::spec::Pbft;
use pentad_pbft::link_proof::LinkProofs;
use pentad_pbft::secp::SecpKeys;
use pentad_pbft::{Config, Credentials, Record, Recovered, Replica, Sequence, Tip};
use pentad_primitives::Hash256;
use pentad_primitives::hash::sha256d;
use pentad_proof::Membership;
use pentad_service_kit::Supervisor;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backoff::backoff;
use crate::chain::{ChainClient, ChainError, Root};
use crate::config::ConsensusConfig;
use crate::connect::{self, BLOCKS_MAX};
use crate::driver::{Driver, DriverError, Parts};
use crate::event::Event;
use crate::metrics::ConsensusMetrics;
use crate::pending::Pending;
use crate::relay::{Outbox, Relay};
use crate::safety::Safety;
use crate::subject::Subject;
use crate::tip;
use crate::vitals::Vitals;

/// In front of what tells the safety logs of different validators and networks apart.
const OWNER_TAG: &[u8] = b"pentad.safety-log.v1";

/// All that is needed but the chain service's answer.
pub(crate) struct Validator {
    pub(crate) config: ConsensusConfig,
    pub(crate) spec: ChainSpec,
    pub(crate) pbft: Pbft,
    pub(crate) membership: Membership,
    pub(crate) keys: SecpKeys,
    pub(crate) safety: Safety,
    pub(crate) records: Vec<Record>,
    pub(crate) chain: ChainClient,
    pub(crate) peer: Connection,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) metrics: ConsensusMetrics,
    pub(crate) vitals: Vitals,
    pub(crate) supervisor: Supervisor,
    pub(crate) shutdown: CancellationToken,
}

/// Whose safety log it is: hash over the network and the validator's key.
pub(crate) fn owner(membership: &Membership, key: &PublicKey) -> [u8; 32] {
    let mut bytes = OWNER_TAG.to_vec();
    bytes.extend(membership.domain().chain.as_bytes());
    bytes.extend(key.to_bytes());
    sha256d(&bytes).to_bytes()
}

/// The last checkpoint up to a sequence; genesis is none.
pub(crate) fn checkpoint(sequence: Sequence, pbft: &Pbft) -> Sequence {
    let interval = u64::from(pbft.checkpoint_interval);
    Sequence::new(sequence.get() - sequence.get() % interval)
}

impl Validator {
    /// Runs to the end of the service.
    pub(crate) async fn run(mut self, received: mpsc::Receiver<Event>) -> Result<(), DriverError> {
        let shutdown = self.shutdown.clone();
        let Some((tip, checkpoint)) = shutdown.run_until_cancelled(self.reach_chain()).await else {
            return Ok(());
        };
        let own = self.keys.own();
        let quorum = self.membership.validators().quorum();
        let domain = *self.membership.domain();
        let config = Config {
            own,
            quorum,
            domain,
            window: self.pbft.window.into(),
            checkpoint_interval: self.pbft.checkpoint_interval.into(),
            view_timeout_ms: self.pbft.view_timeout_ms.into(),
            resend_ms: self.config.resend_ms,
        };
        let sequence = tip.sequence;
        let records = std::mem::take(&mut self.records);
        let count = records.len();
        let recovered = Recovered { records, tip, checkpoint };
        let (core, outputs) = Replica::new(config, self.keys.clone(), recovered);
        let view = core.status().view;
        tracing::info!(replica = %own, height = %sequence, %view, records = count, "validating");
        let keys = self.keys.clone();
        let parts = self.into_parts(Credentials { own, domain, quorum, keys });
        Driver::new(core, parts).run(outputs, received, shutdown).await
    }

    /// Starts the tasks around the driver.
    fn into_parts(self, credentials: Credentials<SecpKeys>) -> Parts {
        let (blocks, to_connect) = mpsc::channel(BLOCKS_MAX);
        let outbox = Outbox::new(self.metrics.outbox_bytes.clone());
        let pending = Pending::default();
        let proofs = LinkProofs {
            keys: self.keys.clone(),
            validators: Arc::clone(self.membership.validators()),
            chain: self.membership.domain().chain,
        };
        let relay = Relay {
            subject: self.chain.subject(),
            peer: self.peer.clone(),
            outbox: outbox.clone(),
            proofs,
            events: self.events.clone(),
            vitals: self.vitals.clone(),
            metrics: self.metrics.clone(),
        };
        let chain = || self.chain.clone();
        self.mind("relay", relay.run());
        self.mind("tip", tip::follow(chain(), self.events.clone(), self.vitals.clone()));
        if self.chain.subject() == Subject::NextBlock {
            self.mind("mempool", pending.clone().follow(chain(), self.events.clone()));
        }
        self.mind("final blocks", connect::run(chain(), to_connect, self.vitals.clone()));
        let validators = self.membership.validators();
        let payout = validators.get(credentials.own).map(|own| own.payout.clone());
        let limits = self.spec.limits();
        Parts {
            credentials,
            payout: payout.unwrap_or_default(),
            block_bytes_max: limits.block_bytes as usize,
            transaction_bytes_max: limits.transaction_bytes as usize,
            pbft: self.pbft,
            safety: Arc::new(Mutex::new(self.safety)),
            chain: self.chain,
            events: self.events,
            blocks,
            outbox,
            pending,
            metrics: self.metrics,
            vitals: self.vitals,
        }
    }

    /// Runs a task until shutdown; the service does not outlive its panic.
    fn mind(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.supervisor.spawn(name, async move {
            shutdown.run_until_cancelled(task).await;
            Ok::<(), Infallible>(())
        });
    }

    /// Asks the chain service for the last final block, and the last at a checkpoint height,
    /// until it answers.
    async fn reach_chain(&self) -> (Tip, Option<(Sequence, Hash256, Hash256)>) {
        let mut backoff = backoff();
        loop {
            match self.ask_chain().await {
                Ok(answer) => return answer,
                Err(error) => tracing::debug!(%error, "the chain service does not answer yet"),
            }
            backoff.pause().await;
        }
    }

    async fn ask_chain(&self) -> Result<(Tip, Option<(Sequence, Hash256, Hash256)>), ChainError> {
        let tip = self.chain.tip().await?;
        let sequence = checkpoint(tip.sequence, &self.pbft);
        if sequence == Sequence::GENESIS {
            return Ok((tip, None));
        }
        let Root { digest, root, .. } = self.chain.root(sequence).await?;
        Ok((tip, Some((sequence, digest, root))))
    }
}
