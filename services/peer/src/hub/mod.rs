//! The one task that knows all peers. It takes events, asks the pure machines of `pentad-wire`
//! what to do, and does it. It never waits for a peer or for the chain service: what it sends goes
//! into bounded queues, what it asks comes back as an event.

mod command;
mod compact;
mod dial;
mod finality;
mod pace;
mod peer;
mod peers;
mod relaying;
mod syncing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pentad_primitives::{BlockHash, BlockHeight, Txid};
use pentad_service_kit::telemetry::TraceContext;
use pentad_wire::compact::Drafts;
use pentad_wire::handshake::{Claim, Reason};
use pentad_wire::orphans::Orphans;
use pentad_wire::relay::Relay;
use pentad_wire::sync::{Body, HeaderReport, Outcome, Sync, TICK_INTERVAL};
use pentad_wire::{Class, PeerId, StaticKey, finality as certificates, sync};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::addresses::Addresses;
use crate::addresses_file::AddressesFile;
use crate::ban_list::BanList;
use crate::chain::{BlockItem, Pump, TransactionItem};
use crate::config::PeerConfig;
use crate::link::{Candidate, End, Local, Verdict};
use crate::log_quota::LogQuota;
use crate::message::Message;
use crate::metrics::PeerMetrics;
pub(crate) use command::{Command, CommandError, PeerInfo, Traffic};
use compact::Pool;
use finality::Certificates;
use pace::Pace;
pub(crate) use peer::Peer;
use relaying::Fresh;

/// Events that wait for the hub. Each may hold a message; who sends more waits, and with it the
/// peer behind it.
pub(crate) const EVENTS_MAX: usize = 64;
/// Events dealt with before what they lead to is sent: a burst of transactions becomes one message.
const BATCH_MAX: usize = 64;
/// Bytes of blocks with the chain service: the window of the sync and half as much for blocks that
/// are pushed meanwhile.
pub(crate) const BLOCK_BYTES_MAX: usize = 48 << 20;
/// Lines about inbound links that are logged in a minute.
const LOG_LINES_MAX: u32 = 100;
/// Bytes of transactions with the chain service.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 32 << 20;

/// Something that the hub is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node has passed the handshake.
    Opened { candidate: Candidate, verdict: oneshot::Sender<Verdict> },
    /// A peer sent something.
    Received { peer: PeerId, message: Message, span: Span },
    /// A peer asked for more at once than it may.
    Overasked { peer: PeerId },
    /// A connection is over; `dialed` if it was opened from here.
    Ended { peer: Option<PeerId>, dialed: Option<String>, lived: Duration, end: End },
    /// A feeler found a node of this network, or not.
    Felt { address: String, outcome: Result<StaticKey, End> },
    /// An address could not be reached.
    Unreachable { address: String },
    /// The chain has a new tip; the block, unless it is not new to the world.
    Tip { claim: Claim, body: Option<Body>, trace: Option<TraceContext> },
    /// Transactions entered or left the mempool; with `is_reset`, all that are not among them have
    /// left.
    Mempool { is_reset: bool, changes: Vec<MempoolChange> },
    /// The chain service took or refused a block; `is_new` if the main chain goes on with it.
    BlockAnswered { peer: PeerId, hash: BlockHash, outcome: Outcome, is_new: bool },
    /// The chain service took or refused (how badly its sender behaved) transactions.
    TransactionsAnswered(Vec<(TransactionItem, Option<u32>)>),
    /// The chain service checked headers of a peer, or told what is wanted.
    HeadersChecked { peer: Option<PeerId>, report: Option<HeaderReport> },
    /// A compact block was put together, or does not fit its header.
    Assembled { peer: PeerId, hash: BlockHash, body: Option<Body>, span: Span },
    /// More is final here than was.
    Final,
    /// The last final block and what makes it so; `None`: the chain service did not tell.
    FinalityRead(Option<(BlockHeight, Bytes)>),
    /// The chain service took or refused a certificate.
    CertificateChecked(certificates::Outcome),
    /// A question to the chain service is done and nothing follows.
    Done,
    /// Discovery found a node.
    Hint { address: String },
    /// The operator wants something.
    Command(Command),
}

