//! A peer of few lines over raw sockets, written from docs/wire-protocol.md: it can say whatever it
//! likes.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pentad_tests::{DEADLINE, Devnet, buf_curl};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use socket2::{Domain, Socket, Type};

pub const CONSENSUS: u8 = 0;
pub const ANNOUNCEMENTS: u8 = 1;
pub const BULK: u8 = 2;

pub const HANDSHAKE: u8 = 1;
pub const GET_BLOCKS: u8 = 2;
pub const TRANSACTIONS: u8 = 3;
pub const BLOCK: u8 = 4;
pub const GET_HEADERS: u8 = 5;
pub const HEADERS: u8 = 6;
pub const GOODBYE: u8 = 9;
pub const CONSENSUS_MESSAGE: u8 = 10;

const NOISE: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
const CHUNK_MAX: usize = 16_384;
const PLAINTEXT_MAX: usize = 65_519;

/// What a stranger says of itself.
#[derive(Clone, Debug)]
pub struct Hello {
    pub network: String,
    pub genesis: Vec<u8>,
    pub height: u64,
    /// The last four bytes of the work.
    pub work: u32,
    pub capabilities: Vec<&'static str>,
    pub from: IpAddr,
    pub key: [u8; 32],
}

/// A connection after Noise.
pub struct Session {
    stream: TcpStream,
    noise: snow::TransportState,
    streams: [Vec<u8>; 3],
}

/// A whole frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub payload: Vec<u8>,
}

impl Hello {
    /// As an honest newcomer on the network of node `number`.
    pub fn of(devnet: &Devnet, number: usize) -> Self {
        let info =
            buf_curl(&devnet.node(number), "pentad.chain.v1.ChainService/GetInfo", &json!({}));
        assert_eq!(info.code, 0, "{}", info.text);
        let text = |name: &str| info.json[name].as_str().expect(name).to_owned();
        let mut genesis = hex::decode(text("genesisHash")).expect("hex");
        genesis.reverse();
        Self {
            network: text("network"),
            genesis,
            height: 0,
            work: 0,
            capabilities: Vec::new(),
            from: Ipv4Addr::LOCALHOST.into(),
            key: random_key(),
        }
    }

    /// Another node of the same kind.
    pub fn again(&self) -> Self {
        Self { key: random_key(), ..self.clone() }
    }

    pub fn from(self, from: [u8; 4]) -> Self {
        Self { from: from.into(), ..self }
    }

    pub fn claiming(self, height: u32) -> Self {
        Self { height: height.into(), work: height.saturating_mul(1 << 8), ..self }
    }

    /// The payload of the handshake.
    pub fn payload(&self, heartbeat: u64) -> Vec<u8> {
        let mut work = [0; 32];
        work[28..].copy_from_slice(&self.work.to_be_bytes());
        [
            bytes(1, self.network.as_bytes()),
            number(2, 1),
            number(3, 1),
            bytes(4, &self.genesis),
            number(5, self.height),
            bytes(6, &self.genesis),
            bytes(7, &work),
            self.capabilities.iter().flat_map(|name| bytes(10, name.as_bytes())).collect(),
            // Fixed 64 bits: the key tells processes apart as well as anything.
            [&[11 << 3 | 1][..], &self.key[..8]].concat(),
            number(12, heartbeat),
        ]
        .concat()
    }

    /// Noise only.
    pub fn open(&self, to: &str) -> io::Result<Session> {
        Session::open(connect(self.from, to)?, &self.key)
    }

    /// Noise and the handshake; the other side's one is left to be read.
    pub fn connect(&self, to: &str) -> io::Result<Session> {
        let mut session = self.open(to)?;
        session.send(CONSENSUS, HANDSHAKE, &self.payload(0))?;
        Ok(session)
    }
}

