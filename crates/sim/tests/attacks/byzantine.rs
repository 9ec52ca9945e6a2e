//! Cases 1 to 9 and 15 to 18: up to f replicas lie.

use pentad_pbft::{
    Message, Phase, PrePrepare, Recipient, ReplicaId, Sequence, SignedPrePrepare, View, Vote,
};
use pentad_primitives::sha256d;
use pentad_sim::adversary::{Adversary, Forge, Parcel};
use pentad_sim::byzantine::{
    Censor, CheckpointLiar, Colluder, Equivocator, Forger, InvalidProposer, Silent, Slow,
};
use pentad_sim::checker::Violation;
use pentad_sim::claim::Kind;
use pentad_sim::ledger::{Block, Transaction, digest_of};
use pentad_sim::{Setup, World};

use crate::{WINDOWS, one_view_change, world};

#[test]
fn attack_01_a_primary_that_equivocates_is_left_and_evidence_is_kept() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(0, Equivocator::default());
        world.expect_progress(3, 10_000);
        assert!(world.totals.evidence > 0, "nobody kept evidence");
        assert!(world.highest_view() > 0, "nobody left it");
        world.assert_kept();
    }
}

#[test]
fn attack_02_a_silent_primary_is_left_within_the_timeout() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(0, Silent);
        let within = one_view_change(&world);
        world.expect_progress(1, within);
        assert!(world.honest().into_iter().all(|node| world.view(node) == 1));
        world.assert_kept();
    }
}

/// Slow, but never slow enough, and a censor.
#[derive(Debug)]
struct SlowCensor {
    slow: Slow,
    censored: Transaction,
}

impl Adversary for SlowCensor {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        self.slow.outgoing(forge, to, message)
    }

    fn censors(&self, transaction: Transaction) -> bool {
        transaction == self.censored
    }
}

#[test]
fn attack_03_a_primary_just_under_the_timeout_is_left_when_it_passes_a_transaction_over() {
    for window in WINDOWS {
        let mut world = world(4, window);
        let delay_ms = world.setup.view_timeout_ms * 3 / 5;
        world.corrupt(0, SlowCensor { slow: Slow { delay_ms }, censored: 1 });
        world.submit(1);
        let is_left = |world: &World| {
            world.honest().into_iter().all(|node| world.nodes[node].ledger.includes(1))
        };
        for _ in 0..60 {
            world.submit(1);
            if world.run_until(world.setup.view_timeout_ms, is_left) {
                break;
            }
        }
        assert!(is_left(&world), "it was never left");
        assert!(world.highest_view() > 0);
        world.assert_kept();
    }
}

#[test]
fn attack_03_a_primary_just_under_the_timeout_that_serves_all_stays() {
    let mut world = world(4, 1);
    world.corrupt(0, Slow { delay_ms: world.setup.view_timeout_ms * 3 / 5 });
    world.expect_progress(5, 10_000);
    assert_eq!(world.highest_view(), 0);
    world.assert_kept();
}

#[test]
fn attack_04_a_censored_transaction_is_included_after_a_view_change() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(0, Censor { every: 3 });
        for _ in 0..40 {
            world.submit(1);
            world.run_for(50);
        }
        assert!(world.run_until(5_000, |world| world.unconfirmed() == 0), "still censored");
        assert!(world.highest_view() > 0);
        world.assert_kept();
    }
}

/// Says what its place does not allow: as a backup it proposes, as the primary it prepares.
#[derive(Debug)]
struct Usurper;

