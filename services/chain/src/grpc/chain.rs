//! `ChainService`: reads of the ledger.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::chain_service_server::ChainService;
use pentad_api::types::v1::BlockHeader;
use pentad_api::{block_message, header_message, transaction_message, txid_from_hex};
use pentad_ledger::Mempool;
use pentad_ledger::mempool::Entry;
use pentad_pbft::CommitCertificate;
use pentad_primitives::BlockHash;
use pentad_store::{BlockEntry, StoreError, read_block};
use tonic::{Request, Response, Status};

use super::fees::FeeWitnesses;
use super::ranges::{self, Range};
use super::{address, block_ref, capped, explain, fees, history};
use crate::error::{ChainError, FinalityError};
use crate::reader::{BlockRef, Reader, View};
use crate::set_hash::{Scanner, SetHash};

/// Most transaction ids in one answer unless the caller says otherwise.
const MEMPOOL_LIMIT_DEFAULT: u32 = 1_000;
/// Most transaction ids in one answer: 7 MB of hex.
const MEMPOOL_LIMIT_MAX: u32 = 100_000;

/// Answers `ChainService`.
#[derive(Clone, Debug)]
pub(crate) struct ChainQueries {
    reader: Reader,
    fee_witnesses: Arc<FeeWitnesses>,
    scanner: Scanner,
}

impl ChainQueries {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, fee_witnesses: Arc::default(), scanner: Scanner::default() }
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ChainService for ChainQueries {
    type StreamHeadersStream = BoxStream<'static, Result<proto::StreamHeadersResponse, Status>>;
    type StreamBlocksStream = BoxStream<'static, Result<proto::StreamBlocksResponse, Status>>;

    async fn get_info(&self, _: Request<proto::GetInfoRequest>) -> Reply<proto::GetInfoResponse> {
        Ok(Response::new(info(&self.reader)))
    }

    async fn get_block(
        &self,
        request: Request<proto::GetBlockRequest>,
    ) -> Reply<proto::GetBlockResponse> {
        use proto::get_block_request::Block;
        let wanted = match request.into_inner().block {
            Some(Block::Hash(hash)) => block_ref(Some(&hash), None),
            Some(Block::Height(height)) => block_ref(None, Some(height)),
            None => block_ref(None, None),
        }?;
        let (block, header) = self
            .reader
            .read(move |view| {
                let (hash, entry) = view.block(wanted)?;
                let block = read_block(&view.published.log, entry.body)?;
                Ok((block, header(&view, &hash, &entry)?))
            })
            .await?;
        Ok(Response::new(proto::GetBlockResponse { block: Some(block_message(&block, header)) }))
    }

    async fn get_header(
        &self,
        request: Request<proto::GetHeaderRequest>,
    ) -> Reply<proto::GetHeaderResponse> {
        use proto::get_header_request::Block;
        let wanted = match request.into_inner().block {
            Some(Block::Hash(hash)) => block_ref(Some(&hash), None),
            Some(Block::Height(height)) => block_ref(None, Some(height)),
            None => block_ref(None, None),
        }?;
        let header = self.reader.read(move |view| header_of(&view, wanted)).await?;
        Ok(Response::new(proto::GetHeaderResponse { header: Some(header) }))
    }

    async fn get_certificate(
        &self,
        request: Request<proto::GetCertificateRequest>,
    ) -> Reply<proto::GetCertificateResponse> {
        use proto::get_certificate_request::Block;
        let wanted = match request.into_inner().block {
            Some(Block::Hash(hash)) => block_ref(Some(&hash), None),
            Some(Block::Height(height)) => block_ref(None, Some(height)),
            None => block_ref(None, None),
        }?;
        let response = self.reader.read(move |view| certificate(&view, wanted)).await?;
        Ok(Response::new(response))
    }

    async fn get_transaction(
        &self,
        request: Request<proto::GetTransactionRequest>,
    ) -> Reply<proto::GetTransactionResponse> {
        let txid = txid_from_hex("txid", &request.into_inner().txid).map_err(ChainError::from)?;
        let response = self
            .reader
            .read_with(
                move |mempool| mempool.get(&txid).map(|entry| entry.transaction().clone()),
                move |view, waiting| {
                    let versions = view.published.spec.address_versions();
                    if let Some(transaction) = waiting {
                        return Ok(proto::GetTransactionResponse {
                            transaction: Some(transaction_message(&transaction, versions)),
                            ..Default::default()
                        });
                    }
                    let found = view.transaction(&txid)?;
                    let (transaction, hash, height) =
                        found.ok_or(ChainError::UnknownTransaction(txid))?;
                    Ok(proto::GetTransactionResponse {
                        transaction: Some(transaction_message(&transaction, versions)),
                        block_hash: hash.to_string(),
                        height: height.get(),
                        confirmations: view.depth(height),
                    })
                },
            )
            .await?;
        Ok(Response::new(response))
    }

    async fn get_balance(
        &self,
        request: Request<proto::GetBalanceRequest>,
    ) -> Reply<proto::GetBalanceResponse> {
        Ok(Response::new(address::balance(&self.reader, request.into_inner()).await?))
    }

    async fn get_utxos(
        &self,
        request: Request<proto::GetUtxosRequest>,
    ) -> Reply<proto::GetUtxosResponse> {
        Ok(Response::new(address::utxos(&self.reader, request.into_inner()).await?))
    }

    async fn get_mempool(
        &self,
        request: Request<proto::GetMempoolRequest>,
    ) -> Reply<proto::GetMempoolResponse> {
        let limit = request.into_inner().limit;
        let limit = capped("limit", limit, MEMPOOL_LIMIT_DEFAULT, MEMPOOL_LIMIT_MAX)?;
        let gather = |mempool: &Mempool| mempool.gather(Entry::txid);
        // Put in order and written out where neither lock nor runtime waits for it.
        let response = self.reader.read_with(gather, move |_, txids| {
            let txids = txids.in_topological_order();
            Ok(proto::GetMempoolResponse {
                total: txids.len() as u64,
                txids: txids.iter().take(limit).map(ToString::to_string).collect(),
            })
        });
        Ok(Response::new(response.await?))
    }

    async fn get_history(
        &self,
        request: Request<proto::GetHistoryRequest>,
    ) -> Reply<proto::GetHistoryResponse> {
        Ok(Response::new(history::history(&self.reader, request.into_inner()).await?))
    }

    async fn explain_transaction(
        &self,
        request: Request<proto::ExplainTransactionRequest>,
    ) -> Reply<proto::ExplainTransactionResponse> {
        Ok(Response::new(explain::explain(&self.reader, request.into_inner()).await?))
    }

    async fn estimate_fee(
        &self,
        request: Request<proto::EstimateFeeRequest>,
    ) -> Reply<proto::EstimateFeeResponse> {
        Ok(Response::new(fees::fee(&self.reader, &self.fee_witnesses, request.into_inner()).await?))
    }

    async fn get_supply(
        &self,
        _: Request<proto::GetSupplyRequest>,
    ) -> Reply<proto::GetSupplyResponse> {
        Ok(Response::new(fees::supply(&self.reader)))
    }

    async fn get_utxo_set_hash(
        &self,
        _: Request<proto::GetUtxoSetHashRequest>,
    ) -> Reply<proto::GetUtxoSetHashResponse> {
        let SetHash { block, height, hash } = self.scanner.at_tip(&self.reader).await?;
        Ok(Response::new(proto::GetUtxoSetHashResponse {
            utxo_set_hash: hash.to_string(),
            height: height.get(),
            tip: block.to_string(),
        }))
    }

    async fn get_proof(
        &self,
        request: Request<proto::GetProofRequest>,
    ) -> Reply<proto::GetProofResponse> {
        let txid = txid_from_hex("txid", &request.into_inner().txid).map_err(ChainError::from)?;
        Ok(Response::new(history::proof(&self.reader, txid).await?))
    }

    async fn stream_headers(
        &self,
        request: Request<proto::StreamHeadersRequest>,
    ) -> Reply<Self::StreamHeadersStream> {
        let request = request.into_inner();
        let range = Range::new(request.from_height, request.to_height);
        Ok(Response::new(ranges::headers(self.reader.clone(), range).boxed()))
    }

    async fn stream_blocks(
        &self,
        request: Request<proto::StreamBlocksRequest>,
    ) -> Reply<Self::StreamBlocksStream> {
        let request = request.into_inner();
        let range = Range::new(request.from_height, request.to_height);
        Ok(Response::new(ranges::blocks(self.reader.clone(), range).boxed()))
    }
}

