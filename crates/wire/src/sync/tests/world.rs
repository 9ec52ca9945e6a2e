//! A chain service of a few lines, and peers of every kind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pentad_primitives::hash::sha256d;

use super::super::*;

pub(super) const DELAY: Duration = Duration::from_millis(10);
pub(super) const OWN_BODY: usize = 200;

/// A block of a test chain: a header with its parent's hash, and a body that names the header.
#[derive(Clone)]
pub(super) struct TestBlock {
    pub(super) hash: BlockHash,
    pub(super) parent: BlockHash,
    pub(super) header: Bytes,
    pub(super) body: Bytes,
}

impl TestBlock {
    pub(super) fn to_body(&self) -> Body {
        uncertified(self.body.clone())
    }
}

pub(super) fn batch(headers: Vec<Bytes>) -> HeaderBatch {
    HeaderBatch { headers, certificate: Bytes::new() }
}

fn uncertified(block: Bytes) -> Body {
    Body { block, certificate: Bytes::new() }
}

/// `length` blocks on top of `parent`; `salt` tells chains apart.
pub(super) fn extend(parent: BlockHash, length: usize, salt: u8, body: usize) -> Vec<TestBlock> {
    let mut parent = parent;
    let mut blocks = Vec::new();
    for _ in 0..length {
        let mut header = vec![salt; 80];
        header[4..36].copy_from_slice(parent.as_bytes());
        let hash = BlockHash::from(sha256d(&header));
        let body = [header.clone(), vec![salt; body]].concat();
        blocks.push(TestBlock { hash, parent, header: header.into(), body: body.into() });
        parent = hash;
    }
    blocks
}

pub(super) const GENESIS: BlockHash = BlockHash::from_bytes([1; 32]);

pub(super) fn work(blocks: usize) -> Work {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&(blocks as u64).to_be_bytes());
    Work::from_be_bytes(bytes)
}

pub(super) fn height(blocks: usize) -> BlockHeight {
    BlockHeight::new(u32::try_from(blocks).expect("a short chain"))
}

pub(super) fn claim(blocks: &[TestBlock]) -> Claim {
    let tip = blocks.last().map_or(GENESIS, |block| block.hash);
    Claim { work: work(blocks.len()), height: height(blocks.len()), tip, final_height: None }
}

/// Main chain, header tree and bodies, without any rule but that a body belongs to its header.
#[derive(Default)]
struct Chain {
    main: Vec<TestBlock>,
    headers: BTreeMap<BlockHash, (usize, TestBlock)>,
    bodies: BTreeSet<BlockHash>,
    best: Vec<BlockHash>,
}

impl Chain {
    fn path(&self, tip: BlockHash) -> Vec<BlockHash> {
        let mut path = Vec::new();
        let mut at = tip;
        while let Some((_, block)) = self.headers.get(&at) {
            path.push(at);
            at = block.parent;
        }
        path.reverse();
        path
    }

    fn check(&mut self, headers: &[Bytes]) -> HeaderReport {
        let (mut accepted, mut misbehavior) = (0, None);
        for header in headers {
            let parent = BlockHash::from_bytes(header[4..36].try_into().expect("32 bytes"));
            let above = match self.headers.get(&parent) {
                Some((height, _)) => *height,
                None if parent == GENESIS => 0,
                None => {
                    misbehavior = Some(20);
                    break;
                }
            };
            let hash = BlockHash::from(sha256d(header));
            let block = TestBlock { hash, parent, header: header.clone(), body: Bytes::new() };
            self.headers.entry(hash).or_insert((above + 1, block));
            if self.best.last() == Some(&parent) {
                self.best.push(hash);
            } else if above + 1 > self.best.len() {
                self.best = self.path(hash);
            }
            accepted += 1;
        }
        let wanted = self.best.iter().filter(|hash| !self.bodies.contains(hash));
        HeaderReport {
            accepted,
            misbehavior,
            is_below_finality: false,
            wanted: wanted.take(WANTED_MAX).copied().collect(),
            best_work: work(self.best.len()),
            best_height: height(self.best.len()),
        }
    }

