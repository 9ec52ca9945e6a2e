use pentad_pbft::{CommitCertificate, Sequence, View};
use pentad_primitives::Hash256;

use super::*;

const ANNA: PeerId = PeerId(1);
const BERT: PeerId = PeerId(2);
const CARL: PeerId = PeerId(3);
const SECOND: Duration = Duration::from_secs(1);

fn at(height: u32) -> BlockHeight {
    BlockHeight::new(height)
}

fn bytes(height: u32) -> Bytes {
    Bytes::copy_from_slice(&height.to_be_bytes())
}

fn finality() -> Finality {
    let mut finality = Finality::new();
    [ANNA, BERT, CARL].into_iter().for_each(|peer| finality.connect(peer, Some(at(0))));
    finality
}

/// A certificate arrives; whether it is of use.
fn sent(finality: &mut Finality, peer: PeerId, height: u32) -> bool {
    finality.on_certificate(peer, at(height), bytes(height))
}

fn checked(finality: &mut Finality, now: Duration) -> Option<(PeerId, u32)> {
    finality.next_check(now).map(|check| (check.peer, check.height.get()))
}

#[test]
fn the_height_of_a_certificate_is_its_sequence() {
    let certificate = |sequence| CommitCertificate {
        view: View::new(7),
        sequence: Sequence::new(sequence),
        digest: Hash256::from_bytes([3; 32]),
        signatures: Vec::new(),
    };
    assert_eq!(height(&certificate(300).to_bytes()), Some(at(300)));
    assert_eq!(height(&certificate(1 << 32).to_bytes()), None);
    assert_eq!(height(&[0; 15]), None);
}

/// Each height goes to each peer at most once, and to none that has it.
#[test]
fn everybody_who_is_behind_is_told_once() {
    let mut finality = finality();
    finality.on_claim(CARL, Some(at(5)));
    assert!(finality.to_be_told(SECOND).is_empty());
    assert!(sent(&mut finality, ANNA, 5));
    finality.on_final(at(5), bytes(5));
    assert_eq!(finality.to_be_told(SECOND), [BERT]);
    finality.on_told(BERT, SECOND);
    assert!(finality.to_be_told(SECOND * 9).is_empty());
    // A newcomer learns it; one that is as far does not.
    finality.connect(PeerId(4), Some(at(4)));
    finality.connect(PeerId(5), Some(at(5)));
    assert_eq!(finality.to_be_told(SECOND), [PeerId(4)]);
}

#[test]
fn of_many_in_a_row_the_newest_is_told() {
    let mut finality = Finality::new();
    finality.connect(ANNA, None);
    let (mut told, mut now) = (Vec::new(), SECOND);
    for height in 1..=100 {
        finality.on_final(at(height), bytes(height));
        for peer in finality.to_be_told(now) {
            told.push(finality.certificate().0.get());
            finality.on_told(peer, now);
        }
        now += Duration::from_millis(10);
    }
    assert_eq!(told, [1, 26, 51, 76]);
    assert_eq!(finality.to_be_told(now), [ANNA]);
}

#[test]
fn without_a_certificate_nobody_is_told() {
    let mut finality = finality();
    finality.on_final(at(9), Bytes::new());
    assert!(finality.to_be_told(SECOND).is_empty());
}

/// Everybody sends the same at the same time: it is checked once.
#[test]
fn the_highest_is_checked_first_and_makes_the_others_needless() {
    let mut finality = finality();
    assert!(sent(&mut finality, ANNA, 5) && sent(&mut finality, BERT, 6));
    assert_eq!(checked(&mut finality, SECOND), Some((BERT, 6)));
    assert!(sent(&mut finality, CARL, 6));
    assert_eq!(checked(&mut finality, SECOND), None, "one at a time");
    finality.on_checked(Outcome::Final);
    assert_eq!(checked(&mut finality, SECOND), None);
    assert!(!sent(&mut finality, CARL, 6), "it is final");
}

#[test]
fn a_bad_one_does_not_keep_the_good_one_out() {
    let mut finality = finality();
    assert!(sent(&mut finality, ANNA, 9) && sent(&mut finality, BERT, 5));
    assert_eq!(checked(&mut finality, SECOND), Some((ANNA, 9)));
    finality.disconnect(ANNA);
    assert_eq!(finality.on_checked(Outcome::Refused(100)).map(|check| check.peer), Some(ANNA));
    assert_eq!(checked(&mut finality, SECOND), Some((BERT, 5)));
}

#[test]
fn what_could_not_be_checked_is_tried_again_unless_there_is_newer() {
    let mut finality = finality();
    assert!(sent(&mut finality, ANNA, 5));
    assert_eq!(checked(&mut finality, SECOND), Some((ANNA, 5)));
    finality.on_checked(Outcome::Failed);
    assert_eq!(checked(&mut finality, SECOND), Some((ANNA, 5)));
    assert!(sent(&mut finality, ANNA, 6));
    finality.on_checked(Outcome::Failed);
    assert_eq!(checked(&mut finality, SECOND), Some((ANNA, 6)));
}

/// Repeated: nothing. Ever higher ones: four a second of one peer, 20 of all; none is lost, as the
/// newest waits.
#[test]
fn a_flood_is_checked_at_a_bounded_rate() {
    let mut finality = finality();
    let mut counts = BTreeMap::<PeerId, usize>::new();
    let mut last = None;
    for millis in 0..20_000 {
        let now = SECOND + Duration::from_millis(millis);
        let height = u32::try_from(millis).expect("a short time") + 1;
        assert!(sent(&mut finality, ANNA, height));
        assert!(!sent(&mut finality, ANNA, height));
        if let Some((peer, height)) = checked(&mut finality, now) {
            *counts.entry(peer).or_default() += 1;
            last = Some(height);
            finality.on_checked(Outcome::Awaited);
        }
    }
    assert_eq!(counts, BTreeMap::from([(ANNA, 40 + 79)]));
    assert!(last > Some(19_700));
    // An honest one is not shut out.
    assert!(sent(&mut finality, BERT, 7));
    assert_eq!(checked(&mut finality, SECOND * 20), Some((BERT, 7)));
}

#[test]
fn many_peers_together_are_bounded_too() {
    let mut finality = Finality::new();
    (0..100).for_each(|peer| finality.connect(PeerId(peer), None));
    let mut count = 0;
    for height in 1..=30 {
        (0..100).for_each(|peer| assert!(sent(&mut finality, PeerId(peer), height)));
        while finality.next_check(SECOND).is_some() {
            count += 1;
            finality.on_checked(Outcome::Awaited);
        }
    }
    assert_eq!(count, 100);
}
