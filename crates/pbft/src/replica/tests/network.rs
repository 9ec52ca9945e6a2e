//! A network without time: messages wait in one queue, timers run out when a test says so.
//!
//! Every step of every replica is held against one rule: what is sent was written down before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use pentad_primitives::{Hash256, sha256d};

use crate::certificate::CommitCertificate;
use crate::config::{Config, Recovered, Tip};
use crate::credentials::Credentials;
use crate::domain::Domain;
use crate::event::{Input, Output, Recipient, Timer};
use crate::evidence::{Evidence, HaltReason};
use crate::identifiers::{ReplicaId, Sequence, View};
use crate::keys::{Keys, Signature};
use crate::message::{Message, PrePrepare, SignedPrePrepare};
use crate::quorum::Quorum;
use crate::record::Record;
use crate::replica::Replica;

pub const K: u64 = 4;

/// Names for keys: a signature is the signer's name and the hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named(pub ReplicaId);

impl Keys for Named {
    fn sign(&self, hash: &Hash256) -> Signature {
        let mut bytes = [0; 64];
        bytes[..2].copy_from_slice(&self.0.get().to_le_bytes());
        bytes[32..].copy_from_slice(hash.as_bytes());
        Signature::from_bytes(bytes)
    }

    fn verify(&self, signer: ReplicaId, hash: &Hash256, signature: &Signature) -> bool {
        Self(signer).sign(hash) == *signature
    }
}

/// Numbers that follow from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn place(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}

pub fn id(place: usize) -> ReplicaId {
    ReplicaId::new(u16::try_from(place).unwrap())
}

pub fn view(view: u64) -> View {
    View::new(view)
}

pub fn seq(sequence: u64) -> Sequence {
    Sequence::new(sequence)
}

pub fn genesis() -> Hash256 {
    Hash256::from_bytes([1; 32])
}

pub fn domain() -> Domain {
    Domain { chain: genesis(), validators: Hash256::from_bytes([2; 32]) }
}

/// A block: its parent and something that makes it different.
pub fn block(parent: Hash256, salt: u64) -> (Hash256, Arc<[u8]>) {
    let body: Arc<[u8]> = [parent.as_bytes().as_slice(), &salt.to_le_bytes()].concat().into();
    (sha256d(&body), body)
}

fn is_block(digest: Hash256, parent: Option<Hash256>, body: &[u8]) -> bool {
    sha256d(body) == digest && parent.is_none_or(|parent| body.starts_with(parent.as_bytes()))
}

#[derive(Clone, Debug)]
pub struct Final {
    pub digest: Hash256,
    pub certificate: CommitCertificate,
    pub body: Arc<[u8]>,
}

/// What a ledger was asked to execute.
type Execution = (CommitCertificate, Arc<[u8]>);

/// One replica with its disk and its driver.
pub struct Node {
    pub replica: Replica<Named>,
    pub log: Vec<Record>,
    pub chain: Vec<Final>,
    pub timers: BTreeMap<Timer, u64>,
    pub evidence: Vec<Evidence>,
    pub halted: Option<HaltReason>,
    /// Every message it sent, in order.
    pub sent: Vec<(Recipient, Message)>,
    /// The last proposal it was asked for.
    pub asked: Option<(View, Sequence, Hash256)>,
    pub checks: usize,
}

pub struct Network {
    pub nodes: Vec<Node>,
    pub quorum: Quorum,
    pub window: u64,
    pub queue: VecDeque<(usize, usize, Message)>,
    /// Links that lose everything.
    pub cut: BTreeSet<(usize, usize)>,
    /// Digests that no ledger takes.
    pub invalid: BTreeSet<Hash256>,
    /// Whose keys each place runs with: its own, but for twins.
    pub ids: Vec<usize>,
    /// There is work up to this height.
    pub work: usize,
    /// Drivers answer when they are asked to propose.
    pub proposes: bool,
    /// What drivers tell their replicas once they have done what those said.
    inputs: VecDeque<(usize, Input)>,
    /// Roots that nodes have other than the honest one.
    pub wrong_root: BTreeSet<usize>,
    /// Nodes that do not find their roots.
    pub withheld_root: BTreeSet<usize>,
    /// Nodes whose ledger is slow to execute.
    pub slow: BTreeMap<usize, Vec<Execution>>,
}

