//! One replica of the model with its disk and chain: a driver without time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use pentad_pbft::{
    CommitCertificate, Config, Input, Message, Output, Recipient, Record, Recovered, Replica,
    ReplicaId, Sequence, Timer, Tip, View,
};
use pentad_primitives::Hash256;

use super::{REPLICAS, Scope};
use crate::keys::{self, SimulatedKeys};
use crate::ledger::{Block, INVALID, digest_of, genesis_digest};

/// A replica between two events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    own: u16,
    core: Replica<SimulatedKeys>,
    /// None once it cannot crash any more: nobody will read it.
    log: Option<Vec<Record>>,
    chain: Vec<(Arc<[u8]>, CommitCertificate)>,
    timers: BTreeSet<Timer>,
    is_halted: bool,
}

/// What one event made of a replica.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub local: Local,
    pub sent: Vec<(Recipient, Message)>,
    /// Records written.
    pub records: u8,
}

/// The block that the primary of a view makes: another one in each view.
#[must_use]
pub fn block_of(view: View, sequence: Sequence, parent: Hash256) -> Arc<[u8]> {
    let primary = view.get() % REPLICAS as u64;
    let block = Block {
        parent,
        height: sequence.get(),
        proposer: u16::try_from(primary).expect("four replicas"),
        time_ms: 0,
        transactions: vec![sequence.get() * 100 + view.get()],
    };
    block.encode()
}

/// The configuration of a replica of the model.
#[must_use]
pub fn config(scope: &Scope, node: usize) -> Config {
    let (validators, domain) = keys::network(u16::try_from(REPLICAS).expect("four"));
    Config {
        own: ReplicaId::new(u16::try_from(node).expect("four")),
        quorum: validators.quorum(),
        domain,
        window: scope.window,
        checkpoint_interval: 64,
        view_timeout_ms: 1000,
        resend_ms: 500,
    }
}

/// The keys of a replica of the model.
#[must_use]
pub fn keys_of(node: usize) -> SimulatedKeys {
    let (validators, _) = keys::network(u16::try_from(REPLICAS).expect("four"));
    SimulatedKeys::of(u16::try_from(node).expect("four"), &validators, false)
}

impl Local {
    /// A replica that starts for the first time.
    #[must_use]
    pub fn start(scope: &Scope, node: usize) -> Outcome {
        Self::restart(scope, node, (scope.crashes > 0).then(Vec::new), Vec::new())
    }

    fn restart(
        scope: &Scope,
        node: usize,
        log: Option<Vec<Record>>,
        chain: Vec<(Arc<[u8]>, CommitCertificate)>,
    ) -> Outcome {
        let tip = Tip {
            sequence: Sequence::new(chain.len() as u64),
            digest: chain.last().map_or_else(genesis_digest, |(body, _)| digest_of(body)),
            certificate: chain.last().map(|(_, certificate)| certificate.clone()),
            body: chain.last().map(|(body, _)| Arc::clone(body)),
        };
        let records = log.clone().unwrap_or_default();
        let recovered = Recovered { records, tip, checkpoint: None };
        let (core, outputs) = Replica::new(config(scope, node), keys_of(node), recovered);
        let own = u16::try_from(node).expect("four");
        let local = Self { own, core, log, chain, timers: BTreeSet::new(), is_halted: false };
        let is_pending = (local.chain.len() as u64) < scope.blocks;
        let inputs = VecDeque::from([Input::Pending(is_pending)]);
        local.drive(scope, outputs.into(), inputs, None)
    }

    /// The replica after some inputs and all answers of its ledger to what it then asks. If
    /// `dies_after` is given, the process dies when so many records are written.
    #[must_use]
    pub fn take(&self, scope: &Scope, inputs: Vec<Input>, dies_after: Option<u8>) -> Outcome {
        let outcome = self.clone().drive(scope, VecDeque::new(), inputs.into(), dies_after);
        if dies_after.is_none() {
            return outcome;
        }
        let node = usize::from(outcome.local.own());
        let mut again = Self::restart(scope, node, outcome.local.log, outcome.local.chain);
        again.sent.splice(0..0, outcome.sent);
        again
    }

    /// The replica after a crash that lost nothing but its memory.
    #[must_use]
    pub fn crash(&self, scope: &Scope) -> Outcome {
        let node = usize::from(self.own());
        Self::restart(scope, node, self.log.clone(), self.chain.clone())
    }

    /// The replica if it never crashes again.
    #[must_use]
    pub fn without_log(&self) -> Self {
        Self { log: None, ..self.clone() }
    }

