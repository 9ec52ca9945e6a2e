//! What reaches the driver of the core.

use bytes::Bytes;
use pentad_pbft::{CommitCertificate, Message, Sequence, View};
use pentad_primitives::Hash256;
use pentad_service_kit::telemetry::TraceContext;
use tokio::sync::oneshot;

use crate::chain::{ChainError, Root, Template};
use crate::snapshot::Snapshot;

/// Events that may wait for the driver. Those who send them wait in turn, so that what comes from
/// other replicas is dropped by the peer service, which counts it.
pub(crate) const EVENTS_MAX: usize = 256;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// Messages came from other replicas.
    Inbound(Vec<Inbound>),
    /// A link to another replica is open now: it may have missed what was sent before.
    LinkOpened,
    /// A link is closed.
    LinkClosed { link: Bytes },
    /// The chain has a new last final block.
    Tip { sequence: Sequence, digest: Hash256 },
    /// Where work makes the blocks: the main chain has this height now.
    Height(Sequence),
    /// The certificate of a block that sync brought.
    Certificate { certificate: CommitCertificate },
    /// The state at a checkpoint.
    Root(Root),
    /// Transactions wait for a block, or none do any more; or one came that was waited for.
    Mempool,
    /// The answer to a wish for a block.
    Template(Result<Template, ChainError>),
    /// The answer to the question about a block.
    Checked { view: View, sequence: Sequence, digest: Hash256, verdict: Result<(), String> },
    /// Somebody wants to know how things stand.
    Query(oneshot::Sender<Snapshot>),
}

/// A message from another replica.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) link: Bytes,
    pub(crate) message: Message,
    /// The span that it belongs to, as W3C traceparent; empty: none.
    pub(crate) traceparent: String,
    /// Of a proposal: spans of transactions in it.
    pub(crate) traces: Vec<TraceContext>,
}
