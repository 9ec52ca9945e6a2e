//! The header tree: work, ties, invalid branches, finality, ways through it.

use pentad_ledger::header_tree::{BlockStatus, HeaderTree, InsertError, TipError};
use pentad_ledger::verify::Fault;
use pentad_primitives::hash::BlockHash;
use pentad_primitives::{Amount, BlockHeight};

use crate::chain::{Chain, NOW, Refusal, coins, pay, seal};

/// Inserts an empty child of `parent` into the tree alone, without its body.
fn header_on(chain: &mut Chain, parent: &BlockHash) -> BlockHash {
    let header = chain.block_on(parent, &[]).header;
    chain.tree.insert(&header, NOW).unwrap().hash
}

fn headers_on(chain: &mut Chain, parent: &BlockHash, count: usize) -> Vec<BlockHash> {
    let mut hashes = vec![*parent];
    for _ in 0..count {
        let next = header_on(chain, hashes.last().unwrap());
        hashes.push(next);
    }
    hashes.split_off(1)
}

#[test]
fn most_work_wins_and_the_first_seen_breaks_ties() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let first = chain.mine(&[]);
    let second = chain.mine_on(&genesis, &[]);
    assert_eq!(chain.tip(), first);
    let longer = chain.mine_on(&second, &[]);
    assert_eq!(chain.tip(), longer);
    let back = chain.mine_on(&first, &[]);
    assert_eq!(chain.tip(), longer);
    let further = chain.mine_on(&back, &[]);
    assert_eq!(chain.tip(), further);
    assert_eq!(chain.utxos, chain.rebuilt());
}

/// A header alone secures no tie: whoever shows the block first does.
#[test]
fn the_first_body_breaks_ties_not_the_first_header() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let withheld = chain.block_on(&genesis, &[]);
    chain.tree.insert(&withheld.header, NOW).unwrap();
    let honest = chain.mine_on(&genesis, &[]);
    chain.submit(&withheld).unwrap();
    assert_eq!(chain.tip(), honest);
}

#[test]
fn the_first_body_is_chosen_when_the_tip_turns_out_invalid() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let tip = chain.mine(&[]);
    let (first, second) = (header_on(&mut chain, &genesis), header_on(&mut chain, &genesis));
    chain.tree.body_known(&first);
    chain.tree.body_known(&second);
    chain.tree.mark_invalid(&tip);
    assert_eq!(chain.tree.best_candidate(), first);
    // Once another is connected, it stays.
    chain.tree.set_tip(&second).unwrap();
    assert_eq!(chain.tree.best_candidate(), second);
}

#[test]
fn the_first_body_wins_even_if_it_waited_for_its_parent() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let parent = header_on(&mut chain, &genesis);
    let siblings: Vec<_> = (0..3).map(|_| header_on(&mut chain, &parent)).collect();
    for sibling in [1, 0, 2] {
        chain.tree.body_known(&siblings[sibling]);
    }
    chain.tree.body_known(&parent);
    assert_eq!(chain.tree.best_candidate(), siblings[1]);
}

#[test]
fn a_deep_reorganisation_restores_the_exact_utxo_set() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    for round in 0..60_u8 {
        let spends = (round % 20 == 0).then(|| pay(&chain.allocation(round / 20 + 1), 4, 0));
        chain.mine(spends.as_slice());
    }
    let old_tip = chain.tip();
    let before = chain.utxos.clone();
    let mut parent = genesis;
    for _ in 0..61 {
        parent = chain.mine_on(&parent, &[]);
    }
    assert_eq!(chain.tip(), parent);
    assert_eq!(chain.utxos, chain.rebuilt());
    let path = chain.tree.path(&old_tip, &parent).unwrap();
    assert_eq!((path.fork, path.fork_height), (genesis, BlockHeight::GENESIS));
    assert_eq!((path.undo.len(), path.apply.len()), (60, 61));
    assert_eq!((path.undo[0], path.apply[60]), (old_tip, parent));
    // And back again.
    let further = chain.mine_on(&old_tip, &[]);
    chain.mine_on(&further, &[]);
    assert_eq!(chain.utxos.len(), before.len() + 2);
    assert_eq!(chain.utxos, chain.rebuilt());
}

