//! The mempool follows the chain: blocks, conflicts, reorganisations.

use pentad_ledger::mempool::{Entry, Mempool, Policy, Removal, Updated};
use pentad_ledger::verify::CheckedBlock;
use pentad_primitives::Transaction;
use pentad_primitives::hash::{BlockHash, Txid};

use crate::chain::{Chain, NOW, coin, coins, output, pay, sign, unsigned};
use crate::mempool::{admit, mempool};

/// Lets the mempool follow the chain from an old tip to the present one.
pub fn follow(mempool: &mut Mempool, chain: &Chain, from: &BlockHash) -> Updated {
    let path = chain.tree.path(from, &chain.tip()).unwrap();
    let bodies = |hashes: &[BlockHash]| -> Vec<CheckedBlock> {
        hashes.iter().map(|hash| chain.bodies[hash].clone()).collect()
    };
    let mut undone = bodies(&path.undo);
    undone.reverse();
    let applied = bodies(&path.apply);
    mempool.update(&undone, &applied, &chain.utxos, &chain.context(), NOW).unwrap()
}

fn txids(mempool: &Mempool) -> Vec<Txid> {
    mempool.gather(Entry::txid).in_topological_order()
}

fn ids(transactions: &[&Transaction]) -> Vec<Txid> {
    transactions.iter().map(|transaction| transaction.txid()).collect()
}

#[test]
fn confirmed_transactions_leave_and_their_children_stay() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let parent = pay(&chain.allocation(1), 4, 1_000);
    let child = pay(&coin(&parent, 0, 4), 5, 1_000);
    admit(&mut mempool, &chain, &parent).unwrap();
    admit(&mut mempool, &chain, &child).unwrap();
    let from = chain.tip();
    chain.mine(std::slice::from_ref(&parent));
    let updated = follow(&mut mempool, &chain, &from);
    assert_eq!(updated.removed, [(parent.txid(), Removal::Confirmed)]);
    assert_eq!(txids(&mempool), [child.txid()]);
    assert_eq!(mempool.get(&child.txid()).unwrap().ancestors().count, 1);
}

#[test]
fn conflicts_leave_with_their_descendants() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let loser = pay(&chain.allocation(1), 4, 1_000);
    let child = pay(&coin(&loser, 0, 4), 5, 1_000);
    let other = pay(&chain.allocation(2), 4, 1_000);
    for transaction in [&loser, &child, &other] {
        admit(&mut mempool, &chain, transaction).unwrap();
    }
    let from = chain.tip();
    chain.mine(&[pay(&chain.allocation(1), 6, 1_000)]);
    let updated = follow(&mut mempool, &chain, &from);
    let reason = Removal::Conflict;
    assert_eq!(updated.removed, [(child.txid(), reason), (loser.txid(), reason)]);
    assert_eq!(txids(&mempool), [other.txid()]);
}

#[test]
fn a_reorganisation_returns_transactions() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let genesis = chain.tip();
    let first = pay(&chain.allocation(1), 4, 1_000);
    let second = pay(&coin(&first, 0, 4), 5, 1_000);
    let third = pay(&coin(&second, 0, 5), 6, 1_000);
    let shared = pay(&chain.allocation(2), 4, 1_000);
    chain.mine(&[first.clone(), shared.clone()]);
    let tip = chain.mine(std::slice::from_ref(&second));
    admit(&mut mempool, &chain, &third).unwrap();
    // The other branch has one of the transactions.
    let other = chain.mine_on(&genesis, &[shared]);
    let other = chain.mine_on(&other, &[]);
    assert_eq!(chain.tip(), tip);
    chain.mine_on(&other, &[]);
    let updated = follow(&mut mempool, &chain, &tip);
    assert_eq!(updated.returned, ids(&[&first, &second]));
    assert_eq!(updated.removed, []);
    assert_eq!(txids(&mempool), ids(&[&first, &second, &third]));
    // The totals are as if they had come in order.
    assert_eq!(mempool.get(&first.txid()).unwrap().descendants().count, 3);
    assert_eq!(mempool.get(&third.txid()).unwrap().ancestors().count, 3);
    chain.mine(&[first, second, third]);
}

#[test]
fn children_of_what_both_branches_hold_stay() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let genesis = chain.tip();
    let shared = pay(&chain.allocation(1), 4, 1_000);
    let child = pay(&coin(&shared, 0, 4), 5, 1_000);
    let tip = chain.mine(std::slice::from_ref(&shared));
    admit(&mut mempool, &chain, &child).unwrap();
    let other = chain.mine_on(&genesis, &[shared]);
    chain.mine_on(&other, &[]);
    let updated = follow(&mut mempool, &chain, &tip);
    assert_eq!((updated.returned, updated.removed), (vec![], vec![]));
    assert_eq!(txids(&mempool), [child.txid()]);
}

