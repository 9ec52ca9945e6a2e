//! Metrics of the peer service.
//!
//! | metric | meaning |
//! |---|---|
//! | `pentad_peer_links{direction}` | connected nodes |
//! | `pentad_peer_received_bytes_total` | over all links, encrypted |
//! | `pentad_peer_sent_bytes_total` | over all links, encrypted |
//! | `pentad_peer_frames_skipped_total` | frames of kinds that this version does not know |
//! | `pentad_peer_connections_turned_away_total` | closed before the handshake: too many |
//! | `pentad_peer_links_refused_total` | closed after the handshake: banned, duplicate, no slot |
//! | `pentad_peer_links_evicted_total` | inbound ones that gave way to a newcomer |
//! | `pentad_peer_links_slow_total` | closed because the other side did not read |
//! | `pentad_peer_compact_blocks_total` | put together from the mempool |
//! | `pentad_peer_certificates_received_total{outcome}` | that make blocks of work final |
//! | `pentad_peer_certificates_sent_total` | the same, to each peer |
//! | `pentad_peer_offences_total{offence}` | misbehaviour by kind |
//! | `pentad_peer_feelers_total` | nodes found by short test connections |
//! | `pentad_peer_bans_total` | static keys banned |
//! | `pentad_peer_transactions_dropped_total` | transactions not checked because too many waited |
//! | `pentad_peer_consensus_dropped_total{direction,class}` | messages of replicas that gave way |
//! | `pentad_peer_queued_bytes{queue}` | what waits: for links, by class; for the other services |
//! | `pentad_peer_orphans` | transactions that wait for what they spend |
//! | `pentad_peer_sync_height_blocks` | height of the own tip |
//! | `pentad_peer_sync_best_height_blocks` | height of the best header chain known |
//! | `pentad_peer_sync_blocks_in_flight` | blocks asked for and not there yet |
//! | `pentad_peer_sync_buffered_bytes` | blocks that wait for their turn |

use pentad_service_kit::Metrics;
use pentad_wire::finality::Outcome;
use pentad_wire::sync::Progress;
use pentad_wire::{Class, Direction, Offence};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::hub::Peer;
use crate::link::counters::Totals;

/// The outcome of certificates that are dropped unread.
const STALE: &str = "stale";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OffenceLabels {
    offence: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    direction: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: &'static str,
}

/// Messages of replicas that a slow reader cannot take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dropped(Family<DroppedLabels, Counter>);

impl Dropped {
    /// From a peer to the consensus service.
    pub(crate) fn inbound(&self, class: Class, count: u64) {
        self.add("inbound", class, count);
    }

    /// From the consensus service to a peer.
    pub(crate) fn outbound(&self, class: Class, count: u64) {
        self.add("outbound", class, count);
    }

    fn create_series(&self) {
        for (direction, class) in ["inbound", "outbound"].iter().flat_map(|direction| {
            [Class::Consensus, Class::Announcements].map(|class| (*direction, class))
        }) {
            drop(self.0.get_or_create(&DroppedLabels { direction, class: class.name() }));
        }
    }

    fn add(&self, direction: &'static str, class: Class, count: u64) {
        if count > 0 {
            let labels = DroppedLabels { direction, class: class.name() };
            self.0.get_or_create(&labels).inc_by(count);
        }
    }

    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        let count = |direction, class: Class| {
            let labels = DroppedLabels { direction, class: class.name() };
            self.0.get(&labels).map_or(0, |counter| counter.get())
        };
        Class::ALL.map(|class| count("inbound", class) + count("outbound", class)).iter().sum()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Certificates that make blocks of work final.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificates {
    received: Family<OutcomeLabels, Counter>,
    sent: Counter,
}

impl Certificates {
    /// One was dropped unread: its block is final, or it came before.
    pub(crate) fn stale(&self) {
        self.received.get_or_create(&OutcomeLabels { outcome: STALE }).inc();
    }

    pub(crate) fn received(&self, outcome: Outcome) {
        self.received.get_or_create(&OutcomeLabels { outcome: outcome.name() }).inc();
    }

    pub(crate) fn sent(&self) {
        self.sent.inc();
    }

