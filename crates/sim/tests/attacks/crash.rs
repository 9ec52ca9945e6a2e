//! Cases 27 and 28: processes die, and what was not synced is lost.

use pentad_pbft::Message;
use pentad_sim::byzantine::Equivocator;
use pentad_sim::checker::Violation;
use pentad_sim::{LinkModel, Setup, World};

use crate::{WINDOWS, world};

#[test]
fn attack_27_everybody_restarts_at_once_and_no_final_block_is_lost() {
    for window in WINDOWS {
        let mut world = world(4, window);
        for round in 0..20 {
            world.submit(6);
            world.run_for(20 + round * 7);
            for node in 0..4 {
                world.crash_for(node, 50 + node as u64 * 30);
            }
            world.run_for(150);
        }
        let before = world.highest_height();
        world.expect_progress(3, 30_000);
        assert!(world.lowest_height() >= before + 3);
        world.assert_kept();
    }
}

#[test]
fn attack_28_death_around_every_sync_never_makes_a_replica_contradict_itself() {
    for window in WINDOWS {
        for seed in 0..20 {
            let mut setup = Setup::new(4).seed(seed).window(window);
            setup.crash_at_sync_per_mille = 100;
            setup.links = LinkModel::rough(50);
            let mut world = World::new(setup);
            for _ in 0..10 {
                world.submit(4);
                world.run_for(1_000);
            }
            assert!(world.totals.crashes > 0);
            world.heal(LinkModel::calm());
            let within = pentad_sim::campaign::time_to_progress(&world);
            world.expect_progress(2, within);
            world.assert_kept();
        }
    }
}

#[test]
fn attack_28_death_around_every_sync_under_a_primary_that_equivocates() {
    for window in WINDOWS {
        for seed in 0..40 {
            let mut setup = Setup::new(4).seed(seed).window(window);
            setup.crash_at_sync_per_mille = 200;
            let mut world = World::new(setup);
            world.corrupt(0, Equivocator::default());
            for _ in 0..10 {
                world.submit(4);
                world.run_for(1_000);
            }
            world.heal(LinkModel::calm());
            let within = pentad_sim::campaign::time_to_progress(&world);
            world.expect_progress(2, within);
            world.assert_kept();
        }
    }
}

#[test]
fn attack_27_a_block_that_one_node_holds_to_be_final_outlives_a_restart_of_all_others() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.filter(|_, to, message| !matches!(message, Message::Commit(_)) || to == 3);
        world.submit(1);
        assert!(world.run_until(400, |world| world.height(3) == 1), "{}", world.trace);
        world.isolate(3);
        // What the others know of it is on their disks: nothing is said again in view 0.
        world.filter(|_, _, message| match message {
            Message::Prepare(vote) | Message::Commit(vote) => vote.view.get() > 0,
            _ => true,
        });
        for node in 0..3 {
            world.crash_for(node, 50);
        }
        world.run_for(60);
        for node in 0..3 {
            world.suspect(node);
        }
        world.filter = None;
        let others = |world: &World| (0..3).all(|node| world.height(node) >= 1);
        assert!(world.run_until(20_000, others), "{}", world.trace);
        world.network.heal();
        world.expect_progress(2, 20_000);
        world.assert_kept();
    }
}

/// The mutation that the rule "durable before sent" forbids, and that the checker must see.
#[test]
fn attack_28_messages_sent_before_the_sync_make_replicas_contradict_themselves() {
    let mut contradictions = 0;
    for seed in 0..40 {
        let mut setup = Setup::new(4).seed(seed);
        setup.crash_at_sync_per_mille = 200;
        setup.links = LinkModel::rough(50);
        setup.sends_before_sync = true;
        let mut world = World::new(setup);
        for _ in 0..10 {
            world.submit(4);
            world.run_for(1_000);
        }
        let is_contradiction =
            |violation: &&Violation| matches!(violation, Violation::Contradiction { .. });
        contradictions += world.checker.violations.iter().filter(is_contradiction).count();
    }
    assert!(contradictions > 0, "the checker cannot see the fault that it is there for");
}

#[test]
fn a_ledger_that_forgets_a_final_block_is_seen() {
    let mut world = world(4, 1);
    world.expect_progress(2, 2_000);
    world.crash(1);
    world.nodes[1].ledger.forget_tip();
    world.start(1);
    let is_loss = |violation: &Violation| matches!(violation, Violation::LostBlock { .. });
    assert!(world.checker.violations.iter().any(is_loss));
}
