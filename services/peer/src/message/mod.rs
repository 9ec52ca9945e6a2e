//! The messages between nodes: `pentad.wire.v1` with every field checked.

use bytes::Bytes;
use pentad_api::encoding::{self, DecodeError};
use pentad_api::wire::v1 as proto;
use pentad_primitives::hash::sha256d;
use pentad_primitives::{BlockHash, BlockHeader, BlockHeight, Txid, Work};
use pentad_wire::compact::{CAPABILITY as COMPACT, CompactBlock};
use pentad_wire::consensus::CAPABILITY;
use pentad_wire::finality;
use pentad_wire::handshake::{Claim, GOODBYE_TEXT_MAX, Hello, NETWORK_NAME_MAX, Reason};
use pentad_wire::relay::TRANSACTIONS_MAX;
use pentad_wire::sync::{BLOCKS_PER_REQUEST_MAX, Body, HEADERS_MAX, HeaderBatch};
use pentad_wire::{CERTIFICATE_MAX, Frame, Kind, consensus};
use thiserror::Error;

mod compact;

/// Most hashes in a locator: it reaches back over 2^91 blocks.
pub(crate) const LOCATOR_MAX: usize = 101;
/// Most capabilities that are looked at.
const CAPABILITIES_MAX: usize = 32;

/// A message between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Opens a link from both sides; again as heartbeat.
    Handshake(Handshake),
    /// Asks for blocks.
    GetBlocks(Vec<BlockHash>),
    /// Transactions with their ids.
    Transactions(Vec<(Txid, Bytes)>),
    /// A block and the hash of its header.
    Block { hash: BlockHash, body: Body },
    /// A block that was asked for is not there.
    NoBlock(BlockHash),
    /// Asks for headers.
    GetHeaders { locator: Vec<BlockHash>, stop: Option<BlockHash> },
    /// Headers.
    Headers(HeaderBatch),
    /// Ids of transactions.
    Inventory(Vec<Txid>),
    /// Asks for transactions.
    GetTransactions(Vec<Txid>),
    /// Why the link ends.
    Goodbye { reason: String, message: String },
    /// A message between replicas; beside a proposal, spans of its transactions in their packed
    /// form.
    Consensus { payload: Bytes, traces: Bytes },
    /// A block by short ids.
    CompactBlock(CompactBlock),
    /// Asks for transactions of a block.
    GetBlockTransactions { hash: BlockHash, places: Vec<u32> },
    /// Transactions of a block; none: they are not there.
    BlockTransactions { hash: BlockHash, transactions: Vec<Bytes> },
    /// Makes the block at this height final, whichever it names.
    Certificate { height: BlockHeight, certificate: Bytes },
}

/// Who the sender is and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) hello: Hello,
    pub(crate) claim: Claim,
    /// Port of its TCP and UDP listener; `None` if it takes no connections.
    pub(crate) listen_port: Option<u16>,
    /// Counts the sender's heartbeats; 0 in an answer, which wants no answer itself.
    pub(crate) heartbeat: u64,
    /// The last heartbeat of the other side.
    pub(crate) echo: u64,
    /// It takes part in consensus at present, with what shows which validator it is.
    pub(crate) consensus: Option<Bytes>,
    /// It takes compact blocks.
    pub(crate) compact: bool,
}

