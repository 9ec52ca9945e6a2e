//! Block templates are valid, and choose what pays best.

use pentad_crypto::script;
use pentad_ledger::mempool::{FeeRate, Mempool, Policy};
use pentad_ledger::template::{BlockTemplate, TemplateError};
use pentad_primitives::hash::Txid;
use pentad_primitives::{BlockHeight, Script, Transaction, encode::Encode};

use crate::chain::{Chain, GENESIS_TIME, NOW, coin, coins, pay, script_of, solve, units};
use crate::mempool::{admit, mempool, split};

fn template(chain: &Chain, mempool: &Mempool) -> BlockTemplate {
    BlockTemplate::build(&chain.context(), mempool, &chain.spec, script_of(8), NOW).unwrap()
}

fn chosen(template: &BlockTemplate) -> Vec<Txid> {
    template.block().transactions.iter().skip(1).map(Transaction::txid).collect()
}

/// Solves a template and submits it.
fn mine(chain: &mut Chain, template: BlockTemplate) {
    let mut block = template.into_block();
    solve(&mut block.header);
    assert_eq!(chain.submit(&block), Ok(block.block_hash()));
    assert_eq!(chain.tip(), block.block_hash());
}

#[test]
fn an_empty_template_is_valid() {
    let mut chain = Chain::development();
    let mempool = mempool(&chain);
    let template = template(&chain, &mempool);
    assert_eq!(template.height(), BlockHeight::new(1));
    assert_eq!(template.block().header.time, NOW);
    assert_eq!(template.bits(), chain.spec.pow().unwrap().limit);
    let coinbase = &template.block().transactions[0];
    assert_eq!(coinbase.outputs[0].amount, coins(1_000));
    assert_eq!(coinbase.outputs[0].script_pubkey, script_of(8));
    mine(&mut chain, template);
}

#[test]
fn the_coinbase_takes_the_fees() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    for (owner, fee) in [(1, 1_000), (2, 2_500)] {
        admit(&mut mempool, &chain, &pay(&chain.allocation(owner), 4, fee)).unwrap();
    }
    let template = template(&chain, &mempool);
    assert_eq!(template.fees(), units(3_500));
    let reward = template.block().transactions[0].outputs[0].amount;
    assert_eq!(reward, units(coins(1_000).units() + 3_500));
    mine(&mut chain, template);
}

#[test]
fn time_is_above_the_median_even_with_a_slow_clock() {
    let mut chain = Chain::development();
    chain.mine_empty(30);
    let median_time_past = chain.context().median_time_past;
    assert!(median_time_past > GENESIS_TIME);
    let mempool = mempool(&chain);
    let payout = script_of(8);
    let slow = BlockTemplate::build(&chain.context(), &mempool, &chain.spec, payout, 0).unwrap();
    assert_eq!(slow.block().header.time, median_time_past + 1);
    mine(&mut chain, slow);
}

#[test]
fn a_child_pays_for_its_parent() {
    let mut chain = Chain::development();
    let policy = Policy { min_fee_rate: FeeRate::ZERO, ..Policy::default() };
    let mut mempool = Mempool::new(policy, &chain.spec);
    let parent = pay(&chain.allocation(1), 4, 0);
    let child = pay(&coin(&parent, 0, 4), 5, 10_000);
    let middle = pay(&chain.allocation(2), 4, 2_000);
    let low = pay(&chain.allocation(3), 4, 100);
    for transaction in [&parent, &child, &middle, &low] {
        admit(&mut mempool, &chain, transaction).unwrap();
    }
    let template = template(&chain, &mempool);
    let expected = [&parent, &child, &middle, &low].map(Transaction::txid);
    assert_eq!(chosen(&template), expected);
    mine(&mut chain, template);
}

#[test]
fn shared_ancestors_are_counted_once() {
    let mut chain = Chain::development();
    let policy = Policy { min_fee_rate: FeeRate::ZERO, ..Policy::default() };
    let mut mempool = Mempool::new(policy, &chain.spec);
    let parent = split(&chain.allocation(1), 2, 0);
    let rich = pay(&coin(&parent, 0, 1), 5, 20_000);
    // With its parent it is worth little; once that is in the block, more than `other`.
    let sibling = pay(&coin(&parent, 1, 1), 5, 3_000);
    let other = pay(&chain.allocation(2), 4, 2_000);
    for transaction in [&parent, &rich, &sibling, &other] {
        admit(&mut mempool, &chain, transaction).unwrap();
    }
    let template = template(&chain, &mempool);
    let expected = [&parent, &rich, &sibling, &other].map(Transaction::txid);
    assert_eq!(chosen(&template), expected);
    mine(&mut chain, template);
}

#[test]
fn a_full_block_holds_what_pays_best_within_the_limit() {
    let mut parameters = Chain::development().spec.parameters().clone();
    parameters.limits.block_bytes = 10_000;
    parameters.limits.transaction_bytes = 9_000;
    let mut chain = Chain::new(pentad_ledger::ChainSpec::new(parameters).unwrap());
    let funding = split(&chain.allocation(1), 100, 0);
    chain.mine(std::slice::from_ref(&funding));
    let mut mempool = mempool(&chain);
    for vout in 0..100 {
        let fee = 1_000 + u64::from(vout) * 10;
        admit(&mut mempool, &chain, &pay(&coin(&funding, vout, 1), 4, fee)).unwrap();
    }
    let template = template(&chain, &mempool);
    let block = template.block();
    assert!((9_700..=10_000).contains(&block.encoded_len()), "{} bytes", block.encoded_len());
    let fees: Vec<_> =
        chosen(&template).iter().map(|txid| mempool.get(txid).unwrap().fee().units()).collect();
    assert!(fees.iter().all(|fee| *fee > 1_450), "{fees:?}");
    mine(&mut chain, template);
}

#[test]
fn an_extra_nonce_changes_the_block_and_keeps_it_valid() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    for owner in 1..=3 {
        admit(&mut mempool, &chain, &pay(&chain.allocation(owner), 4, 1_000)).unwrap();
    }
    let mut template = template(&chain, &mempool);
    let root = template.block().header.merkle_root;
    let coinbase = template.block().transactions[0].txid();
    assert_eq!(template.branch().root(&coinbase), Some(root));
    template.set_extra_nonce(u64::MAX);
    assert_ne!(template.block().header.merkle_root, root);
    let changed = template.clone();
    template.set_extra_nonce(0);
    assert_eq!(template.block().header.merkle_root, root);
    mine(&mut chain, changed);
}

#[test]
fn a_payout_that_cannot_be_spent_is_refused() {
    let chain = Chain::development();
    let mempool = mempool(&chain);
    for payout in [Script::default(), script::data_script(b"lost").unwrap()] {
        let built = BlockTemplate::build(&chain.context(), &mempool, &chain.spec, payout, NOW);
        assert_eq!(built, Err(TemplateError::Payout));
    }
}
