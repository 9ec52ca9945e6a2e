//! Whole syncs against peers of every kind.

mod finality;
mod world;

use std::collections::BTreeSet;

use super::*;
use world::{
    DELAY, GENESIS, Manner, OWN_BODY, TestBlock, World, batch, claim, extend, height, work,
};

fn hashes(blocks: &[TestBlock]) -> Vec<BlockHash> {
    blocks.iter().map(|block| block.hash).collect()
}

/// Syncs `own` to the last of `main` from peers that all have `main`; only `guilty` ones may be
/// penalised.
fn assert_syncs(
    name: &str,
    own: &[TestBlock],
    main: &[TestBlock],
    manners: &[Manner],
    seconds: u64,
    guilty: &[u64],
) {
    let peers = manners.iter().map(|manner| (*manner, main.to_vec()));
    let tip = main.last().expect("a chain").hash;
    let report = World::new(own, peers.collect()).run(tip, Duration::from_secs(seconds));
    assert!(report.main == hashes(main), "{name}: no sync within {seconds} s");
    for peer in report.penalized.keys() {
        assert!(guilty.contains(&peer.0), "{name}: {peer} was penalised");
    }
}

#[test]
fn sync_ends_with_the_most_work_wherever_it_starts() {
    let main = extend(GENESIS, 300, 2, OWN_BODY);
    let side = extend(main[99].hash, 150, 3, OWN_BODY);
    let fork = [&main[..100], &side].concat();
    let cases: [(&str, &[TestBlock]); 4] = [
        ("from nothing", &[]),
        ("behind", &main[..250]),
        ("one block behind", &main[..299]),
        ("on a shorter branch", &fork),
    ];
    for (name, own) in cases {
        assert_syncs(name, own, &main, &[Manner::Honest], 1, &[]);
        assert_syncs(name, own, &main, &[Manner::Honest; 3], 1, &[]);
    }
}

