//! `PeerService`: the operator's view.

use std::net::SocketAddr;
use std::time::Duration;

use pentad_api::Failure;
use pentad_api::peer::v1 as proto;
use pentad_api::peer::v1::peer_service_server::PeerService;
use pentad_wire::handshake::VERSIONS;
use pentad_wire::kademlia::{Contact, NodeId};
use pentad_wire::penalty::{BAN_DURATION, Banned};
use pentad_wire::{Direction, StaticKey, StaticKeyError};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Code, Request, Response, Status};

use crate::addresses::AddressError;
use crate::discovery::{DiscoveryError, Handle as Discovery};
use crate::hub::{Command, CommandError, Event, PeerInfo, Traffic};

/// Longest ban: a hundred years.
const BAN_SECONDS_MAX: u64 = 100 * 365 * 24 * 3600;

/// Answers `PeerService`.
#[derive(Clone, Debug)]
pub(crate) struct PeerApi {
    pub(crate) key: StaticKey,
    pub(crate) node_id: NodeId,
    pub(crate) listen: SocketAddr,
    pub(crate) advertised: Option<SocketAddr>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Discovery, once the chain service has been reached and links are taken.
    pub(crate) running: watch::Receiver<Option<Discovery>>,
}

/// Why a call failed.
#[derive(Debug, Error)]
enum CallError {
    #[error("the chain service has not been reached yet, so there are no links")]
    Starting,
    #[error("the peer service is stopping")]
    Stopping,
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("not 40 hex digits")]
    NodeId,
    #[error(transparent)]
    StaticKey(StaticKeyError),
    #[error("{0} is not banned")]
    NotBanned(StaticKey),
    #[error("too many lookups are under way")]
    Busy,
    #[error("no entropy: {0}")]
    Entropy(#[from] getrandom::Error),
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        let failure = |code, reason| Failure::new(code, reason, message.clone());
        match error {
            CallError::Starting => failure(Code::Unavailable, "CHAIN_UNREACHABLE")
                .with_hint("start the chain service, or correct chain.address"),
            CallError::Stopping => failure(Code::Unavailable, "SHUTTING_DOWN")
                .with_hint("call again once the node is back"),
            CallError::Command(CommandError::Address(AddressError::Malformed { .. })) => {
                Failure::invalid_field("address", message)
                    .with_hint("give the node's TCP address, for example 192.0.2.1:5678")
            }
            CallError::Command(CommandError::Address(AddressError::TooMany)) => {
                failure(Code::ResourceExhausted, "TOO_MANY_PEERS")
                    .with_hint("remove one first (PeerService.RemovePeer)")
            }
            CallError::Command(CommandError::Unknown { .. }) => {
                failure(Code::NotFound, "UNKNOWN_PEER")
                    .with_hint("PeerService.ListPeers shows the connected ones")
            }
            CallError::StaticKey(_) => Failure::invalid_field("static_key", message)
                .with_hint("PeerService.ListPeers shows the keys of the connected nodes"),
            CallError::NotBanned(_) => {
                failure(Code::NotFound, "NOT_BANNED").with_hint("PeerService.ListBans shows who is")
            }
            CallError::NodeId => Failure::invalid_field("node_id", message),
            CallError::Busy => failure(Code::ResourceExhausted, "TOO_MANY_LOOKUPS")
                .with_hint("call again in a second"),
            CallError::Entropy(_) => failure(Code::Internal, "NO_ENTROPY"),
        }
        .into()
    }
}

impl From<DiscoveryError> for CallError {
    fn from(error: DiscoveryError) -> Self {
        match error {
            DiscoveryError::Stopped => Self::Stopping,
            DiscoveryError::Busy => Self::Busy,
        }
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl PeerService for PeerApi {
    async fn get_self(&self, _: Request<proto::GetSelfRequest>) -> Reply<proto::GetSelfResponse> {
        Ok(Response::new(proto::GetSelfResponse {
            node_id: self.node_id.to_string(),
            static_key: self.key.to_string(),
            listen_address: self.listen.to_string(),
            version_min: *VERSIONS.start(),
            version_max: *VERSIONS.end(),
            advertised_address: self.advertised.map(|at| at.to_string()).unwrap_or_default(),
        }))
    }

    async fn list_peers(
        &self,
        _: Request<proto::ListPeersRequest>,
    ) -> Reply<proto::ListPeersResponse> {
        let peers = self.ask(|answer| Command::List { answer }).await?;
        let peers = peers.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::ListPeersResponse { peers }))
    }

    async fn add_peer(
        &self,
        request: Request<proto::AddPeerRequest>,
    ) -> Reply<proto::AddPeerResponse> {
        let address = request.into_inner().address;
        let outcome = self.ask(|answer| Command::Add { address, answer }).await?;
        outcome.map_err(CallError::from)?;
        Ok(Response::new(proto::AddPeerResponse {}))
    }

    async fn remove_peer(
        &self,
        request: Request<proto::RemovePeerRequest>,
    ) -> Reply<proto::RemovePeerResponse> {
        let address = request.into_inner().address;
        let outcome = self.ask(|answer| Command::Remove { address, answer }).await?;
        outcome.map_err(CallError::from)?;
        Ok(Response::new(proto::RemovePeerResponse {}))
    }

