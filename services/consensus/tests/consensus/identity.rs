//! Who a node is to its peers, as its peer service tells it.

use pentad_api::peer::v1 as proto;
use pentad_fakes::peer::v1::peer_service_server::PeerService;
use tonic::{Request, Response, Status};

/// Of one replica.
pub struct Identity(pub usize);

/// Static public key of the encrypted links of a replica's node.
pub fn static_key(number: usize) -> [u8; 32] {
    [u8::try_from(number + 1).expect("few replicas"); 32]
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
}
