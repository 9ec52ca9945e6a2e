//! A chain service of a few lines: every block counts as much work as any other, and a transaction
//! is valid if what it spends is in the mempool or nowhere.

pub(super) mod finality;
mod reads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::StreamExt as _;
use pentad_api::Connection;
use pentad_api::chain::v1 as proto;
use pentad_api::types::v1::BlockHeader;
use pentad_fakes::chain::v1::assembly_service_server::{AssemblyService, AssemblyServiceServer};
use pentad_fakes::chain::v1::chain_service_server::ChainServiceServer;
use pentad_fakes::chain::v1::event_service_server::{EventService, EventServiceServer};
use pentad_fakes::follow;
use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::hash::sha256d;
use pentad_primitives::{BlockHash, OutPoint, Script, Transaction, TxIn, Txid};
use pentad_service_kit::sized;
use tokio::sync::watch;
use tonic::codegen::BoxStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use finality::Finality;

/// A block with this last byte is invalid; so is a transaction that begins with it.
pub(super) const POISON: u8 = 0xee;

/// A block on top of `parent`; `salt` tells siblings apart, `size` is that of its body.
pub(super) fn block(parent: BlockHash, salt: u32, size: usize) -> (BlockHash, Bytes) {
    let mut bytes = vec![0; 80 + size];
    bytes[4..36].copy_from_slice(parent.as_bytes());
    bytes[36..40].copy_from_slice(&salt.to_be_bytes());
    (BlockHash::from(sha256d(&bytes[..80])), bytes.into())
}

/// A transaction that spends an output of `parent`.
pub(super) fn transaction(parent: Txid, salt: u8) -> (Txid, Bytes) {
    let previous_output = OutPoint { txid: parent, vout: 0 };
    let input = TxIn { previous_output, script_sig: Script::from(vec![salt; 90]), sequence: 0 };
    let transaction =
        Transaction { version: 1, inputs: vec![input], outputs: Vec::new(), lock_time: 0 };
    (transaction.txid(), transaction.to_bytes().into())
}

#[derive(Clone)]
pub(super) struct FakeChain(Arc<Shared>);

struct Shared {
    network: String,
    engine: Engine,
    genesis: BlockHash,
    state: Mutex<State>,
    /// Tells streams when to look.
    changes: watch::Sender<()>,
    /// Ends all streams.
    broken: watch::Sender<()>,
}

/// What makes blocks final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Work,
    /// Blocks need a certificate.
    Pbft,
    /// Certificates come later.
    Hybrid,
}

#[derive(Default)]
struct State {
    /// Height and bytes of every header known.
    headers: BTreeMap<BlockHash, (usize, Bytes)>,
    /// Blocks with their certificates.
    bodies: BTreeMap<BlockHash, (Bytes, Bytes)>,
    main: Vec<BlockHash>,
    best: BlockHash,
    tips: Vec<proto::FollowTipResponse>,
    mempool: Vec<(Txid, Bytes)>,
    /// Every block that was handed in, for tests that count.
    connects: usize,
    /// Transactions handed out.
    fetched: usize,
    /// Calls that are to break off after a few blocks, and checks of headers that are to panic.
    breaks: usize,
    panics: usize,
    finality: Finality,
}

type Reply<T> = Result<Response<T>, Status>;

impl FakeChain {
    pub(super) fn new(network: &str) -> Self {
        Self::with(network, Engine::Work)
    }

    /// One that takes a block only with its certificate, and headers only with that of the last.
    pub(super) fn certified(network: &str) -> Self {
        Self::with(network, Engine::Pbft)
    }

    fn with(network: &str, engine: Engine) -> Self {
        let genesis = BlockHash::from(sha256d(network.as_bytes()));
        let state = State { best: genesis, ..State::default() };
        Self(Arc::new(Shared {
            network: network.to_owned(),
            engine,
            genesis,
            state: Mutex::new(state),
            changes: watch::Sender::new(()),
            broken: watch::Sender::new(()),
        }))
    }

    pub(super) fn connection(&self) -> Connection {
        let routes = Routes::new(ChainServiceServer::new(self.clone()))
            .add_service(sized!(AssemblyServiceServer::new(self.clone())))
            .add_service(sized!(EventServiceServer::new(self.clone())));
        Connection::in_process(routes)
    }

    pub(super) fn genesis(&self) -> BlockHash {
        self.0.genesis
    }

    pub(super) fn tip(&self) -> BlockHash {
        self.state().main.last().copied().unwrap_or(self.0.genesis)
    }

