//! One link to another node: handshake, then a reader, a writer and a task that answers questions.

pub(crate) mod counters;
pub(crate) mod feeler;
pub(crate) mod outbox;
pub(crate) mod serve;
pub(crate) mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pentad_service_kit::telemetry::{self, TraceContext};
use pentad_wire::frame::CONTEXT_MAX;
use pentad_wire::handshake::{self, Claim, Hello, Incompatible, Reason};
use pentad_wire::inbox::Parcel;
use pentad_wire::intake::Intake;
use pentad_wire::{Direction, Frame, Kind, PeerId, StaticKey};
use socket2::SockRef;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

use crate::chain::Chain;
use crate::exchange::{Exchange, Membership};
use crate::hub::Event;
use crate::identity::Identity;
use crate::message::{Handshake, Message};
use crate::trace;
use counters::{Counters, Totals};
use outbox::Outbox;
use serve::{Job, REQUESTS_MAX, serve};
use transport::{FrameReader, FrameWriter, LinkError};

/// The system's buffers of a link, at both ends: what is in them can no longer be overtaken by
/// something more urgent, so they are small; at 100 MB/s both together last for 5 ms.
const SOCKET_BUFFER: usize = 256 << 10;
/// How long another node may take to read a farewell.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(3);
/// A link on which nothing arrives for this long is dead: heartbeats come every few seconds.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What every link of this node needs to know.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) identity: Identity,
    pub(crate) hello: Hello,
    pub(crate) listen_port: Option<u16>,
    pub(crate) claim: watch::Receiver<Claim>,
    pub(crate) handshake_time_max: Duration,
    pub(crate) write_time_max: Duration,
    pub(crate) chain: Chain,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) exchange: Exchange,
    pub(crate) totals: Totals,
}

/// A node that has passed the handshake, for the hub to take or refuse.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) key: StaticKey,
    pub(crate) address: SocketAddr,
    pub(crate) direction: Direction,
    /// As it was dialled.
    pub(crate) dialed: Option<String>,
    pub(crate) handshake: Handshake,
    /// What it was told of this node's part in consensus.
    pub(crate) told_consensus: Option<Bytes>,
    pub(crate) outbox: Outbox,
    pub(crate) counters: Arc<Counters>,
    /// Questions of this node itself to the task that answers.
    pub(crate) jobs: mpsc::Sender<Job>,
}

/// What the hub says to a candidate.
pub(crate) type Verdict = Result<PeerId, (Reason, String)>;

/// How a link ended, or why there was none.
#[derive(Debug, Error)]
pub(crate) enum End {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{0}")]
    Incompatible(Incompatible),
    #[error("refused by this node: {}: {message}", reason.name())]
    Refused { reason: Reason, message: String },
    #[error("the other node says goodbye: {reason}: {message}")]
    Goodbye { reason: String, message: String },
    #[error("the first message is no handshake")]
    NoHandshake,
    #[error("closed by this node")]
    Closed,
}

impl End {
    /// The other side's key is known to be of no use: of this node itself, of another network, or
    /// banned, here or there.
    pub(crate) fn is_final(&self) -> bool {
        let reason = match self {
            Self::Incompatible(incompatible) => Some(incompatible.reason()),
            Self::Goodbye { reason, .. } => Reason::from_name(reason),
            Self::Refused { reason: Reason::Banned, .. } => Some(Reason::Banned),
            _ => None,
        };
        matches!(
            reason,
            Some(
                Reason::SelfConnection
                    | Reason::WrongNetwork
                    | Reason::WrongGenesis
                    | Reason::UnsupportedVersion
                    | Reason::Banned
            )
        )
    }
}

impl End {
    /// The other side only looked who is here.
    pub(crate) fn is_feeler(&self) -> bool {
        matches!(self, Self::Goodbye { reason, .. } if reason == Reason::Feeler.name())
    }
}

struct Opened {
    reader: FrameReader,
    writer: FrameWriter,
    key: StaticKey,
    handshake: Handshake,
    told_consensus: Option<Bytes>,
    /// What came together with the handshake.
    early: Vec<Frame>,
}

