//! Asking a node how it is.

use std::time::Duration;

use pentad_api::Connection;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::{GetInfoRequest, GetInfoResponse};
use pentad_api::consensus::v1::consensus_service_client::ConsensusServiceClient;
use pentad_api::consensus::v1::{GetStatusRequest, GetStatusResponse};
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_api::peer::v1::{GetSelfRequest, ListPeersRequest};
use pentad_network_file::NodeEntry;
use tokio::time::timeout;
use tonic::{Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::credentials::Credentials;

/// A node on this machine that takes longer counts as dead.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// A line to one node that survives its restarts.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    connection: Connection,
}

/// Static keys of the encrypted links: a node's own and those of its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) own: String,
    pub(super) peers: Vec<String>,
}

impl Probe {
    /// A probe of `node`; without its cookie, where that is not made yet, only its health is open.
    pub(super) fn new(node: &NodeEntry) -> Option<Self> {
        let address = node.grpc.to_string();
        let credentials = Credentials::default().for_node(node);
        let open = Credentials { cookie: None, ..credentials.clone() };
        let connection = credentials.connect(&address).or_else(|_| open.connect(&address));
        connection.ok().map(|connection| Self { connection })
    }

    /// Whether the node says that it serves (`grpc.health.v1`).
    pub(super) async fn is_healthy(&self) -> bool {
        let mut client = HealthClient::new(self.connection.clone());
        let request = HealthCheckRequest { service: String::new() };
        let reply = answer(client.check(request)).await;
        reply.is_some_and(|reply| reply.status() == ServingStatus::Serving)
    }

    /// The ledger as the node sees it.
    pub(super) async fn info(&self) -> Option<GetInfoResponse> {
        answer(ChainServiceClient::new(self.connection.clone()).get_info(GetInfoRequest {})).await
    }

    /// How agreement goes.
    pub(super) async fn consensus(&self) -> Option<GetStatusResponse> {
        let mut client = ConsensusServiceClient::new(self.connection.clone());
        answer(client.get_status(GetStatusRequest {})).await
    }

    /// Whom the node is connected to.
    pub(super) async fn links(&self) -> Option<Links> {
        let mut client = PeerServiceClient::new(self.connection.clone());
        let own = answer(client.get_self(GetSelfRequest {})).await?.static_key;
        let peers = answer(client.list_peers(ListPeersRequest {})).await?.peers;
        Some(Links { own, peers: peers.into_iter().map(|peer| peer.static_key).collect() })
    }
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Option<T> {
    Some(timeout(PROBE_TIMEOUT, call).await.ok()?.ok()?.into_inner())
}