/// A message that breaks the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Malformed {
    #[error("{kind:?}: {source}")]
    Encoding { kind: Kind, source: DecodeError },
    #[error("{kind:?}: {count} entries, {limit} at most")]
    TooMany { kind: Kind, count: usize, limit: usize },
    #[error("{kind:?}: {field} has {length} bytes")]
    Length { kind: Kind, field: &'static str, length: usize },
    #[error("{kind:?}: {field} is out of range")]
    Range { kind: Kind, field: &'static str },
}

impl Message {
    pub(crate) fn goodbye(reason: Reason, message: impl Into<String>) -> Self {
        Self::Goodbye { reason: reason.name().to_owned(), message: message.into() }
    }

    /// The frame that carries it, within the sender's trace.
    pub(crate) fn to_frame(&self, context: Bytes) -> Frame {
        let (kind, payload) = (self.kind(), self.encode());
        Frame { kind, context, payload }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Handshake(_) => Kind::Handshake,
            Self::GetBlocks(_) => Kind::GetBlocks,
            Self::Transactions(_) => Kind::Transactions,
            Self::Block { .. } | Self::NoBlock(_) => Kind::Block,
            Self::GetHeaders { .. } => Kind::GetHeaders,
            Self::Headers(_) => Kind::Headers,
            Self::Inventory(_) => Kind::Inventory,
            Self::GetTransactions(_) => Kind::GetTransactions,
            Self::Goodbye { .. } => Kind::Goodbye,
            Self::Consensus { .. } => Kind::Consensus,
            Self::CompactBlock(_) => Kind::CompactBlock,
            Self::GetBlockTransactions { .. } => Kind::GetBlockTransactions,
            Self::BlockTransactions { .. } => Kind::BlockTransactions,
            Self::Certificate { .. } => Kind::Certificate,
        }
    }

    fn encode(&self) -> Bytes {
        match self {
            Self::Handshake(handshake) => handshake.encode(),
            Self::GetBlocks(hashes) => encoding::encode(&proto::GetBlocks {
                hashes: hashes.iter().map(|hash| share(hash.as_bytes())).collect(),
            }),
            Self::Transactions(transactions) => encoding::encode(&proto::Transactions {
                transactions: transactions.iter().map(|(_, bytes)| bytes.clone()).collect(),
            }),
            Self::Block { hash, body } => encoding::encode(&proto::Block {
                block: body.block.clone(),
                hash: share(hash.as_bytes()),
                certificate: body.certificate.clone(),
            }),
            Self::NoBlock(hash) => encoding::encode(&proto::Block {
                hash: share(hash.as_bytes()),
                ..Default::default()
            }),
            Self::GetHeaders { locator, stop } => encoding::encode(&proto::GetHeaders {
                locator: locator.iter().map(|hash| share(hash.as_bytes())).collect(),
                stop: stop.map(|hash| share(hash.as_bytes())).unwrap_or_default(),
            }),
            Self::Headers(HeaderBatch { headers, certificate }) => {
                let (headers, certificate) = (headers.clone(), certificate.clone());
                encoding::encode(&proto::Headers { headers, certificate })
            }
            Self::Inventory(txids) => encoding::encode(&proto::Inventory {
                txids: txids.iter().map(|txid| share(txid.as_bytes())).collect(),
            }),
            Self::GetTransactions(txids) => encoding::encode(&proto::GetTransactions {
                txids: txids.iter().map(|txid| share(txid.as_bytes())).collect(),
            }),
            Self::Goodbye { reason, message } => encoding::encode(&proto::Goodbye {
                reason: reason.clone(),
                message: message.clone(),
            }),
            Self::Consensus { payload, traces } => encoding::encode(&proto::Consensus {
                payload: payload.clone(),
                transaction_traces: traces.clone(),
            }),
            Self::CompactBlock(block) => encoding::encode(&compact::to_message(block)),
            Self::GetBlockTransactions { hash, places } => {
                encoding::encode(&proto::GetBlockTransactions {
                    hash: share(hash.as_bytes()),
                    places: places.clone(),
                })
            }
            Self::BlockTransactions { hash, transactions } => {
                encoding::encode(&proto::BlockTransactions {
                    hash: share(hash.as_bytes()),
                    transactions: transactions.clone(),
                })
            }
            Self::Certificate { certificate, .. } => {
                encoding::encode(&proto::Certificate { certificate: certificate.clone() })
            }
        }
    }

    /// The message in a frame.
    pub(crate) fn from_frame(frame: Frame) -> Result<Self, Malformed> {
        let Frame { kind, payload, .. } = frame;
        let encoding = |source| Malformed::Encoding { kind, source };
        match kind {
            Kind::Handshake => {
                let message = encoding::decode(payload).map_err(encoding)?;
                Handshake::from_message(message).map(Self::Handshake)
            }
            Kind::GetBlocks => {
                let message: proto::GetBlocks = encoding::decode(payload).map_err(encoding)?;
                Ok(Self::GetBlocks(block_hashes(kind, &message.hashes, BLOCKS_PER_REQUEST_MAX)?))
            }
            Kind::Transactions => {
                let message: proto::Transactions = encoding::decode(payload).map_err(encoding)?;
                at_most(kind, message.transactions.len(), TRANSACTIONS_MAX)?;
                // Copied: a small transaction that waits must not hold the whole frame in memory.
                let own = |bytes: Bytes| (Txid::from(sha256d(&bytes)), Bytes::from(bytes.to_vec()));
                Ok(Self::Transactions(message.transactions.into_iter().map(own).collect()))
            }
            Kind::Block => block(encoding::decode(payload).map_err(encoding)?),
            Kind::GetHeaders => {
                let message: proto::GetHeaders = encoding::decode(payload).map_err(encoding)?;
                let stop = (!message.stop.is_empty())
                    .then(|| hash(kind, "stop", &message.stop).map(BlockHash::from_bytes));
                Ok(Self::GetHeaders {
                    locator: block_hashes(kind, &message.locator, LOCATOR_MAX)?,
                    stop: stop.transpose()?,
                })
            }
            Kind::Headers => {
                let message: proto::Headers = encoding::decode(payload).map_err(encoding)?;
                at_most(kind, message.headers.len(), HEADERS_MAX)?;
                check_certificate(kind, &message.certificate)?;
                let odd = message.headers.iter().find(|header| header.len() != BlockHeader::LEN);
                match odd.map(Bytes::len) {
                    Some(length) => Err(Malformed::Length { kind, field: "headers", length }),
                    None => Ok(Self::Headers(HeaderBatch {
                        headers: message.headers,
                        certificate: message.certificate,
                    })),
                }
            }
            Kind::Inventory => {
                let message: proto::Inventory = encoding::decode(payload).map_err(encoding)?;
                Ok(Self::Inventory(txids(kind, &message.txids)?))
            }
            Kind::GetTransactions => {
                let message: proto::GetTransactions =
                    encoding::decode(payload).map_err(encoding)?;
                Ok(Self::GetTransactions(txids(kind, &message.txids)?))
            }
            Kind::Goodbye => {
                let message: proto::Goodbye = encoding::decode(payload).map_err(encoding)?;
                let (reason, message) = (printable(&message.reason), printable(&message.message));
                Ok(Self::Goodbye { reason, message })
            }
            Kind::Consensus => between_replicas(encoding::decode(payload).map_err(encoding)?),
            Kind::CompactBlock | Kind::GetBlockTransactions | Kind::BlockTransactions => {
                compact::from_payload(kind, payload)
            }
            Kind::Certificate => certificate(encoding::decode(payload).map_err(encoding)?),
        }
    }
}

