//! What one caller may use: so many calls a second, so many at once. Whoever asks for more is told
//! when to come again, and the others notice nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Caller;
use crate::limits::Limits;

/// Pause between two looks for callers to forget, when there are too many of them.
pub(super) const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Of an IPv6 address, what its holder cannot choose: the first half.
const IPV6_NETWORK_BITS: u32 = 64;

/// Gives so many tokens a second, and keeps so many (a token bucket).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// Of a bucket: how fast it fills, and how far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: f64::from(rate.burst), filled: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        let tokens = self.tokens + elapsed * f64::from(rate.per_second);
        (self.tokens, self.filled) = (tokens.min(f64::from(rate.burst)), self.filled.max(now));
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.fill(rate, now);
        if self.tokens < 1.0 {
            let missing = (1.0 - self.tokens) / f64::from(rate.per_second.max(1));
            return Err(Duration::from_secs_f64(missing));
        }
        self.tokens -= 1.0;
        Ok(())
    }

    /// Whether it is as if nobody had ever taken anything.
    pub(crate) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.tokens >= f64::from(rate.burst)
    }
}

/// The callers of a server and what each uses. A std mutex is right: it is held for a few
/// instructions, and once a second for a walk over a bounded table.
#[derive(Clone, Debug)]
pub(super) struct Quotas {
    limits: Limits,
    table: Arc<Mutex<Places<Caller, Usage>>>,
}

/// What is kept of each caller, of so many at most.
#[derive(Debug)]
pub(super) struct Places<K, V> {
    most: usize,
    swept: Instant,
    pub(super) taken: HashMap<K, V>,
}

impl<K: Eq + Hash, V> Places<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, swept: Instant::now(), taken: HashMap::new() }
    }

    /// By what a caller is known here: when there are too many, the idle ones are forgotten now
    /// and then, and newcomers share a place.
    pub(super) fn key(
        &mut self,
        caller: K,
        shared: K,
        now: Instant,
        mut is_idle: impl FnMut(&mut V) -> bool,
    ) -> K {
        if self.taken.contains_key(&caller) {
            return caller;
        }
        let is_full = |places: &Self| places.taken.len() >= places.most;
        if is_full(self) && now.saturating_duration_since(self.swept) >= SWEEP_PAUSE {
            self.swept = now;
            self.taken.retain(|_, value| !is_idle(value));
        }
        if is_full(self) { shared } else { caller }
    }
}

#[derive(Debug)]
struct Usage {
    bucket: Bucket,
    unary: usize,
    streams: usize,
}

/// Why a caller has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overuse {
    /// It began too many calls; so long until it may begin one.
    Rate(Duration),
    /// It has too many under way.
    AtOnce,
}

impl Quotas {
    pub(super) fn new(limits: &Limits) -> Self {
        let table = Places::new(limits.callers_max);
        Self { limits: *limits, table: Arc::new(Mutex::new(table)) }
    }

    /// Room for a call; nothing is counted of the node's owner, who could take it all anyway.
    pub(super) fn take(
        &self,
        caller: &Caller,
        streaming: bool,
        now: Instant,
    ) -> Result<Option<Part>, Overuse> {
        if *caller == Caller::Owner {
            return Ok(None);
        }
        let rate = self.limits.caller_rate();
        let mut table = self.lock();
        let caller = match caller {
            Caller::Stranger(address) => Caller::Stranger(network(*address)),
            known => known.clone(),
        };
        let caller = table.key(caller, LATECOMERS, now, |usage| {
            let is_idle = usage.unary == 0 && usage.streams == 0;
            is_idle && usage.bucket.is_full(rate, now)
        });
        let usage = table.taken.entry(caller.clone()).or_insert_with(|| Usage {
            bucket: Bucket::full(rate, now),
            unary: 0,
            streams: 0,
        });
        let (under_way, most) = match streaming {
            true => (&mut usage.streams, self.limits.caller_streams_max),
            false => (&mut usage.unary, self.limits.caller_unary_calls_max),
        };
        if *under_way >= most {
            return Err(Overuse::AtOnce);
        }
        usage.bucket.take(rate, now).map_err(Overuse::Rate)?;
        *under_way = under_way.saturating_add(1);
        drop(table);
        Ok(Some(Part { quotas: self.clone(), caller, streaming }))
    }

