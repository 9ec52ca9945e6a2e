//! Puts the consensus service together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pentad_api::Connection;
use pentad_api::consensus::v1::consensus_service_server::ConsensusServiceServer;
use pentad_crypto::AddressVersions;
use pentad_ledger::ChainSpec;
use pentad_ledger::spec::Pbft;
use pentad_pbft::ReplicaId;
use pentad_pbft::secp::SecpKeys;
use pentad_proof::Membership;
use pentad_service_kit::{Metrics, Server, Supervisor, health, sized};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::chain::ChainClient;
use crate::config::ConsensusConfig;
use crate::error::{ConsensusError, StartError};
use crate::event::{EVENTS_MAX, Event};
use crate::key_file;
use crate::metrics::ConsensusMetrics;
use crate::names::Names;
use crate::safety::{Opened, Safety};
use crate::snapshot::Snapshot;
use crate::subject::Subject;
use crate::validator::{Validator, owner};
use crate::vitals::Vitals;

/// What the chain and peer services are asked for their health by.
const CHAIN_SERVICE: &str = "pentad.chain.v1.ChainService";
const PEER_SERVICE: &str = "pentad.peer.v1.PeerService";
/// A driver that has not answered by then waits for its disk.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// The consensus service of a node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Consensus {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// `None` under proof of work.
    pub(crate) network: Option<Network>,
    pub(crate) part: Part,
    pub(crate) vitals: Vitals,
    pub(crate) chain: ChainClient,
    connections: [Connection; 2],
}

/// The network's rules for agreement.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) pbft: Pbft,
    pub(crate) membership: Membership,
    pub(crate) versions: AddressVersions,
}

/// What this node does.
#[derive(Debug)]
pub(crate) enum Part {
    /// It votes for nobody.
    Follower,
    /// It has a key that must not vote from here.
    Halted { own: ReplicaId },
    /// It votes.
    Validator { own: ReplicaId, events: mpsc::Sender<Event> },
}

impl Network {
    pub(crate) fn names(&self) -> Names {
        Names(Arc::clone(self.membership.validators()))
    }

    pub(crate) fn view_timeout(&self) -> Duration {
        Duration::from_millis(self.pbft.view_timeout_ms.into())
    }
}

impl Consensus {
    /// Starts the service. The chain and peer services need not be there yet. Ends with
    /// `shutdown`.
    ///
    /// # Errors
    /// When the validator key or the safety log cannot be used.
    #[allow(clippy::too_many_arguments, reason = "what a service of a node is made of")]
    pub async fn start(
        config: ConsensusConfig,
        data_dir: &Path,
        spec: &ChainSpec,
        chain: Connection,
        peer: Connection,
        metrics: &Metrics,
        supervisor: &Supervisor,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        // Without validators, nobody asks.
        let subject = Subject::of(spec).unwrap_or(Subject::NextBlock);
        let network = match (spec.agreement(), Membership::of(spec)?) {
            (Some(pbft), Some(membership)) => {
                let versions = *spec.address_versions();
                Some(Network { pbft: pbft.clone(), membership, versions })
            }
            _ => None,
        };
        let vitals = Vitals::default();
        let client = ChainClient::new(chain.clone(), subject);
        let joining = Joining {
            data_dir,
            spec,
            chain: client.clone(),
            peer: peer.clone(),
            registry: metrics,
            vitals: vitals.clone(),
            supervisor,
            shutdown,
        };
        let metrics = ConsensusMetrics::register(metrics);
        let part = match (&config.validator_key, &network) {
            (Some(path), Some(network)) => joining.join(path, &config, network, metrics).await?,
            (Some(path), None) => {
                // No reason to refuse: the settings of deploy/kubernetes name a key, whatever
                // the engine.
                let key = path.display();
                tracing::warn!(%key, "this network has no validators: the key is not used");
                Part::Follower
            }
            (None, _) => Part::Follower,
        };
        let connections = [chain, peer];
        let inner = Inner { network, part, vitals, chain: client, connections };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Adds the service to a server. A validator is healthy while it can vote: it reaches the
    /// chain and peer services and has not halted.
    #[must_use]
    pub fn add_to(&self, server: Server) -> Server {
        let [chain, peer] = self.inner.connections.clone();
        let mut probes = vec![health::remote("chain", chain, CHAIN_SERVICE)];
        if !matches!(self.inner.part, Part::Follower) {
            probes.push(health::remote("peer", peer, PEER_SERVICE));
            let inner = Arc::clone(&self.inner);
            probes.push(health::probe("consensus", move || {
                let outcome = inner.vitals.check();
                async move { outcome }
            }));
        }
        server.service(sized!(ConsensusServiceServer::new(self.clone())), probes)
    }
}

/// What a validator is started with, beside its key.
struct Joining<'a> {
    data_dir: &'a Path,
    spec: &'a ChainSpec,
    chain: ChainClient,
    peer: Connection,
    registry: &'a Metrics,
    vitals: Vitals,
    supervisor: &'a Supervisor,
    shutdown: CancellationToken,
}