    fn connect(&mut self, hash: BlockHash, body: &Bytes) -> Outcome {
        if self.bodies.contains(&hash) {
            return Outcome::Kept;
        }
        let header = body.slice(..80);
        let parent = BlockHash::from_bytes(header[4..36].try_into().expect("32 bytes"));
        if parent != GENESIS && !self.bodies.contains(&parent) {
            return Outcome::Orphan;
        }
        if body.last() != header.first() {
            return Outcome::Refused(100);
        }
        self.check(std::slice::from_ref(&header));
        self.bodies.insert(hash);
        if self.main.last().is_some_and(|tip| tip.hash == parent) {
            self.main.push(self.headers[&hash].1.clone());
            return Outcome::Kept;
        }
        let path = self.path(hash);
        if path.len() > self.main.len() {
            self.main = path.iter().map(|hash| self.headers[hash].1.clone()).collect();
        }
        Outcome::Kept
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    /// Sends headers, never a block.
    StallsOnBlocks,
    /// Sends blocks one by one, each just before anybody would call it a stall.
    Trickles,
    /// Sends ten blocks a second, which nobody calls a stall.
    Dawdles,
    /// Never answers.
    Silent,
    /// Claims a thousand blocks more than it has.
    Liar,
    /// Leaves out every third block it is asked for.
    Skips,
    /// Says that it has no block.
    Lacks,
    /// Changes every block.
    Mutates,
    /// Sends headers that connect to nothing.
    BadHeaders,
}

struct Peer {
    manner: Manner,
    blocks: Vec<TestBlock>,
}

impl Peer {
    fn headers(&self, after: Option<BlockHash>, main: &[TestBlock]) -> Vec<Bytes> {
        let known = |hash: &BlockHash| self.blocks.iter().position(|block| block.hash == *hash);
        let locator = after.into_iter().chain(main.iter().rev().map(|block| block.hash));
        let start = locator.filter_map(|hash| known(&hash)).next().map_or(0, |at| at + 1);
        if self.manner == Manner::BadHeaders {
            return vec![Bytes::from(vec![9; 80]); 3];
        }
        self.blocks[start..].iter().take(HEADERS_MAX).map(|block| block.header.clone()).collect()
    }

    fn block(&self, peer: PeerId, index: usize, hash: BlockHash) -> Option<Input> {
        let block = self.blocks.iter().find(|block| block.hash == hash);
        match (self.manner, block) {
            (Manner::Skips, _) if index % 3 == 1 => None,
            (Manner::Lacks, _) | (_, None) => Some(Input::NotFound { peer, hash }),
            (Manner::Mutates, Some(block)) => {
                let mut body = block.body.to_vec();
                *body.last_mut().expect("a body") ^= 1;
                Some(Input::Block { peer, hash, body: uncertified(body.into()) })
            }
            (_, Some(block)) => Some(Input::Block { peer, hash, body: block.to_body() }),
        }
    }
}

/// What a sync led to.
pub(super) struct Report {
    pub(super) elapsed: Duration,
    pub(super) main: Vec<BlockHash>,
    pub(super) penalized: BTreeMap<PeerId, Vec<Offence>>,
    pub(super) left: BTreeSet<PeerId>,
    pub(super) delivered: usize,
    /// Most questions that were open at a peer.
    pub(super) open_max: usize,
    pub(super) buffered_max: usize,
}

pub(super) struct World {
    pub(super) sync: Sync,
    chain: Chain,
    peers: BTreeMap<PeerId, Peer>,
    pub(super) queue: VecDeque<(Duration, Input)>,
    pub(super) now: Duration,
    /// When the last block of a trickle arrives.
    trickled: BTreeMap<PeerId, Duration>,
    /// What each question that is open at a peer still waits for.
    open: BTreeMap<PeerId, VecDeque<Vec<BlockHash>>>,
    pub(super) report: Report,
}

impl World {
    pub(super) fn new(own: &[TestBlock], peers: Vec<(Manner, Vec<TestBlock>)>) -> Self {
        let mut chain = Chain::default();
        for block in own {
            assert_eq!(chain.connect(block.hash, &block.body), Outcome::Kept);
        }
        let report = Report {
            elapsed: Duration::ZERO,
            main: Vec::new(),
            penalized: BTreeMap::new(),
            left: BTreeSet::new(),
            delivered: 0,
            open_max: 0,
            buffered_max: 0,
        };
        let peers = peers.into_iter().zip(1..);
        let peers = peers
            .map(|((manner, blocks), id)| (PeerId(id), Peer { manner, blocks }))
            .collect::<BTreeMap<_, _>>();
        let mut queue = VecDeque::new();
        for (id, peer) in &peers {
            let mut claim = claim(&peer.blocks);
            if peer.manner == Manner::Liar {
                claim.work = work(peer.blocks.len() + 1000);
                claim.height = height(peer.blocks.len() + 1000);
            }
            let direction = Direction::Outbound;
            queue.push_back((Duration::ZERO, Input::Connected { peer: *id, direction, claim }));
        }
        let sync = Sync::new(claim(own));
        let (now, trickled, open) = (Duration::ZERO, BTreeMap::new(), BTreeMap::new());
        Self { sync, chain, peers, queue, now, trickled, open, report }
    }

    fn later(&mut self, input: Input) {
        self.at(self.now + DELAY, input);
    }

    fn at(&mut self, at: Duration, input: Input) {
        let place = self.queue.partition_point(|(time, _)| *time <= at);
        self.queue.insert(place, (at, input));
    }

