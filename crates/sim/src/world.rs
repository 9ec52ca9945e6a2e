//! A whole network in virtual time: what happens, in order, is a function of the setup's seed.

use std::fmt;
use std::sync::Arc;

use pentad_pbft::{
    CommitCertificate, Config, Credentials, Domain, Input, Message, ReplicaId, Sequence, Timer,
    ValidatorSet,
};
use pentad_primitives::{BlockHeader, Hash256};

use crate::adversary::{Adversary, Forge, Parcel};
use crate::checker::{Checker, Violation};
use crate::hybrid::{self, Chain, Work};
use crate::keys::{self, SimulatedKeys};
use crate::ledger::{FinalBlock, Transaction};
use crate::network::{LinkModel, Network, NodeId};
use crate::node::{Node, Question};
use crate::queue::{EventQueue, Millis};
use crate::rng::Rng;
use crate::trace::Trace;

/// Answers of an adversary in the time between two plots.
const ANSWERS_MAX: usize = 200;
/// Events of a run at most. The longest honest run seen has a tenth of it: more is work without
/// bound.
const STEPS_MAX: u64 = 20_000_000;

/// What a run begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub replicas: u16,
    pub window: u64,
    pub checkpoint_interval: u64,
    pub view_timeout_ms: u64,
    pub resend_ms: u64,
    pub links: LinkModel,
    /// Time from the write of a record to its durability.
    pub sync_ms_max: Millis,
    /// Syncs of 1000 at which the process dies: before, at, or after the sync.
    pub crash_at_sync_per_mille: u64,
    /// Mutation: messages leave before the records they rest on are durable.
    pub sends_before_sync: bool,
    /// Real secp256k1 keys in place of symbolic ones.
    pub real_keys: bool,
    /// Further nodes that run under the key of the replica named: Twins.
    pub twins: Vec<u16>,
    pub traced: bool,
    /// Work makes the blocks, and validators make them final.
    pub work: Option<Work>,
}

impl Setup {
    #[must_use]
    pub const fn new(replicas: u16) -> Self {
        Self {
            seed: 1,
            replicas,
            window: 1,
            checkpoint_interval: 8,
            view_timeout_ms: 500,
            resend_ms: 200,
            links: LinkModel::calm(),
            sync_ms_max: 3,
            crash_at_sync_per_mille: 0,
            sends_before_sync: false,
            real_keys: false,
            twins: Vec::new(),
            traced: false,
            work: None,
        }
    }

    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    #[must_use]
    pub const fn window(mut self, window: u64) -> Self {
        self.window = window;
        self
    }
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver { to: NodeId, message: Arc<Message> },
    Emit { from: NodeId, parcel: Parcel },
    Synced { node: NodeId, life: u64 },
    Expire { node: NodeId, life: u64, timer: Timer, ticket: u64 },
    Ask { node: NodeId, life: u64, question: Question },
    Assemble { node: NodeId, life: u64 },
    Execute { node: NodeId, life: u64, certificate: CommitCertificate, body: Arc<[u8]> },
    Root { node: NodeId, life: u64, sequence: Sequence, digest: Hash256, root: Hash256 },
    PullFromPeer { node: NodeId },
    Blocks { to: NodeId, life: u64, blocks: Vec<FinalBlock> },
    Transaction { to: NodeId, transaction: Transaction },
    Restart { node: NodeId },
    Mine,
    Mined { to: NodeId, life: u64, blocks: Vec<BlockHeader> },
    Certificate { to: NodeId, life: u64, certificate: CommitCertificate },
    Finalised { node: NodeId, life: u64, certificate: CommitCertificate },
    Resume { node: NodeId, life: u64 },
    Plot { node: NodeId },
}

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub steps: u64,
    pub messages: u64,
    pub crashes: u64,
    pub view_changes: u64,
    pub evidence: u64,
}

/// Whether a message from one node reaches another.
pub struct Filter(pub Box<Passes>);

/// Sender, receiver, content.
type Passes = dyn Fn(NodeId, NodeId, &Message) -> bool;

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

#[derive(Debug)]
pub struct World {
    pub setup: Setup,
    pub domain: Domain,
    pub validators: Arc<ValidatorSet>,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub checker: Checker,
    pub totals: Totals,
    pub trace: Trace,
    /// Says which messages of which links arrive, where a scenario needs one exact order.
    pub filter: Option<Filter>,
    pub(crate) queue: EventQueue<Event>,
    pub(crate) rng: Rng,
    pub(crate) next_ticket: u64,
    pub(crate) submitted: Vec<Transaction>,
}

