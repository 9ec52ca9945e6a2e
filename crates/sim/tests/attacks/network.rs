//! Cases 19 to 23, 25, 26 and 33: links, clocks and pauses. Progress within a stated time of
//! healing.

use pentad_sim::{LinkModel, Setup, World};

use crate::{WINDOWS, one_view_change, world};

#[test]
fn attack_19_an_isolated_primary_is_left_and_comes_back() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.expect_progress(2, 2_000);
        world.isolate(0);
        world.submit(4);
        let before = world.height(1);
        let within = one_view_change(&world);
        assert!(world.run_until(within, |world| world.height(1) > before), "{}", world.trace);
        world.network.heal();
        world.expect_progress(2, 5_000);
        world.assert_kept();
    }
}

#[test]
fn attack_20_isolated_backups_catch_up_from_certified_blocks() {
    for window in WINDOWS {
        let mut world = world(7, window);
        world.isolate(5);
        world.isolate(6);
        world.submit_for(40);
        world.run_until(60_000, |world| world.height(0) >= 40);
        assert!(world.height(0) >= 40 && world.height(5) == 0 && world.height(6) == 0);
        world.network.heal();
        world.expect_progress(1, 10_000);
        world.assert_kept();
    }
}

#[test]
fn attack_21_a_split_in_halves_stalls_and_does_not_fork() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.expect_progress(2, 2_000);
        let before = world.highest_height();
        world.network.partition(&[&[0, 1], &[2, 3]]);
        world.submit(4);
        world.run_for(10_000);
        assert_eq!(world.lowest_height(), world.highest_height());
        assert!(world.highest_height() <= before + window, "half a network finalised blocks");
        world.network.heal();
        let within = pentad_sim::campaign::time_to_progress(&world);
        world.expect_progress(3, within);
        world.assert_kept();
    }
}

#[test]
fn attack_22_one_way_partitions_do_not_stop_the_rest() {
    for window in WINDOWS {
        for deaf in 0..4 {
            let mut world = world(4, window);
            for other in (0..4).filter(|other| *other != deaf) {
                world.network.cut_one_way(other, deaf);
            }
            world.submit(8);
            let others = |world: &World| {
                (0..4).filter(|node| *node != deaf).all(|node| world.height(node) >= 2)
            };
            assert!(world.run_until(20_000, others), "deaf {deaf}\n{}", world.trace);
            world.network.heal();
            world.expect_progress(2, 20_000);
            world.assert_kept();
        }
        for dumb in 0..4 {
            let mut world = world(4, window);
            for other in (0..4).filter(|other| *other != dumb) {
                world.network.cut_one_way(dumb, other);
            }
            world.submit(8);
            let others = |world: &World| {
                (0..4).filter(|node| *node != dumb).all(|node| world.height(node) >= 2)
            };
            assert!(world.run_until(20_000, others), "dumb {dumb}\n{}", world.trace);
            world.network.heal();
            world.expect_progress(2, 20_000);
            world.assert_kept();
        }
    }
}

#[test]
fn attack_23_loss_duplicates_and_reordering_only_cost_time() {
    for window in WINDOWS {
        for loss in [100, 200, 300] {
            let mut setup = Setup::new(4).seed(loss).window(window);
            setup.links = LinkModel::rough(loss);
            let mut world = World::new(setup);
            world.trace.keep();
            world.expect_progress(10, 120_000);
            world.assert_kept();
        }
    }
}

#[test]
fn attack_25_clocks_that_differ_by_minutes_do_no_harm() {
    for window in WINDOWS {
        let mut world = world(4, window);
        for (node, minutes) in [(0, -7), (1, 9), (2, 0), (3, 30)] {
            world.nodes[node].clock_offset_ms = minutes * 60_000;
        }
        world.expect_progress(5, 5_000);
        for node in 0..3 {
            world.isolate(node);
            world.submit(4);
            world.run_for(2_000);
            world.network.heal();
            world.expect_progress(2, 20_000);
        }
        world.assert_kept();
    }
}

#[test]
fn attack_26_a_node_two_views_behind_rejoins() {
    for window in WINDOWS {
        let mut world = world(4, window);
        world.isolate(3);
        for view in 0..2 {
            world.submit(1);
            for node in 0..3 {
                world.suspect(node);
            }
            assert!(
                world.run_until(10_000, |world| (0..3)
                    .all(|node| world.is_active_above(node, view))),
                "{}",
                world.trace
            );
        }
        assert!(world.view(3) + 2 <= world.view(0));
        world.network.heal();
        // Node 2, the primary, needs node 3 as soon as another is away.
        world.isolate(0);
        world.submit(4);
        let before = world.height(1);
        let rejoined = |world: &World| world.height(3) > before && world.height(1) > before;
        assert!(world.run_until(30_000, rejoined), "{}", world.trace);
        world.network.heal();
        world.expect_progress(2, 30_000);
        world.assert_kept();
    }
}

#[test]
fn attack_33_pauses_and_cuts_of_ten_seconds_pass() {
    for window in WINDOWS {
        for node in 0..4 {
            let mut world = world(4, window);
            world.expect_progress(1, 2_000);
            world.pause_for(node, 10_000);
            world.submit(8);
            world.run_for(10_000);
            world.expect_progress(2, 10_000);
            world.isolate(node);
            world.submit(8);
            world.run_for(10_000);
            world.network.heal();
            world.expect_progress(2, 10_000);
            world.assert_kept();
        }
    }
}
