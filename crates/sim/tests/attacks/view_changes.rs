//! Cases 10 to 14 and 24: lies and losses while views change.

use std::cell::Cell;
use std::rc::Rc;

use pentad_pbft::{Message, PrePrepare, Recipient, Sequence, SignedPrePrepare};
use pentad_sim::World;
use pentad_sim::adversary::{Adversary, Forge, Parcel};
use pentad_sim::byzantine::{Colluder, FalseNewView, FalseViewChange, Silent, Stormer, omitted};
use pentad_sim::claim::Kind;
use pentad_sim::ledger::{Block, digest_of};

use crate::{WINDOWS, world};

fn suspect_all(world: &mut World) {
    for node in world.honest() {
        world.suspect(node);
    }
}

#[test]
fn attack_10_a_view_change_with_a_forged_certificate_is_dropped_and_others_are_honoured() {
    for window in WINDOWS {
        for seed in 0..10 {
            let mut world = World::new(pentad_sim::Setup::new(4).seed(seed).window(window));
            world.trace.keep();
            world.corrupt(3, FalseViewChange);
            world.expect_progress(2, 2_000);
            suspect_all(&mut world);
            let have_entered =
                |world: &World| world.honest().iter().all(|node| world.is_active_above(*node, 0));
            assert!(world.run_until(400, have_entered), "three are a quorum\n{}", world.trace);
            world.expect_progress(2, 1_000);
            assert_eq!(world.highest_view(), 1, "the lie had an effect\n{}", world.trace);
            world.assert_kept();
        }
    }
}

/// Lets `chosen` alone become prepared, in `view` only, and no COMMIT arrive.
fn prepare_only_at(chosen: usize, view: u64) -> impl Fn(usize, usize, &Message) -> bool {
    move |_, to, message| match message {
        Message::Prepare(vote) => to == chosen && vote.view.get() == view,
        Message::Commit(_) => false,
        _ => true,
    }
}

#[test]
fn attack_11_of_two_prepared_certificates_the_one_of_the_higher_view_wins() {
    for window in WINDOWS {
        let mut world = world(4, window);
        // View 0: block A is prepared at node 3 only.
        world.filter(prepare_only_at(3, 0));
        world.submit(1);
        world.run_for(200);
        let a = world.checker.has_said(3, Kind::Commit, 0, 1).expect("prepared at node 3");
        assert_eq!(world.checker.has_said(1, Kind::Commit, 0, 1), None);
        // View 1, without node 3: block B is prepared at node 2 only.
        world.network.partition(&[&[3], &[0, 1, 2]]);
        world.filter(prepare_only_at(2, 1));
        world.submit(1);
        assert!(
            world.run_until(5_000, |world| world.checker.has_said(2, Kind::Commit, 1, 1).is_some())
        );
        let b = world.checker.has_said(2, Kind::Commit, 1, 1).expect("just seen");
        assert_ne!(a, b, "the primary of view 1 knew nothing of A");
        // View 2 is started from the VIEW-CHANGEs of 1, 2 and 3.
        world.network.heal();
        world.filter(|_, _, message| match message {
            Message::Prepare(vote) | Message::Commit(vote) => vote.view.get() >= 2,
            _ => true,
        });
        world.isolate(0);
        world.suspect(1);
        world.suspect(2);
        assert!(world.run_until(20_000, |world| world.height(2) >= 1));
        assert_eq!(world.checker.chain().block(1).map(|block| block.digest), Some(b));
        world.network.heal();
        world.expect_progress(2, 20_000);
        world.assert_kept();
    }
}

#[test]
fn attack_12_a_false_new_view_is_rejected_and_the_next_view_follows() {
    for window in WINDOWS {
        for seed in 0..6 {
            let setup = pentad_sim::Setup::new(4).seed(seed).window(window);
            let mut world = World::new(setup);
            world.trace.keep();
            world.corrupt(1, FalseNewView);
            // A block is prepared when view 0 is left, so that O is not empty.
            world.filter(|_, _, message| !matches!(message, Message::Commit(_)));
            world.submit(1);
            world.run_for(100);
            suspect_all(&mut world);
            world.run_for(100);
            world.filter = None;
            world.expect_progress(2, 10_000);
            assert!(world.highest_view() >= 2, "view 1 was started with a lie");
            assert!(world.totals.evidence > 0);
            world.assert_kept();
        }
    }
}

