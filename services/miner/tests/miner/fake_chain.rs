//! A proof-of-work chain in memory, without transactions but coinbases.

use std::sync::{Arc, Mutex, MutexGuard};

use pentad_api::chain::v1::*;
use pentad_api::{Failure, block_from_bytes};
use pentad_crypto::AddressVersions;
use pentad_fakes::chain::v1::assembly_service_server::{AssemblyService, AssemblyServiceServer};
use pentad_fakes::chain::v1::chain_service_server::{ChainService, ChainServiceServer};
use pentad_fakes::chain::v1::submit_service_server::{SubmitService, SubmitServiceServer};
use pentad_primitives::{
    Amount, Block, BlockHash, BlockHeader, CompactTarget, Encode as _, OutPoint, Script, Target,
    Transaction, TxIn, TxOut, merkle,
};
use pentad_service_kit::Server;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status};

/// Met by every second hash.
pub const EASY: CompactTarget = CompactTarget(0x207f_ffff);
/// Met by none that a test could find.
pub const HOPELESS: CompactTarget = CompactTarget(0x0300_0001);
/// What the chain's clock says, for ever.
pub const NOW: u32 = 1_800_000_000;
/// What a renewed template's height is above that of the one before it on the same tip.
const RENEWED: u32 = 1000;

#[derive(Clone)]
pub struct FakeChain {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<()>,
}

pub struct State {
    pub engine: &'static str,
    pub development: bool,
    pub bits: CompactTarget,
    /// The main chain above a genesis block of hash zero.
    pub blocks: Vec<Block>,
    /// The templates given out.
    pub templates: Vec<Given>,
    /// Times that the template was renewed on its tip.
    pub renewals: u32,
    /// Submissions that find another block at the tip.
    pub races_lost: u32,
    /// Calls for a template that are answered with UNAVAILABLE.
    pub outages: u32,
    /// Blocks are refused, for whatever reason.
    pub refusing: bool,
    pub refused: u32,
}

/// One template.
#[derive(Clone, Debug)]
pub struct Given {
    pub parent: BlockHash,
    pub payout: Script,
}

impl FakeChain {
    pub fn new(bits: CompactTarget) -> Self {
        let state = State {
            engine: "pow",
            development: true,
            bits,
            blocks: Vec::new(),
            templates: Vec::new(),
            renewals: 0,
            races_lost: 0,
            outages: 0,
            refusing: false,
            refused: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), changes: watch::Sender::new(()) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the lock")
    }

    pub fn add_to(&self, server: Server) -> Server {
        server
            .service(ChainServiceServer::new(self.clone()), [])
            .service(SubmitServiceServer::new(self.clone()), [])
            .service(AssemblyServiceServer::new(self.clone()), [])
    }

    /// The mempool changes. Returns a height that only the new template and those after it are
    /// above, so that the miner's status tells whether it is there yet.
    pub fn renew(&self) -> u32 {
        let mut state = self.state();
        state.renewals += 1;
        self.changes.send_replace(());
        state.renewals * RENEWED
    }

    /// Somebody else finds a block.
    pub fn advance(&self) -> BlockHash {
        let mut state = self.state();
        let block = state.template(&Script::default(), u64::MAX);
        self.connect(&mut state, block)
    }

    fn connect(&self, state: &mut State, block: Block) -> BlockHash {
        let hash = block.block_hash();
        state.blocks.push(block);
        self.changes.send_replace(());
        hash
    }
}

impl State {
    pub fn tip(&self) -> BlockHash {
        self.blocks.last().map_or(BlockHash::ZERO, Block::block_hash)
    }

    /// Times are above the parent's, as on a chain that is ahead of its clock.
    fn min_time(&self) -> u32 {
        self.blocks.last().map_or(NOW, |block| block.header.time + 1)
    }