/// A change of the mempool.
#[derive(Debug)]
pub(crate) enum MempoolChange {
    Added { txid: Txid, transaction: Bytes, trace: Option<TraceContext> },
    Removed { txid: Txid, is_confirmed: bool },
}

/// What the hub is made of.
pub(crate) struct Parts {
    pub(crate) local: Arc<Local>,
    pub(crate) config: PeerConfig,
    pub(crate) claim: watch::Sender<Claim>,
    pub(crate) blocks: Pump<BlockItem>,
    pub(crate) transactions: Pump<TransactionItem>,
    pub(crate) addresses: Addresses,
    pub(crate) file: AddressesFile,
    pub(crate) bans: BanList,
    /// The static keys that may be peers; `None`: all.
    pub(crate) allowed: Option<BTreeSet<StaticKey>>,
    pub(crate) metrics: PeerMetrics,
    /// Drawn at the start; nobody can aim at what is chosen by it.
    pub(crate) secret: u64,
    pub(crate) links: TaskTracker,
}

/// The state of the peer service.
pub(crate) struct Hub {
    parts: Parts,
    started: Instant,
    peers: BTreeMap<PeerId, Peer>,
    next_peer: u64,
    sync: Sync,
    relay: Relay,
    orphans: Orphans,
    /// Transactions to be told to peers at the end of the batch.
    fresh: Vec<Fresh>,
    /// When to ask for transactions that peers told of.
    ask_at: Option<Instant>,
    /// Questions to the chain service, and what each that fails comes to.
    calls: JoinSet<Event>,
    failures: HashMap<task::Id, Event>,
    certificates: Certificates,
    /// Whether this node takes part in consensus at present, and as which validator.
    consensus: watch::Receiver<Option<Bytes>>,
    pace: Pace,
    /// When the last feeler was sent.
    felt: Duration,
    /// Lines about inbound links.
    log: LogQuota,
    /// What compact blocks are put together from.
    pool: Pool,
    drafts: Drafts,
}

impl Hub {
    pub(crate) fn new(parts: Parts) -> Self {
        let own = *parts.claim.borrow();
        let consensus = parts.local.exchange.attached();
        Self {
            parts,
            started: Instant::now(),
            peers: BTreeMap::new(),
            next_peer: 0,
            sync: Sync::new(own),
            relay: Relay::new(),
            orphans: Orphans::new(),
            fresh: Vec::new(),
            ask_at: None,
            calls: JoinSet::new(),
            failures: HashMap::new(),
            certificates: Certificates::new(&own),
            consensus,
            pace: Pace::default(),
            felt: Duration::ZERO,
            log: LogQuota::new(LOG_LINES_MAX),
            pool: Pool::default(),
            drafts: Drafts::new(),
        }
    }