#[test]
fn bodies_may_arrive_in_any_order() {
    let mut source = Chain::development();
    source.mine_empty(20);
    let mut chain = Chain::development();
    let block = |height: usize| {
        let hash = source.tree.hash_at(BlockHeight::new(height as u32)).unwrap();
        source.bodies[&hash].block().clone()
    };
    for height in 1..=20 {
        chain.tree.insert(&block(height).header, NOW).unwrap();
    }
    assert_eq!(chain.tree.best_header(), source.tip());
    assert_eq!(chain.tree.missing_bodies(100).len(), 20);
    assert_eq!(chain.tree.missing_bodies(3), [1, 2, 3].map(|height| block(height).block_hash()));
    for height in (2..=20).rev() {
        chain.submit(&block(height)).unwrap();
        assert_eq!(chain.tree.tip_height(), BlockHeight::GENESIS);
    }
    assert_eq!(chain.tree.missing_bodies(100), [block(1).block_hash()]);
    chain.submit(&block(1)).unwrap();
    assert_eq!(chain.tip(), source.tip());
    assert_eq!(chain.tree.missing_bodies(100), []);
    assert_eq!(chain.utxos, source.utxos);
}

/// Attack 39: the announced block never comes; the rest of the network goes on.
#[test]
fn a_withheld_body_holds_nobody_up() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let withheld = headers_on(&mut chain, &genesis, 5);
    assert_eq!(chain.tree.best_header(), withheld[4]);
    let honest = chain.mine_on(&genesis, &[]);
    assert_eq!(chain.tip(), honest);
    assert_eq!(chain.tree.status(&withheld[0]), Some(BlockStatus::HeaderOnly));
    assert_eq!(chain.tree.status(&honest), Some(BlockStatus::Active));
    assert!(chain.tree.wants_body(&withheld[0]));
}

#[test]
fn an_invalid_branch_is_remembered_and_left() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let honest = chain.mine(&[]);
    // A branch of more work whose first block pays itself too much.
    let mut bad = chain.block_on(&genesis, &[]);
    bad.transactions[0].outputs[0].amount = coins(1_001);
    seal(&mut bad);
    let invalid = chain.submit(&bad).unwrap();
    let above = chain.block_on(&invalid, &[]);
    assert!(matches!(chain.submit(&above), Err(Refusal::Context(_))));
    assert_eq!(chain.tip(), honest);
    assert_eq!(chain.tree.best_header(), honest);
    for hash in [invalid, above.block_hash()] {
        assert_eq!(chain.tree.status(&hash), Some(BlockStatus::Invalid));
    }
    // Neither it nor what comes after is looked at again.
    let error = InsertError::Invalid { invalid };
    assert_eq!(error.fault(), Fault::Invalid);
    assert_eq!(chain.tree.insert(&bad.header, NOW), Err(error));
    let mut child = above.header;
    child.prev_block_hash = above.block_hash();
    let error = InsertError::Invalid { invalid: above.block_hash() };
    assert_eq!(chain.tree.insert(&child, NOW), Err(error));
    assert_eq!(chain.utxos, chain.rebuilt());
}

#[test]
fn when_the_tip_turns_out_invalid_the_next_best_is_chosen() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let short = chain.mine(&[]);
    let first = chain.mine_on(&genesis, &[]);
    let second = chain.mine_on(&first, &[]);
    assert_eq!(chain.tip(), second);
    assert!(chain.tree.mark_invalid(&first));
    assert_eq!(chain.tree.best_candidate(), short);
    assert_eq!(chain.tree.best_header(), short);
    let path = chain.tree.path(&second, &short).unwrap();
    assert_eq!((path.undo, path.apply), (vec![second, first], vec![short]));
    chain.tree.set_tip(&short).unwrap();
    assert_eq!(chain.tree.best_candidate(), short);
    assert!(!chain.tree.mark_invalid(&genesis));
}

#[test]
fn a_header_without_its_parent_is_not_kept() {
    let mut chain = Chain::development();
    let mut source = Chain::development();
    let parent = source.mine(&[]);
    let orphan = source.block_on(&parent, &[]);
    let before = chain.tree.header_count();
    let error = InsertError::UnknownParent { parent };
    assert_eq!(error.fault(), Fault::Premature);
    assert_eq!(chain.tree.insert(&orphan.header, NOW), Err(error));
    assert_eq!(chain.tree.header_count(), before);
}