#[test]
fn a_reorganisation_drops_what_spends_a_lost_coinbase() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let genesis = chain.tip();
    chain.mine_empty(1);
    let lost = pay(&chain.mined_coin(1), 4, 1_000);
    let child = pay(&coin(&lost, 0, 4), 5, 1_000);
    let kept = pay(&chain.allocation(1), 4, 1_000);
    let tip = chain.mine(std::slice::from_ref(&lost));
    admit(&mut mempool, &chain, &child).unwrap();
    admit(&mut mempool, &chain, &kept).unwrap();
    let mut parent = genesis;
    for _ in 0..3 {
        parent = chain.mine_on(&parent, &[]);
    }
    let updated = follow(&mut mempool, &chain, &tip);
    assert_eq!(updated.returned, []);
    assert_eq!(updated.removed, [(child.txid(), Removal::Reorganised)]);
    assert_eq!(txids(&mempool), [kept.txid()]);
}

#[test]
fn a_reorganisation_drops_double_spends_of_the_new_branch() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let genesis = chain.tip();
    let undone = pay(&chain.allocation(1), 4, 1_000);
    let child = pay(&coin(&undone, 0, 4), 5, 1_000);
    let tip = chain.mine(&[undone]);
    admit(&mut mempool, &chain, &child).unwrap();
    let other = chain.mine_on(&genesis, &[pay(&chain.allocation(1), 6, 1_000)]);
    chain.mine_on(&other, &[]);
    let updated = follow(&mut mempool, &chain, &tip);
    assert_eq!(updated.removed, [(child.txid(), Removal::Reorganised)]);
    assert!(mempool.is_empty());
}

/// A shorter chain of more work makes coinbases immature and lock times unreached again.
#[test]
fn a_reorganisation_drops_what_is_not_ready_any_more() {
    let mut parameters = Chain::development().spec.parameters().clone();
    parameters.rewards.coinbase_maturity = 3;
    let mut chain = Chain::new(pentad_ledger::ChainSpec::new(parameters).unwrap());
    let mut mempool = mempool(&chain);
    chain.mine_empty(4);
    let height_4 = chain.tip();
    chain.mine_empty(1);
    let mut locked = unsigned(&[chain.allocation(1)], vec![output(4, coins(999))]);
    locked.lock_time = 5;
    locked.inputs[0].sequence = 0;
    let locked = sign(locked, &[chain.allocation(1)]);
    let immature = pay(&chain.mined_coin(3), 4, 1_000);
    let mature = pay(&chain.mined_coin(2), 4, 1_000);
    for transaction in [&locked, &immature, &mature] {
        admit(&mut mempool, &chain, transaction).unwrap();
    }
    // As if the block of height 5 had been undone by an operator: height 4 is the tip.
    let tip = chain.tip();
    let undone = chain.bodies[&tip].clone();
    chain.tree.mark_invalid(&tip);
    chain.tree.set_tip(&height_4).unwrap();
    let context = chain.context();
    let rebuilt = chain.rebuilt();
    let updated = mempool.update(&[undone], &[], &rebuilt, &context, NOW).unwrap();
    let mut removed: Vec<_> = updated.removed.iter().map(|(txid, _)| *txid).collect();
    removed.sort();
    let mut expected = ids(&[&locked, &immature]);
    expected.sort();
    assert_eq!(removed, expected);
    assert_eq!(txids(&mempool), [mature.txid()]);
}

#[test]
fn returned_transactions_keep_chains_within_their_bounds() {
    let mut chain = Chain::development();
    let policy = Policy { ancestors_max: 4, descendants_max: 4, ..Policy::default() };
    let mut mempool = Mempool::new(policy, &chain.spec);
    let genesis = chain.tip();
    let mut payments = vec![pay(&chain.allocation(1), 4, 1_000)];
    for _ in 0..5 {
        let last = coin(payments.last().unwrap(), 0, 4);
        payments.push(pay(&last, 4, 1_000));
    }
    let tip = chain.mine(&payments[..3]);
    for payment in &payments[3..] {
        admit(&mut mempool, &chain, payment).unwrap();
    }
    let other = chain.mine_on(&genesis, &[]);
    chain.mine_on(&other, &[]);
    follow(&mut mempool, &chain, &tip);
    assert_eq!(txids(&mempool), ids(&payments[..4].iter().collect::<Vec<_>>()));
}

#[test]
fn orphans_that_a_block_confirms_are_forgotten() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let parent = pay(&chain.allocation(1), 4, 1_000);
    let child = pay(&coin(&parent, 0, 4), 5, 1_000);
    mempool.keep_orphan(chain.checked(&child), NOW);
    let from = chain.tip();
    chain.mine(&[parent, child]);
    follow(&mut mempool, &chain, &from);
    assert_eq!(mempool.orphans(), 0);
}
