//! Which inbound peer gives way when all inbound slots are taken: never one of the most useful,
//! measured in several ways that cost an attacker different things. The idea is Bitcoin Core's
//! (`src/node/eviction.cpp`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use pentad_primitives::hash::sha256;

use crate::PeerId;
use crate::address::subnet;

/// Peers of so many different subnets stay, chosen by a secret: nobody can aim at them.
const SUBNETS_KEPT: usize = 4;
/// Peers with the shortest round trips stay: a distance cannot be feigned.
const NEAREST_KEPT: usize = 8;
/// Peers that brought the latest new transactions stay.
const TRANSACTIONS_KEPT: usize = 4;
/// Peers that brought the latest new blocks stay: under proof of work each costs its work.
const BLOCKS_KEPT: usize = 4;
/// Nobody gives way so soon: links that push each other out in turn would be of use to nobody.
pub const STAY_MIN: Duration = Duration::from_secs(10);

/// An inbound peer. Times count from any fixed start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Which.
    pub peer: PeerId,
    /// Where it is.
    pub address: IpAddr,
    /// When its link was opened.
    pub opened: Duration,
    /// Its shortest round trip; `None`: not measured yet.
    pub round_trip: Option<Duration>,
    /// When it last brought a block that was new; `None`: never.
    pub block: Option<Duration>,
    /// When it last brought a transaction that was new; `None`: never.
    pub transaction: Option<Duration>,
    /// It stays in any case: it takes part in consensus, or the operator wants it.
    pub is_kept: bool,
}

/// The peer that gives way to a newcomer at `now`; `None`: nobody does. `secret` is drawn once by
/// each node.
///
/// Beside those of the constants above, of the others the half that has been here longest stays.
/// Of the rest it is the youngest of the subnet with the most of them.
#[must_use]
pub fn victim(residents: &[Resident], secret: u64, now: Duration) -> Option<PeerId> {
    let mut rest: Vec<&Resident> = residents.iter().filter(|it| !it.is_kept).collect();
    keep_subnets(&mut rest, secret);
    keep(&mut rest, NEAREST_KEPT, |it| it.round_trip);
    keep(&mut rest, TRANSACTIONS_KEPT, |it| it.transaction.map(std::cmp::Reverse));
    keep(&mut rest, BLOCKS_KEPT, |it| it.block.map(std::cmp::Reverse));
    let half = rest.len() / 2;
    keep(&mut rest, half, |it| Some(it.opened));
    let mut subnets = BTreeMap::<IpAddr, Vec<&Resident>>::new();
    for resident in rest {
        subnets.entry(subnet(resident.address)).or_default().push(resident);
    }
    let youngest = |of: &Vec<&Resident>| of.iter().map(|it| (it.opened, it.peer)).max();
    let crowd = subnets.values().max_by_key(|of| (of.len(), youngest(of)))?;
    let (opened, peer) = youngest(crowd)?;
    (now.saturating_sub(opened) >= STAY_MIN).then_some(peer)
}

/// Takes out the `count` with the smallest keys; those without a key have no claim.
fn keep<K: Ord>(rest: &mut Vec<&Resident>, count: usize, key: impl Fn(&Resident) -> Option<K>) {
    let mut claims: Vec<(K, PeerId)> =
        rest.iter().filter_map(|it| Some((key(it)?, it.peer))).collect();
    claims.sort_unstable();
    let kept: BTreeSet<PeerId> = claims.into_iter().take(count).map(|(_, peer)| peer).collect();
    rest.retain(|it| !kept.contains(&it.peer));
}