    pub(super) fn height(&self) -> usize {
        self.state().main.len()
    }

    pub(super) fn connects(&self) -> usize {
        self.state().connects
    }

    pub(super) fn fetched(&self) -> usize {
        self.state().fetched
    }

    pub(super) fn mempool(&self) -> BTreeSet<Txid> {
        self.state().mempool.iter().map(|(txid, _)| *txid).collect()
    }

    /// Extends the main chain by `count` blocks.
    pub(super) fn mine(&self, count: usize, salt: u32, size: usize) {
        for _ in 0..count {
            let (hash, bytes) = block(self.tip(), salt, size);
            assert_eq!(self.connect(&bytes, &self.certificate(hash)).refusal, None);
        }
    }

    /// Extends the main chain by a block as it came, as if mined here.
    pub(super) fn take(&self, block: &Bytes) {
        assert_eq!(self.connect(block, &Bytes::new()).refusal, None);
    }

    /// Lets the next `count` calls for blocks break off.
    pub(super) fn break_off(&self, count: usize) {
        self.state().breaks = count;
    }

    /// Lets the next `count` checks of headers panic.
    pub(super) fn panic_at_headers(&self, count: usize) {
        self.state().panics = count;
    }

    /// Takes a transaction as if submitted here.
    pub(super) fn submit(&self, bytes: &Bytes) {
        assert_eq!(self.admit(bytes).refusal, None);
    }

    /// Breaks all streams, as a restart does.
    pub(super) fn break_streams(&self) {
        self.0.broken.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic under the lock")
    }

    fn change(&self) {
        self.0.changes.send_replace(());
    }

    /// The one certificate that a block can have here; as long as 64 signatures.
    pub(super) fn certificate(&self, hash: BlockHash) -> Bytes {
        if self.0.engine != Engine::Pbft {
            return Bytes::new();
        }
        hash.as_bytes().repeat(4_274 / 32).into()
    }

    fn connect(&self, bytes: &Bytes, certificate: &Bytes) -> proto::ConnectBlocksResponse {
        let hash = BlockHash::from(sha256d(&bytes[..80]));
        let mut response = proto::ConnectBlocksResponse {
            hash: Bytes::copy_from_slice(hash.as_bytes()),
            ..Default::default()
        };
        let mut state = self.state();
        state.connects += 1;
        let outcome = if state.bodies.contains_key(&hash) {
            proto::BlockOutcome::AlreadyKnown
        } else if !self.is_known(&state, parent(bytes)) {
            proto::BlockOutcome::Orphan
        } else if bytes.last() == Some(&POISON) {
            response.refusal = Some(refusal("POISON", 100));
            return response;
        } else if !self.fits(&state, hash, parent(bytes), certificate) {
            response.refusal = Some(refusal("BAD_CERTIFICATE", 100));
            return response;
        } else if self.is_below_finality(&state, hash_or_parent(&state, hash, bytes)) {
            response.refusal = Some(refusal("BELOW_FINALITY", 0));
            return response;
        } else {
            self.insert(&mut state, hash, bytes);
            if self.0.engine == Engine::Hybrid {
                self.finalise_at_hand(&mut state, certificate);
            }
            let height = state.headers[&hash].0;
            if state.main.get(height - 1) == Some(&hash) {
                proto::BlockOutcome::Connected
            } else {
                proto::BlockOutcome::SideBranch
            }
        };
        response.set_outcome(outcome);
        drop(state);
        self.change();
        response
    }

    fn is_known(&self, state: &State, hash: BlockHash) -> bool {
        hash == self.0.genesis || state.bodies.contains_key(&hash)
    }

    /// Whether a block may come with this certificate, or without one.
    fn fits(&self, state: &State, hash: BlockHash, on: BlockHash, certificate: &Bytes) -> bool {
        if self.0.engine == Engine::Hybrid && !certificate.is_empty() {
            let height = state.headers.get(&on).map_or(1, |(height, _)| height + 1);
            return *certificate == finality::certificate(hash, height);
        }
        *certificate == self.certificate(hash)
    }

    fn insert(&self, state: &mut State, hash: BlockHash, bytes: &Bytes) {
        self.check(state, &[bytes.slice(..80)]);
        state.bodies.insert(hash, (bytes.clone(), self.certificate(hash)));
        let height = state.headers[&hash].0;
        if height > state.main.len() {
            self.move_to(state, hash);
        }
    }

