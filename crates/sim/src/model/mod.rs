//! The exhaustive check: the same core, four replicas, every order of events within bounds.
//!
//! A message once sent may reach each of its receivers at any time, again and again, or never: so
//! every order, loss and duplication is covered. An adversary has said everything it could say
//! from the start, and whether anyone hears it is again a choice. Timers of views run out at any
//! time up to the last view of the scope. A crash keeps any prefix of the records of a step, and
//! loses what would have been sent after them.
//!
//! Replicas are deterministic, so a state is the number of each replica's local state and the set
//! of what was sent; what a replica does with a message is computed once ([`tables::Tables`]).

mod adversary;
mod bundles;
mod fair;
mod local;
pub mod scopes;
mod tables;

use std::fmt;

use pentad_pbft::Timer;
use stateright::{Checker as _, Model, Property};

use crate::ledger::{Block, INVALID};
use tables::{Move, Tables};

/// Replicas of every model; f = 1.
pub const REPLICAS: usize = 4;

/// The bounds of a check.
#[derive(Clone, Debug)]
pub struct Scope {
    pub name: &'static str,
    pub window: u64,
    /// Blocks to be made final.
    pub blocks: u64,
    /// The faulty replica, if there is one.
    pub faulty: Option<usize>,
    /// It says nothing: every quorum needs all others.
    pub is_silent: bool,
    /// Timers run out only below this view.
    pub last_view: u64,
    /// Replicas that leave a view by themselves, because a timer runs out; all others do once a
    /// NEW-VIEW reaches them.
    pub leavers: u8,
    pub crashes: u8,
    /// Liveness is checked from every state whose number is a multiple of it.
    pub liveness_every: u64,
}

/// Where the whole network is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The number of each replica's local state; none for the faulty one.
    locals: Vec<Option<u32>>,
    /// The numbers of everything sent, ascending.
    posts: Vec<u32>,
    crashes_left: u8,
    leavers_left: u8,
    /// An honest replica signed two different things of one kind, view and sequence.
    is_contradicted: bool,
}

/// What happens next, to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    node: usize,
    happens: Move,
}

/// The model that is checked.
pub struct Pbft {
    scope: Scope,
    tables: Tables,
}

impl fmt::Debug for Pbft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pbft").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Pbft {
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { tables: Tables::new(scope.clone()), scope }
    }

    /// The state after a move; none if nothing changed.
    fn apply(&self, state: &State, action: Action) -> Option<State> {
        let local = state.locals[action.node]?;
        let result = self.tables.perform(local, action.happens)?;
        let mut next = state.clone();
        next.locals[action.node] = Some(result.local);
        if matches!(action.happens, Move::Crash | Move::DeliverThenCrash(..)) {
            next.crashes_left -= 1;
            if next.crashes_left == 0 {
                for local in next.locals.iter_mut().flatten() {
                    *local = self.tables.without_log(*local);
                }
            }
        }
        if action.happens == Move::Expire(Timer::View) {
            next.leavers_left = next.leavers_left.saturating_sub(1);
        }
        let mut has_new = false;
        for post in &result.posts {
            has_new |= self.insert(&mut next, *post);
        }
        if has_new {
            self.add_what_the_adversary_can_say(&mut next);
        }
        (next != *state).then_some(next)
    }

    fn insert(&self, state: &mut State, post: u32) -> bool {
        let Err(place) = state.posts.binary_search(&post) else {
            return false;
        };
        state.is_contradicted |=
            state.posts.iter().any(|other| self.tables.contradict(*other, post));
        state.posts.insert(place, post);
        true
    }

    fn add_what_the_adversary_can_say(&self, state: &mut State) {
        let Some(faulty) = self.scope.faulty.filter(|_| !self.scope.is_silent) else {
            return;
        };
        for post in self.tables.sayable(faulty, &state.posts) {
            self.insert(state, post);
        }
    }

    fn chains(&self, state: &State) -> Vec<Vec<std::sync::Arc<[u8]>>> {
        let locals = state.locals.iter().flatten();
        locals.map(|local| self.tables.local(*local).chain_bodies()).collect()
    }
}

