//! Asking all nodes of a network how they are.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use pentad_api::Connection;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::{GetBlockRequest, GetInfoRequest, get_block_request};
use pentad_api::consensus::v1 as consensus;
use pentad_api::consensus::v1::consensus_service_client::ConsensusServiceClient;
use pentad_api::miner::v1::GetStatusRequest;
use pentad_api::miner::v1::miner_service_client::MinerServiceClient;
use pentad_api::peer::v1::ListPeersRequest;
use pentad_api::peer::v1::peer_service_client::PeerServiceClient;
use pentad_network_file::{NetworkFile, NodeEntry};
use tokio::time::timeout;
use tonic::{Response, Status};

use super::picture::{BlockRow, NodeRow, Picture};
use crate::credentials::Credentials;
use crate::fault::Fault;
use crate::target::ANSWER_BYTES_MAX;

/// A node that takes longer counts as down in this picture.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Blocks that are kept to be shown.
const BLOCKS_MAX: usize = 64;
/// Blocks that are asked for in one round: the view fills up over the first rounds.
const BLOCKS_PER_ROUND: usize = 16;

/// Lines to all nodes, and the blocks seen so far.
#[derive(Debug)]
pub struct Poller {
    nodes: Vec<(String, Option<Connection>)>,
    blocks: VecDeque<BlockRow>,
    network: String,
    engine: String,
}

struct Asked {
    row: NodeRow,
    network: String,
    engine: String,
    tip: String,
}

impl Poller {
    pub fn new(network: &NetworkFile, credentials: &Credentials) -> Self {
        let line = |node: &NodeEntry| credentials.for_node(node).connect(&node.grpc.to_string());
        let nodes = network.nodes.iter().map(|node| (node.name.clone(), line(node).ok()));
        Self::of(nodes.collect())
    }

    /// A single node.
    ///
    /// # Errors
    /// When the address is none or a file cannot be used.
    pub fn of_node(address: &str, credentials: &Credentials) -> Result<Self, Fault> {
        let line = credentials.connect(address)?;
        Ok(Self::of(vec![(address.to_owned(), Some(line))]))
    }

    fn of(nodes: Vec<(String, Option<Connection>)>) -> Self {
        Self { nodes, blocks: VecDeque::new(), network: String::new(), engine: String::new() }
    }

    /// Asks all nodes at once.
    pub async fn picture(&mut self) -> Picture {
        let asked = join_all(self.nodes.iter().map(|(name, line)| ask(name, line.clone()))).await;
        let best = asked.iter().zip(&self.nodes).max_by_key(|(asked, _)| asked.row.height);
        if let Some((Asked { row: NodeRow { height: Some(height), .. }, tip, .. }, (_, line))) =
            best
            && let Some(line) = line.clone()
        {
            let (height, tip) = (*height, tip.clone());
            self.follow(line, height, tip).await;
        }
        if let Some(told) = asked.iter().find(|asked| asked.row.is_up) {
            self.network.clone_from(&told.network);
            self.engine.clone_from(&told.engine);
        }
        Picture {
            network: self.network.clone(),
            engine: self.engine.clone(),
            nodes: asked.into_iter().map(|asked| asked.row).collect(),
            blocks: self.blocks.iter().cloned().collect(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
        }
    }

    /// Brings the blocks up to the tip; those of a branch that was left go.
    async fn follow(&mut self, line: Connection, height: u32, tip: String) {
        let is_known = self.blocks.front().is_some_and(|newest| newest.hash == tip);
        if is_known && (self.blocks.len() >= BLOCKS_MAX || self.blocks.len() > height as usize) {
            return;
        }
        let mut wanted = height;
        let mut fresh = VecDeque::new();
        for _ in 0..BLOCKS_PER_ROUND {
            let Some((row, parent)) = block(line.clone(), wanted).await else { return };
            fresh.push_back(row);
            let below = self.blocks.iter().position(|known| known.hash == parent);
            if let Some(below) = below {
                fresh.extend(self.blocks.drain(below..));
                break;
            }
            match wanted.checked_sub(1) {
                Some(next) => wanted = next,
                None => break,
            }
        }
        fresh.truncate(BLOCKS_MAX);
        self.blocks = fresh;
    }
}

async fn ask(name: &str, line: Option<Connection>) -> Asked {
    let down = NodeRow { name: name.to_owned(), ..NodeRow::default() };
    let nothing =
        |row| Asked { row, network: String::new(), engine: String::new(), tip: String::new() };
    let Some(line) = line else { return nothing(down) };
    let started = Instant::now();
    let Some(info) =
        answer(ChainServiceClient::new(line.clone()).get_info(GetInfoRequest {})).await
    else {
        return nothing(down);
    };
    let latency = started.elapsed().as_micros();
    let (mut peers, mut miner, mut replica) = (
        PeerServiceClient::new(line.clone()),
        MinerServiceClient::new(line.clone()),
        ConsensusServiceClient::new(line),
    );
    let (peers, miner, replica) = tokio::join!(
        answer(peers.list_peers(ListPeersRequest {})),
        answer(miner.get_status(GetStatusRequest {})),
        answer(replica.get_status(consensus::GetStatusRequest {})),
    );
    let replica = replica.filter(|_| info.engine != "pow");
    let row = NodeRow {
        is_up: true,
        height: Some(info.height),
        final_height: info.final_height,
        view: replica.as_ref().map(|status| status.view),
        role: replica.map(|status| role(status.role()).to_owned()),
        peers: peers.map(|peers| peers.peers.len()),
        mempool: Some(info.mempool_transactions),
        hash_rate: miner.filter(|miner| miner.mining).map(|miner| miner.hash_rate),
        latency_us: u64::try_from(latency).ok(),
        ..down
    };
    Asked { row, network: info.network, engine: info.engine, tip: info.tip }
}

fn role(role: consensus::Role) -> &'static str {
    match role {
        consensus::Role::Unspecified => "-",
        consensus::Role::Follower => "follower",
        consensus::Role::Primary => "primary",
        consensus::Role::Backup => "backup",
        consensus::Role::Halted => "halted",
    }
}

/// The block of a height and the hash of its parent.
async fn block(line: Connection, height: u32) -> Option<(BlockRow, String)> {
    let mut client = ChainServiceClient::new(line).max_decoding_message_size(ANSWER_BYTES_MAX);
    let wanted = get_block_request::Block::Height(height);
    let block = answer(client.get_block(GetBlockRequest { block: Some(wanted) })).await?.block?;
    let header = block.header?;
    let row = BlockRow {
        height,
        hash: header.hash,
        time: header.time,
        transactions: block.txids.len().saturating_sub(1),
        bytes: block.raw.len(),
    };
    Some((row, header.prev_block_hash))
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Option<T> {
    Some(timeout(ANSWER_TIMEOUT, call).await.ok()?.ok()?.into_inner())
}
