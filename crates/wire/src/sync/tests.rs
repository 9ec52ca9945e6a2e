//! Whole syncs against peers of every kind, with a chain service of a few lines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pentad_primitives::hash::sha256d;

use super::*;

const DELAY: Duration = Duration::from_millis(10);
const OWN_BODY: usize = 200;

/// A block of a test chain: a header with its parent's hash, and a body that names the header.
#[derive(Clone)]
struct TestBlock {
    hash: BlockHash,
    parent: BlockHash,
    header: Bytes,
    body: Bytes,
}

/// `length` blocks on top of `parent`; `salt` tells chains apart.
fn extend(parent: BlockHash, length: usize, salt: u8, body: usize) -> Vec<TestBlock> {
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

const GENESIS: BlockHash = BlockHash::from_bytes([1; 32]);

fn work(blocks: usize) -> Work {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&(blocks as u64).to_be_bytes());
    Work::from_be_bytes(bytes)
}

fn height(blocks: usize) -> BlockHeight {
    BlockHeight::new(u32::try_from(blocks).expect("a short chain"))
}

fn claim(blocks: &[TestBlock]) -> Claim {
    let tip = blocks.last().map_or(GENESIS, |block| block.hash);
    Claim { work: work(blocks.len()), height: height(blocks.len()), tip }
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
            let block =
                TestBlock { hash, parent, header: header.clone(), body: Bytes::new() };
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
        self.check(&[header.clone()]);
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
enum Manner {
    Honest,
    /// Sends headers, never a block.
    StallsOnBlocks,
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
                Some(Input::Block { peer, hash, block: body.into() })
            }
            (_, Some(block)) => Some(Input::Block { peer, hash, block: block.body.clone() }),
        }
    }
}

/// What a sync led to.
struct Report {
    elapsed: Duration,
    main: Vec<BlockHash>,
    penalized: BTreeMap<PeerId, Vec<Offence>>,
    left: BTreeSet<PeerId>,
    delivered: usize,
    buffered_max: usize,
}

struct World {
    sync: Sync,
    chain: Chain,
    peers: BTreeMap<PeerId, Peer>,
    queue: VecDeque<(Duration, Input)>,
    now: Duration,
    report: Report,
}

impl World {
    fn new(own: &[TestBlock], peers: Vec<(Manner, Vec<TestBlock>)>) -> Self {
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
        Self { sync, chain, peers, queue, now: Duration::ZERO, report }
    }

    fn later(&mut self, input: Input) {
        let at = self.now + DELAY;
        let place = self.queue.partition_point(|(time, _)| *time <= at);
        self.queue.insert(place, (at, input));
    }

    /// Runs until the main chain ends in `tip`.
    fn run(mut self, tip: BlockHash, deadline: Duration) -> Report {
        let mut next_tick = TICK_INTERVAL;
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
            let outputs = self.sync.step(self.now, input);
            let buffered = self.sync.progress().buffered_bytes;
            self.report.buffered_max = self.report.buffered_max.max(buffered);
            outputs.into_iter().for_each(|output| self.execute(output));
            if self.chain.main.last().is_some_and(|block| block.hash == tip) {
                break;
            }
        }
        self.report.elapsed = self.now;
        self.report.main = self.chain.main.iter().map(|block| block.hash).collect();
        self.report
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::RequestHeaders { peer, after } => {
                let Some(source) = self.peers.get(&peer) else { return };
                if source.manner == Manner::Silent {
                    return;
                }
                let headers = source.headers(after, &self.chain.main);
                self.later(Input::Headers { peer, headers });
            }
            Output::CheckHeaders { peer, headers } => {
                let report = self.chain.check(&headers);
                self.later(Input::Checked { peer: Some(peer), report });
            }
            Output::RefreshWanted => {
                let report = self.chain.check(&[]);
                self.later(Input::Checked { peer: None, report });
            }
            Output::RequestBlocks { peer, hashes } => {
                assert!(hashes.len() <= BLOCKS_PER_REQUEST_MAX);
                let Some(source) = self.peers.get(&peer) else { return };
                if matches!(source.manner, Manner::Silent | Manner::StallsOnBlocks) {
                    return;
                }
                let answers: Vec<Input> = hashes
                    .into_iter()
                    .enumerate()
                    .filter_map(|(index, hash)| source.block(peer, index, hash))
                    .collect();
                answers.into_iter().for_each(|answer| self.later(answer));
            }
            Output::Connect { peer, hash, block } => {
                let outcome = self.chain.connect(hash, &block);
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
            self.queue.retain(|(_, input)| {
                !matches!(input, Input::Block { peer: from, .. } if *from == peer)
            });
            self.later(Input::Disconnected { peer });
        }
    }
}