impl Network {
    pub fn of(replicas: usize) -> Self {
        Self::with_window(replicas, 1)
    }

    pub fn with_window(replicas: usize, window: u64) -> Self {
        let quorum = Quorum::of(replicas).unwrap();
        let mut network = Self {
            nodes: Vec::new(),
            quorum,
            window,
            queue: VecDeque::new(),
            cut: BTreeSet::new(),
            invalid: BTreeSet::new(),
            ids: (0..replicas).collect(),
            work: 0,
            proposes: true,
            inputs: VecDeque::new(),
            wrong_root: BTreeSet::new(),
            withheld_root: BTreeSet::new(),
            slow: BTreeMap::new(),
        };
        for place in 0..replicas {
            network.add(place);
        }
        network
    }

    fn add(&mut self, place: usize) {
        let (replica, outputs) = self.boot(place, Vec::new(), &[]);
        assert!(outputs.is_empty(), "a new replica says {outputs:?}");
        self.nodes.push(Node {
            replica,
            log: Vec::new(),
            chain: Vec::new(),
            timers: BTreeMap::new(),
            evidence: Vec::new(),
            halted: None,
            sent: Vec::new(),
            asked: None,
            checks: 0,
        });
    }

    /// Another node with the keys of a replica.
    pub fn add_twin(&mut self, place: usize) {
        self.ids.push(place);
        self.add(self.ids.len() - 1);
    }

    pub fn config(&self, place: usize) -> Config {
        Config {
            own: id(self.ids[place]),
            quorum: self.quorum,
            domain: domain(),
            window: self.window,
            checkpoint_interval: K,
            view_timeout_ms: 1_000,
            resend_ms: 200,
        }
    }

    fn boot(
        &self,
        place: usize,
        records: Vec<Record>,
        chain: &[Final],
    ) -> (Replica<Named>, Vec<Output>) {
        // What a log holds survives its encoding.
        let records = records.iter().map(|record| {
            let read = Record::from_bytes(&record.to_bytes()).unwrap();
            assert_eq!(read, *record);
            read
        });
        let tip = Tip {
            sequence: seq(chain.len() as u64),
            digest: chain.last().map_or(genesis(), |last| last.digest),
            certificate: chain.last().map(|last| last.certificate.clone()),
            body: chain.last().map(|last| last.body.clone()),
        };
        let last = (chain.len() as u64 / K * K).checked_sub(1).map(seq);
        let checkpoint = last.and_then(|below| {
            let digest = chain[usize::try_from(below.get()).unwrap()].digest;
            Some((below.next()?, digest, self.root(place, digest)))
        });
        let recovered = Recovered { records: records.collect(), tip, checkpoint };
        Replica::new(self.config(place), Named(id(self.ids[place])), recovered)
    }

    pub fn credentials(&self, place: usize) -> Credentials<Named> {
        let keys = Named(id(place));
        Credentials { own: id(place), domain: domain(), quorum: self.quorum, keys }
    }

    /// Kills a node and starts it from its disk.
    pub fn restart(&mut self, place: usize) {
        self.queue.retain(|(from, to, _)| *from != place && *to != place);
        let (replica, outputs) =
            self.boot(place, self.nodes[place].log.clone(), &self.nodes[place].chain);
        let node = &mut self.nodes[place];
        node.replica = replica;
        node.timers.clear();
        node.asked = None;
        self.act(place, outputs);
        self.work_off();
        let is_pending = self.nodes[place].chain.len() < self.work;
        self.step(place, Input::Pending(is_pending));
    }

    pub fn step(&mut self, place: usize, input: Input) {
        self.inputs.push_back((place, input));
        self.work_off();
    }

    fn work_off(&mut self) {
        while let Some((place, input)) = self.inputs.pop_front() {
            let outputs = self.nodes[place].replica.step(input);
            self.act(place, outputs);
        }
    }