impl Adversary for Usurper {
    fn plot(&mut self, forge: &mut Forge<'_>) -> Vec<Parcel> {
        let (view, sequence) = (View::ZERO, Sequence::new(1));
        let parent = forge.ledger.tip();
        let block = Block {
            parent,
            height: 1,
            proposer: forge.credentials.own.get(),
            time_ms: 1,
            transactions: vec![77],
        };
        let body = block.encode();
        let digest = digest_of(&body);
        let own = &forge.credentials;
        let signed = SignedPrePrepare::sign(own, view, sequence, digest, parent);
        let mut in_the_name_of_the_primary = signed.clone();
        in_the_name_of_the_primary.sender = ReplicaId::new(0);
        let stranger = pentad_pbft::Credentials { own: ReplicaId::new(9), ..own.clone() };
        let vote = Vote::sign(&stranger, Phase::Prepare, view, sequence, digest);
        let to_all = |message| Parcel::new(Recipient::All, message);
        vec![
            to_all(Message::PrePrepare(PrePrepare { signed, body: body.clone() })),
            to_all(Message::PrePrepare(PrePrepare { signed: in_the_name_of_the_primary, body })),
            to_all(Message::Prepare(vote)),
            to_all(Message::Commit(vote)),
        ]
    }
}

#[test]
fn attack_05_a_proposal_of_a_backup_is_dropped() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(2, Usurper);
        world.run_for(400);
        for node in world.honest() {
            assert_eq!(world.checker.has_said(node, Kind::Prepare, 0, 1), None);
        }
        world.expect_progress(2, 2_000);
        world.assert_kept();
    }
}

/// A primary that prepares its own proposals.
#[derive(Debug)]
struct PreparingPrimary;

impl Adversary for PreparingPrimary {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        let mut parcels = vec![Parcel::new(to, message.clone())];
        if let Message::PrePrepare(proposal) = message {
            let (view, sequence) = (proposal.signed.view, proposal.signed.sequence);
            let digest = proposal.signed.digest;
            let vote = Vote::sign(&forge.credentials, Phase::Prepare, view, sequence, digest);
            parcels.push(Parcel::new(to, Message::Prepare(vote)));
        }
        parcels
    }
}

#[test]
fn attack_05_a_prepare_of_the_primary_does_not_count() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(0, PreparingPrimary);
        // Node 1 hears only the primary: with its own PREPARE that would make two.
        world.filter(|from, to, _| from == 0 && to == 1);
        world.submit(1);
        world.run_for(300);
        assert!(world.checker.has_said(1, Kind::Prepare, 0, 1).is_some());
        assert_eq!(world.checker.has_said(1, Kind::Commit, 0, 1), None);
        world.filter = None;
        world.expect_progress(2, 10_000);
        world.assert_kept();
    }
}

#[test]
fn attack_06_a_double_vote_counts_once_and_evidence_is_kept() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(3, Equivocator::default());
        world.expect_progress(4, 5_000);
        assert!(world.totals.evidence > 0);
        assert_eq!(world.highest_view(), 0, "the primary is honest");
        world.assert_kept();
    }
}

/// Commits to another block than the one prepared.
#[derive(Debug)]
struct OtherCommit;

impl Adversary for OtherCommit {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        let message = match message {
            Message::Commit(vote) => {
                let digest = sha256d(vote.digest.as_bytes());
                let own = &forge.credentials;
                let (view, sequence) = (vote.view, vote.sequence);
                Message::Commit(Vote::sign(own, Phase::Commit, view, sequence, digest))
            }
            other => other,
        };
        vec![Parcel::new(to, message)]
    }
}

#[test]
fn attack_07_commits_with_another_digest_do_not_count() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(3, OtherCommit);
        world.crash(2);
        world.submit(1);
        world.run_for(300); // before anybody pulls the block from the liar, who knows its own vote
        assert_eq!(world.highest_height(), 0, "two COMMITs and a foreign one are no quorum");
        assert!(world.checker.has_said(0, Kind::Commit, 0, 1).is_some());
        world.start(2);
        world.expect_progress(2, 20_000);
        world.assert_kept();
    }
}

#[test]
fn attack_08_signatures_count_for_nothing_else() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(3, Forger);
        world.crash(2);
        world.filter(|from, _, message| from == 3 || !matches!(message, Message::Commit(_)));
        world.submit(1);
        world.run_for(400);
        // All three prepared; nobody's COMMIT travelled, only PREPAREs dressed up as COMMITs.
        assert_eq!(world.highest_height(), 0);
        world.filter = None;
        world.start(2);
        world.expect_progress(3, 10_000);
        world.assert_kept();
    }
}