    async fn ban_peer(
        &self,
        request: Request<proto::BanPeerRequest>,
    ) -> Reply<proto::BanPeerResponse> {
        let proto::BanPeerRequest { static_key, seconds, reason } = request.into_inner();
        let key = static_key.parse().map_err(CallError::StaticKey)?;
        let duration = match seconds {
            0 => BAN_DURATION,
            seconds => Duration::from_secs(seconds.min(BAN_SECONDS_MAX)),
        };
        self.ask(|answer| Command::Ban { key, duration, reason, answer }).await?;
        Ok(Response::new(proto::BanPeerResponse {}))
    }

    async fn unban_peer(
        &self,
        request: Request<proto::UnbanPeerRequest>,
    ) -> Reply<proto::UnbanPeerResponse> {
        let key = request.into_inner().static_key.parse().map_err(CallError::StaticKey)?;
        if !self.ask(|answer| Command::Unban { key, answer }).await? {
            return Err(CallError::NotBanned(key).into());
        }
        Ok(Response::new(proto::UnbanPeerResponse {}))
    }

    async fn list_bans(
        &self,
        _: Request<proto::ListBansRequest>,
    ) -> Reply<proto::ListBansResponse> {
        let bans = self.ask(|answer| Command::Bans { answer }).await?;
        let bans = bans.into_iter().map(|(key, ban)| proto::Ban {
            static_key: key.to_string(),
            reason: ban.reason,
            until: ban.until.as_secs(),
            by_operator: ban.by == Banned::ByOperator,
        });
        Ok(Response::new(proto::ListBansResponse { bans: bans.collect() }))
    }

    async fn get_sync_status(
        &self,
        _: Request<proto::GetSyncStatusRequest>,
    ) -> Reply<proto::GetSyncStatusResponse> {
        let status = self.ask(|answer| Command::Sync { answer }).await?;
        let progress = status.progress;
        Ok(Response::new(proto::GetSyncStatusResponse {
            height: progress.height.get(),
            best_height: progress.best_height.get(),
            blocks_per_second: status.blocks_per_second,
            remaining_seconds: status.remaining.map(|time| time.as_secs()),
            blocks_in_flight: progress.in_flight as u64,
            buffered_bytes: progress.buffered_bytes as u64,
        }))
    }

    async fn get_routing_table(
        &self,
        _: Request<proto::GetRoutingTableRequest>,
    ) -> Reply<proto::GetRoutingTableResponse> {
        let contacts = self.discovery()?.contacts().await.map_err(CallError::from)?;
        let contacts = contacts.into_iter().map(contact_message).collect();
        Ok(Response::new(proto::GetRoutingTableResponse { contacts }))
    }

    async fn lookup(&self, request: Request<proto::LookupRequest>) -> Reply<proto::LookupResponse> {
        let target = match request.into_inner().node_id.as_str() {
            "" => random_id()?,
            text => text.parse().map_err(|_| CallError::NodeId)?,
        };
        let found = self.discovery()?.lookup(target).await.map_err(CallError::from)?;
        let contacts = found.into_iter().map(contact_message).collect();
        Ok(Response::new(proto::LookupResponse { contacts }))
    }
}

impl PeerApi {
    fn discovery(&self) -> Result<Discovery, CallError> {
        self.running.borrow().clone().ok_or(CallError::Starting)
    }

    /// Asks the hub.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, CallError> {
        // Before that nobody takes the command.
        self.discovery()?;
        let (answer, answered) = oneshot::channel();
        let event = Event::Command(command(answer));
        self.events.send(event).await.map_err(|_| CallError::Stopping)?;
        answered.await.map_err(|_| CallError::Stopping)
    }
}

fn random_id() -> Result<NodeId, CallError> {
    let mut bytes = [0; NodeId::LEN];
    getrandom::fill(&mut bytes)?;
    Ok(NodeId::from_bytes(bytes))
}

fn contact_message(contact: Contact) -> proto::Contact {
    proto::Contact { node_id: contact.id.to_string(), address: contact.endpoint.to_string() }
}

impl From<PeerInfo> for proto::Peer {
    fn from(info: PeerInfo) -> Self {
        let direction = match info.direction {
            Direction::Inbound => proto::Direction::Inbound,
            Direction::Outbound => proto::Direction::Outbound,
        };
        let round_trip = info.round_trip.map_or(0, |time| time.as_micros().max(1));
        Self {
            static_key: info.key.to_string(),
            address: info.address,
            direction: direction.into(),
            height: info.claim.height.get(),
            tip: info.claim.tip.to_string(),
            chain_work: info.claim.work.to_string(),
            connected_seconds: info.connected.as_secs(),
            round_trip_us: u64::try_from(round_trip).unwrap_or(u64::MAX),
            bytes_received: info.bytes_received,
            bytes_sent: info.bytes_sent,
            misbehavior: info.score,
            added: info.added,
            consensus: info.consensus,
            traffic: info.traffic.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Traffic> for proto::Traffic {
    fn from(traffic: Traffic) -> Self {
        Self {
            class: traffic.class.name().to_owned(),
            bytes_received: traffic.received.bytes,
            bytes_sent: traffic.sent.bytes,
            messages_received: traffic.received.frames,
            messages_sent: traffic.sent.frames,
            messages_dropped: traffic.dropped,
        }
    }
}