/// Starts its view as if nothing had been prepared, proposes another block, and votes for it.
#[derive(Debug, Default)]
struct Forgetful {
    colluder: Colluder,
}

impl Adversary for Forgetful {
    fn outgoing(&mut self, forge: &mut Forge<'_>, to: Recipient, message: Message) -> Vec<Parcel> {
        let Message::NewView(honest) = &message else {
            return vec![Parcel::new(to, message)];
        };
        let (view, sequence) = (honest.view, Sequence::new(1));
        let parent = forge.ledger.tip();
        let block = Block {
            parent,
            height: 1,
            proposer: forge.credentials.own.get(),
            time_ms: 9,
            transactions: vec![4],
        };
        let body = block.encode();
        let own = &forge.credentials;
        let signed = SignedPrePrepare::sign(own, view, sequence, digest_of(&body), parent);
        let proposal = Message::PrePrepare(PrePrepare { signed, body });
        let false_start = Message::NewView(omitted(forge, honest));
        vec![Parcel::new(to, false_start), Parcel::new(Recipient::All, proposal).after(20)]
    }

    fn incoming(&mut self, forge: &mut Forge<'_>, message: &Message) -> Vec<Parcel> {
        self.colluder.incoming(forge, message)
    }
}

#[test]
fn attack_12_a_new_view_that_omits_a_final_block_is_rejected() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.filter(|_, to, message| !matches!(message, Message::Commit(_)) || to == 3);
        world.submit(1);
        assert!(world.run_until(400, |world| world.height(3) == 1), "{}", world.trace);
        world.isolate(3);
        world.corrupt(1, Forgetful::default());
        suspect_all(&mut world);
        world.filter = None;
        assert!(world.run_until(20_000, |world| world.height(0) == 1 && world.height(2) == 1));
        assert!(world.totals.evidence > 0);
        world.network.heal();
        world.expect_progress(2, 20_000);
        world.assert_kept();
    }
}

#[test]
fn attack_13_a_storm_of_view_changes_by_f_changes_no_view() {
    for window in WINDOWS {
        for replicas in [4, 7] {
            let mut world = world(replicas, window);
            let faulty = usize::from((replicas - 1) / 3);
            for node in 0..faulty {
                world.corrupt(usize::from(replicas) - 1 - node, Stormer { views_ahead: 5 });
            }
            for _ in 0..20 {
                world.expect_progress(1, 2_000);
                world.run_for(200);
            }
            assert_eq!(world.highest_view(), 0);
            world.assert_kept();
        }
    }
}

#[test]
fn attack_14_each_further_faulty_primary_costs_a_timer_twice_as_long() {
    for window in WINDOWS {
        let mut world = world(10, window);
        for primary in 0..3 {
            world.corrupt(primary, Silent);
        }
        // Section 4.5.2 of the paper: T for the first primary and T for the first NEW-VIEW, then
        // 2T for the next one.
        let timeout = world.setup.view_timeout_ms;
        world.submit(4);
        assert!(!world.run_until(timeout * 4 - 50, |world| world.highest_height() > 0));
        assert!(world.run_until(400, |world| world.lowest_height() > 0), "{}", world.trace);
        assert!(world.honest().into_iter().all(|node| world.view(node) == 3));
        world.assert_kept();
    }
}

#[test]
fn attack_24_a_block_that_one_node_alone_holds_to_be_final_stays_through_view_changes() {
    for window in WINDOWS {
        for knower in 0..4 {
            let mut world = world(4, window);
            // COMMITs reach only the one who will know, until it does; then it is cut off.
            world.filter(move |_, to, message| match message {
                Message::Commit(_) | Message::Certified(_) => to == knower,
                _ => true,
            });
            world.submit(1);
            assert!(world.run_until(400, |world| world.height(knower) == 1), "{}", world.trace);
            let block = world.checker.chain().block(1).map(|block| block.digest);
            let is_out = Rc::new(Cell::new(true));
            let out = Rc::clone(&is_out);
            world.filter(move |from, to, _| !out.get() || (from != knower && to != knower));
            world.isolate(knower);
            assert!(
                world.run_until(20_000, |world| {
                    (0..4).filter(|node| *node != knower).all(|node| world.height(node) >= 1)
                }),
                "{}",
                world.trace
            );
            assert_eq!(world.checker.chain().block(1).map(|block| block.digest), block);
            is_out.set(false);
            world.network.heal();
            world.expect_progress(2, 20_000);
            world.assert_kept();
        }
    }
}