    fn template(&self, payout: &Script, extra_nonce: u64) -> Block {
        let mut script_sig = vec![8];
        script_sig.extend(extra_nonce.to_le_bytes());
        script_sig.extend((self.blocks.len() as u64).to_le_bytes());
        let coinbase = Transaction {
            version: 1,
            inputs: vec![TxIn {
                previous_output: OutPoint::NULL,
                script_sig: script_sig.into(),
                sequence: u32::MAX,
            }],
            outputs: vec![TxOut { amount: Amount::COIN, script_pubkey: payout.clone() }],
            lock_time: 0,
        };
        let header = BlockHeader {
            version: 1,
            prev_block_hash: self.tip(),
            merkle_root: merkle::root(&[coinbase.txid()]),
            time: NOW,
            bits: self.bits,
            nonce: 0,
        };
        Block { header, transactions: vec![coinbase] }
    }

    /// A template for the present tip.
    fn give(&mut self, payout: Script) -> Result<GetTemplateResponse, Status> {
        if self.outages > 0 {
            self.outages -= 1;
            return Err(Status::unavailable("an outage"));
        }
        let block = self.template(&payout, 0);
        self.templates.push(Given { parent: self.tip(), payout });
        let target = Target::from_compact(self.bits).expect("a constant");
        Ok(GetTemplateResponse {
            block: block.to_bytes().into(),
            height: self.height() + 1 + self.renewals * RENEWED,
            target: target.to_be_bytes().to_vec().into(),
            min_time: self.min_time(),
            reward: Amount::COIN.units(),
            extra_nonce_offset: 1,
            ..Default::default()
        })
    }

    fn height(&self) -> u32 {
        u32::try_from(self.blocks.len()).expect("few")
    }
}

#[tonic::async_trait]
impl AssemblyService for FakeChain {
    async fn get_template(
        &self,
        request: Request<GetTemplateRequest>,
    ) -> Result<Response<GetTemplateResponse>, Status> {
        let payout = Script::from(request.into_inner().payout_script.to_vec());
        self.state().give(payout).map(Response::new)
    }

    async fn follow_templates(
        &self,
        request: Request<FollowTemplatesRequest>,
    ) -> Result<Response<BoxStream<FollowTemplatesResponse>>, Status> {
        let payout = Script::from(request.into_inner().payout_script.to_vec());
        let chain = self.clone();
        let templates = WatchStream::new(self.changes.subscribe()).map(move |()| {
            let template = Some(chain.state().give(payout.clone())?);
            Ok(FollowTemplatesResponse { template })
        });
        Ok(Response::new(Box::pin(templates)))
    }
}

#[tonic::async_trait]
impl SubmitService for FakeChain {
    async fn submit_block(
        &self,
        request: Request<SubmitBlockRequest>,
    ) -> Result<Response<SubmitBlockResponse>, Status> {
        let block =
            block_from_bytes("block", &request.into_inner().block).map_err(Failure::from)?;
        let hash = block.block_hash();
        let mut state = self.state();
        let target = Target::from_compact(block.header.bits).expect("a constant");
        let too_early =
            block.header.prev_block_hash == state.tip() && block.header.time < state.min_time();
        if block.header.bits != state.bits || !target.is_met_by(&hash) || too_early {
            return Err(Failure::new(Code::InvalidArgument, "BAD_BLOCK", "work or time").into());
        }
        if state.refusing {
            state.refused += 1;
            return Err(Failure::new(Code::InvalidArgument, "REFUSED", "not today").into());
        }
        if state.races_lost > 0 {
            state.races_lost -= 1;
            let winner = state.template(&Script::default(), u64::MAX);
            self.connect(&mut state, winner);
        }
        let outcome = if block.header.prev_block_hash == state.tip() {
            self.connect(&mut state, block);
            BlockOutcome::Connected
        } else {
            BlockOutcome::SideBranch
        };
        let (hash, outcome) = (hash.to_string(), outcome.into());
        Ok(Response::new(SubmitBlockResponse { hash, outcome }))
    }
}

#[tonic::async_trait]
impl ChainService for FakeChain {
    async fn get_info(
        &self,
        _: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        let (state, versions) = (self.state(), AddressVersions::default());
        Ok(Response::new(GetInfoResponse {
            network: "test".to_owned(),
            engine: state.engine.to_owned(),
            height: state.height(),
            tip: state.tip().to_string(),
            development: state.development,
            p2pkh_version: versions.p2pkh.into(),
            p2sh_version: versions.p2sh.into(),
            ..GetInfoResponse::default()
        }))
    }
}
