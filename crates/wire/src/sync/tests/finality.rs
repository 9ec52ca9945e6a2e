//! Validators make blocks of work final: the best chain is the one that holds them.

use super::*;

const PEER: PeerId = PeerId(1);
const SECOND: Duration = Duration::from_secs(1);
const ASK: Output = Output::RequestHeaders { peer: PEER, after: None };

/// A claim of so many blocks, of which so many are final.
fn stand(blocks: usize, last_final: usize) -> Claim {
    let (work, height, final_height) = (work(blocks), height(blocks), Some(height(last_final)));
    Claim { work, height, tip: GENESIS, final_height }
}

/// A node of ten blocks of which two are final, and a peer.
fn met(theirs: Claim) -> Sync {
    let mut sync = Sync::new(stand(10, 2));
    assert!(sync.step(Duration::ZERO, connected(PEER.0, Direction::Outbound, theirs)).is_empty());
    sync
}

/// The peer answers with headers, and the chain service says this of them.
fn answered(sync: &mut Sync, now: Duration, report: HeaderReport) -> Vec<Output> {
    let headers = vec![Bytes::from_static(&[0; 80]); 3];
    let checks = sync.step(now, Input::Headers { peer: PEER, batch: batch(headers.clone()) });
    assert_eq!(checks, [Output::CheckHeaders { peer: PEER, batch: batch(headers) }]);
    sync.step(now, Input::Checked { peer: Some(PEER), report })
}

#[test]
fn a_peer_at_which_more_is_final_leads_on_with_less_work() {
    let theirs = stand(8, 4);
    let mut sync = met(theirs);
    assert_eq!(sync.step(SECOND, Input::Tick), [ASK]);
    let wanted = hashes(&extend(GENESIS, 3, 4, OWN_BODY));
    let report = HeaderReport { wanted: wanted.clone(), ..nothing_found(10, 3, None) };
    let asks = [Output::RequestBlocks { peer: PEER, hashes: wanted }];
    assert_eq!(answered(&mut sync, SECOND, report), asks);
    // What it stands for was heard; it is asked again once it stands elsewhere.
    let quiet = |sync: &mut Sync, now| !sync.step(now, Input::Tick).contains(&ASK);
    assert!(quiet(&mut sync, SECOND * 2) && quiet(&mut sync, SECOND * 3));
    let claimed = Input::Claimed { peer: PEER, claim: stand(9, 5) };
    assert!(!sync.step(SECOND * 4, claimed).contains(&ASK), "a certificate is on its way");
    assert!(sync.step(SECOND * 5, Input::Tick).contains(&ASK));
}

#[test]
fn what_is_final_there_leads_nowhere_where_nothing_becomes_final() {
    for (own, theirs) in [(None, Some(height(4))), (Some(height(4)), None), (None, None)] {
        let mut sync = Sync::new(Claim { final_height: own, ..stand(10, 0) });
        let claim = Claim { final_height: theirs, ..stand(8, 0) };
        drop(sync.step(Duration::ZERO, connected(PEER.0, Direction::Outbound, claim)));
        assert!(sync.step(SECOND, Input::Tick).is_empty());
    }
}

/// An honest peer may not have heard of the final block. It is no offence, and nobody asks it the
/// same again and again.
#[test]
fn a_chain_without_the_final_block_is_not_asked_for_again() {
    let theirs = stand(20, 1);
    let mut sync = Sync::new(stand(10, 2));
    let meets = connected(PEER.0, Direction::Outbound, theirs);
    assert_eq!(sync.step(Duration::ZERO, meets), [ASK]);
    let below = || HeaderReport { is_below_finality: true, ..nothing_found(10, 1, Some(0)) };
    assert!(answered(&mut sync, Duration::ZERO, below()).is_empty());
    for second in 1..100 {
        assert!(sync.step(SECOND * second, Input::Tick).is_empty());
        let claimed = Input::Claimed { peer: PEER, claim: theirs };
        assert!(sync.step(SECOND * second, claimed).is_empty(), "a heartbeat says nothing new");
    }
    // Nor for bodies, though it claims more work.
    let wanted = hashes(&extend(GENESIS, 3, 4, OWN_BODY));
    let report = HeaderReport { wanted, ..nothing_found(13, 0, None) };
    assert!(sync.step(SECOND * 100, Input::Checked { peer: None, report }).is_empty());
    let report = nothing_found(10, 0, None);
    assert!(sync.step(SECOND * 100, Input::Checked { peer: None, report }).is_empty());
    // A pushed block on its tip leads to the same headers.
    let [block] = &extend(GENESIS, 1, 5, OWN_BODY)[..] else { panic!("one") };
    let (peer, hash, body) = (PEER, block.hash, block.to_body());
    let connect = [Output::Connect { peer, hash, body: body.clone() }];
    assert_eq!(sync.step(SECOND * 101, Input::Block { peer, hash, body }), connect);
    let outcome = Outcome::Orphan;
    assert!(sync.step(SECOND * 101, Input::Answered { peer, hash, outcome }).is_empty());
    // It has moved.
    for theirs in [stand(21, 1), stand(21, 2)] {
        let claimed = Input::Claimed { peer: PEER, claim: theirs };
        assert_eq!(sync.step(SECOND * 102, claimed), [ASK]);
        assert!(answered(&mut sync, SECOND * 102, below()).is_empty());
    }
}

/// Its sender has the branch; headers of it may be here already.
#[test]
fn a_certificate_without_its_block_leads_to_its_sender() {
    let mut sync = met(stand(8, 2));
    let outputs = sync.step(Duration::ZERO, Input::Awaited { peer: PEER });
    assert_eq!(outputs, [ASK, Output::RefreshWanted]);
    // An answer that is lost is asked for again while the certificate waits.
    assert!(sync.step(Duration::ZERO, Input::CheckFailed { peer: None }).is_empty());
    let refreshes = |sync: &mut Sync| sync.step(SECOND, Input::Tick) == [Output::RefreshWanted];
    assert!(refreshes(&mut sync));
    let lost = |sync: &mut Sync| sync.step(SECOND, Input::CheckFailed { peer: None });
    assert!(lost(&mut sync).is_empty() && refreshes(&mut sync) && lost(&mut sync).is_empty());
    assert!(sync.step(SECOND, Input::Tip { claim: stand(10, 4) }).is_empty());
    assert!(!refreshes(&mut sync), "it is final");
}

/// The tip has less work than before: what was known of a better chain is over.
#[test]
fn after_a_step_back_the_best_chain_is_asked_for() {
    let mut sync = met(stand(9, 2));
    assert!(sync.step(SECOND, Input::Tick).is_empty());
    let outputs = sync.step(SECOND, Input::Tip { claim: stand(7, 5) });
    assert_eq!(outputs, [Output::RefreshWanted]);
    let report = nothing_found(7, 0, None);
    assert_eq!(sync.step(SECOND, Input::Checked { peer: None, report }), [ASK]);
}
