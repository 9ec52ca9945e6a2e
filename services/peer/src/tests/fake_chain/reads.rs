//! What the service tells of itself.

use pentad_fakes::chain::v1::chain_service_server::ChainService;

use super::*;

#[tonic::async_trait]
impl ChainService for FakeChain {
    async fn get_info(&self, _: Request<proto::GetInfoRequest>) -> Reply<proto::GetInfoResponse> {
        let height = self.height();
        Ok(Response::new(proto::GetInfoResponse {
            network: self.0.network.clone(),
            genesis_hash: self.0.genesis.to_string(),
            height: u32::try_from(height).expect("a short chain"),
            tip: self.tip().to_string(),
            chain_work: format!("{height:x}"),
            engine: match self.0.engine {
                Engine::Work => "pow",
                Engine::Pbft => "pbft",
                Engine::Hybrid => "hybrid",
            }
            .to_owned(),
            final_height: match self.0.engine {
                Engine::Work => None,
                Engine::Pbft => Some(u32::try_from(height).expect("a short chain")),
                Engine::Hybrid => Some(u32::try_from(self.final_height()).expect("short")),
            },
            ..Default::default()
        }))
    }

    async fn get_mempool(
        &self,
        _: Request<proto::GetMempoolRequest>,
    ) -> Reply<proto::GetMempoolResponse> {
        let state = self.state();
        let txids = state.mempool.iter().map(|(txid, _)| txid.to_string()).collect();
        let total = state.mempool.len() as u64;
        Ok(Response::new(proto::GetMempoolResponse { txids, total }))
    }
}
