//! Noise messages over TCP: `length: u16, big-endian | message`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pentad_wire::chunk::{
    AssemblyError, CHUNK_MAX, NOISE_MESSAGE_MAX, NOISE_TAG_LEN, PLAINTEXT_MAX,
};
use pentad_wire::handshake::{NOISE_PATTERN, NOISE_PROLOGUE};
use pentad_wire::{Assembler, Chunker, Class, Direction, Frame, FrameError, StaticKey};
use snow::{Builder, HandshakeState, StatelessTransportState};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout};

use crate::identity::Identity;
use crate::link::counters::Counters;
use crate::message::Malformed;

/// Longest message of the Noise handshake: 96 bytes (e, ee, s, es); there are no payloads.
const NOISE_HANDSHAKE_MAX: usize = 96;
/// Small reads (heartbeats) are collected; large ones bypass this buffer.
const READ_BUFFER: usize = 4 << 10;
/// After a farewell the other side gets this long to close, so that it reads the farewell: closing
/// with unread bytes would reset the connection and take the farewell along.
const LINGER: Duration = Duration::from_secs(1);

/// Why a link cannot be opened, or ended.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    #[error("encryption: {0}")]
    Noise(#[from] snow::Error),
    #[error("a message of {length} bytes where {limit} are the most")]
    Oversized { length: usize, limit: usize },
    #[error("framing: {0}")]
    Framing(#[from] AssemblyError),
    #[error("cannot send: {0}")]
    Unsendable(#[from] FrameError),
    #[error("message {0}")]
    Malformed(#[from] Malformed),
    #[error("the other side did not read for {0:?}")]
    WriteTimeout(Duration),
    #[error("nothing came from the other side for {0:?}")]
    Silent(Duration),
    #[error("no complete handshake within {0:?}")]
    HandshakeTimeout(Duration),
    #[error("the other side closed the connection")]
    Closed,
}

impl LinkError {
    /// Whether an honest peer can never cause it. Before the handshake nobody is to blame: anybody
    /// can connect.
    pub(crate) const fn is_offence(&self) -> bool {
        match self {
            Self::Oversized { .. } | Self::Framing(_) | Self::Malformed(_) => true,
            Self::Io(_)
            | Self::Noise(_)
            | Self::Unsendable(_)
            | Self::WriteTimeout(_)
            | Self::Silent(_)
            | Self::HandshakeTimeout(_)
            | Self::Closed => false,
        }
    }
}

/// Reads frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: BufReader<OwnedReadHalf>,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    assembler: Assembler,
    ciphertext: Vec<u8>,
    plaintext: Vec<u8>,
    counters: Arc<Counters>,
    /// When a frame was completed last, by class, and how many have been.
    completed: [(Class, u64, Instant); 3],
}

/// Writes plaintexts made by a [`Chunker`].
#[derive(Debug)]
pub(crate) struct FrameWriter {
    stream: OwnedWriteHalf,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    buffer: Vec<u8>,
    write_time_max: Duration,
    counters: Arc<Counters>,
}

/// The Noise handshake: `XX`, prologue, no payloads. Returns the other side's static key.
pub(crate) async fn open(
    stream: TcpStream,
    direction: Direction,
    identity: &Identity,
    write_time_max: Duration,
    counters: Arc<Counters>,
) -> Result<(FrameReader, FrameWriter, StaticKey), LinkError> {
    let parameters = NOISE_PATTERN.parse()?;
    let builder =
        Builder::new(parameters).local_private_key(identity.private())?.prologue(NOISE_PROLOGUE)?;
    let mut noise = match direction {
        Direction::Outbound => builder.build_initiator()?,
        Direction::Inbound => builder.build_responder()?,
    };
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::with_capacity(READ_BUFFER, read);
    while !noise.is_handshake_finished() {
        if noise.is_my_turn() {
            send_step(&mut noise, &mut write).await?;
        } else {
            receive_step(&mut noise, &mut read).await?;
        }
    }
    let key = noise.get_remote_static().and_then(|key| <[u8; 32]>::try_from(key).ok());
    let key = StaticKey::from_bytes(key.ok_or(snow::Error::Input)?);
    let noise = Arc::new(noise.into_stateless_transport_mode()?);
    let reader = FrameReader {
        stream: read,
        noise: Arc::clone(&noise),
        nonce: 0,
        assembler: Assembler::new(),
        ciphertext: Vec::new(),
        plaintext: Vec::new(),
        counters: Arc::clone(&counters),
        completed: Class::ALL.map(|class| (class, 0, Instant::now())),
    };
    let writer = FrameWriter {
        stream: write,
        noise,
        nonce: 0,
        buffer: Vec::new(),
        write_time_max,
        counters,
    };
    Ok((reader, writer, key))
}

async fn send_step(
    noise: &mut HandshakeState,
    stream: &mut OwnedWriteHalf,
) -> Result<(), LinkError> {
    let mut message = [0; 2 + NOISE_HANDSHAKE_MAX];
    let (prefix, body) = message.split_at_mut(2);
    let length = noise.write_message(&[], body)?;
    prefix.copy_from_slice(&length_prefix(length)?);
    stream.write_all(&message[..2 + length]).await?;
    Ok(())
}

async fn receive_step(
    noise: &mut HandshakeState,
    stream: &mut BufReader<OwnedReadHalf>,
) -> Result<(), LinkError> {
    let length = usize::from(stream.read_u16().await.map_err(closed)?);
    if length > NOISE_HANDSHAKE_MAX {
        return Err(LinkError::Oversized { length, limit: NOISE_HANDSHAKE_MAX });
    }
    let mut message = [0; NOISE_HANDSHAKE_MAX];
    let message = &mut message[..length];
    stream.read_exact(message).await.map_err(closed)?;
    noise.read_message(message, &mut [])?;
    Ok(())
}

impl FrameReader {
    /// Waits for the next Noise message and appends the frames that it completes.
    pub(crate) async fn receive(&mut self, frames: &mut Vec<Frame>) -> Result<(), LinkError> {
        let length = usize::from(self.stream.read_u16().await.map_err(closed)?);
        self.ciphertext.resize(length, 0);
        self.stream.read_exact(&mut self.ciphertext).await.map_err(closed)?;
        self.counters.received(2 + length);
        self.plaintext.resize(length, 0);
        let length = self.noise.read_message(self.nonce, &self.ciphertext, &mut self.plaintext)?;
        self.nonce += 1;
        self.assembler.push(&self.plaintext[..length], frames)?;
        self.counters.skipped(self.assembler.skipped());
        self.counters.tallied(self.assembler.received());
        self.note_unfinished();
        give_way(length).await;
        Ok(())
    }

    /// What is held for frames that have begun, and for how long.
    fn note_unfinished(&mut self) {
        let now = Instant::now();
        let (assembler, mut since) = (&self.assembler, now);
        for (class, frames, at) in &mut self.completed {
            let count = assembler.received().of(*class).frames;
            let is_empty = assembler.unfinished(*class) == 0;
            if *frames != count || is_empty {
                (*frames, *at) = (count, now);
            }
            since = since.min(*at);
        }
        self.counters.arrives(assembler.buffered(), since);
    }

    /// Drops what has begun to arrive. No frame can be received afterwards.
    pub(crate) fn forget_unfinished(&mut self) {
        self.assembler = Assembler::new();
    }

    /// Bytes of the last Noise message.
    pub(crate) const fn last_message(&self) -> usize {
        self.ciphertext.len()
    }

    /// Bytes held for unfinished frames.
    pub(crate) fn buffered(&self) -> usize {
        self.assembler.buffered()
    }
}

impl FrameWriter {
    /// Encrypts and sends one plaintext.
    pub(crate) async fn send(&mut self, plaintext: &[u8]) -> Result<(), LinkError> {
        let length = plaintext.len().min(PLAINTEXT_MAX) + NOISE_TAG_LEN;
        debug_assert!(plaintext.len() <= PLAINTEXT_MAX && length <= NOISE_MESSAGE_MAX);
        self.buffer.resize(2 + length, 0);
        let (prefix, body) = self.buffer.split_at_mut(2);
        prefix.copy_from_slice(&length_prefix(length)?);
        self.noise.write_message(self.nonce, plaintext, body)?;
        self.nonce += 1;
        let limit = self.write_time_max;
        match timeout(limit, self.stream.write_all(&self.buffer)).await {
            Ok(written) => written?,
            Err(_) => return Err(LinkError::WriteTimeout(limit)),
        }
        self.counters.sent(2 + length);
        give_way(length).await;
        Ok(())
    }

    /// Sends one frame by itself: in the handshake, or a farewell.
    pub(crate) async fn send_frame(&mut self, frame: &Frame) -> Result<(), LinkError> {
        let mut chunker = Chunker::new();
        // A single frame of the handshake fits into an empty queue.
        let queued = chunker.push(Class::Consensus, frame.encode()?);
        debug_assert!(queued.is_ok());
        let mut plaintext = Vec::new();
        loop {
            chunker.next_message(&mut plaintext);
            if plaintext.is_empty() {
                return Ok(());
            }
            self.send(&plaintext).await?;
        }
    }

    /// Says that nothing more will come.
    pub(crate) async fn finish(mut self) -> Result<(), LinkError> {
        Ok(self.stream.shutdown().await?)
    }
}

/// Reads and drops what still comes until the other side closes, for a moment at most. It reads
/// bytes, not messages: the last read may have been given up in the middle of one.
pub(crate) async fn linger(mut reader: FrameReader) {
    let drained = async {
        let buffer = &mut reader.ciphertext;
        buffer.resize(READ_BUFFER, 0);
        while reader.stream.read(buffer).await.is_ok_and(|count| count > 0) {}
    };
    if timeout(LINGER, drained).await.is_err() {
        tracing::trace!("the other side did not close in time");
    }
}

/// Lets other tasks run after a large message. The runtime would let a link go on for a hundred of
/// them, 10 ms, while somebody else's vote waits for the thread.
async fn give_way(length: usize) {
    if length >= CHUNK_MAX {
        tokio::task::yield_now().await;
    }
}

fn length_prefix(length: usize) -> Result<[u8; 2], LinkError> {
    let length = u16::try_from(length)
        .map_err(|_| LinkError::Oversized { length, limit: NOISE_MESSAGE_MAX })?;
    Ok(length.to_be_bytes())
}

fn closed(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => LinkError::Closed,
        _ => LinkError::Io(error),
    }
}
