//! Case 49 and those around it where work makes the blocks and validators make them final: four
//! miners who validate, blocks final with two on them.

use pentad_pbft::Message;
use pentad_primitives::Hash256;
use pentad_sim::byzantine::{Colluder, Silent};
use pentad_sim::checker::Violation;
use pentad_sim::hybrid::{Chain, Work};
use pentad_sim::{Setup, World};

/// Longest time until the next blocks are found and final; they come every ten seconds.
const WITHIN_MS: u64 = 300_000;

fn miners(seed: u64) -> World {
    with(seed, Work::new(2))
}

fn with(seed: u64, work: Work) -> World {
    let mut world = World::new(Setup::hybrid(4, work).seed(seed));
    world.trace.keep();
    world
}

fn chain(world: &World, node: usize) -> &Chain {
    world.nodes[node].chain.as_ref().expect("work makes the blocks")
}

fn block_at(world: &World, node: usize, height: u64) -> Hash256 {
    chain(world, node).block_at(height).expect("a block of the main chain")
}

fn has_seen(world: &World, is_it: impl Fn(&Violation) -> bool) -> bool {
    world.checker.violations.iter().any(is_it)
}

/// Node 3, cut off, has most of the work: at the end its branch is the longer one by far, without
/// what the others made final meanwhile. Says up to where blocks were final before.
fn cut_off_the_miner_of_most_work(world: &mut World) -> u64 {
    world.expect_convergence(3, WITHIN_MS);
    world.nodes[3].hash_power = 12;
    world.isolate(3);
    let before = world.height(3);
    let is_ahead = |world: &World| {
        world.height(0) > before + 4 && chain(world, 3).height() > chain(world, 0).height() + 5
    };
    assert!(world.run_until(10 * WITHIN_MS, is_ahead), "{}", world.trace);
    assert_eq!(world.height(3), before, "one of four made blocks final");
    world.network.heal();
    before
}

#[test]
fn attack_49_a_branch_of_more_work_loses_against_the_final_one() {
    for seed in 0..20 {
        let mut world = miners(seed);
        let before = cut_off_the_miner_of_most_work(&mut world);
        let height = world.height(0);
        let others = block_at(&world, 0, height);
        assert_ne!(block_at(&world, 3, height), others, "there is one branch only");
        world.expect_convergence(3, WITHIN_MS);
        assert!(height > before && block_at(&world, 3, height) == others);
        world.assert_kept();
    }
}

#[test]
fn attack_21_two_halves_make_nothing_final_and_the_branch_of_more_work_wins() {
    for seed in 0..20 {
        let mut world = miners(seed);
        world.expect_convergence(3, WITHIN_MS);
        let before = world.highest_height();
        world.network.partition(&[&[0, 1], &[2, 3]]);
        world.run_for(2 * WITHIN_MS);
        // A block that was deep enough at the cut may just have been agreed on.
        assert!(world.highest_height() <= before + 1, "half a network made blocks final");
        let longest = [0, 2].into_iter().max_by_key(|node| chain(&world, *node).height());
        let winner = longest.map(|node| block_at(&world, node, before + 10));
        let is_even = chain(&world, 0).height() == chain(&world, 2).height();
        world.network.heal();
        world.expect_convergence(3, WITHIN_MS);
        assert!(is_even || Some(block_at(&world, 1, before + 10)) == winner, "{}", world.trace);
        world.assert_kept();
    }
}

/// Three prepared a block, and no COMMIT of theirs arrived; then all moved to the branch of the
/// fourth, which has more work and who lacks that block. Says which block it is.
fn leave_a_prepared_block(world: &mut World) -> Hash256 {
    for node in &mut world.nodes {
        node.hash_power = 0;
    }
    world.isolate(3);
    world.filter(|_, _, message| !matches!(message, Message::Commit(_)));
    for _ in 0..3 {
        world.find_block(0);
        world.run_for(50);
    }
    let prepared = block_at(world, 0, 1);
    for _ in 0..5 {
        world.find_block(3);
    }
    world.network.heal();
    let have_left = |world: &World| (0..4).all(|node| block_at(world, node, 1) != prepared);
    assert!(world.run_until(30_000, have_left), "{}", world.trace);
    assert_eq!(world.highest_height(), 0);
    world.filter = None;
    for node in &mut world.nodes {
        node.hash_power = 1;
    }
    prepared
}

#[test]
fn attack_24_a_block_prepared_on_a_branch_that_all_have_left_becomes_final() {
    let mut world = miners(1);
    let prepared = leave_a_prepared_block(&mut world);
    world.expect_convergence(3, WITHIN_MS);
    assert!((0..4).all(|node| block_at(&world, node, 1) == prepared), "{}", world.trace);
    world.assert_kept();
}

#[test]
fn attack_24_one_who_lacks_the_prepared_block_votes_where_another_is_gone() {
    let mut world = miners(1);
    let prepared = leave_a_prepared_block(&mut world);
    world.corrupt(0, Silent);
    world.expect_convergence(3, WITHIN_MS);
    world.assert_kept();
    assert!((1..4).all(|node| block_at(&world, node, 1) == prepared), "{}", world.trace);
}

#[test]
fn attack_27_everybody_restarts_at_once_and_nothing_final_is_lost() {
    for seed in 0..10 {
        let mut world = miners(seed);
        for _ in 0..20 {
            world.run_for(10_000);
            for node in 0..4 {
                world.crash_for(node, 50 + node as u64 * 30);
            }
        }
        let before = world.highest_height();
        world.expect_convergence(3, WITHIN_MS);
        assert!(before > 0 && world.lowest_height() >= before + 3);
        world.assert_kept();
    }
}

#[test]
fn attack_16_with_one_byzantine_validator_too_many_the_checker_sees_two_final_branches() {
    let mut forks = 0;
    for seed in 0..10 {
        let mut world = miners(seed);
        world.corrupt(0, Colluder::default());
        world.corrupt(3, Colluder::default());
        // Each of the others has a branch of its own, and the two faulty ones know both.
        world.nodes[0].hash_power = 0;
        world.nodes[3].hash_power = 0;
        world.network.partition(&[&[1], &[2]]);
        world.run_for(WITHIN_MS);
        forks += usize::from(has_seen(&world, |it| matches!(it, Violation::Fork { .. })));
    }
    assert!(forks > 0, "the checker cannot see the fault that it is there for");
}

/// The mutation that the rule of σ forbids, and that the checker must see.
#[test]
fn validators_that_sign_at_any_depth_are_seen() {
    let mut world = with(1, Work { signs_at_any_depth: true, ..Work::new(2) });
    world.run_for(WITHIN_MS);
    assert!(has_seen(&world, |it| matches!(it, Violation::Shallow { .. })));
}

/// The mutation that fork choice under finality forbids, and that the checker must see.
#[test]
fn a_fork_choice_that_does_not_heed_finality_is_seen() {
    let mut world = with(1, Work { ignores_finality: true, ..Work::new(2) });
    cut_off_the_miner_of_most_work(&mut world);
    world.run_for(WITHIN_MS);
    assert!(has_seen(&world, |it| matches!(it, Violation::OffMainChain { .. })));
}

#[test]
fn a_block_log_that_forgets_a_certificate_is_seen() {
    let mut world = miners(1);
    world.expect_convergence(2, WITHIN_MS);
    world.crash(1);
    world.nodes[1].chain.as_mut().expect("work makes the blocks").forget_certificate();
    world.start(1);
    assert!(has_seen(&world, |it| matches!(it, Violation::LostBlock { .. })));
}