    /// Gives a node a message as if it had come from anywhere; the driver's own check included.
    pub fn deliver(&mut self, place: usize, message: Message) {
        let message = Message::from_bytes(&message.to_bytes()).unwrap();
        let is_whole = match &message {
            Message::PrePrepare(m) => is_block(m.signed.digest, Some(m.signed.parent), &m.body),
            Message::Body(m) => is_block(m.digest, None, &m.body),
            Message::Certified(m) => is_block(m.certificate.digest, None, &m.body),
            _ => true,
        };
        if is_whole {
            self.step(place, Input::Message { message });
        }
    }

    /// Delivers everything, until nothing is under way.
    pub fn run(&mut self) {
        let mut steps = 0;
        while let Some((from, to, message)) = self.queue.pop_front() {
            steps += 1;
            assert!(steps < 100_000, "messages without end");
            if !self.cut.contains(&(from, to)) {
                self.deliver(to, message);
            }
        }
    }

    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// There is work up to a height, and all know it.
    pub fn work(&mut self, height: usize) {
        self.work = height;
        for place in self.all() {
            let is_pending = self.nodes[place].chain.len() < height;
            self.step(place, Input::Pending(is_pending));
        }
    }

    /// There is work up to a height; everything is delivered.
    pub fn order(&mut self, height: usize) {
        self.work(height);
        self.run();
    }