    /// Runs until shutdown, then says goodbye to everybody.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        shutdown: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = events.recv_many(&mut batch, BATCH_MAX) => {
                    for event in batch.drain(..) {
                        self.on_event(event);
                    }
                }
                Some(done) = self.calls.join_next_with_id() => self.on_called(done),
                // It is told when the loop is through.
                Ok(()) = self.consensus.changed() => {}
                _ = ticks.tick() => self.on_tick(),
                () = until(self.ask_at) => self.ask_for_transactions(),
            }
            self.flush();
        }
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.close(peer, Reason::ShuttingDown, "this node stops");
        }
    }

    /// Time since the start, as the pure machines count it.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// This node's tip.
    fn own(&self) -> Claim {
        *self.parts.claim.borrow()
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Opened { candidate, verdict } => self.on_opened(candidate, verdict),
            Event::Received { peer, message, span } => {
                let _entered = span.entered();
                self.on_message(peer, message);
            }
            Event::Overasked { peer } => {
                self.penalize(peer, pentad_wire::Offence::TooManyRequests);
            }
            Event::Ended { peer, dialed, lived, end } => {
                self.on_ended(peer, dialed.as_deref(), lived, &end);
            }
            Event::Felt { address, outcome } => self.on_felt(&address, outcome),
            Event::Unreachable { address } => self.on_unreachable(&address),
            Event::Tip { claim, body, trace } => self.on_tip(claim, body, trace),
            Event::Mempool { is_reset, changes } => self.on_mempool(is_reset, changes),
            Event::BlockAnswered { peer, hash, outcome, is_new } => {
                if is_new {
                    self.on_useful_block(peer);
                }
                self.step(sync::Input::Answered { peer, hash, outcome });
            }
            Event::TransactionsAnswered(answers) => {
                for (item, refused) in answers {
                    self.on_transaction_answered(item, refused);
                }
            }
            Event::HeadersChecked { peer, report } => self.step(match report {
                Some(report) => sync::Input::Checked { peer, report },
                None => sync::Input::CheckFailed { peer },
            }),
            Event::Assembled { peer, hash, body, span } => {
                let _entered = span.entered();
                self.on_assembled(peer, hash, body);
            }
            Event::Final => self.ask_finality(),
            Event::FinalityRead(read) => self.on_finality(read),
            Event::CertificateChecked(outcome) => self.on_certificate_checked(outcome),
            Event::Done => {}
            Event::Hint { address } => self.on_hint(&address),
            Event::Command(command) => self.on_command(command),
        }
    }

    fn on_message(&mut self, peer: PeerId, message: Message) {
        if !self.peers.contains_key(&peer) {
            // It was closed while this was on its way.
            return;
        }
        match message {
            Message::Handshake(handshake) => self.on_heartbeat(peer, &handshake),
            Message::Transactions(transactions) => self.on_transactions(peer, transactions),
            Message::Inventory(txids) => self.on_inventory(peer, &txids),
            Message::Block { hash, body } => {
                self.relay.peer_has(peer, hash.as_bytes());
                self.step(sync::Input::Block { peer, hash, body });
            }
            Message::NoBlock(hash) => self.step(sync::Input::NotFound { peer, hash }),
            Message::CompactBlock(block) => self.on_compact_block(peer, block),
            Message::BlockTransactions { hash, transactions } => {
                self.on_block_transactions(peer, hash, transactions);
            }
            Message::Headers(batch) => self.step(sync::Input::Headers { peer, batch }),
            Message::Certificate { height, certificate } => {
                self.on_certificate(peer, height, certificate);
            }
            // The reader gives these to the task that answers or to the consensus service, or
            // ends with them.
            Message::GetBlocks(_)
            | Message::GetHeaders { .. }
            | Message::GetTransactions(_)
            | Message::GetBlockTransactions { .. }
            | Message::Consensus { .. }
            | Message::Goodbye { .. } => {}
        }
    }

    fn on_tick(&mut self) {
        self.step(sync::Input::Tick);
        self.close_hoarders();
        self.ask_for_overdue_blocks();
        self.ask_for_transactions();
        self.ask_finality_if_due();
        self.check_certificates();
        self.send_heartbeats();
        self.dial_due();
        self.send_feeler();
        let progress = self.sync.progress();
        self.pace.observe(self.now(), &progress);
        self.parts.metrics.observe(&progress, self.peers.values(), self.orphans.len());
        self.parts.metrics.on_queued(self.queued());
    }

    /// Bytes that wait: for links, by class, and for the other services of this node.
    fn queued(&self) -> [(&'static str, usize); 6] {
        let [consensus, announcements, bulk] = Class::ALL.map(|class| {
            let queued = self.peers.values().map(|peer| peer.outbox.queued(class));
            (class.name(), queued.fold(0, usize::saturating_add))
        });
        let to_consensus = ("to_consensus", self.parts.local.exchange.waiting_bytes());
        let blocks = ("blocks_to_chain", self.parts.blocks.bytes());
        let transactions = ("transactions_to_chain", self.parts.transactions.bytes());
        [consensus, announcements, bulk, to_consensus, blocks, transactions]
    }

    /// Sends what the last events have led to.
    fn flush(&mut self) {
        self.announce_consensus();
        self.relay_fresh();
        self.announce_tip();
        self.announce_finality();
    }
}

/// Waits for a time; for ever where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