    fn lock(&self) -> MutexGuard<'_, Places<Caller, Usage>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those for whom there is no place of their own.
const LATECOMERS: Caller = Caller::Stranger(NOBODY);

/// No address that a call comes from.
pub(super) const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Of an address, what its holder cannot choose.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6((address.to_bits() >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS).into())
        }
    }
}

/// A caller's part of the room, given back when dropped.
#[derive(Debug)]
pub(super) struct Part {
    quotas: Quotas,
    caller: Caller,
    streaming: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(usage) = self.quotas.lock().taken.get_mut(&self.caller) {
            let count = if self.streaming { &mut usage.streams } else { &mut usage.unary };
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> Caller {
        Caller::Token(name.into())
    }

    fn stranger(last: u8) -> Caller {
        Caller::Stranger(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_caller_gets_its_rate_and_is_told_when_to_come_again() {
        let limits =
            Limits { caller_calls_per_second: 10, caller_calls_burst: 2, ..Limits::default() };
        let (quotas, now) = (Quotas::new(&limits), Instant::now());
        for _ in 0..2 {
            quotas.take(&token("a"), false, now).expect("within the burst");
        }
        let overuse = quotas.take(&token("a"), false, now).expect_err("beyond it");
        assert_eq!(overuse, Overuse::Rate(Duration::from_millis(100)));
        quotas.take(&token("b"), false, now).expect("another caller");
        for _ in 0..100 {
            quotas.take(&Caller::Owner, false, now).expect("the owner is not counted");
        }
        let now = now + Duration::from_millis(100);
        quotas.take(&token("a"), true, now).expect("in time");
        quotas.take(&token("a"), true, now).expect_err("one only");
    }

    #[test]
    fn what_a_caller_holds_is_bounded_and_given_back() {
        let limits =
            Limits { caller_streams_max: 1, caller_unary_calls_max: 1, ..Limits::default() };
        let (quotas, now) = (Quotas::new(&limits), Instant::now());
        let stream = quotas.take(&token("a"), true, now).expect("room");
        assert_eq!(quotas.take(&token("a"), true, now).expect_err("no room"), Overuse::AtOnce);
        let unary = quotas.take(&token("a"), false, now).expect("unary calls have their own");
        let other = quotas.take(&token("b"), true, now).expect("another caller");
        drop(stream);
        quotas.take(&token("a"), true, now).expect("given back");
        drop((unary, other));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_idle() {
        let limits = Limits {
            callers_max: 2,
            caller_calls_per_second: 1,
            caller_calls_burst: 1,
            ..Limits::default()
        };
        let (quotas, now) = (Quotas::new(&limits), Instant::now());
        let held = quotas.take(&stranger(1), true, now).expect("room");
        quotas.take(&stranger(2), true, now).expect("room");
        quotas.take(&stranger(3), true, now).expect("the latecomers' place");
        quotas.take(&stranger(4), true, now).expect_err("which they share");
        assert_eq!(quotas.lock().taken.len(), 3, "those, and the latecomers");
        let now = now + SWEEP_PAUSE;
        quotas.take(&stranger(4), true, now).expect("room again");
        let is_known = |caller: Caller| quotas.lock().taken.contains_key(&caller);
        assert!(is_known(stranger(1)), "it has a call under way");
        assert!(!is_known(stranger(2)), "it is idle");
        drop(held);
    }

    #[test]
    fn a_holder_of_many_ipv6_addresses_is_one_caller() {
        let network = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
