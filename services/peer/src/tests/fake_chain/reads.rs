//! What the service tells of itself.

use pentad_api::chain::v1::chain_service_server::ChainService;

use super::*;

#[tonic::async_trait]
impl ChainService for FakeChain {
    async fn get_utxo_set_hash(
        &self,
        _: Request<proto::GetUtxoSetHashRequest>,
    ) -> Reply<proto::GetUtxoSetHashResponse> {
        Err(Status::unimplemented("not for peers"))
    }

    type StreamHeadersStream = Answers<proto::StreamHeadersResponse>;
    type StreamBlocksStream = Answers<proto::StreamBlocksResponse>;

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

    async fn get_block(
        &self,
        _: Request<proto::GetBlockRequest>,
    ) -> Reply<proto::GetBlockResponse> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn get_header(
        &self,
        _: Request<proto::GetHeaderRequest>,
    ) -> Reply<proto::GetHeaderResponse> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn get_transaction(
        &self,
        _: Request<proto::GetTransactionRequest>,
    ) -> Reply<proto::GetTransactionResponse> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn get_balance(
        &self,
        _: Request<proto::GetBalanceRequest>,
    ) -> Reply<proto::GetBalanceResponse> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn get_utxos(
        &self,
        _: Request<proto::GetUtxosRequest>,
    ) -> Reply<proto::GetUtxosResponse> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn get_history(
        &self,
        _: Request<proto::GetHistoryRequest>,
    ) -> Result<Response<proto::GetHistoryResponse>, Status> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn explain_transaction(
        &self,
        _: Request<proto::ExplainTransactionRequest>,
    ) -> Result<Response<proto::ExplainTransactionResponse>, Status> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn estimate_fee(
        &self,
        _: Request<proto::EstimateFeeRequest>,
    ) -> Result<Response<proto::EstimateFeeResponse>, Status> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn get_supply(
        &self,
        _: Request<proto::GetSupplyRequest>,
    ) -> Result<Response<proto::GetSupplyResponse>, Status> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn get_proof(
        &self,
        _: Request<proto::GetProofRequest>,
    ) -> Result<Response<proto::GetProofResponse>, Status> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn get_certificate(
        &self,
        _: Request<proto::GetCertificateRequest>,
    ) -> Reply<proto::GetCertificateResponse> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn stream_headers(
        &self,
        _: Request<proto::StreamHeadersRequest>,
    ) -> Result<Response<Self::StreamHeadersStream>, Status> {
        Err(Status::unimplemented("not for peers"))
    }

    async fn stream_blocks(
        &self,
        _: Request<proto::StreamBlocksRequest>,
    ) -> Result<Response<Self::StreamBlocksStream>, Status> {
        Err(Status::unimplemented("not for peers"))
    }
}