impl Handshake {
    fn capabilities(&self) -> Vec<String> {
        let consensus = self.consensus.is_some().then_some(CAPABILITY);
        let compact = self.compact.then_some(COMPACT);
        consensus.into_iter().chain(compact).map(str::to_owned).collect()
    }

    fn encode(&self) -> Bytes {
        encoding::encode(&proto::Handshake {
            network: self.hello.network.clone(),
            version_min: *self.hello.versions.start(),
            version_max: *self.hello.versions.end(),
            genesis_hash: share(self.hello.genesis.as_bytes()),
            height: self.claim.height.get(),
            tip: share(self.claim.tip.as_bytes()),
            chain_work: share(&self.claim.work.to_be_bytes()),
            final_height: self.claim.final_height.map(BlockHeight::get),
            listen_port: self.listen_port.map_or(0, u32::from),
            capabilities: self.capabilities(),
            instance: self.hello.instance,
            heartbeat: self.heartbeat,
            echo: self.echo,
            validator_proof: self.consensus.clone().unwrap_or_default(),
        })
    }

    fn from_message(message: proto::Handshake) -> Result<Self, Malformed> {
        let kind = Kind::Handshake;
        at_most(kind, message.capabilities.len(), CAPABILITIES_MAX)?;
        let length = message.network.len();
        if length > NETWORK_NAME_MAX {
            return Err(Malformed::Length { kind, field: "network", length });
        }
        let length = message.validator_proof.len();
        if length > consensus::PROOF_MAX {
            return Err(Malformed::Length { kind, field: "validator_proof", length });
        }
        let has = |capability| message.capabilities.iter().any(|name| name == capability);
        let (is_capable, compact) = (has(CAPABILITY), has(COMPACT));
        let port = u16::try_from(message.listen_port)
            .map_err(|_| Malformed::Range { kind, field: "listen_port" })?;
        Ok(Self {
            hello: Hello {
                network: message.network,
                versions: message.version_min..=message.version_max,
                genesis: BlockHash::from_bytes(hash(kind, "genesis_hash", &message.genesis_hash)?),
                instance: message.instance,
            },
            claim: Claim {
                work: Work::from_be_bytes(hash(kind, "chain_work", &message.chain_work)?),
                height: BlockHeight::new(message.height),
                tip: BlockHash::from_bytes(hash(kind, "tip", &message.tip)?),
                final_height: message.final_height.map(BlockHeight::new),
            },
            listen_port: (port != 0).then_some(port),
            heartbeat: message.heartbeat,
            echo: message.echo,
            consensus: is_capable.then_some(message.validator_proof),
            compact,
        })
    }
}