impl Joining<'_> {
    /// Starts a validator, if the key in the file is one's, and its log and guard say that it may
    /// vote.
    async fn join(
        self,
        key_file: &Path,
        config: &ConsensusConfig,
        network: &Network,
        metrics: ConsensusMetrics,
    ) -> Result<Part, StartError> {
        let secret = key_file::load(key_file)?;
        let key = secret.public_key();
        let validators = Arc::clone(network.membership.validators());
        let Some(keys) = SecpKeys::new(secret, validators) else {
            tracing::warn!(key = %key_file.display(), "no validator's key: following");
            return Ok(Part::Follower);
        };
        let own = keys.own();
        let opening = open(config, key_file, self.data_dir, owner(&network.membership, &key));
        let (safety, records) = match tokio::task::spawn_blocking(opening).await?? {
            Opened::Trusted { safety, records } => (*safety, records),
            Opened::Distrusted { reason } => {
                tracing::error!(reason, "this validator does not vote");
                metrics.on_halt();
                self.vitals.halt(&reason);
                return Ok(Part::Halted { own });
            }
        };
        let (events, received) = mpsc::channel(EVENTS_MAX);
        ConsensusMetrics::sample_events(self.registry, &events);
        let validator = Validator {
            config: config.clone(),
            spec: self.spec.clone(),
            pbft: network.pbft.clone(),
            membership: network.membership.clone(),
            keys,
            safety,
            records,
            chain: self.chain,
            peer: self.peer,
            events: events.clone(),
            metrics,
            vitals: self.vitals,
            supervisor: self.supervisor.clone(),
            shutdown: self.shutdown,
        };
        self.supervisor.spawn("consensus", validator.run(received));
        Ok(Part::Validator { own, events })
    }
}

impl Inner {
    /// How the validator stands; `None` where there is none.
    pub(crate) async fn snapshot(&self) -> Result<Option<Snapshot>, ConsensusError> {
        let Part::Validator { events, .. } = &self.part else {
            return Ok(None);
        };
        let (answer, answered) = oneshot::channel();
        let asking = async {
            events.send(Event::Query(answer)).await.ok()?;
            answered.await.ok()
        };
        match timeout(ANSWER_TIME_MAX, asking).await.ok().flatten() {
            Some(snapshot) => Ok(Some(snapshot)),
            None => Err(ConsensusError::Busy(self.vitals.why_silent())),
        }
    }

    pub(crate) fn network(&self) -> Result<&Network, ConsensusError> {
        self.network.as_ref().ok_or(ConsensusError::NoFinality)
    }
}

fn open(
    config: &ConsensusConfig,
    key_file: &Path,
    data_dir: &Path,
    owner: [u8; 32],
) -> impl FnOnce() -> Result<Opened, crate::safety::SafetyError> + Send + use<> {
    let guard_file = config.guard_file.clone().unwrap_or_else(|| beside(key_file));
    let (directory, adopt_log) = (data_dir.to_owned(), config.adopt_log);
    move || Safety::open(&directory, &guard_file, adopt_log, owner)
}

/// Where the guard of a key is kept unless the configuration says otherwise.
fn beside(key_file: &Path) -> PathBuf {
    let mut name = key_file.as_os_str().to_owned();
    name.push(".guard");
    PathBuf::from(name)
}