/// Takes out the oldest peer of each of a few subnets.
fn keep_subnets(rest: &mut Vec<&Resident>, secret: u64) {
    let mut oldest = BTreeMap::<IpAddr, (Duration, PeerId)>::new();
    for it in rest.iter() {
        let claim = (it.opened, it.peer);
        let held = oldest.entry(subnet(it.address)).or_insert(claim);
        *held = claim.min(*held);
    }
    let keyed = |subnet: &IpAddr| sha256(format!("{secret:016x} {subnet}").as_bytes());
    let mut drawn: Vec<([u8; 32], PeerId)> =
        oldest.iter().map(|(subnet, (_, peer))| (keyed(subnet), *peer)).collect();
    drawn.sort_unstable();
    let kept: BTreeSet<PeerId> =
        drawn.into_iter().take(SUBNETS_KEPT).map(|(_, peer)| peer).collect();
    rest.retain(|it| !kept.contains(&it.peer));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(10_000);
    const SECRET: u64 = 7;

    /// Numbers are ages: the higher, the younger. All in one subnet, no merits.
    fn resident(number: u16) -> Resident {
        let [_, host] = number.to_be_bytes();
        Resident {
            peer: PeerId(number.into()),
            address: IpAddr::from([198, 51, 100, host]),
            opened: Duration::from_secs(u64::from(number) + 1),
            round_trip: None,
            block: None,
            transaction: None,
            is_kept: false,
        }
    }

    fn crowd(count: u16) -> Vec<Resident> {
        (0..count).map(resident).collect()
    }

    fn chosen(residents: &[Resident]) -> Option<u64> {
        victim(residents, SECRET, NOW).map(|peer| peer.0)
    }

    #[test]
    fn the_youngest_of_those_without_merit_gives_way() {
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&crowd(1)), None, "the only one of its subnet");
        assert_eq!(chosen(&crowd(40)), Some(39));
    }

    #[test]
    fn merits_protect() {
        fn second(number: u16) -> Option<Duration> {
            Some(Duration::from_secs(number.into()))
        }
        let near = |it: &mut Resident, rank| it.round_trip = second(rank);
        let block = |it: &mut Resident, rank| it.block = second(1_000 - rank);
        let transaction = |it: &mut Resident, rank| it.transaction = second(1_000 - rank);
        let kept = |it: &mut Resident, _: u16| it.is_kept = true;
        type Merit = fn(&mut Resident, u16);
        let table: [(&str, Merit, u16); 4] = [
            ("near", near, 8),
            ("blocks", block, 4),
            ("transactions", transaction, 4),
            ("kept", kept, 40),
        ];
        for (name, merit, count) in table {
            // The youngest get the merit, the best of them the youngest of all.
            let mut residents = crowd(40);
            for (rank, resident) in (0..count).zip(residents.iter_mut().rev()) {
                merit(resident, rank);
            }
            let expected = 39_u64.checked_sub(count.into());
            assert_eq!(chosen(&residents), expected, "{name}");
        }
    }

    /// Whoever has many addresses in one network fights with himself for the slots.
    #[test]
    fn the_largest_subnet_gives_way() {
        let mut residents = crowd(40);
        for (number, resident) in (0_u8..).zip(residents.iter_mut()).skip(30) {
            resident.address = IpAddr::from([192, 0, number, 1]);
        }
        let victim = chosen(&residents).expect("somebody");
        assert!(victim < 30, "{victim} is alone in its subnet");
    }

    #[test]
    fn nobody_gives_way_at_once() {
        let residents = crowd(40);
        let opened = residents[39].opened;
        let early = opened + STAY_MIN - Duration::from_millis(1);
        assert_eq!(victim(&residents, SECRET, early), None);
        assert_eq!(victim(&residents, SECRET, opened + STAY_MIN), Some(PeerId(39)));
    }

    fn any_resident() -> impl Strategy<Value = Resident> {
        let time = || proptest::option::of((0..9_000_u64).prop_map(Duration::from_secs));
        (any::<[u8; 2]>(), 0..9_000_u64, time(), time(), time(), proptest::bool::weighted(0.1))
            .prop_map(|([net, host], opened, round_trip, block, transaction, is_kept)| Resident {
                peer: PeerId(0),
                address: IpAddr::from([198, 51, net % 16, host]),
                opened: Duration::from_secs(opened),
                round_trip,
                block,
                transaction,
                is_kept,
            })
    }

    fn numbered(mut residents: Vec<Resident>) -> Vec<Resident> {
        (0..).zip(&mut residents).for_each(|(number, it)| it.peer = PeerId(number));
        residents
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(
            residents in proptest::collection::vec(any_resident(), 0..80),
            secret: u64,
        ) {
            let residents = numbered(residents);
            let mut reversed = residents.clone();
            reversed.reverse();
            prop_assert_eq!(victim(&residents, secret, NOW), victim(&reversed, secret, NOW));
        }

        #[test]
        fn whoever_gives_way_has_no_better_claim(
            residents in proptest::collection::vec(any_resident(), 0..80),
            secret: u64,
        ) {
            let residents = numbered(residents);
            let Some(peer) = victim(&residents, secret, NOW) else {
                let free = residents.iter().filter(|it| !it.is_kept).count();
                // Twenty claims and half of the rest: with two left, one gives way.
                prop_assert!(free <= 21, "{free} could give way");
                return Ok(());
            };
            let gone = residents.iter().find(|it| it.peer == peer).expect("one of them");
            prop_assert!(!gone.is_kept);
            let better = |than: &dyn Fn(&Resident) -> bool| {
                residents.iter().filter(|it| !it.is_kept && than(it)).count()
            };
            if let Some(time) = gone.round_trip {
                prop_assert!(better(&|it| it.round_trip.is_some_and(|its| its <= time)) > 8);
            }
            if let Some(time) = gone.block {
                prop_assert!(better(&|it| it.block.is_some_and(|its| its >= time)) > 4);
            }
            if let Some(time) = gone.transaction {
                prop_assert!(better(&|it| it.transaction.is_some_and(|its| its >= time)) > 4);
            }
        }

        /// Attack 44: however often somebody with a few subnets knocks, those who were there first
        /// and are spread over the world stay.
        #[test]
        fn a_flood_from_few_subnets_pushes_out_only_itself(
            subnets in 1..4_u8,
            knocks in proptest::collection::vec(any::<u8>(), 200),
            secret: u64,
        ) {
            let honest = (0..24_u8).map(|number| Resident {
                address: IpAddr::from([203, number, 113, 1]),
                ..resident(number.into())
            });
            let mut slots: Vec<Resident> = honest.collect();
            let mut next = 24_u16;
            let mut flood = |slots: &mut Vec<Resident>, knock: u8| {
                let address = IpAddr::from([198, 51, knock % subnets, knock]);
                // The flood is near, and its round trips are the shortest.
                let round_trip = Some(Duration::from_millis(1));
                slots.push(Resident { address, round_trip, ..resident(next) });
                next += 1;
            };
            for knock in 0..40 {
                flood(&mut slots, knock);
            }
            for knock in knocks {
                let victim = victim(&slots, secret, NOW).expect("somebody gives way");
                slots.retain(|it| it.peer != victim);
                flood(&mut slots, knock);
            }
            let left = slots.iter().filter(|it| it.peer.0 < 24).count();
            prop_assert_eq!(left, 24);
        }
    }
}