    fn move_to(&self, state: &mut State, hash: BlockHash) {
        let path = self.path(state, hash);
        let common = path.iter().zip(&state.main).take_while(|(new, old)| new == old).count();
        for undone in state.main.split_off(common).into_iter().rev() {
            let header = Some(header_message(state, undone));
            let raw = state.bodies[&undone].0.clone();
            push_tip(
                state,
                proto::follow_tip_response::Event::Undo(proto::BlockDisconnected { header, raw }),
            );
        }
        for applied in &path[common..] {
            state.main.push(*applied);
            let header = Some(header_message(state, *applied));
            let (raw, certificate) = state.bodies[applied].clone();
            push_tip(
                state,
                proto::follow_tip_response::Event::Apply(proto::BlockConnected {
                    header,
                    raw,
                    certificate,
                    ..Default::default()
                }),
            );
        }
    }

    fn path(&self, state: &State, tip: BlockHash) -> Vec<BlockHash> {
        let mut path = Vec::new();
        let mut at = tip;
        while let Some((_, header)) = state.headers.get(&at) {
            // Most paths lead back to the main chain soon.
            let height = state.headers[&at].0;
            if state.main.get(height - 1) == Some(&at) {
                path.extend(state.main[..height].iter().rev());
                break;
            }
            path.push(at);
            at = parent(header);
        }
        path.reverse();
        path
    }

    fn check(&self, state: &mut State, headers: &[Bytes]) -> (u32, Option<proto::Refusal>) {
        let mut accepted = 0;
        for header in headers {
            let parent = parent(header);
            let below = match state.headers.get(&parent) {
                Some((height, _)) => *height,
                None if parent == self.0.genesis => 0,
                None => return (accepted, Some(refusal("UNKNOWN_PARENT", 20))),
            };
            let hash = BlockHash::from(sha256d(header));
            if !state.headers.contains_key(&hash) && self.is_below_finality(state, parent) {
                return (accepted, Some(refusal("BELOW_FINALITY", 0)));
            }
            state.headers.entry(hash).or_insert((below + 1, header.clone()));
            let best = state.headers.get(&state.best).map_or(0, |(height, _)| *height);
            if below + 1 > best && !self.is_below_finality(state, hash) {
                state.best = hash;
            }
            accepted += 1;
        }
        let last = headers.last().map(|last| BlockHash::from(sha256d(last)));
        let is_below = last.is_some_and(|last| self.is_below_finality(state, last));
        (accepted, is_below.then(|| refusal("BELOW_FINALITY", 0)))
    }

    fn admit(&self, bytes: &Bytes) -> proto::AdmissionOutcome {
        let txid = Txid::from(sha256d(bytes));
        let mut response = proto::AdmissionOutcome {
            txid: Bytes::copy_from_slice(txid.as_bytes()),
            ..Default::default()
        };
        let mut state = self.state();
        let is_here = |wanted: &Txid| state.mempool.iter().any(|(txid, _)| txid == wanted);
        let missing = match Transaction::from_bytes(bytes) {
            Ok(transaction) => transaction.inputs.iter().any(|input| {
                input.previous_output.txid != Txid::ZERO && !is_here(&input.previous_output.txid)
            }),
            Err(_) => {
                response.refusal = Some(refusal("MALFORMED", 100));
                return response;
            }
        };
        if missing {
            response.refusal = Some(refusal("MISSING_INPUT", 0));
        } else if !is_here(&txid) {
            state.mempool.push((txid, bytes.clone()));
            response.admitted = true;
            drop(state);
            self.change();
        }
        response
    }

    /// A stream of what `next` finds, until the streams are broken.
    fn stream<T: Send + 'static>(
        &self,
        mut next: impl FnMut(&State) -> Option<T> + Send + 'static,
    ) -> BoxStream<T> {
        let chain = self.clone();
        let found = follow(self.0.changes.subscribe(), move || next(&chain.state()));
        Box::pin(found.take_until(self.broken()))
    }

    fn answers<I: Send + 'static, O: Send + 'static>(
        &self,
        requests: Streaming<I>,
        answer: impl Fn(&Self, I) -> O + Send + 'static,
    ) -> BoxStream<O> {
        let chain = self.clone();
        let answers = requests.map(move |request| Ok(answer(&chain, request?)));
        Box::pin(answers.take_until(self.broken()))
    }

    /// Until the streams are broken.
    fn broken(&self) -> impl Future<Output = ()> + use<> {
        let mut broken = self.0.broken.subscribe();
        async move { drop(broken.changed().await) }
    }
}

fn parent(header: &[u8]) -> BlockHash {
    BlockHash::from_bytes(header[4..36].try_into().expect("32 bytes"))
}