    pub fn heights(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.chain.len()).collect()
    }

    pub fn views(&self) -> Vec<(u64, bool)> {
        let status = self.nodes.iter().map(|node| node.replica.status());
        status.map(|status| (status.view.get(), !status.in_view_change)).collect()
    }

    /// Lets a timer of a node run out, if it runs.
    pub fn fire(&mut self, place: usize, timer: Timer) -> bool {
        let was_set = self.nodes[place].timers.remove(&timer).is_some();
        if was_set {
            self.step(place, Input::Timeout(timer));
        }
        was_set
    }

    pub fn fire_all(&mut self, timer: Timer) {
        for place in self.all() {
            self.fire(place, timer);
        }
    }

    pub fn cut_off(&mut self, place: usize) {
        for other in self.all() {
            self.cut.insert((place, other));
            self.cut.insert((other, place));
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// No two nodes hold different blocks at one height.
    pub fn assert_agreement(&self) {
        let longest = self.nodes.iter().max_by_key(|node| node.chain.len()).unwrap();
        for node in &self.nodes {
            for (height, (one, other)) in node.chain.iter().zip(&longest.chain).enumerate() {
                assert_eq!(one.digest, other.digest, "a fork at height {}", height + 1);
            }
        }
    }

    fn act(&mut self, place: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Persist(record) => self.nodes[place].log.push(record),
                Output::Compact(records) => self.nodes[place].log = records,
                Output::Send { to, message } => self.send(place, to, message),
                Output::Propose { view, sequence, parent } => {
                    self.nodes[place].asked = Some((view, sequence, parent));
                    let has_work = sequence.get() <= self.work as u64;
                    if self.proposes && has_work {
                        self.propose_later(place, 0);
                    }
                }
                Output::Check { view, sequence, digest, parent, body, .. } => {
                    self.nodes[place].checks += 1;
                    let is_valid =
                        is_block(digest, Some(parent), &body) && !self.invalid.contains(&digest);
                    let verdict = if is_valid { Ok(()) } else { Err("invalid".to_owned()) };
                    let input = Input::Checked { view, sequence, digest, verdict };
                    self.inputs.push_back((place, input));
                }
                Output::Execute { certificate, body } => match self.slow.get_mut(&place) {
                    Some(waiting) => waiting.push((certificate, body)),
                    None => self.execute_later(place, certificate, body),
                },
                Output::SetTimer { timer, after_ms } => {
                    self.nodes[place].timers.insert(timer, after_ms);
                }
                Output::CancelTimer(timer) => {
                    self.nodes[place].timers.remove(&timer);
                }
                Output::Evidence(evidence) => self.nodes[place].evidence.push(evidence),
                Output::Halt(reason) => self.nodes[place].halted = Some(reason),
            }
        }
    }

    /// The driver of `place` proposes what it was asked for.
    pub fn propose(&mut self, place: usize, salt: u64) {
        self.propose_later(place, salt);
        self.work_off();
    }

    fn propose_later(&mut self, place: usize, salt: u64) {
        let (view, sequence, parent) = self.nodes[place].asked.take().expect("asked to propose");
        let (digest, body) = block(parent, sequence.get() * 1_000 + view.get() * 10 + salt);
        self.inputs.push_back((place, Input::Proposal { view, sequence, digest, parent, body }));
    }

    pub fn execute(&mut self, place: usize, certificate: CommitCertificate, body: Arc<[u8]>) {
        self.execute_later(place, certificate, body);
        self.work_off();
    }

    fn root(&self, place: usize, digest: Hash256) -> Hash256 {
        match self.wrong_root.contains(&place) {
            false => sha256d(digest.as_bytes()),
            true => Hash256::ZERO,
        }
    }

    fn execute_later(&mut self, place: usize, certificate: CommitCertificate, body: Arc<[u8]>) {
        let (sequence, digest) = (certificate.sequence, certificate.digest);
        let root = self.root(place, digest);
        let chain = &mut self.nodes[place].chain;
        assert_eq!(sequence.get(), chain.len() as u64 + 1, "executed out of order");
        let parent = chain.last().map_or(genesis(), |last| last.digest);
        assert!(is_block(digest, Some(parent), &body), "executed on another parent");
        chain.push(Final { digest, certificate: certificate.clone(), body });
        let is_due = sequence.get() % K == 0 && !self.withheld_root.contains(&place);
        if self.nodes[place].chain.len() >= self.work {
            self.inputs.push_back((place, Input::Pending(false)));
        }
        self.inputs.push_back((place, Input::Executed { sequence, digest, certificate }));
        if is_due {
            self.inputs.push_back((place, Input::Root { sequence, digest, root }));
        }
        self.assert_agreement();
    }

    /// Gives `to` the blocks of `from` that it lacks, as sync does.
    pub fn sync(&mut self, from: usize, to: usize) {
        while self.nodes[to].chain.len() < self.nodes[from].chain.len() {
            let block = self.nodes[from].chain[self.nodes[to].chain.len()].clone();
            self.execute(to, block.certificate, block.body);
        }
    }

    fn send(&mut self, place: usize, to: Recipient, message: Message) {
        self.assert_written_before(place, &message);
        self.nodes[place].sent.push((to, message.clone()));
        for other in self.all() {
            let is_meant = match to {
                Recipient::All => other != place,
                Recipient::One(replica) => id(self.ids[other]) == replica,
            };
            if is_meant {
                assert_ne!(other, place, "a message to itself");
                self.queue.push_back((place, other, message.clone()));
            }
        }
    }

    /// Durable before sent: the log holds what an own message rests on.
    fn assert_written_before(&self, place: usize, message: &Message) {
        let log = &self.nodes[place].log;
        let own = id(self.ids[place]);
        let is_accepted = |wanted: &dyn Fn(&SignedPrePrepare) -> bool| {
            log.iter().any(|record| match record {
                Record::PrePrepare(PrePrepare { signed, .. }) => wanted(signed),
                _ => false,
            })
        };
        let is_written = match message {
            Message::PrePrepare(message) => is_accepted(&|signed| *signed == message.signed),
            Message::Prepare(vote) => is_accepted(&|signed| {
                (signed.view, signed.sequence, signed.digest)
                    == (vote.view, vote.sequence, vote.digest)
            }),
            Message::Commit(vote) => log.iter().any(|record| match record {
                Record::Prepared(certificate) => {
                    certificate.view() == vote.view
                        && certificate.sequence() == vote.sequence
                        && certificate.pre_prepare.digest == vote.digest
                }
                _ => false,
            }),
            Message::ViewChange(message) => log.contains(&Record::ViewChange(message.clone())),
            Message::NewView(message) => log.contains(&Record::NewView(message.clone())),
            Message::Checkpoint(message) => log.contains(&Record::Checkpoint(*message)),
            Message::FetchBody(_) | Message::Body(_) | Message::Certified(_) => true,
        };
        let is_others = message.sender().is_some_and(|sender| sender != own);
        assert!(is_written, "{place} sent {message:?} (of another: {is_others}) unwritten");
    }
}