/// Runs a connection from its first byte to its end. `on_open` is called once the other side has
/// proved to be of this network and is a peer or refused: the connection is not half-open any more.
/// Returns the peer that it
/// was, if it became one.
pub(crate) async fn run(
    local: Arc<Local>,
    stream: TcpStream,
    address: SocketAddr,
    dialed: Option<String>,
    on_open: impl FnOnce(),
) -> (Option<PeerId>, End) {
    let direction = if dialed.is_some() { Direction::Outbound } else { Direction::Inbound };
    let counters = Arc::new(Counters::new(local.totals.clone()));
    let limit = local.handshake_time_max;
    let opening = open(&local, stream, direction, Arc::clone(&counters));
    let opened = match timeout(limit, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(end)) => {
            if end.is_feeler() {
                on_open();
            }
            return (None, end);
        }
        Err(_) => return (None, LinkError::HandshakeTimeout(limit).into()),
    };
    let Opened { reader, writer, key, handshake, told_consensus, early } = opened;
    let (ours, theirs) = (&local.hello, &handshake.hello);
    if let Err(incompatible) = handshake::check((ours, &local.identity.public()), (theirs, &key)) {
        let reason = incompatible.reason();
        farewell(reader, writer, reason, &incompatible.to_string()).await;
        return (None, End::Incompatible(incompatible));
    }
    let outbox = Outbox::default();
    let (jobs, receiver) = mpsc::channel(REQUESTS_MAX);
    let proof = handshake.consensus.clone();
    let candidate = Candidate {
        key,
        address,
        direction,
        dialed,
        handshake,
        told_consensus,
        outbox: outbox.clone(),
        counters,
        jobs: jobs.clone(),
    };
    let peer = match introduce(&local, candidate).await {
        Some(Ok(peer)) => {
            on_open();
            peer
        }
        Some(Err((reason, message))) => {
            // It counts as half-open until it is closed.
            farewell(reader, writer, reason, &message).await;
            on_open();
            return (None, End::Refused { reason, message });
        }
        None => return (None, End::Closed),
    };
    let serving = AbortOnDropHandle::new(tokio::spawn(
        serve(local.chain.clone(), outbox.clone(), receiver).in_current_span(),
    ));
    let membership = local.exchange.join(peer, key, outbox.clone(), proof);
    let inlet = Inlet { peer, jobs, events: local.events.clone(), membership };
    let end = exchange(inlet, reader, early, writer, outbox).await;
    drop(serving);
    (Some(peer), end)
}

/// Noise, then the first message of both sides.
async fn open(
    local: &Local,
    stream: TcpStream,
    direction: Direction,
    counters: Arc<Counters>,
) -> Result<Opened, End> {
    tune(&stream)?;
    let limit = local.write_time_max;
    let (mut reader, mut writer, key) =
        transport::open(stream, direction, &local.identity, limit, counters).await?;
    let told_consensus = local.exchange.attached().borrow().clone();
    let own = Handshake {
        hello: local.hello.clone(),
        claim: *local.claim.borrow(),
        listen_port: local.listen_port,
        heartbeat: 0,
        echo: 0,
        consensus: told_consensus.clone(),
        compact: true,
    };
    writer.send_frame(&Message::Handshake(own).to_frame(Bytes::new())).await?;
    let (handshake, early) = first_message(&mut reader).await?;
    Ok(Opened { reader, writer, key, handshake, told_consensus, early })
}

fn tune(stream: &TcpStream) -> Result<(), LinkError> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    Ok(())
}

/// The other side's handshake, and what came together with it.
async fn first_message(reader: &mut FrameReader) -> Result<(Handshake, Vec<Frame>), End> {
    let mut early = Vec::new();
    while early.is_empty() {
        reader.receive(&mut early).await?;
        // A handshake is whole by then; nobody may begin something large before.
        if early.is_empty() && reader.buffered() > Kind::Handshake.payload_max() + CONTEXT_MAX {
            return Err(End::NoHandshake);
        }
    }
    match Message::from_frame(early.remove(0)).map_err(LinkError::from)? {
        Message::Handshake(handshake) => Ok((handshake, early)),
        Message::Goodbye { reason, message } => Err(End::Goodbye { reason, message }),
        _ => Err(End::NoHandshake),
    }
}

/// Asks the hub; `None` when it is gone.
async fn introduce(local: &Local, candidate: Candidate) -> Option<Verdict> {
    let (verdict, answer) = oneshot::channel();
    local.events.send(Event::Opened { candidate, verdict }).await.ok()?;
    answer.await.ok()
}

/// Tells the other side why, so that its operator can read it there too.
async fn farewell(reader: FrameReader, mut writer: FrameWriter, reason: Reason, message: &str) {
    let frame = Message::goodbye(reason, message).to_frame(Bytes::new());
    let sent = async {
        writer.send_frame(&frame).await?;
        writer.finish().await
    };
    match sent.await {
        Ok(()) => transport::linger(reader).await,
        Err(error) => tracing::debug!(%error, "the farewell was not sent"),
    }
}