    fn register_in(&self, registry: &mut Registry) {
        for outcome in Outcome::ALL.map(Outcome::name).into_iter().chain([STALE]) {
            drop(self.received.get_or_create(&OutcomeLabels { outcome }));
        }
        let (help, received) = ("Certificates of final blocks, by outcome", self.received.clone());
        registry.register("certificates_received", help, received);
        registry.register("certificates_sent", "The same, to each peer", self.sent.clone());
    }
}

/// What the peer service counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerMetrics {
    links: Family<DirectionLabels, Gauge>,
    offences: Family<OffenceLabels, Counter>,
    pub(crate) totals: Totals,
    pub(crate) turned_away: Counter,
    pub(crate) refused: Counter,
    pub(crate) evicted: Counter,
    pub(crate) slow: Counter,
    pub(crate) bans: Counter,
    pub(crate) feelers: Counter,
    pub(crate) compact: Counter,
    pub(crate) dropped: Counter,
    pub(crate) dropped_consensus: Dropped,
    pub(crate) certificates: Certificates,
    queued: Family<QueueLabels, Gauge>,
    orphans: Gauge,
    height: Gauge,
    best_height: Gauge,
    in_flight: Gauge,
    buffered: Gauge,
}

impl PeerMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| own.register_in(registry.sub_registry_with_prefix("peer")));
        own
    }

    fn register_in(&self, registry: &mut Registry) {
        registry.register("links", "Connected nodes", self.links.clone());
        let bytes = Unit::Bytes;
        let received = self.totals.received.clone();
        registry.register_with_unit("received", "Over all links", bytes.clone(), received);
        let sent = self.totals.sent.clone();
        registry.register_with_unit("sent", "Over all links", bytes.clone(), sent);
        for (name, help, counter) in [
            ("frames_skipped", "Frames of unknown kinds", &self.totals.skipped),
            ("connections_turned_away", "Closed before the handshake", &self.turned_away),
            ("links_refused", "Closed after the handshake", &self.refused),
            ("links_evicted", "Inbound links that gave way to a newcomer", &self.evicted),
            ("links_slow", "Closed because the other side did not read", &self.slow),
            ("bans", "Static keys banned", &self.bans),
            ("compact_blocks", "Put together from the mempool", &self.compact),
            ("feelers", "Nodes found by short test connections", &self.feelers),
            ("transactions_dropped", "Transactions not checked: overload", &self.dropped),
        ] {
            registry.register(name, help, counter.clone());
        }
        self.certificates.register_in(registry);
        // A series that is there from the start has a rate when it first moves.
        self.dropped_consensus.create_series();
        let dropped = self.dropped_consensus.0.clone();
        registry.register("consensus_dropped", "Messages of replicas that gave way", dropped);
        let queued = self.queued.clone();
        registry.register_with_unit("queued", "What waits, by queue", bytes.clone(), queued);
        for offence in Offence::ALL.map(Offence::name) {
            drop(self.offences.get_or_create(&OffenceLabels { offence }));
        }
        registry.register("offences", "Misbehaviour by kind", self.offences.clone());
        for (name, help, gauge) in [
            ("orphans", "Transactions that wait for what they spend", &self.orphans),
            ("sync_height_blocks", "Height of the own tip", &self.height),
            ("sync_best_height_blocks", "Height of the best header chain", &self.best_height),
            ("sync_blocks_in_flight", "Blocks asked for", &self.in_flight),
        ] {
            registry.register(name, help, gauge.clone());
        }
        let buffered = self.buffered.clone();
        registry.register_with_unit("sync_buffered", "Blocks that wait", bytes, buffered);
    }

    pub(crate) fn observe<'a>(
        &self,
        progress: &Progress,
        peers: impl Iterator<Item = &'a Peer>,
        orphans: usize,
    ) {
        let (mut inbound, mut outbound) = (0, 0);
        for peer in peers {
            match peer.direction {
                Direction::Inbound => inbound += 1,
                Direction::Outbound => outbound += 1,
            }
        }
        let set = |gauge: &Gauge, count: usize| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        for (direction, count) in [("inbound", inbound), ("outbound", outbound)] {
            set(&self.links.get_or_create(&DirectionLabels { direction }), count);
        }
        set(&self.orphans, orphans);
        set(&self.in_flight, progress.in_flight);
        set(&self.buffered, progress.buffered_bytes);
        self.height.set(i64::from(progress.height.get()));
        self.best_height.set(i64::from(progress.best_height.get()));
    }

    /// How many bytes wait in queues that have names.
    pub(crate) fn on_queued(&self, queued: impl IntoIterator<Item = (&'static str, usize)>) {
        for (queue, bytes) in queued {
            let gauge = self.queued.get_or_create(&QueueLabels { queue });
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn on_offence(&self, offence: Offence) {
        self.offences.get_or_create(&OffenceLabels { offence: offence.name() }).inc();
    }
}
