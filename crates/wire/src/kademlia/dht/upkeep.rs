//! What a node does unasked: joining, exploring, refreshing, forgetting.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::call::Purpose;
use super::{Dht, Output};
use crate::kademlia::contact::is_one_of_few;
use crate::kademlia::{K, NodeId};

/// Pause after the first attempt to join; it doubles while nobody answers, so that it does not
/// matter which node of a network starts first.
const JOIN_PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause of a node that knows nobody.
const JOIN_PAUSE_ALONE: Duration = Duration::from_secs(8);
/// The pause of a node that has contacts. It still greets those it lost: two halves of a divided
/// network each have contacts and would otherwise never look for each other again.
const JOIN_PAUSE: Duration = Duration::from_secs(60);
/// Endpoints that are remembered for joining, and greeted in one attempt.
const MAX_REMEMBERED: usize = 32;
/// Endpoints taken from one resolution of the bootstrap names.
const MAX_BOOTSTRAP: usize = 64;
/// How often a random id is looked up: it finds nodes, and finds out who is gone.
const EXPLORE_PAUSE: Duration = Duration::from_secs(60);
/// The pause after a newcomer, from where it doubles: nodes that join through one bootstrap node
/// at the same moment see each other only on a second look.
const EXPLORE_PAUSE_MIN: Duration = Duration::from_millis(500);
/// Buckets without a lookup for so long are refreshed (section 2.3).
const REFRESH_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often values are checked for expiry.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct Upkeep {
    join_at: Duration,
    join_pause: Duration,
    explore_at: Duration,
    explore_pause: Duration,
    expire_at: Duration,
    /// The next exploration is for the own id: somebody new may know our neighbours.
    nearby_next: bool,
    /// Endpoints that once answered, newest last.
    remembered: VecDeque<SocketAddr>,
}

impl Upkeep {
    pub fn new(remembered: Vec<SocketAddr>, now: Duration) -> Self {
        let mut upkeep = Self {
            join_at: now,
            join_pause: JOIN_PAUSE_MIN,
            explore_at: now.saturating_add(EXPLORE_PAUSE),
            explore_pause: EXPLORE_PAUSE,
            expire_at: now.saturating_add(EXPIRE_INTERVAL),
            nearby_next: false,
            remembered: VecDeque::new(),
        };
        remembered.into_iter().for_each(|endpoint| upkeep.remember(endpoint));
        upkeep
    }

    /// Of many endpoints those to be remembered: drawn by `rank`, which nobody else knows, and few
    /// of one subnet, so that nobody can see to it that they are all his.
    pub fn draw(
        endpoints: &[SocketAddr],
        rank: impl Fn(&SocketAddr) -> [u8; 20],
    ) -> Vec<SocketAddr> {
        let mut ranked: Vec<([u8; 20], SocketAddr)> =
            endpoints.iter().map(|endpoint| (rank(endpoint), *endpoint)).collect();
        ranked.sort_unstable();
        let mut subnets = HashMap::new();
        let few = |endpoint: &SocketAddr| is_one_of_few(&mut subnets, endpoint);
        let drawn = ranked.into_iter().map(|(_, endpoint)| endpoint).filter(few);
        drawn.take(MAX_REMEMBERED).collect()
    }

    /// Keeps an endpoint for the time when it may be back.
    pub fn remember(&mut self, endpoint: SocketAddr) {
        self.remembered.retain(|other| *other != endpoint);
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(endpoint);
    }
}

impl Dht {
    pub(super) fn on_tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.check_calls(now, out);
        let searches: Vec<u64> = self.searches.keys().copied().collect();
        for search in searches {
            self.advance(search, now, out);
        }
        if self.upkeep.join_at <= now {
            self.join(now, out);
        }
        if self.upkeep.explore_at <= now {
            self.explore_next(now, out);
        }
        if self.upkeep.expire_at <= now {
            self.upkeep.expire_at = now.saturating_add(EXPIRE_INTERVAL);
            self.values.expire(now);
            self.parking.expire(now);
            self.refresh(now, out);
        }
    }

    /// Greets the configured endpoints that are not contacts.
    pub(super) fn on_bootstrap(
        &mut self,
        endpoints: &[SocketAddr],
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        for endpoint in endpoints.iter().take(MAX_BOOTSTRAP) {
            self.greet_if_missing(*endpoint, now, out);
        }
    }

    /// A contact is new in the table. The first of all is asked for our neighbours at once; with
    /// more than a bucket of contacts, others find them for us.
    pub(super) fn on_newcomer(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.table.len() > K {
            return;
        }
        let upkeep = &mut self.upkeep;
        upkeep.nearby_next = true;
        upkeep.explore_pause = EXPLORE_PAUSE_MIN;
        upkeep.explore_at = upkeep.explore_at.min(now.saturating_add(EXPLORE_PAUSE_MIN));
        if self.table.len() == 1 {
            self.explore_next(now, out);
        }
    }

    /// A contact has left the table. With the last one gone, joining is due at once.
    pub(super) fn on_loss(&mut self, endpoint: SocketAddr, now: Duration) {
        self.upkeep.remember(endpoint);
        if self.table.is_empty() {
            self.upkeep.join_at = now;
        }
    }

    fn explore_next(&mut self, now: Duration, out: &mut Vec<Output>) {
        let upkeep = &mut self.upkeep;
        upkeep.explore_at = now.saturating_add(upkeep.explore_pause);
        upkeep.explore_pause = upkeep.explore_pause.saturating_mul(2).min(EXPLORE_PAUSE);
        let target = if std::mem::take(&mut upkeep.nearby_next) {
            self.own_id
        } else {
            NodeId::from_bytes(self.random.next())
        };
        self.explore(target, now, out);
    }

    fn join(&mut self, now: Duration, out: &mut Vec<Output>) {
        let pause = if self.table.is_empty() {
            let pause = self.upkeep.join_pause;
            self.upkeep.join_pause = pause.saturating_mul(2).min(JOIN_PAUSE_ALONE);
            pause
        } else {
            self.upkeep.join_pause = JOIN_PAUSE_MIN;
            JOIN_PAUSE
        };
        self.upkeep.join_at = now.saturating_add(pause);
        out.push(Output::Bootstrap);
        for endpoint in self.upkeep.remembered.clone() {
            self.greet_if_missing(endpoint, now, out);
        }
    }

    fn greet_if_missing(&mut self, endpoint: SocketAddr, now: Duration, out: &mut Vec<Output>) {
        // Names resolve to every address family and back to ourselves; our own id is no contact.
        let is_self = self.admission.id_at(endpoint, now) == Some(self.own_id);
        if !is_self && !self.table.contains_endpoint(endpoint) {
            self.ping(endpoint, Purpose::Greet, now, out);
        }
    }

    fn refresh(&mut self, now: Duration, out: &mut Vec<Output>) {
        // Within the first hour nothing can be stale yet.
        let Some(before) = now.checked_sub(REFRESH_INTERVAL) else {
            return;
        };
        let Self { table, random, .. } = self;
        for target in table.stale(before, || NodeId::from_bytes(random.next())) {
            self.explore(target, now, out);
        }
    }
}