/// Reads and writes until one side ends the link.
async fn exchange(
    inlet: Inlet,
    mut reader: FrameReader,
    early: Vec<Frame>,
    writer: FrameWriter,
    outbox: Outbox,
) -> End {
    let writing = write(writer, outbox.clone()).in_current_span();
    let mut writing = AbortOnDropHandle::new(tokio::spawn(writing));
    tokio::select! {
        end = read(&inlet, &mut reader, early) => {
            outbox.close(None);
            return end;
        }
        written = &mut writing => return match written {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) | Err(_) => End::Closed,
        },
        // Closed from here: what still comes is of no use, and takes no memory.
        () = outbox.closed() => {}
    }
    drop(inlet);
    reader.forget_unfinished();
    match timeout(FAREWELL_TIME_MAX, &mut writing).await {
        Ok(Ok(Ok(()))) => transport::linger(reader).await,
        Ok(Ok(Err(error))) => return error.into(),
        Ok(Err(_)) => {}
        Err(_) => tracing::debug!("the farewell was not read in time"),
    }
    End::Closed
}

async fn write(mut writer: FrameWriter, outbox: Outbox) -> Result<(), LinkError> {
    let mut plaintext = Vec::new();
    while outbox.next(&mut plaintext).await {
        writer.send(&plaintext).await?;
    }
    writer.finish().await
}

/// Where what a peer sends goes.
struct Inlet {
    peer: PeerId,
    jobs: mpsc::Sender<Job>,
    events: mpsc::Sender<Event>,
    membership: Membership,
}

async fn read(inlet: &Inlet, reader: &mut FrameReader, mut frames: Vec<Frame>) -> End {
    let started = Instant::now();
    let mut intake = Intake::default();
    loop {
        for frame in frames.drain(..) {
            intake.frame(frame.kind, frame.payload.len(), started.elapsed());
            if let Err(end) = inlet.take(frame).await {
                return end;
            }
        }
        intake.message(reader.last_message(), started.elapsed());
        let pause = intake.pause(started.elapsed());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        match timeout(SILENCE_MAX, reader.receive(&mut frames)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return LinkError::Silent(SILENCE_MAX).into(),
        }
    }
}

/// The span of a frame, if its sender's is to be continued here.
fn continued(frame: &Frame, peer: PeerId) -> Span {
    match trace::decode(&frame.context).filter(|_| telemetry::take_foreign()) {
        Some(context) => {
            let span = tracing::info_span!("peer.receive", kind = ?frame.kind, %peer);
            context.adopt(&span);
            span
        }
        None => Span::none(),
    }
}

/// The span that whoever gets a message continues: the one here, or the sender's if no trace is
/// recorded in this process.
fn onward(span: &Span, context: &Bytes) -> String {
    TraceContext::of(span).map_or_else(|| trace::to_parent(context), |here| here.to_string())
}

impl Inlet {
    async fn take(&self, frame: Frame) -> Result<(), End> {
        let peer = self.peer;
        let context = frame.context.clone();
        let span = continued(&frame, peer);
        let event = match Message::from_frame(frame).map_err(LinkError::from)? {
            Message::Goodbye { reason, message } => return Err(End::Goodbye { reason, message }),
            Message::GetBlocks(hashes) => return self.ask(Job::Blocks(hashes)).await,
            Message::GetHeaders { locator, stop } => {
                return self.ask(Job::Headers { locator, stop }).await;
            }
            Message::GetTransactions(txids) => return self.ask(Job::Transactions(txids)).await,
            Message::GetBlockTransactions { hash, places } => {
                return self.ask(Job::BlockTransactions { hash, places }).await;
            }
            Message::Consensus { payload, traces } => {
                let traceparent = onward(&span, &context);
                self.membership.receive(Parcel { payload, traceparent, traces });
                return Ok(());
            }
            Message::Handshake(handshake) => {
                self.membership.announced(handshake.consensus.clone());
                Event::Received { peer, message: Message::Handshake(handshake), span }
            }
            message => Event::Received { peer, message, span },
        };
        self.events.send(event).await.map_err(|_| End::Closed)
    }

    /// A question. A peer that has more of them open than allowed is not waited for.
    async fn ask(&self, job: Job) -> Result<(), End> {
        match self.jobs.try_send(job) {
            // Closed: the farewell is on its way, and nothing is answered any more.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let event = Event::Overasked { peer: self.peer };
                self.events.send(event).await.map_err(|_| End::Closed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that leads to a node that is banned here is not dialled again and again.
    #[test]
    fn a_ban_of_either_side_is_final() {
        let refused = |reason| End::Refused { reason, message: String::new() };
        assert!(refused(Reason::Banned).is_final());
        assert!(!refused(Reason::Duplicate).is_final());
        let goodbye = |reason: Reason| End::Goodbye {
            reason: reason.name().to_owned(),
            message: String::new(),
        };
        assert!(goodbye(Reason::Banned).is_final());
        assert!(!goodbye(Reason::TooSlow).is_final());
    }
}