impl Model for Pbft {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            locals: vec![None; REPLICAS],
            posts: Vec::new(),
            crashes_left: self.scope.crashes,
            leavers_left: self.scope.leavers,
            is_contradicted: false,
        };
        for node in (0..REPLICAS).filter(|node| self.scope.faulty != Some(*node)) {
            let start = self.tables.start(node);
            state.locals[node] = Some(start.local);
            for post in start.posts {
                self.insert(&mut state, post);
            }
        }
        self.add_what_the_adversary_can_say(&mut state);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (node, local) in state.locals.iter().enumerate() {
            let Some(local) = local else {
                continue;
            };
            for other in state.locals.iter().flatten() {
                if self.tables.local(*other).height() > self.tables.local(*local).height() {
                    actions.push(Action { node, happens: Move::Sync(*other) });
                }
            }
            for bundle in self.bundles(*local, node, &state.posts) {
                actions.push(Action { node, happens: Move::Deliver(bundle) });
                if state.crashes_left > 0 {
                    for records in 1..=self.tables.records_of(*local, bundle) {
                        let happens = Move::DeliverThenCrash(bundle, records);
                        actions.push(Action { node, happens });
                    }
                }
            }
            let local = self.tables.local(*local);
            let may_leave = state.leavers_left > 0 && local.view() < self.scope.last_view;
            if may_leave && local.has_timer(Timer::View) {
                actions.push(Action { node, happens: Move::Expire(Timer::View) });
            }
            if state.crashes_left > 0 {
                actions.push(Action { node, happens: Move::Crash });
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.apply(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |model: &Self, state: &State| {
                let chains = model.chains(state);
                chains.iter().enumerate().all(|(place, one)| {
                    chains[place + 1..]
                        .iter()
                        .all(|other| one.iter().zip(other).all(|(left, right)| left == right))
                })
            }),
            Property::always("validity", |model: &Self, state: &State| {
                model.chains(state).iter().all(|chain| is_valid_chain(chain))
            }),
            Property::always("nobody honest contradicts itself", |_, state: &State| {
                !state.is_contradicted
            }),
            Property::always("nobody halts", |model: &Self, state: &State| {
                state.locals.iter().flatten().all(|local| !model.tables.local(*local).is_halted())
            }),
            Property::always(
                "a fair schedule makes all blocks final",
                |model: &Self, state: &State| {
                    !model.is_liveness_due(state) || model.becomes_final(state)
                },
            ),
            Property::sometimes(
                "all blocks are final everywhere",
                |model: &Self, state: &State| model.is_final_everywhere(state),
            ),
            Property::sometimes("a replica enters the last view", |model: &Self, state: &State| {
                let mut locals = state.locals.iter().flatten();
                locals.any(|local| model.tables.local(*local).is_active_in(model.scope.last_view))
            }),
        ]
    }
}

fn is_valid_chain(chain: &[std::sync::Arc<[u8]>]) -> bool {
    let mut parent = crate::ledger::genesis_digest();
    chain.iter().all(|body| {
        let Some(block) = Block::decode(body) else {
            return false;
        };
        let is_valid = block.parent == parent
            && block.transactions.iter().all(|transaction| transaction & INVALID == 0);
        parent = crate::ledger::digest_of(body);
        is_valid
    })
}

/// What a check came to.
#[derive(Clone, Debug)]
pub struct Report {
    pub scope: &'static str,
    pub states: usize,
    pub depth: usize,
    /// The whole space within the scope was seen.
    pub is_complete: bool,
    /// Broken properties, each with the events that lead there.
    pub failures: Vec<String>,
    /// What should be possible and was not seen.
    pub unseen: Vec<&'static str>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_complete { "complete" } else { "cut off at the bound" };
        write!(f, "{}: {} states, depth {}, {end}", self.scope, self.states, self.depth)?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  BROKEN {failure}"))
    }
}

/// Checks a scope, up to `states_max` states.
#[must_use]
pub fn check(scope: Scope, states_max: usize) -> Report {
    let name = scope.name;
    let checker =
        Pbft::new(scope).checker().threads(2).target_state_count(states_max).spawn_dfs().join();
    let model = checker.model();
    let mut failures = Vec::new();
    let mut unseen = Vec::new();
    let discoveries = checker.discoveries();
    for property in model.properties() {
        let found = discoveries.get(property.name);
        match (property.expectation.discovery_is_failure(), found) {
            (true, Some(path)) => {
                let mut steps = String::new();
                for (_, action) in path.clone().into_vec() {
                    if let Some(Action { node, happens }) = action {
                        let what = model.tables.describe(happens);
                        steps.push_str(&format!("\n    replica {node}: {what}"));
                    }
                }
                failures.push(format!("{}{steps}", property.name));
            }
            (false, None) => unseen.push(property.name),
            _ => {}
        }
    }
    Report {
        scope: name,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        is_complete: checker.state_count() < states_max,
        failures,
        unseen,
    }
}