fn hashes(blocks: &[TestBlock]) -> Vec<BlockHash> {
    blocks.iter().map(|block| block.hash).collect()
}

/// Attacks 39, 40 and 45 among them: whatever one peer does, the others bring the chain.
#[test]
fn sync_ends_with_the_most_work_whatever_some_peers_do() {
    use Manner::*;
    let main = extend(GENESIS, 300, 2, OWN_BODY);
    let fork: Vec<_> =
        [&main[..100], &extend(main[99].hash, 150, 3, OWN_BODY)[..]].concat();
    let second = Duration::from_secs(1);
    // (own blocks, peers, most time, which peers may be penalised)
    type Case<'a> = (&'a str, &'a [TestBlock], Vec<Manner>, Duration, &'a [u64]);
    let cases: Vec<Case> = vec![
        ("from nothing", &[], vec![Honest], second, &[]),
        ("behind", &main[..250], vec![Honest, Honest], second, &[]),
        ("one block behind", &main[..299], vec![Honest], second, &[]),
        ("on a shorter branch", &fork, vec![Honest], second, &[]),
        ("a staller", &[], vec![StallsOnBlocks, Honest], 8 * second, &[]),
        ("a silent one", &[], vec![Silent, Honest], 3 * second, &[]),
        ("a liar", &[], vec![Liar, Honest], second, &[1]),
        ("a peer that skips", &[], vec![Skips, Honest], 8 * second, &[1]),
        ("a peer that lacks", &[], vec![Lacks, Honest], 3 * second, &[]),
        ("a peer that mutates", &[], vec![Mutates, Honest], 8 * second, &[1]),
        ("a peer of bad headers", &[], vec![BadHeaders, Honest], second, &[1]),
        ("many bad ones", &[], vec![Liar, Silent, Lacks, Skips, BadHeaders, Mutates, Honest],
            30 * second, &[1, 4, 5, 6]),
    ];
    for (name, own, manners, deadline, guilty) in cases {
        let peers = manners.into_iter().map(|manner| (manner, main.clone())).collect();
        let report = World::new(own, peers).run(main[299].hash, deadline);
        assert!(report.main == hashes(&main), "{name}: no sync within {deadline:?}");
        for peer in report.penalized.keys() {
            assert!(guilty.contains(&peer.0), "{name}: {peer} was penalised");
        }
    }
}

#[test]
fn bodies_come_from_all_peers_each_once() {
    let main = extend(GENESIS, 5000, 2, OWN_BODY);
    let peers = vec![(Manner::Honest, main.clone()); 3];
    let report = World::new(&[], peers).run(main[4999].hash, Duration::from_secs(60));
    assert_eq!(report.main.len(), main.len());
    assert_eq!(report.delivered, main.len(), "a body came twice");
    assert!(report.penalized.is_empty() && report.left.is_empty());
    assert!(report.elapsed < Duration::from_secs(3), "took {:?}", report.elapsed);
}

#[test]
fn a_shorter_peer_is_never_followed() {
    let main = extend(GENESIS, 20, 2, OWN_BODY);
    let short = extend(GENESIS, 19, 3, OWN_BODY);
    let report = World::new(&main, vec![(Manner::Honest, short.clone())])
        .run(short[18].hash, Duration::from_secs(30));
    assert_eq!(report.main, hashes(&main));
    assert_eq!(report.delivered, 0);
}

#[test]
fn a_peer_that_never_sends_blocks_is_left() {
    let main = extend(GENESIS, 20, 2, OWN_BODY);
    let report = World::new(&[], vec![(Manner::StallsOnBlocks, main.clone())])
        .run(main[19].hash, Duration::from_secs(120));
    assert_eq!(report.left, BTreeSet::from([PeerId(1)]));
}