    /// The replica after it took the certified blocks that it lacks from another's chain.
    #[must_use]
    pub fn sync(&self, scope: &Scope, other: &Self) -> Outcome {
        let mut local = self.clone();
        let mut inputs = VecDeque::new();
        for (body, certificate) in other.chain.iter().skip(self.chain.len()) {
            inputs.extend(local.connect(scope, Arc::clone(body), certificate.clone()));
        }
        local.drive(scope, VecDeque::new(), inputs, None)
    }

    fn connect(
        &mut self,
        scope: &Scope,
        body: Arc<[u8]>,
        certificate: CommitCertificate,
    ) -> Vec<Input> {
        let (sequence, digest) = (certificate.sequence, digest_of(&body));
        self.chain.push((body, certificate.clone()));
        let executed = Input::Executed { sequence, digest, certificate };
        if sequence.get() < scope.blocks {
            return vec![executed];
        }
        vec![executed, Input::Pending(false)]
    }

    fn drive(
        mut self,
        scope: &Scope,
        mut outputs: VecDeque<Output>,
        mut inputs: VecDeque<Input>,
        dies_after: Option<u8>,
    ) -> Outcome {
        let mut sent = Vec::new();
        let mut records = 0;
        loop {
            if let Some(output) = outputs.pop_front() {
                match output {
                    Output::Persist(record) => {
                        if let Some(log) = &mut self.log {
                            log.push(record);
                        }
                        records += 1;
                        if dies_after == Some(records) {
                            break;
                        }
                    }
                    Output::Send { to, message } => sent.push((to, message)),
                    other => inputs.extend(self.answer(scope, other)),
                }
            } else if let Some(input) = inputs.pop_front() {
                outputs.extend(self.core.step(input));
            } else {
                break;
            }
        }
        Outcome { local: self, sent, records }
    }

    /// What the ledger and the clock say to an output.
    fn answer(&mut self, scope: &Scope, output: Output) -> Vec<Input> {
        match output {
            Output::Propose { view, sequence, parent } if sequence.get() <= scope.blocks => {
                let body = block_of(view, sequence, parent);
                let digest = digest_of(&body);
                vec![Input::Proposal { view, sequence, digest, parent, body }]
            }
            Output::Check { view, sequence, digest, body, .. } => {
                let is_valid = Block::decode(&body).is_some_and(|block| {
                    block.transactions.iter().all(|transaction| transaction & INVALID == 0)
                });
                let verdict = if is_valid { Ok(()) } else { Err("invalid".to_owned()) };
                vec![Input::Checked { view, sequence, digest, verdict }]
            }
            Output::Execute { certificate, body } => {
                if certificate.sequence.get() != self.chain.len() as u64 + 1 {
                    return Vec::new();
                }
                self.connect(scope, body, certificate)
            }
            Output::SetTimer { timer, .. } => {
                self.timers.insert(timer);
                Vec::new()
            }
            Output::CancelTimer(timer) => {
                self.timers.remove(&timer);
                Vec::new()
            }
            Output::Compact(records) => {
                self.log = self.log.is_some().then_some(records);
                Vec::new()
            }
            Output::Halt(_) => {
                self.is_halted = true;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The replica after a timer ran out.
    #[must_use]
    pub fn expire(&self, scope: &Scope, timer: Timer) -> Outcome {
        let mut local = self.clone();
        local.timers.remove(&timer);
        local.take(scope, vec![Input::Timeout(timer)], None)
    }

    #[must_use]
    pub fn has_timer(&self, timer: Timer) -> bool {
        self.timers.contains(&timer)
    }

    #[must_use]
    pub const fn own(&self) -> u16 {
        self.own
    }

    #[must_use]
    pub fn view(&self) -> u64 {
        self.core.status().view.get()
    }

    /// Whether it waits for the NEW-VIEW of its view.
    #[must_use]
    pub fn is_in_view_change(&self) -> bool {
        self.core.status().in_view_change
    }

    #[must_use]
    pub fn is_active_in(&self, view: u64) -> bool {
        let status = self.core.status();
        !status.in_view_change && status.view.get() == view
    }

    #[must_use]
    pub const fn is_halted(&self) -> bool {
        self.is_halted
    }

    #[must_use]
    pub fn height(&self) -> u64 {
        self.chain.len() as u64
    }

    #[must_use]
    pub fn chain_bodies(&self) -> Vec<Arc<[u8]>> {
        self.chain.iter().map(|(body, _)| Arc::clone(body)).collect()
    }
}
