//! Who gets how much of an answer.
//!
//! UDP senders can be forged. An endpoint is *proven* once it has repeated the random id of a
//! request of ours, so it can hear what is sent to it. Until then it receives at most
//! [`AMPLIFICATION_MAX`] times what it sent (RFC 9000, section 8.1, has the same rule).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::NodeId;
use super::contact::{Scope, Subnet};
use crate::aging::Aging;
use crate::rate::{Meter, Rate};

/// Bytes to an unproven endpoint for each byte from it.
pub const AMPLIFICATION_MAX: u64 = 3;
/// How long a proof holds. Active contacts renew it by the way.
pub const PROOF_LIFETIME: Duration = Duration::from_secs(600);
/// Endpoints whose proof, or whose credit, is remembered; about 0.5 MB each.
const MAX_ENDPOINTS: usize = 4_096;
/// Addresses and subnets whose request rate is remembered.
const MAX_METERED: usize = 4_096;

/// Requests answered for one address: 50 a second, 200 at once. A lookup asks a node once.
const PER_ADDRESS: Rate = Rate { interval: Duration::from_millis(20), burst: 200 };
/// Requests answered for one subnet: 200 a second, 800 at once.
const PER_SUBNET: Rate = Rate { interval: Duration::from_millis(5), burst: 800 };
/// Requests answered altogether, of strangers and of proven endpoints each: 5,000 a second, 5,000
/// at once; about a third of a core.
const OVERALL: Rate = Rate { interval: Duration::from_micros(200), burst: 5_000 };

/// The proofs, credits and request rates of endpoints.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    proofs: Aging<SocketAddr, Proof>,
    credits: Aging<SocketAddr, Credit>,
    addresses: Aging<IpAddr, Meter>,
    subnets: Aging<Subnet, Meter>,
    /// Requests of strangers, and of proven endpoints: forged senders use up only the first.
    strangers: Meter,
    proven: Meter,
}

#[derive(Clone, Debug, Default)]
struct Proof {
    until: Duration,
    /// The id that answered our last ping there.
    id: Option<NodeId>,
}

#[derive(Clone, Debug, Default)]
struct Credit {
    received: u64,
    sent: u64,
}

impl Admission {
    pub fn new() -> Self {
        Self {
            proofs: Aging::new(MAX_ENDPOINTS),
            credits: Aging::new(MAX_ENDPOINTS),
            addresses: Aging::new(MAX_METERED),
            subnets: Aging::new(MAX_METERED),
            strangers: Meter::default(),
            proven: Meter::default(),
        }
    }

    /// Whether a request from `from` may be looked at now. This machine itself is not metered:
    /// a whole development network shares its address.
    pub fn admits(&mut self, from: SocketAddr, now: Duration) -> bool {
        if Scope::of(from.ip()) == Scope::Loopback {
            return true;
        }
        let overall =
            if self.is_proven(from, now) { &mut self.proven } else { &mut self.strangers };
        self.addresses.entry(from.ip()).allows(&PER_ADDRESS, now)
            && Subnet::of(from.ip())
                .is_none_or(|subnet| self.subnets.entry(subnet).allows(&PER_SUBNET, now))
            && overall.allows(&OVERALL, now)
    }

    /// Credits an endpoint with a request of `bytes`.
    pub fn credit(&mut self, from: SocketAddr, bytes: usize, now: Duration) {
        if !self.is_proven(from, now) {
            let credit = self.credits.entry(from);
            credit.received = credit.received.saturating_add(size(bytes));
        }
    }

    /// Whether an answer of `bytes` may go to `to`; if so it is charged to its credit.
    pub fn spend(&mut self, to: SocketAddr, bytes: usize, now: Duration) -> bool {
        if self.is_proven(to, now) {
            return true;
        }
        let credit = self.credits.entry(to);
        let sent = credit.sent.saturating_add(size(bytes));
        let affordable = sent <= credit.received.saturating_mul(AMPLIFICATION_MAX);
        if affordable {
            credit.sent = sent;
        }
        affordable
    }