    /// Runs until the main chain ends in `tip`, or time is up; says what happened.
    pub(super) fn run(self, tip: BlockHash, deadline: Duration) -> Report {
        let mut world = self.run_to(tip, deadline);
        world.report.elapsed = world.now;
        world.report.main = world.chain.main.iter().map(|block| block.hash).collect();
        world.report
    }

    /// Runs until the main chain ends in `tip`, or time is up.
    pub(super) fn run_to(mut self, tip: BlockHash, deadline: Duration) -> Self {
        let mut next_tick = self.now + TICK_INTERVAL;
        while self.now < deadline {
            let due = self.queue.front().is_some_and(|(time, _)| *time <= next_tick);
            let input = if due {
                let (time, input) = self.queue.pop_front().expect("an entry");
                self.now = self.now.max(time);
                input
            } else {
                self.now = next_tick;
                next_tick += TICK_INTERVAL;
                Input::Tick
            };
            if matches!(input, Input::Block { .. }) {
                self.report.delivered += 1;
            }
            if let Input::Block { peer, hash, .. } | Input::NotFound { peer, hash } = &input {
                self.answered(*peer, hash);
            }
            let outputs = self.sync.step(self.now, input);
            let buffered = self.sync.progress().buffered_bytes;
            self.report.buffered_max = self.report.buffered_max.max(buffered);
            outputs.into_iter().for_each(|output| self.execute(output));
            if self.chain.main.last().is_some_and(|block| block.hash == tip) {
                break;
            }
        }
        self
    }

    /// A peer answers in order: what it was asked before it has answered, or left out.
    fn answered(&mut self, peer: PeerId, hash: &BlockHash) {
        let open = self.open.entry(peer).or_default();
        if let Some(at) = open.iter().position(|question| question.contains(hash)) {
            open.drain(..at);
            let place = open[0].iter().position(|asked| asked == hash).expect("it is in there");
            open[0].drain(..=place);
            open.retain(|question| !question.is_empty());
        }
    }

    /// The chain service is another one now, with these blocks only.
    pub(super) fn restart_chain_with(&mut self, blocks: &[TestBlock]) {
        self.chain = Chain::default();
        for block in blocks {
            assert_eq!(self.chain.connect(block.hash, &block.body), Outcome::Kept);
        }
        let claim = claim(blocks);
        self.later(Input::Tip { claim });
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::RequestHeaders { peer, after } => {
                let Some(source) = self.peers.get(&peer) else {
                    return;
                };
                if source.manner == Manner::Silent {
                    return;
                }
                let headers = source.headers(after, &self.chain.main);
                self.later(Input::Headers { peer, batch: batch(headers) });
            }
            Output::CheckHeaders { peer, batch } => {
                let report = self.chain.check(&batch.headers);
                self.later(Input::Checked { peer: Some(peer), report });
            }
            Output::RefreshWanted => {
                let report = self.chain.check(&[]);
                self.later(Input::Checked { peer: None, report });
            }
            Output::RequestBlocks { peer, hashes } => {
                assert!(hashes.len() <= BLOCKS_PER_REQUEST_MAX);
                let open = self.open.entry(peer).or_default();
                open.push_back(hashes.clone());
                self.report.open_max = self.report.open_max.max(open.len());
                let Some(source) = self.peers.get(&peer) else {
                    return;
                };
                if matches!(source.manner, Manner::Silent | Manner::StallsOnBlocks) {
                    return;
                }
                let answers: Vec<Input> = hashes
                    .into_iter()
                    .enumerate()
                    .filter_map(|(index, hash)| source.block(peer, index, hash))
                    .collect();
                let pause = match source.manner {
                    Manner::Trickles => Some(STALL_TIMEOUT - DELAY),
                    Manner::Dawdles => Some(Duration::from_millis(100)),
                    _ => None,
                };
                for answer in answers {
                    if let Some(pause) = pause {
                        let trickled = self.trickled.entry(peer).or_default();
                        *trickled = self.now.max(*trickled) + pause;
                        let at = *trickled;
                        self.at(at, answer);
                    } else {
                        self.later(answer);
                    }
                }
            }
            Output::Connect { peer, hash, body } => {
                let outcome = self.chain.connect(hash, &body.block);
                self.later(Input::Answered { peer, hash, outcome });
                let claim = claim(&self.chain.main);
                self.later(Input::Tip { claim });
            }
            Output::Penalize { peer, offence } => {
                self.report.penalized.entry(peer).or_default().push(offence);
                if offence.score() >= crate::penalty::SCORE_MAX {
                    self.leave(peer);
                }
            }
            Output::Leave { peer } => self.leave(peer),
        }
    }

    fn leave(&mut self, peer: PeerId) {
        if self.peers.remove(&peer).is_some() {
            self.report.left.insert(peer);
            self.queue.retain(
                |(_, input)| !matches!(input, Input::Block { peer: from, .. } if *from == peer),
            );
            self.later(Input::Disconnected { peer });
        }
    }
}