/// A TCP connection from an address of this machine.
pub fn connect(from: IpAddr, to: &str) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    let to: SocketAddr = to.parse().expect("an address");
    socket.connect_timeout(&to.into(), DEADLINE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

impl Session {
    fn open(mut stream: TcpStream, key: &[u8; 32]) -> io::Result<Self> {
        let mut noise = snow::Builder::new(NOISE.parse().expect("a pattern"))
            .local_private_key(key)
            .and_then(|builder| builder.prologue(b"pentad/1"))
            .and_then(snow::Builder::build_initiator)
            .expect("an initiator");
        let mut message = [0; 256];
        let length = noise.write_message(&[], &mut message).expect("e");
        write_message(&mut stream, &message[..length])?;
        let answer = read_message(&mut stream)?;
        noise.read_message(&answer, &mut message).map_err(io::Error::other)?;
        let length = noise.write_message(&[], &mut message).expect("s, se");
        write_message(&mut stream, &message[..length])?;
        let noise = noise.into_transport_mode().expect("the handshake is over");
        Ok(Self { stream, noise, streams: Default::default() })
    }

    /// Sends a plaintext as it is.
    pub fn send_plain(&mut self, plaintext: &[u8]) -> io::Result<()> {
        let mut message = vec![0; plaintext.len() + 16];
        let length = self.noise.write_message(plaintext, &mut message).map_err(io::Error::other)?;
        write_message(&mut self.stream, &message[..length])
    }

    /// Sends bytes of a class's stream, in chunks.
    pub fn send_bytes(&mut self, class: u8, bytes: &[u8]) -> io::Result<()> {
        let mut plaintext = Vec::new();
        for chunk in bytes.chunks(CHUNK_MAX) {
            if plaintext.len() + 3 + chunk.len() > PLAINTEXT_MAX {
                self.send_plain(&plaintext)?;
                plaintext.clear();
            }
            plaintext.push(class);
            plaintext.extend(u16::try_from(chunk.len()).expect("small").to_be_bytes());
            plaintext.extend(chunk);
        }
        self.send_plain(&plaintext)
    }

    pub fn send(&mut self, class: u8, kind: u8, payload: &[u8]) -> io::Result<()> {
        self.send_bytes(class, &frame(kind, payload))
    }

    /// Waits for the next frame.
    pub fn receive(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.streams.iter_mut().find_map(take_frame) {
                return Ok(frame);
            }
            let message = read_message(&mut self.stream)?;
            let mut plaintext = vec![0; message.len()];
            let length =
                self.noise.read_message(&message, &mut plaintext).map_err(io::Error::other)?;
            let mut rest = &plaintext[..length];
            while let [class, high, low, tail @ ..] = rest {
                let (chunk, tail) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                self.streams[usize::from(*class)].extend(chunk);
                rest = tail;
            }
        }
    }

    /// Reads to the end of the connection; the reason of the farewell, if there was one.
    pub fn end(&mut self) -> Option<String> {
        let mut reason = None;
        while let Ok(frame) = self.receive() {
            if frame.kind == GOODBYE {
                let length = usize::from(frame.payload[1]);
                let text = frame.payload[2..2 + length].to_vec();
                reason = Some(String::from_utf8(text).expect("UTF-8"));
            }
        }
        reason
    }

    /// Waits until it is a peer of the other side: those who are refused get one handshake, and no
    /// heartbeat.
    pub fn joined(mut self) -> io::Result<Self> {
        self.wait_for(HANDSHAKE)?;
        self.wait_for(HANDSHAKE)?;
        Ok(self)
    }

    /// Waits for a frame of this kind.
    pub fn wait_for(&mut self, kind: u8) -> io::Result<Frame> {
        loop {
            let frame = self.receive()?;
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }
}

/// A frame without a trace.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[kind, 0][..], &length, payload].concat()
}

/// The first bytes of a frame that announces so many more.
pub fn announced(kind: u8, length: u32) -> Vec<u8> {
    [&[kind, 0][..], &length.to_be_bytes()].concat()
}

fn take_frame(stream: &mut Vec<u8>) -> Option<Frame> {
    let (header, rest) = stream.split_first_chunk::<6>()?;
    let context = usize::from(header[1]);
    let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    let end = context + usize::try_from(length).expect("32 bits");
    let payload = rest.get(context..end)?.to_vec();
    let kind = header[0];
    stream.drain(..6 + end);
    Some(Frame { kind, payload })
}

fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).expect("a Noise message").to_be_bytes();
    stream.write_all(&[&length[..], message].concat())
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// A protobuf field of bytes.
pub fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(value.len() as u64), value].concat()
}

/// A protobuf field with a number.
pub fn number(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3][..], &varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// As block hashes are made.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// Keys need only differ.
fn random_key() -> [u8; 32] {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = start.unwrap_or(Duration::ZERO).as_nanos();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut key = [7; 32];
    key[..8].copy_from_slice(&count.to_be_bytes());
    key[8..24].copy_from_slice(&seed.to_be_bytes());
    key
}