    /// Notes that `endpoint` repeated a random id; `id` is its own if it was a ping.
    pub fn prove(&mut self, endpoint: SocketAddr, id: Option<NodeId>, now: Duration) {
        self.credits.remove(&endpoint);
        let proof = self.proofs.entry(endpoint);
        if proof.until <= now {
            proof.id = None;
        }
        proof.id = id.or(proof.id);
        proof.until = now.saturating_add(PROOF_LIFETIME);
    }

    pub fn is_proven(&self, endpoint: SocketAddr, now: Duration) -> bool {
        self.proofs.get(&endpoint).is_some_and(|proof| proof.until > now)
    }

    /// The id that is known to answer at `endpoint`.
    pub fn id_at(&self, endpoint: SocketAddr, now: Duration) -> Option<NodeId> {
        self.proofs.get(&endpoint).filter(|proof| proof.until > now)?.id
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("a literal endpoint")
    }

    #[test]
    fn unproven_endpoints_get_three_times_what_they_sent() {
        let (mut admission, stranger) = (Admission::new(), at("203.0.113.9:4000"));
        let now = Duration::from_secs(1);
        assert!(!admission.spend(stranger, 1, now));
        admission.credit(stranger, 100, now);
        assert!(admission.spend(stranger, 300, now));
        assert!(!admission.spend(stranger, 1, now));
        admission.prove(stranger, None, now);
        assert!(admission.spend(stranger, 100_000, now));
        assert!(!admission.is_proven(stranger, now + PROOF_LIFETIME));
        assert!(!admission.spend(stranger, 1, now + PROOF_LIFETIME));
    }

    #[test]
    fn a_proof_of_address_keeps_the_id() {
        let (mut admission, peer) = (Admission::new(), at("203.0.113.9:4000"));
        let (now, id) = (Duration::from_secs(1), NodeId::of_name(b"x"));
        admission.prove(peer, Some(id), now);
        admission.prove(peer, None, now);
        assert_eq!(admission.id_at(peer, now), Some(id));
        admission.prove(peer, None, now + PROOF_LIFETIME);
        assert_eq!(admission.id_at(peer, now + PROOF_LIFETIME), None);
    }

    /// Forged senders from everywhere use up what there is for strangers, and no more.
    #[test]
    fn a_flood_of_strangers_leaves_proven_endpoints_served() {
        let mut admission = Admission::new();
        let now = Duration::from_secs(1);
        let friend = at("198.51.100.1:1");
        admission.prove(friend, None, now);
        let forged =
            (0..100_000_u32).map(|n| SocketAddr::from((n.rotate_left(11).to_be_bytes(), 9)));
        let admitted = forged.filter(|from| admission.admits(*from, now)).count();
        assert!(admitted <= 5_200, "{admitted}");
        assert!(admission.admits(friend, now));
        assert!(!admission.admits(at("192.0.2.1:1"), now));
    }

    #[test]
    fn requests_are_metered_by_address_and_by_subnet() {
        let mut admission = Admission::new();
        let now = Duration::from_secs(1);
        let flood = |admission: &mut Admission, from: &str| {
            (0..10_000).filter(|_| admission.admits(at(from), now)).count()
        };
        assert_eq!(flood(&mut admission, "203.0.113.1:1"), 200);
        for host in 2..=4 {
            flood(&mut admission, &format!("203.0.113.{host}:1"));
        }
        assert_eq!(flood(&mut admission, "203.0.113.5:1"), 0, "the subnet has had its share");
        assert_eq!(flood(&mut admission, "198.51.100.1:1"), 200);
        assert_eq!(flood(&mut admission, "127.0.0.1:1"), 10_000);
        let later = now + Duration::from_secs(1);
        let again = (0..1_000).filter(|_| admission.admits(at("198.51.100.1:1"), later)).count();
        assert_eq!(again, 50);
    }
}