fn info(reader: &Reader) -> proto::GetInfoResponse {
    let published = reader.published();
    let spec = &published.spec;
    let (tip, (transactions, bytes, min_fee_rate, replacement_fee_rate)) =
        published.with_mempool(|mempool| {
            let policy = mempool.policy();
            let rates = (policy.min_fee_rate.0, policy.replacement_fee_rate.0);
            (mempool.len(), mempool.total_bytes(), rates.0, rates.1)
        });
    let is_ever_final = published.finality.membership().is_some();
    proto::GetInfoResponse {
        network: spec.name().to_owned(),
        spec_hash: spec.spec_hash().to_string(),
        genesis_hash: spec.genesis_hash().to_string(),
        engine: spec.engine().name().to_owned(),
        height: tip.height.get(),
        tip: tip.hash.to_string(),
        chain_work: tip.chain_work.to_string(),
        median_time_past: tip.median_time_past,
        final_height: is_ever_final.then(|| tip.final_height.get()),
        mempool_transactions: transactions as u64,
        mempool_bytes: bytes as u64,
        p2pkh_version: u32::from(spec.address_versions().p2pkh),
        p2sh_version: u32::from(spec.address_versions().p2sh),
        coinbase_maturity: spec.coinbase_maturity(),
        development: spec.is_development(),
        min_fee_rate,
        replacement_fee_rate,
    }
}

fn certificate(
    view: &View<'_>,
    wanted: BlockRef,
) -> Result<proto::GetCertificateResponse, ChainError> {
    let (hash, entry) = view.block(wanted)?;
    let bytes = view.certificate(&entry)?.ok_or(FinalityError::NoCertificate(hash))?;
    let certificate = CommitCertificate::from_bytes(&bytes).map_err(|problem| {
        StoreError::Record { position: entry.body, problem: problem.to_string() }
    })?;
    let membership = view.published.finality.membership();
    Ok(proto::GetCertificateResponse {
        height: entry.height.get(),
        hash: hash.to_string(),
        view: certificate.view.get(),
        signers: membership.map(|all| all.signers(&certificate)).unwrap_or_default(),
        certificate: bytes,
    })
}

/// The header of a block by hash or height.
pub(super) fn header_of(view: &View<'_>, wanted: BlockRef) -> Result<BlockHeader, ChainError> {
    let (hash, entry) = view.block(wanted)?;
    header(view, &hash, &entry)
}

fn header(
    view: &View<'_>,
    hash: &BlockHash,
    entry: &BlockEntry,
) -> Result<BlockHeader, ChainError> {
    let confirmations = view.confirmations(hash, entry.height)?;
    Ok(header_message(&entry.header, entry.height, &entry.chain_work, confirmations))
}