impl World {
    /// A network of honest replicas, all of them started.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let (validators, mut domain) = keys::network(setup.replicas);
        let spec = setup.work.as_ref().map(|work| hybrid::spec(&validators, work));
        if let Some(spec) = &spec {
            domain.chain = hybrid::digest(spec.genesis_hash());
        }
        let mut replicas: Vec<u16> = (0..setup.replicas).collect();
        replicas.extend(&setup.twins);
        let mut nodes: Vec<Node> = replicas
            .iter()
            .map(|id| {
                Node::new(ReplicaId::new(*id), SimulatedKeys::of(*id, &validators, setup.real_keys))
            })
            .collect();
        if let (Some(work), Some(spec)) = (&setup.work, &spec) {
            for node in &mut nodes {
                node.chain = Some(Chain::new(spec, work));
            }
        }
        let mut world = Self {
            network: Network::new(setup.links.clone()),
            checker: Checker::new(
                domain,
                Arc::clone(&validators),
                nodes[0].keys.clone(),
                nodes.len(),
            ),
            totals: Totals::default(),
            trace: Trace::new(setup.traced),
            filter: None,
            queue: EventQueue::default(),
            rng: Rng::new(setup.seed),
            next_ticket: 0,
            submitted: Vec::new(),
            setup,
            domain,
            validators,
            nodes,
        };
        for node in 0..world.nodes.len() {
            world.start(node);
            world.queue.schedule(node as u64, Event::PullFromPeer { node });
        }
        if world.setup.work.is_some() {
            world.queue.schedule(0, Event::Mine);
        }
        for twin in world.setup.twins.clone() {
            for node in world.nodes_of(ReplicaId::new(twin)) {
                world.corrupt(node, crate::byzantine::Twin);
            }
        }
        world
    }

    /// Puts `node` under the power of `adversary`, from now on.
    pub fn corrupt(&mut self, node: NodeId, adversary: impl Adversary + 'static) {
        if self.nodes[node].adversary.is_none() {
            self.queue.schedule(0, Event::Plot { node });
        }
        self.nodes[node].adversary = Some(Box::new(adversary));
    }

    #[must_use]
    pub fn now(&self) -> Millis {
        self.queue.now()
    }

    #[must_use]
    pub fn config(&self, node: NodeId) -> Config {
        Config {
            own: self.nodes[node].replica,
            quorum: self.validators.quorum(),
            domain: self.domain,
            window: self.setup.window,
            checkpoint_interval: self.setup.checkpoint_interval,
            view_timeout_ms: self.setup.view_timeout_ms,
            resend_ms: self.setup.resend_ms,
        }
    }

    /// The nodes that run under the key of `replica`: one, or two twins.
    #[must_use]
    pub fn nodes_of(&self, replica: ReplicaId) -> Vec<NodeId> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].replica == replica).collect()
    }

    #[must_use]
    pub fn honest(&self) -> Vec<NodeId> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_honest()).collect()
    }

    #[must_use]
    pub fn height(&self, node: NodeId) -> u64 {
        self.nodes[node].final_height()
    }

    /// What the core of `node` holds: votes, certificates, bodies and notes.
    #[must_use]
    pub fn memory(&self, node: NodeId) -> usize {
        self.nodes[node].core.as_ref().map_or(0, |core| {
            let size = core.size();
            size.items + size.bodies
        })
    }

    #[must_use]
    pub fn low_watermark(&self, node: NodeId) -> u64 {
        self.nodes[node].core.as_ref().map_or(0, |core| core.status().low_watermark.get())
    }

    /// The height every honest replica has reached.
    #[must_use]
    pub fn lowest_height(&self) -> u64 {
        self.honest().into_iter().map(|node| self.height(node)).min().unwrap_or(0)
    }

    #[must_use]
    pub fn highest_height(&self) -> u64 {
        self.honest().into_iter().map(|node| self.height(node)).max().unwrap_or(0)
    }

    /// The view `node` is in; view 0 while it is down.
    #[must_use]
    pub fn view(&self, node: NodeId) -> u64 {
        self.nodes[node].core.as_ref().map_or(0, |core| core.status().view.get())
    }

    /// Whether `node` has entered a view above `view`.
    #[must_use]
    pub fn is_active_above(&self, node: NodeId, view: u64) -> bool {
        self.nodes[node].core.as_ref().is_some_and(|core| {
            let status = core.status();
            status.view.get() > view && !status.in_view_change
        })
    }

    #[must_use]
    pub fn highest_view(&self) -> u64 {
        self.honest().into_iter().map(|node| self.view(node)).max().unwrap_or(0)
    }

    /// Runs for `duration` of virtual time.
    pub fn run_for(&mut self, duration: Millis) {
        let until = self.now() + duration;
        while self.step(until) {}
    }

    /// Runs until `done`, for `limit` at most; says whether it got there.
    pub fn run_until(&mut self, limit: Millis, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now() + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                return done(self);
            }
        }
    }

    /// Runs until every honest replica has `blocks` more blocks than the highest has now.
    /// A stall is a violation.
    pub fn expect_progress(&mut self, blocks: u64, within: Millis) {
        let since_ms = self.now();
        let goal = self.highest_height() + blocks;
        self.submit_for(blocks);
        if !self.run_until(within, |world| world.lowest_height() >= goal) {
            let heights = self.honest().into_iter().map(|node| self.height(node)).collect();
            let now_ms = self.now();
            self.checker.report(Violation::Stalled { since_ms, now_ms, heights });
        }
    }

    fn step(&mut self, until: Millis) -> bool {
        let Some(event) = self.queue.pop(until) else {
            return false;
        };
        self.totals.steps += 1;
        self.on_event(event);
        if self.totals.steps == STEPS_MAX {
            self.checker.report(Violation::Endless { now_ms: self.now() });
        }
        self.totals.steps < STEPS_MAX
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Deliver { to, message } => self.deliver(to, &message),
            Event::Emit { from, parcel } => self.emit(from, parcel),
            Event::Synced { node, life } if self.is_alive(node, life) => self.on_synced(node),
            Event::Expire { node, life, timer, ticket } if self.is_alive(node, life) => {
                self.expire(node, timer, ticket);
            }
            Event::Ask { node, life, question } if self.is_alive(node, life) => {
                self.answer(node, question);
            }
            Event::Assemble { node, life } if self.is_alive(node, life) => self.assemble(node),
            Event::Execute { node, life, certificate, body } if self.is_alive(node, life) => {
                self.execute(node, certificate, &body);
            }
            Event::Root { node, life, sequence, digest, root } if self.is_alive(node, life) => {
                self.feed(node, Input::Root { sequence, digest, root });
            }
            Event::PullFromPeer { node } => self.pull_from_peer(node),
            Event::Blocks { to, life, blocks } if self.is_alive(to, life) => {
                for block in blocks {
                    self.import(to, &block);
                }
            }
            Event::Transaction { to, transaction } => self.learn(to, transaction),
            Event::Mine => self.mine(),
            Event::Mined { to, life, blocks } if self.is_alive(to, life) => {
                self.take_blocks(to, &blocks);
            }
            Event::Certificate { to, life, certificate } if self.is_alive(to, life) => {
                self.finalise(to, &certificate);
            }
            Event::Finalised { node, life, certificate } if self.is_alive(node, life) => {
                self.on_finalised(node, certificate);
            }
            Event::Restart { node } if !self.nodes[node].is_up() => self.start(node),
            Event::Resume { node, life } if self.is_alive(node, life) => self.resume(node),
            Event::Plot { node } => self.plot(node),
            _ => {} // meant for an earlier life, or for a process that is up already
        }
    }

    fn expire(&mut self, node: NodeId, timer: Timer, ticket: u64) {
        if self.nodes[node].timers.get(&timer) == Some(&ticket) {
            self.nodes[node].timers.remove(&timer);
            self.feed(node, Input::Timeout(timer));
        }
    }

    fn is_alive(&self, node: NodeId, life: u64) -> bool {
        self.nodes[node].is_up() && self.nodes[node].life == life
    }

    /// Lets an adversary act of its own accord, ten times a second.
    fn plot(&mut self, node: NodeId) {
        self.nodes[node].answers_left = ANSWERS_MAX;
        self.with_adversary(node, |adversary, forge| adversary.plot(forge));
        self.queue.schedule(100, Event::Plot { node });
    }

    pub(crate) fn with_adversary(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&mut dyn Adversary, &mut Forge<'_>) -> Vec<Parcel>,
    ) {
        let Some(mut adversary) = self.nodes[node].adversary.take() else {
            return;
        };
        let mut forge = Forge {
            credentials: Credentials {
                own: self.nodes[node].replica,
                domain: self.domain,
                quorum: self.validators.quorum(),
                keys: self.nodes[node].keys.clone(),
            },
            status: self.nodes[node].core.as_ref().map(|core| core.status()),
            ledger: &self.nodes[node].ledger,
            chain: self.nodes[node].chain.as_ref(),
            rng: &mut self.rng,
            now_ms: self.queue.now(),
        };
        let parcels = act(adversary.as_mut(), &mut forge);
        self.nodes[node].adversary = Some(adversary);
        for parcel in parcels {
            if parcel.after_ms == 0 {
                self.emit(node, parcel);
            } else {
                let after = parcel.after_ms;
                self.queue.schedule(after, Event::Emit { from: node, parcel });
            }
        }
    }

    /// Fails the test with everything needed to replay it.
    ///
    /// # Panics
    /// If a promise was broken.
    pub fn assert_kept(&self) {
        assert!(
            self.checker.violations.is_empty(),
            "seed {}: {}\n{}",
            self.setup.seed,
            Joined(&self.checker.violations),
            self.trace
        );
    }
}

struct Joined<'a>(&'a [Violation]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(5).try_for_each(|violation| writeln!(f, "{violation}"))
    }
}