/// Attacks 39, 40 and 45 among them: whatever other peers do, an honest one brings the chain.
#[test]
fn sync_ends_with_the_most_work_whatever_other_peers_do() {
    use Manner::*;
    let main = extend(GENESIS, 300, 2, OWN_BODY);
    let all = [Liar, Silent, Lacks, Skips, BadHeaders, Mutates, Honest];
    // (who, within how many seconds, who may be penalised)
    let cases: [(&[Manner], u64, &[u64]); 9] = [
        (&[Trickles, Honest], 8, &[]),
        (&[StallsOnBlocks, Honest], 8, &[]),
        (&[Silent, Honest], 3, &[]),
        (&[Liar, Honest], 1, &[1]),
        (&[Skips, Honest], 8, &[1]),
        (&[Lacks, Honest], 3, &[]),
        (&[Mutates, Honest], 8, &[1]),
        (&[BadHeaders, Honest], 1, &[1]),
        (&all, 30, &[1, 4, 5, 6]),
    ];
    for (manners, seconds, guilty) in cases {
        assert_syncs(&format!("{manners:?}"), &[], &main, manners, seconds, guilty);
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

/// More than 32 are an offence: a peer whose blocks are refused one by one would get this node
/// banned by the honest ones.
#[test]
fn however_blocks_fail_no_peer_has_many_questions_open() {
    use Manner::*;
    let main = extend(GENESIS, 250, 2, OWN_BODY);
    for others in [vec![Mutates], vec![Mutates, StallsOnBlocks], vec![Lacks], vec![Skips]] {
        let manners = others.iter().chain([&Honest]).map(|manner| (*manner, main.clone()));
        let report = World::new(&[], manners.collect())
            .run(main.last().expect("a chain").hash, Duration::from_secs(30));
        assert!(report.main == hashes(&main), "{others:?}: no sync");
        assert!(report.open_max <= 8, "{others:?}: {} questions are open", report.open_max);
    }
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

/// Attack 39: a block now and then does not keep the window, nor the peer.
#[test]
fn a_peer_that_trickles_blocks_is_left() {
    let main = extend(GENESIS, 100, 2, OWN_BODY);
    let report = World::new(&[], vec![(Manner::Trickles, main.clone())])
        .run(main[99].hash, Duration::from_secs(120));
    assert_eq!(report.left, BTreeSet::from([PeerId(1)]));
}

/// Attack 39: one that is never slow enough to be left does not hold the window up for the others.
#[test]
fn a_peer_that_dawdles_holds_nobody_up() {
    let main = extend(GENESIS, 10_000, 2, OWN_BODY);
    let peers = vec![(Manner::Dawdles, main.clone()), (Manner::Honest, main.clone())];
    let report = World::new(&[], peers).run(main[9_999].hash, Duration::from_secs(60));
    assert_eq!(report.main.len(), main.len(), "took {:?}", report.elapsed);
    assert!(report.elapsed < Duration::from_secs(20), "took {:?}", report.elapsed);
    assert!(report.penalized.is_empty());
}

/// All are slow alike: nothing is asked for twice without end.
#[test]
fn where_all_dawdle_blocks_still_come_once() {
    let main = extend(GENESIS, 400, 2, OWN_BODY);
    let peers = vec![(Manner::Dawdles, main.clone()); 3];
    let report = World::new(&[], peers).run(main[399].hash, Duration::from_secs(120));
    assert_eq!(report.main.len(), main.len(), "took {:?}", report.elapsed);
    assert!(report.delivered < 2 * main.len(), "{} blocks were sent", report.delivered);
}

#[test]
fn a_liar_is_banned_in_the_end_if_it_goes_on_lying() {
    let main = extend(GENESIS, 5, 2, OWN_BODY);
    let mut sync = Sync::new(claim(&main));
    let peer = PeerId(1);
    let mut score = crate::penalty::Score::default();
    let mut now = Duration::ZERO;
    let lie = |more: usize| Claim { work: work(100 + more), height: height(100), ..claim(&[]) };
    let connected = Input::Connected { peer, direction: Direction::Inbound, claim: lie(0) };
    let mut outputs = sync.step(now, connected);
    for round in 1..=5 {
        assert_eq!(outputs, [Output::RequestHeaders { peer, after: None }], "round {round}");
        let checks = sync.step(now, Input::Headers { peer, batch: batch(Vec::new()) });
        assert_eq!(checks, [Output::CheckHeaders { peer, batch: batch(Vec::new()) }]);
        let report = HeaderReport {
            accepted: 0,
            misbehavior: None,
            is_below_finality: false,
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
    let (hash, body) = (main[9].hash, main[9].to_body());
    world.queue.push_back((Duration::ZERO, Input::Block { peer, hash, body }));
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
    assert!(
        sync.step(Duration::ZERO, Input::Connected { peer, direction, claim: claim(&[]) })
            .is_empty()
    );
    let headers = vec![Bytes::from_static(&[0; 80]); ANNOUNCED_MAX + 1];
    let outputs = sync.step(Duration::ZERO, Input::Headers { peer, batch: batch(headers) });
    assert_eq!(outputs, [Output::Penalize { peer, offence: Offence::UnaskedHeaders }]);
    let headers = vec![Bytes::from_static(&[0; 80]); 1];
    let outputs = sync.step(Duration::ZERO, Input::Headers { peer, batch: batch(headers.clone()) });
    assert_eq!(outputs, [Output::CheckHeaders { peer, batch: batch(headers.clone()) }]);
    let outputs = sync.step(Duration::ZERO, Input::Headers { peer, batch: batch(headers) });
    assert_eq!(
        outputs,
        [Output::Penalize { peer, offence: Offence::UnaskedHeaders }],
        "one check at a time"
    );
}

/// The chain service is killed and comes back without its last blocks and headers.
#[test]
fn what_the_chain_service_lost_is_fetched_again() {
    let main = extend(GENESIS, 30, 2, OWN_BODY);
    let mut world = World::new(&main[..25], vec![(Manner::Honest, main.clone())]);
    world = world.run_to(main[29].hash, Duration::from_secs(2));
    world.restart_chain_with(&main[..20]);
    let report = world.run(main[29].hash, Duration::from_secs(10));
    assert!(report.main == hashes(&main), "the lost blocks did not come back");
    assert!(report.penalized.is_empty());
}

fn connected(peer: u64, direction: Direction, claim: Claim) -> Input {
    Input::Connected { peer: PeerId(peer), direction, claim }
}

fn nothing_found(own: usize, accepted: usize, misbehavior: Option<u32>) -> HeaderReport {
    let (best_work, best_height) = (work(own), height(own));
    let (wanted, is_below_finality) = (Vec::new(), false);
    HeaderReport { accepted, misbehavior, is_below_finality, wanted, best_work, best_height }
}

/// The chain service lost the headers before these, or its clock is behind: the only honest peer
/// must not be given up until its chain moves, which may be never.
#[test]
fn headers_that_are_only_premature_are_asked_for_again() {
    let mut sync = Sync::new(claim(&[]));
    let main = extend(GENESIS, 10, 2, OWN_BODY);
    let peer = PeerId(1);
    let ask = Output::RequestHeaders { peer, after: None };
    let outputs = sync.step(Duration::ZERO, connected(1, Direction::Outbound, claim(&main)));
    assert_eq!(outputs, std::slice::from_ref(&ask));
    let headers = main.iter().map(|block| block.header.clone()).collect();
    assert_eq!(sync.step(Duration::ZERO, Input::Headers { peer, batch: batch(headers) }).len(), 1);
    let checked = Input::Checked { peer: Some(peer), report: nothing_found(0, 0, Some(0)) };
    assert!(!sync.step(Duration::ZERO, checked).contains(&ask), "not at once");
    let later = Duration::from_secs(10);
    assert!(sync.step(later, Input::Tick).contains(&ask));
}

/// Attack 37: one who answers quickly and leads nowhere does not keep others waiting.
#[test]
fn endless_headers_do_not_keep_an_honest_peer_waiting() {
    let main = extend(GENESIS, 10, 2, OWN_BODY);
    let lie = Claim { work: work(1 << 20), height: height(1 << 20), ..claim(&[]) };
    let mut sync = Sync::new(claim(&[]));
    let (liar, now) = (PeerId(1), Duration::ZERO);
    assert_eq!(sync.step(now, connected(1, Direction::Inbound, lie)).len(), 1);
    assert!(sync.step(now, connected(2, Direction::Inbound, claim(&main))).is_empty());
    let honest = Output::RequestHeaders { peer: PeerId(2), after: None };
    let is_asked = (0..10).any(|_| {
        let headers = vec![Bytes::from_static(&[0; 80]); HEADERS_MAX];
        let mut outputs = sync.step(now, Input::Headers { peer: liar, batch: batch(headers) });
        let report = nothing_found(0, HEADERS_MAX, None);
        outputs.extend(sync.step(now, Input::Checked { peer: Some(liar), report }));
        outputs.contains(&honest)
    });
    assert!(is_asked);
}

/// A block that was pushed and, while the chain service had it, fetched as well: its sender's
/// account of pushed blocks is even afterwards.
#[test]
fn pushed_blocks_that_were_wanted_meanwhile_are_counted_once() {
    let main = extend(GENESIS, 40, 2, OWN_BODY);
    let mut sync = Sync::new(claim(&[]));
    let (peer, now) = (PeerId(1), Duration::ZERO);
    let stale = Claim { work: work(0), ..claim(&main) };
    assert!(sync.step(now, connected(1, Direction::Inbound, stale)).is_empty());
    drop(sync.step(now, connected(2, Direction::Inbound, claim(&main))));
    for block in &main {
        let hash = block.hash;
        let arrives = |peer| Input::Block { peer, hash, body: block.to_body() };
        let connect = Output::Connect { peer, hash, body: block.to_body() };
        assert!(sync.step(now, arrives(peer)).contains(&connect), "pushes are taken no more");
        let report = HeaderReport { wanted: vec![hash], ..nothing_found(40, 0, None) };
        drop(sync.step(now, Input::Checked { peer: None, report }));
        drop(sync.step(now, arrives(PeerId(2))));
        for peer in [peer, PeerId(2)] {
            drop(sync.step(now, Input::Answered { peer, hash, outcome: Outcome::Kept }));
        }
    }
}