/// Well-signed votes for sequences and views without end.
#[derive(Debug)]
struct Flooder;

impl Adversary for Flooder {
    fn plot(&mut self, forge: &mut Forge<'_>) -> Vec<Parcel> {
        (0..200)
            .map(|_| {
                let view = View::new(forge.rng.next_u64() >> forge.rng.below(64));
                let sequence = Sequence::new(forge.rng.next_u64() >> forge.rng.below(64));
                let digest = sha256d(&forge.rng.next_u64().to_le_bytes());
                let own = &forge.credentials;
                let message = match forge.rng.below(3) {
                    0 => Message::Prepare(Vote::sign(own, Phase::Prepare, view, sequence, digest)),
                    1 => Message::Commit(Vote::sign(own, Phase::Commit, view, sequence, digest)),
                    _ => {
                        let checkpoint =
                            pentad_pbft::Checkpoint::sign(own, sequence, digest, digest);
                        Message::Checkpoint(checkpoint)
                    }
                };
                Parcel::new(Recipient::All, message)
            })
            .collect()
    }
}

#[test]
fn attack_09_sequences_outside_of_the_watermarks_leave_memory_flat() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(3, Flooder);
        world.expect_progress(2, 2_000);
        let early = world.memory(1);
        world.run_for(10_000);
        world.expect_progress(2, 2_000);
        let late = world.memory(1);
        assert!(late < early * 2 + 50, "{early} items became {late}");
        world.assert_kept();
    }
}

#[test]
fn attack_15_the_same_key_on_two_nodes_is_safe() {
    for window in WINDOWS {
        for twin in 0..4 {
            let mut setup = Setup::new(4).seed(u64::from(twin)).window(window);
            setup.twins = vec![twin];
            let mut world = World::new(setup);
            world.trace.keep();
            // Each of the twins sees two of the others.
            let others: Vec<usize> = (0..4).filter(|node| *node != usize::from(twin)).collect();
            let left = [usize::from(twin), others[0]];
            let right = [4, others[1], others[2]];
            world.network.partition(&[&left, &right]);
            world.submit(8);
            world.run_for(3_000);
            world.network.heal();
            world.expect_progress(2, 60_000);
            world.assert_kept();
        }
    }
}

#[test]
fn attack_16_with_one_byzantine_replica_too_many_the_checker_sees_the_fork() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(0, Colluder::default());
        world.corrupt(3, Colluder::default());
        world.network.partition(&[&[1], &[2]]);
        world.submit(4);
        world.run_for(2_000);
        let is_fork = |violation: &Violation| matches!(violation, Violation::Fork { .. });
        assert!(world.checker.violations.iter().any(is_fork), "{:?}", world.checker.violations);
    }
}

#[test]
fn attack_17_a_loop_of_invalid_proposals_costs_bounded_work() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(0, InvalidProposer);
        world.expect_progress(5, 10_000);
        assert!(world.totals.evidence > 0);
        let early = world.memory(1);
        let steps = world.totals.steps;
        world.run_for(20_000);
        let per_second = (world.totals.steps - steps) / 20;
        assert!(per_second < 500, "{per_second} steps a second while nothing is to be done");
        assert!(world.memory(1) < early * 2 + 50);
        world.assert_kept();
    }
}

#[test]
fn attack_18_false_roots_of_f_are_ignored() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.corrupt(3, CheckpointLiar);
        world.expect_progress(20, 20_000);
        // Roots take time to find, and longer to be agreed on.
        world.run_for(2_000);
        for node in world.honest() {
            assert!(world.low_watermark(node) >= 16, "no stable checkpoint: logs are never cut");
        }
        world.assert_kept();
    }
}

#[test]
fn attack_18_a_replica_whose_root_differs_from_a_quorums_halts_and_says_so() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.nodes[2].ledger.damage_state();
        world.submit_for(12);
        assert!(world.run_until(20_000, |world| world.nodes[2].halted.is_some()));
        let reason = world.nodes[2].halted.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(reason.contains("root"), "{reason}");
        world.assert_kept();
    }
}
