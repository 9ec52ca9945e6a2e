//! Who a node is to its peers, as its peer service tells it.

use pentad_api::peer::v1 as proto;
use pentad_api::peer::v1::peer_service_server::PeerService;
use tonic::{Request, Response, Status};

/// Of one replica.
pub struct Identity(pub usize);

/// Static public key of the encrypted links of a replica's node.
pub fn static_key(number: usize) -> [u8; 32] {
    [u8::try_from(number + 1).expect("few replicas"); 32]
}

fn nobody_asks() -> Status {
    Status::unimplemented("consensus asks who its node is, and nothing else")
}

#[tonic::async_trait]
impl PeerService for Identity {
    async fn get_self(
        &self,
        _: Request<proto::GetSelfRequest>,
    ) -> Result<Response<proto::GetSelfResponse>, Status> {
        let static_key = hex::encode(static_key(self.0));
        Ok(Response::new(proto::GetSelfResponse { static_key, ..Default::default() }))
    }

    async fn list_peers(
        &self,
        _: Request<proto::ListPeersRequest>,
    ) -> Result<Response<proto::ListPeersResponse>, Status> {
        Err(nobody_asks())
    }

    async fn add_peer(
        &self,
        _: Request<proto::AddPeerRequest>,
    ) -> Result<Response<proto::AddPeerResponse>, Status> {
        Err(nobody_asks())
    }

    async fn remove_peer(
        &self,
        _: Request<proto::RemovePeerRequest>,
    ) -> Result<Response<proto::RemovePeerResponse>, Status> {
        Err(nobody_asks())
    }

    async fn ban_peer(
        &self,
        _: Request<proto::BanPeerRequest>,
    ) -> Result<Response<proto::BanPeerResponse>, Status> {
        Err(nobody_asks())
    }

    async fn unban_peer(
        &self,
        _: Request<proto::UnbanPeerRequest>,
    ) -> Result<Response<proto::UnbanPeerResponse>, Status> {
        Err(nobody_asks())
    }

    async fn list_bans(
        &self,
        _: Request<proto::ListBansRequest>,
    ) -> Result<Response<proto::ListBansResponse>, Status> {
        Err(nobody_asks())
    }

    async fn get_sync_status(
        &self,
        _: Request<proto::GetSyncStatusRequest>,
    ) -> Result<Response<proto::GetSyncStatusResponse>, Status> {
        Err(nobody_asks())
    }

    async fn get_routing_table(
        &self,
        _: Request<proto::GetRoutingTableRequest>,
    ) -> Result<Response<proto::GetRoutingTableResponse>, Status> {
        Err(nobody_asks())
    }

    async fn lookup(
        &self,
        _: Request<proto::LookupRequest>,
    ) -> Result<Response<proto::LookupResponse>, Status> {
        Err(nobody_asks())
    }
}