#[test]
fn a_known_header_changes_nothing() {
    let mut chain = Chain::development();
    let block = chain.block_on(&chain.tip(), &[]);
    assert!(chain.tree.insert(&block.header, NOW).unwrap().is_new);
    assert!(!chain.tree.insert(&block.header, NOW).unwrap().is_new);
    assert_eq!(chain.tree.header_count(), 2);
}

/// Attack 49.
#[test]
fn a_reorganisation_below_finality_is_refused() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let other = chain.block_on(&genesis, &[]);
    let known = chain.submit(&other).unwrap();
    let second = chain.mine(&[]);
    let last_final = chain.mine(&[]);
    let side = chain.mine_on(&second, &[]);
    chain.tree.finalise(&last_final).unwrap();
    // New headers, headers known before, and the choice among them.
    let final_height = BlockHeight::new(3);
    let late = chain.block_on(&known, &[]);
    let error = InsertError::BelowFinality { final_height };
    assert_eq!(chain.tree.insert(&late.header, NOW), Err(error.clone()));
    let late = chain.block_on(&side, &[]);
    assert_eq!(chain.tree.insert(&late.header, NOW), Err(error));
    assert_eq!(chain.tree.set_tip(&side), Err(TipError::BelowFinality(side)));
    assert_eq!(chain.tree.best_candidate(), last_final);
    assert!(!chain.tree.mark_invalid(&last_final));
    // Above it, all is as before.
    let next = chain.mine(&[]);
    assert_eq!(chain.tip(), next);
    let branch = chain.mine_on(&last_final, &[]);
    let branch = chain.mine_on(&branch, &[]);
    assert_eq!(chain.tip(), branch);
    assert_eq!(chain.tree.finalise(&next), Err(TipError::NotActive(next)));
    assert_eq!(chain.tree.finalise(&second), Err(TipError::BelowFinality(second)));
}

/// Engine hybrid: validators may choose the branch of less work.
#[test]
fn a_final_branch_of_less_work_is_followed_and_the_best_on_it() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    chain.mine_empty(9);
    let (lost, second) = (chain.tip(), chain.tree.hash_at(BlockHeight::new(2)).unwrap());
    let shared = chain.mine_on(&genesis, &[pay(&chain.allocation(1), 4, 0)]);
    let chosen = chain.mine_on(&shared, &[]);
    let (first, other) = (chain.mine_on(&chosen, &[]), chain.mine_on(&chosen, &[]));
    let longest = chain.mine_on(&other, &[]);
    assert_eq!(chain.tip(), lost);
    chain.finalise(&chosen);
    assert_eq!(chain.tip(), longest);
    assert_eq!(chain.utxos, chain.rebuilt());
    assert!([lost, shared, chosen, first].iter().all(|hash| chain.tree.is_complete(hash)));
    // The branch that was left may grow and be found invalid: it matters no more.
    let late = chain.block_on(&lost, &[]);
    let error = InsertError::BelowFinality { final_height: BlockHeight::new(2) };
    assert_eq!(chain.tree.insert(&late.header, NOW), Err(error));
    chain.tree.mark_invalid(&second);
    assert_eq!((chain.tree.best_candidate(), chain.tree.best_header()), (longest, longest));
    // The tip above the final block may turn out to be invalid: what is left has less work.
    chain.tree.mark_invalid(&other);
    assert_eq!((chain.tree.best_candidate(), chain.tree.best_header()), (first, first));
}

/// They lead somewhere once the tip has less work than they: their bodies are let in.
#[test]
fn headers_that_overtake_a_final_branch_of_less_work_are_wanted() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    chain.mine_empty(10);
    let chosen = chain.mine_on(&genesis, &[]);
    let mut tip = chosen;
    for _ in 0..4 {
        tip = chain.mine_on(&tip, &[]);
    }
    let branch = headers_on(&mut chain, &chosen, 6);
    let gap = headers_on(&mut chain, &chosen, 7);
    chain.tree.body_known(&gap[6]);
    assert!(!branch.iter().any(|hash| chain.tree.wants_body(hash)));
    chain.finalise(&chosen);
    assert_eq!((chain.tip(), chain.tree.best_header()), (tip, gap[6]));
    assert_eq!(chain.tree.missing_bodies(10), gap[..6]);
    assert!(gap[..6].iter().all(|hash| chain.tree.wants_body(hash)));
    assert!(branch.iter().all(|hash| chain.tree.wants_body(hash)));
}