fn between_replicas(message: proto::Consensus) -> Result<Message, Malformed> {
    let proto::Consensus { payload, transaction_traces } = message;
    let length = payload.len();
    if length == 0 || length > consensus::PAYLOAD_MAX {
        return Err(Malformed::Length { kind: Kind::Consensus, field: "payload", length });
    }
    // More than that is no trace, and no reason to refuse what it came with.
    let traces = Some(transaction_traces).filter(|it| it.len() <= consensus::TRACES_MAX);
    Ok(Message::Consensus { payload, traces: traces.unwrap_or_default() })
}

fn block(message: proto::Block) -> Result<Message, Malformed> {
    let kind = Kind::Block;
    let named = BlockHash::from_bytes(hash(kind, "hash", &message.hash)?);
    if message.block.is_empty() {
        return Ok(Message::NoBlock(named));
    }
    // Whatever the sender calls it: a block is named by its header.
    let header = message.block.get(..BlockHeader::LEN).ok_or(Malformed::Length {
        kind,
        field: "block",
        length: message.block.len(),
    })?;
    let hash = BlockHash::from(sha256d(header));
    check_certificate(kind, &message.certificate)?;
    let body = Body { block: message.block, certificate: message.certificate };
    Ok(Message::Block { hash, body })
}

fn certificate(message: proto::Certificate) -> Result<Message, Malformed> {
    let (kind, certificate) = (Kind::Certificate, message.certificate);
    check_certificate(kind, &certificate)?;
    match finality::height(&certificate) {
        Some(height) => Ok(Message::Certificate { height, certificate }),
        None => Err(Malformed::Range { kind, field: "certificate" }),
    }
}

fn check_certificate(kind: Kind, certificate: &[u8]) -> Result<(), Malformed> {
    let length = certificate.len();
    if length > CERTIFICATE_MAX {
        return Err(Malformed::Length { kind, field: "certificate", length });
    }
    Ok(())
}

fn share(bytes: &[u8; 32]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn at_most(kind: Kind, count: usize, limit: usize) -> Result<(), Malformed> {
    if count > limit { Err(Malformed::TooMany { kind, count, limit }) } else { Ok(()) }
}

fn hash(kind: Kind, field: &'static str, bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_| Malformed::Length { kind, field, length: bytes.len() })
}

fn block_hashes(kind: Kind, hashes: &[Bytes], limit: usize) -> Result<Vec<BlockHash>, Malformed> {
    at_most(kind, hashes.len(), limit)?;
    hashes.iter().map(|bytes| hash(kind, "hash", bytes).map(BlockHash::from_bytes)).collect()
}

fn txids(kind: Kind, txids: &[Bytes]) -> Result<Vec<Txid>, Malformed> {
    at_most(kind, txids.len(), TRANSACTIONS_MAX)?;
    txids.iter().map(|bytes| hash(kind, "txids", bytes).map(Txid::from_bytes)).collect()
}

/// A stranger's text, fit for a log line.
fn printable(text: &str) -> String {
    text.chars()
        .take(GOODBYE_TEXT_MAX)
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect()
}
