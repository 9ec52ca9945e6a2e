//! Replace-by-fee: each rule of BIP125.

use pentad_ledger::mempool::{Mempool, Policy, REPLACED_MAX, Rejection};
use pentad_primitives::{Transaction, encode::Encode};

use crate::chain::{Chain, Coin, coin, output, pay, sign, units, unsigned};
use crate::mempool::{admit, mempool, split};

/// A payment that may be replaced.
fn replaceable(coins: &[Coin], to: u8, fee: u64) -> Transaction {
    let total: u64 = coins.iter().map(|coin| coin.amount().units()).sum();
    let mut transaction = unsigned(coins, vec![output(to, units(total - fee))]);
    for input in &mut transaction.inputs {
        input.sequence = 0xffff_fffd;
    }
    sign(transaction, coins)
}

#[test]
fn a_higher_fee_replaces_with_descendants() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let first = replaceable(&[chain.allocation(1)], 4, 1_000);
    let child = pay(&coin(&first, 0, 4), 5, 1_000);
    admit(&mut mempool, &chain, &first).unwrap();
    admit(&mut mempool, &chain, &child).unwrap();
    let second = pay(&chain.allocation(1), 6, 10_000);
    let mut replaced = admit(&mut mempool, &chain, &second).unwrap().replaced;
    replaced.sort();
    let mut expected = vec![first.txid(), child.txid()];
    expected.sort();
    assert_eq!(replaced, expected);
    assert_eq!(mempool.len(), 1);
    assert_eq!(mempool.spender(&chain.allocation(1).outpoint), Some(second.txid()));
}

#[test]
fn rule_1_who_does_not_opt_in_is_not_replaced() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let first = pay(&chain.allocation(1), 4, 1_000);
    admit(&mut mempool, &chain, &first).unwrap();
    let second = pay(&chain.allocation(1), 5, 50_000);
    let error = Rejection::Conflict { txid: first.txid() };
    assert_eq!(admit(&mut mempool, &chain, &second), Err(error));
}

#[test]
fn rule_1_the_opt_in_is_inherited() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let parent = replaceable(&[chain.allocation(1)], 4, 1_000);
    let child = pay(&coin(&parent, 0, 4), 5, 1_000);
    admit(&mut mempool, &chain, &parent).unwrap();
    admit(&mut mempool, &chain, &child).unwrap();
    let other_child = pay(&coin(&parent, 0, 4), 6, 50_000);
    let replaced = admit(&mut mempool, &chain, &other_child).unwrap().replaced;
    assert_eq!(replaced, [child.txid()]);
}

#[test]
fn rule_2_no_new_unconfirmed_input() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let first = replaceable(&[chain.allocation(1)], 4, 1_000);
    let other = pay(&chain.allocation(2), 4, 1_000);
    admit(&mut mempool, &chain, &first).unwrap();
    admit(&mut mempool, &chain, &other).unwrap();
    let new = coin(&other, 0, 4);
    let second = replaceable(&[chain.allocation(1), new.clone()], 5, 50_000);
    let error = Rejection::ReplacementInput { outpoint: new.outpoint };
    assert_eq!(admit(&mut mempool, &chain, &second), Err(error));
}

#[test]
fn rules_3_and_4_it_pays_for_what_it_replaces_and_for_itself() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let first = replaceable(&[chain.allocation(1)], 4, 1_000);
    let child = pay(&coin(&first, 0, 4), 5, 7_000);
    admit(&mut mempool, &chain, &first).unwrap();
    admit(&mut mempool, &chain, &child).unwrap();
    let attempt = |fee| replaceable(&[chain.allocation(1)], 6, fee);
    let bytes = attempt(0).encoded_len() as u64;
    for fee in [1_500, 8_000, 8_000 + bytes - 5] {
        let second = attempt(fee);
        let least = units(8_000 + second.encoded_len() as u64);
        let error = Rejection::ReplacementFee { fee: units(fee), least };
        assert_eq!(admit(&mut mempool, &chain, &second), Err(error));
    }
    admit(&mut mempool, &chain, &attempt(8_000 + bytes + 5)).unwrap();
}

#[test]
fn a_lower_fee_rate_does_not_replace() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let first = replaceable(&[chain.allocation(1)], 4, 10_000);
    admit(&mut mempool, &chain, &first).unwrap();
    // More in all, less per byte.
    let coins = [chain.allocation(1), chain.allocation(2), chain.allocation(3)];
    let second = replaceable(&coins, 4, 12_000);
    let error = Rejection::ReplacementFeeRate { txid: first.txid() };
    assert_eq!(admit(&mut mempool, &chain, &second), Err(error));
}

#[test]
fn rule_5_not_too_many_at_once() {
    let mut chain = Chain::development();
    let funding = split(&chain.allocation(1), 6, 0);
    chain.mine(std::slice::from_ref(&funding));
    let mut mempool = mempool(&chain);
    let roots: Vec<Coin> = (0..6).map(|vout| coin(&funding, vout, 1)).collect();
    for root in &roots {
        let mut last = coin(&replaceable(std::slice::from_ref(root), 1, 1_000), 0, 1);
        admit(&mut mempool, &chain, &replaceable(std::slice::from_ref(root), 1, 1_000)).unwrap();
        for _ in 0..20 {
            let payment = pay(&last, 1, 1_000);
            admit(&mut mempool, &chain, &payment).unwrap();
            last = coin(&payment, 0, 1);
        }
    }
    assert!(mempool.len() > REPLACED_MAX);
    let all = replaceable(&roots, 4, 1_000_000);
    assert_eq!(admit(&mut mempool, &chain, &all), Err(Rejection::ReplacesTooMany));
    let fewer = replaceable(&roots[..4], 4, 1_000_000);
    assert_eq!(admit(&mut mempool, &chain, &fewer).unwrap().replaced.len(), 84);
}

#[test]
fn a_replacement_does_not_spend_what_it_replaces() {
    let chain = Chain::development();
    let mut mempool = Mempool::new(Policy::default(), &chain.spec);
    let first = replaceable(&[chain.allocation(1)], 4, 1_000);
    admit(&mut mempool, &chain, &first).unwrap();
    let coins = [chain.allocation(1), coin(&first, 0, 4)];
    let second = replaceable(&coins, 5, 50_000);
    let error = Rejection::ReplacesParent { txid: first.txid() };
    assert_eq!(admit(&mut mempool, &chain, &second), Err(error));
}

#[test]
fn a_replacement_that_finds_no_room_replaces_nothing() {
    let chain = Chain::development();
    let policy = Policy { bytes_max: 500, ..Policy::default() };
    let mut mempool = Mempool::new(policy, &chain.spec);
    let first = replaceable(&[chain.allocation(1)], 4, 1_000);
    let rich = pay(&chain.allocation(2), 4, 20_000);
    admit(&mut mempool, &chain, &first).unwrap();
    admit(&mut mempool, &chain, &rich).unwrap();
    let large = split(&chain.allocation(1), 8, 6_000);
    assert_eq!(admit(&mut mempool, &chain, &large), Err(Rejection::Full));
    assert_eq!(mempool.len(), 2);
    assert!(mempool.contains(&first.txid()));
}