#[test]
fn a_liar_is_banned_in_the_end_if_it_goes_on_lying() {
    let main = extend(GENESIS, 5, 2, OWN_BODY);
    let mut sync = Sync::new(claim(&main));
    let peer = PeerId(1);
    let mut score = crate::penalty::Score::default();
    let mut now = Duration::ZERO;
    let lie = |more: usize| Claim { work: work(100 + more), height: height(100), tip: GENESIS };
    let connected = Input::Connected { peer, direction: Direction::Inbound, claim: lie(0) };
    let mut outputs = sync.step(now, connected);
    for round in 1..=5 {
        assert_eq!(outputs, [Output::RequestHeaders { peer, after: None }], "round {round}");
        let checks = sync.step(now, Input::Headers { peer, headers: Vec::new() });
        assert_eq!(checks, [Output::CheckHeaders { peer, headers: Vec::new() }]);
        let report = HeaderReport {
            accepted: 0,
            misbehavior: None,
            wanted: Vec::new(),
            best_work: work(5),
            best_height: height(5),
        };
        let judged = sync.step(now, Input::Checked { peer: Some(peer), report });
        let offence = Offence::UnprovenWork;
        assert_eq!(judged, [Output::Penalize { peer, offence }]);
        assert_eq!(score.add(offence, now), round == 5);
        now += Duration::from_secs(1);
        assert!(sync.step(now, Input::Tick).is_empty(), "the same lie is not followed again");
        outputs = sync.step(now, Input::Claimed { peer, claim: lie(round) });
    }
}

#[test]
fn large_blocks_stay_within_the_window() {
    let main = extend(GENESIS, 60, 2, 4_000_000);
    let peers = vec![(Manner::StallsOnBlocks, main.clone()), (Manner::Honest, main.clone())];
    let report = World::new(&[], peers).run(main[59].hash, Duration::from_secs(60));
    assert_eq!(report.main.len(), main.len());
    assert!(report.buffered_max <= (32 << 20) + 4_000_080, "held {}", report.buffered_max);
}

#[test]
fn pushed_blocks_are_connected_and_orphans_followed() {
    let main = extend(GENESIS, 10, 2, OWN_BODY);
    let mut world = World::new(&main[..8], vec![(Manner::Honest, main.clone())]);
    // The claims are old: only the pushed block tells that there is more.
    world.queue.clear();
    let (peer, direction) = (PeerId(1), Direction::Inbound);
    let stale = claim(&main[..8]);
    world.queue.push_back((Duration::ZERO, Input::Connected { peer, direction, claim: stale }));
    let (hash, block) = (main[9].hash, main[9].body.clone());
    world.queue.push_back((Duration::ZERO, Input::Block { peer, hash, block }));
    let fresh = claim(&main);
    world.queue.push_back((DELAY * 30, Input::Claimed { peer, claim: fresh }));
    let report = world.run(main[9].hash, Duration::from_secs(2));
    assert_eq!(report.main, hashes(&main));
    assert!(report.penalized.is_empty());
}

/// Attack 37.
#[test]
fn unasked_headers_are_penalised() {
    let mut sync = Sync::new(claim(&[]));
    let peer = PeerId(1);
    let direction = Direction::Inbound;
    assert!(sync.step(Duration::ZERO, Input::Connected { peer, direction, claim: claim(&[]) })
        .is_empty());
    let headers = vec![Bytes::from_static(&[0; 80]); ANNOUNCED_MAX + 1];
    let outputs = sync.step(Duration::ZERO, Input::Headers { peer, headers });
    assert_eq!(outputs, [Output::Penalize { peer, offence: Offence::UnaskedHeaders }]);
    let headers = vec![Bytes::from_static(&[0; 80]); 1];
    let outputs = sync.step(Duration::ZERO, Input::Headers { peer, headers: headers.clone() });
    assert_eq!(outputs, [Output::CheckHeaders { peer, headers: headers.clone() }]);
    let outputs = sync.step(Duration::ZERO, Input::Headers { peer, headers });
    assert_eq!(
        outputs,
        [Output::Penalize { peer, offence: Offence::UnaskedHeaders }],
        "one check at a time"
    );
}