#[test]
fn only_a_complete_chain_can_be_the_tip() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let hashes = headers_on(&mut chain, &genesis, 2);
    chain.tree.body_known(&hashes[1]);
    assert_eq!(chain.tree.set_tip(&hashes[1]), Err(TipError::Incomplete(hashes[1])));
    assert_eq!(chain.tree.set_tip(&BlockHash::ZERO), Err(TipError::Unknown(BlockHash::ZERO)));
    assert!(!chain.tree.body_known(&BlockHash::ZERO));
    chain.tree.body_known(&hashes[0]);
    assert_eq!(chain.tree.best_candidate(), hashes[1]);
    assert_eq!(chain.tree.set_tip(&hashes[1]), Ok(()));
    assert_eq!(chain.tree.hash_at(BlockHeight::new(1)), Some(hashes[0]));
}

#[test]
fn bodies_of_lesser_branches_are_not_wanted() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    chain.mine_empty(5);
    let lesser = headers_on(&mut chain, &genesis, 5);
    let wanted = |chain: &Chain, hash: &BlockHash| chain.tree.wants_body(hash);
    assert!(!lesser[..4].iter().any(|hash| wanted(&chain, hash)));
    // As much work as the tip: it might be the next tip's parent.
    assert!(wanted(&chain, &lesser[4]));
    header_on(&mut chain, &lesser[4]);
    assert!(lesser.iter().all(|hash| wanted(&chain, hash)));
    let tip = chain.tip();
    assert!(!wanted(&chain, &tip));
    assert!(!wanted(&chain, &BlockHash::ZERO));
}

/// Attack 39: where the best header's bodies are withheld, those of the next best are fetched.
#[test]
fn bodies_of_the_next_best_branch_can_be_fetched() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    chain.mine_empty(2);
    let withheld = headers_on(&mut chain, &genesis, 6);
    let honest = headers_on(&mut chain, &genesis, 4);
    assert_eq!(chain.tree.missing_bodies(10), withheld);
    assert_eq!(chain.tree.missing_bodies_to(&honest[3], 10), honest);
    assert!(honest.iter().all(|hash| chain.tree.wants_body(hash)));
    assert_eq!(chain.tree.missing_bodies_to(&BlockHash::ZERO, 10), []);
}

#[test]
fn ancestors_and_paths_agree_with_a_walk() {
    let mut chain = Chain::development();
    let genesis = chain.tip();
    let trunk = headers_on(&mut chain, &genesis, 130);
    let branch = headers_on(&mut chain, &trunk[69], 90);
    for (index, hash) in trunk.iter().enumerate() {
        let height = BlockHeight::new(index as u32 + 1);
        assert_eq!(chain.tree.ancestor(&trunk[129], height), Some(*hash));
        let expected = if index <= 69 { *hash } else { branch[index - 70] };
        assert_eq!(chain.tree.ancestor(&branch[89], height), Some(expected));
        let path = chain.tree.path(hash, &branch[20]).unwrap();
        assert_eq!(path.fork, trunk[index.min(69)]);
        assert_eq!(path.undo.len(), index.saturating_sub(69));
        assert_eq!(path.apply.len(), 21 + 69_usize.saturating_sub(index));
    }
    assert_eq!(chain.tree.ancestor(&trunk[3], BlockHeight::new(5)), None);
}

#[test]
fn headers_come_back_as_they_went_in() {
    let mut chain = Chain::development();
    let block = chain.block_on(&chain.tip(), &[]);
    let hash = chain.tree.insert(&block.header, NOW).unwrap().hash;
    assert_eq!(chain.tree.header(&hash), Some(block.header));
    let genesis = chain.spec.genesis_block().header;
    assert_eq!(chain.tree.header(&genesis.block_hash()), Some(genesis));
    let tree = HeaderTree::new(&chain.spec);
    assert_eq!(tree.header_count(), 1);
    assert_eq!(chain.spec.subsidy(BlockHeight::new(u32::MAX)), Amount::ZERO);
}