/// What tells the branch of a block whose header may be unknown.
fn hash_or_parent(state: &State, hash: BlockHash, header: &[u8]) -> BlockHash {
    if state.headers.contains_key(&hash) { hash } else { parent(header) }
}

fn refusal(reason: &str, misbehavior: u32) -> proto::Refusal {
    proto::Refusal {
        reason: reason.to_owned(),
        message: "as the test wants".to_owned(),
        misbehavior,
    }
}

fn header_message(state: &State, hash: BlockHash) -> BlockHeader {
    let height = state.headers[&hash].0;
    BlockHeader {
        hash: hash.to_string(),
        height: u32::try_from(height).expect("a short chain"),
        chain_work: format!("{height:x}"),
        ..Default::default()
    }
}

fn push_tip(state: &mut State, event: proto::follow_tip_response::Event) {
    let cursor = (state.tips.len() + 1).to_string();
    state.tips.push(proto::FollowTipResponse { cursor, event: Some(event) });
}

fn hashes(hashes: &[Bytes]) -> Vec<BlockHash> {
    let parse = |hash: &Bytes| BlockHash::from_bytes(hash[..].try_into().expect("32 bytes"));
    hashes.iter().map(parse).collect()
}

fn work(height: usize) -> Bytes {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&(height as u64).to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

#[tonic::async_trait]
impl EventService for FakeChain {
    async fn follow_tip(
        &self,
        request: Request<proto::FollowTipRequest>,
    ) -> Reply<BoxStream<proto::FollowTipResponse>> {
        let mut position = request.into_inner().cursor.parse().ok();
        let (genesis, mut told) = (self.0.genesis, 0);
        Ok(Response::new(self.stream(move |state| {
            let Some(position) = &mut position else {
                position = Some(state.tips.len());
                let header = Some(match state.main.last() {
                    Some(tip) => header_message(state, *tip),
                    None => BlockHeader { hash: genesis.to_string(), ..Default::default() },
                });
                let event = proto::follow_tip_response::Event::Reset(proto::TipReset { header });
                let cursor = state.tips.len().to_string();
                return Some(proto::FollowTipResponse { cursor, event: Some(event) });
            };
            if let Some(event) = state.tips.get(*position).cloned() {
                *position += 1;
                return Some(event);
            }
            let event = Some(Self::newly_final(state, &mut told)?);
            Some(proto::FollowTipResponse { cursor: position.to_string(), event })
        })))
    }
}

#[tonic::async_trait]
impl AssemblyService for FakeChain {
    async fn get_finality(
        &self,
        _: Request<proto::GetFinalityRequest>,
    ) -> Reply<proto::GetFinalityResponse> {
        self.last_final().map(Response::new)
    }

    async fn finalise_block(
        &self,
        request: Request<proto::FinaliseBlockRequest>,
    ) -> Reply<proto::FinaliseBlockResponse> {
        self.hand_in(&request.into_inner().certificate).map(Response::new)
    }

    async fn follow_mempool_changes(
        &self,
        _: Request<proto::FollowMempoolChangesRequest>,
    ) -> Reply<BoxStream<proto::FollowMempoolChangesResponse>> {
        let mut position = None;
        Ok(Response::new(self.stream(move |state| {
            let is_reset = position.is_none();
            let start = position.unwrap_or(0);
            let changes = state.mempool[start..].iter().map(|(txid, transaction)| {
                let (txid, transaction) =
                    (Bytes::copy_from_slice(txid.as_bytes()), transaction.clone());
                proto::MempoolChange { txid, transaction, ..Default::default() }
            });
            let changes: Vec<_> = changes.collect();
            position = Some(start + changes.len());
            let is_news = is_reset || !changes.is_empty();
            is_news.then_some(proto::FollowMempoolChangesResponse { is_reset, changes })
        })))
    }

    async fn get_locator(
        &self,
        _: Request<proto::GetLocatorRequest>,
    ) -> Reply<proto::GetLocatorResponse> {
        let state = self.state();
        let (mut at, mut step, mut hashes) = (state.main.len(), 1, Vec::new());
        while at > 0 {
            hashes.push(Bytes::copy_from_slice(state.main[at - 1].as_bytes()));
            step *= if hashes.len() > 10 { 2 } else { 1 };
            at = at.saturating_sub(step);
        }
        hashes.push(Bytes::copy_from_slice(self.0.genesis.as_bytes()));
        Ok(Response::new(proto::GetLocatorResponse { hashes }))
    }

    async fn locate_headers(
        &self,
        request: Request<proto::LocateHeadersRequest>,
    ) -> Reply<proto::LocateHeadersResponse> {
        let state = self.state();
        let place = |hash: &BlockHash| match state.headers.get(hash) {
            Some((height, _)) => (state.main.get(height - 1) == Some(hash)).then_some(*height),
            None => None,
        };
        let start = hashes(&request.into_inner().locator).iter().find_map(place).unwrap_or(0);
        let located = state.main[start..].iter().take(2000);
        let certificate = located.clone().next_back().map(|hash| self.certificate(*hash));
        let headers = located.map(|hash| state.headers[hash].1.clone()).collect();
        let certificate = certificate.unwrap_or_default();
        Ok(Response::new(proto::LocateHeadersResponse { headers, certificate }))
    }

    async fn check_headers(
        &self,
        request: Request<proto::CheckHeadersRequest>,
    ) -> Reply<proto::CheckHeadersResponse> {
        let panics = self.state().panics;
        if let Some(left) = panics.checked_sub(1) {
            self.state().panics = left;
            panic!("as the test wants");
        }
        let mut state = self.state();
        let proto::CheckHeadersRequest { headers, certificate } = request.into_inner();
        let last = headers.last().map(|last| self.certificate(BlockHash::from(sha256d(last))));
        let (accepted, refusal) = if last.is_none_or(|last| last == certificate) {
            self.check(&mut state, &headers)
        } else {
            (0, Some(refusal("BAD_CERTIFICATE", 100)))
        };
        let path = self.path(&state, state.best);
        let awaited = self.awaited(&state);
        let all = awaited.iter().chain(path.iter().filter(|hash| !awaited.contains(hash)));
        let wanted = all.filter(|hash| !state.bodies.contains_key(hash)).take(1024);
        let wanted = wanted.map(|hash| Bytes::copy_from_slice(hash.as_bytes())).collect();
        Ok(Response::new(proto::CheckHeadersResponse {
            accepted,
            refusal,
            wanted,
            best_work: work(path.len()),
            best_height: u32::try_from(path.len()).expect("a short chain"),
        }))
    }

    async fn connect_blocks(
        &self,
        request: Request<Streaming<proto::ConnectBlocksRequest>>,
    ) -> Reply<BoxStream<proto::ConnectBlocksResponse>> {
        let answer = |chain: &Self, request: proto::ConnectBlocksRequest| {
            chain.connect(&request.block, &request.certificate)
        };
        Ok(Response::new(self.answers(request.into_inner(), answer)))
    }

    async fn admit_transactions(
        &self,
        request: Request<Streaming<proto::AdmitTransactionsRequest>>,
    ) -> Reply<BoxStream<proto::AdmitTransactionsResponse>> {
        let answer = |chain: &Self, request: proto::AdmitTransactionsRequest| {
            let outcomes = request.transactions.iter().map(|bytes| chain.admit(bytes));
            proto::AdmitTransactionsResponse { outcomes: outcomes.collect() }
        };
        Ok(Response::new(self.answers(request.into_inner(), answer)))
    }

    async fn fetch_blocks(
        &self,
        request: Request<proto::FetchBlocksRequest>,
    ) -> Reply<BoxStream<proto::FetchBlocksResponse>> {
        let mut state = self.state();
        let wanted = hashes(&request.into_inner().hashes);
        let mut answers: Vec<_> = wanted
            .iter()
            .map(|hash| {
                let (block, certificate) = state.bodies.get(hash).cloned().unwrap_or_default();
                let hash = Bytes::copy_from_slice(hash.as_bytes());
                Ok(proto::FetchBlocksResponse { hash, block, certificate })
            })
            .collect();
        if let Some(left) = state.breaks.checked_sub(1) {
            state.breaks = left;
            answers.truncate(answers.len() / 2);
            answers.push(Err(Status::unavailable("as the test wants")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }

    async fn fetch_transactions(
        &self,
        request: Request<proto::FetchTransactionsRequest>,
    ) -> Reply<proto::FetchTransactionsResponse> {
        let mut state = self.state();
        let find =
            |txid: &Bytes| state.mempool.iter().find(|(known, _)| known.as_bytes()[..] == txid[..]);
        let txids = request.into_inner().txids;
        let transactions: Vec<Bytes> =
            txids.iter().filter_map(find).map(|(_, bytes)| bytes.clone()).collect();
        state.fetched += transactions.len();
        let traced = Vec::new();
        Ok(Response::new(proto::FetchTransactionsResponse { transactions, traced }))
    }
}
