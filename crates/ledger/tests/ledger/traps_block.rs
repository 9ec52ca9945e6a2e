//! The known traps of blocks, each by its name.

use pentad_crypto::script;
use pentad_ledger::coinbase;
use pentad_ledger::header_tree::InsertError;
use pentad_ledger::spec::ChainSpec;
use pentad_ledger::verify::contextual::{BlockError as ContextError, TransactionError};
use pentad_ledger::verify::{BlockError, Fault, contextual, semantic, structural};
use pentad_primitives::hash::{BlockHash, Txid};
use pentad_primitives::pow::CompactTarget;
use pentad_primitives::{
    Amount, BlockHeight, OutPoint, Script, Transaction, TxIn, TxOut, Utxo, encode::Encode,
};

use crate::chain::{
    Chain, GENESIS_TIME, NOW, Refusal, assemble, at, coin, coins, output, pay, seal, solve, spend,
    units,
};

fn structural(error: structural::BlockError) -> Result<BlockHash, Refusal> {
    Err(Refusal::Block(BlockError::Structural(error)))
}

fn semantic(error: semantic::BlockError) -> Result<BlockHash, Refusal> {
    Err(Refusal::Block(BlockError::Semantic(error)))
}

fn context(error: ContextError) -> Result<BlockHash, Refusal> {
    Err(Refusal::Context(error))
}

#[test]
fn cve_2012_2459_repeated_tail_keeps_the_hash_open() {
    let mut chain = Chain::development();
    let first = pay(&chain.allocation(1), 4, 0);
    let second = pay(&chain.allocation(2), 4, 0);
    let block = chain.block_on(&chain.tip(), &[first, second]);
    let mut mutated = block.clone();
    mutated.transactions.push(block.transactions[2].clone());
    assert_eq!(mutated.block_hash(), block.block_hash());
    assert_eq!(chain.submit(&mutated), structural(structural::BlockError::MerkleMutated));
    // Attack 40: the honest block still arrives.
    assert_eq!(chain.submit(&block), Ok(block.block_hash()));
    assert_eq!(chain.tip(), block.block_hash());
}

#[test]
fn body_of_another_block_keeps_the_hash_open() {
    let mut chain = Chain::development();
    let block = chain.block_on(&chain.tip(), &[pay(&chain.allocation(1), 4, 0)]);
    for broken in [vec![], vec![block.transactions[1].clone()]] {
        let mut mutated = block.clone();
        mutated.transactions = broken;
        assert_eq!(chain.submit(&mutated), structural(structural::BlockError::MerkleRoot));
    }
    let mut mutated = block.clone();
    mutated.transactions[1].outputs.clear();
    assert_eq!(chain.submit(&mutated), structural(structural::BlockError::MerkleRoot));
    assert_eq!(chain.submit(&block), Ok(block.block_hash()));
}

/// As long as two inner nodes of the merkle tree, side by side.
fn sixty_four_bytes() -> Transaction {
    let transaction = Transaction {
        version: 1,
        inputs: vec![TxIn {
            previous_output: OutPoint { txid: Txid::ZERO, vout: 0 },
            script_sig: Script::default(),
            sequence: 0,
        }],
        outputs: vec![TxOut { amount: Amount::ZERO, script_pubkey: Script::from(vec![0x6a; 4]) }],
        lock_time: 0,
    };
    assert_eq!(transaction.encoded_len(), 64);
    transaction
}

#[test]
fn sixty_four_bytes_in_place_of_the_coinbase_keep_the_hash_open() {
    let mut chain = Chain::development();
    let block = assemble(&chain.context(), vec![sixty_four_bytes()]);
    let error = structural::BlockError::SixtyFourByteTransaction { index: 0 };
    assert_eq!(error.fault(), Fault::Mutation);
    assert_eq!(chain.submit(&block), structural(error));
    assert!(chain.tree.insert(&block.header, NOW).is_ok());
}

#[test]
fn sixty_four_byte_transaction_is_refused() {
    let mut chain = Chain::development();
    let block = chain.block_on(&chain.tip(), &[sixty_four_bytes()]);
    let source = structural::TransactionError::SixtyFourBytes;
    let error = structural::BlockError::Transaction { index: 1, source };
    assert_eq!(error.fault(), Fault::Invalid);
    assert_eq!(chain.submit(&block), structural(error));
}

#[test]
fn first_transaction_must_be_the_coinbase() {
    let mut chain = Chain::development();
    let payment = pay(&chain.allocation(1), 4, 0);
    let block = assemble(&chain.context(), vec![payment]);
    assert_eq!(chain.submit(&block), structural(structural::BlockError::NoCoinbase));
    // This time it is the header's fault: the hash is remembered.
    let invalid = block.block_hash();
    let refusal = Err(Refusal::Header(InsertError::Invalid { invalid }));
    assert_eq!(chain.submit(&block), refusal);
}

#[test]
fn second_coinbase_is_refused() {
    let mut chain = Chain::development();
    let second = chain.coinbase(&chain.context(), 0);
    let block = chain.block_on(&chain.tip(), &[second]);
    let error = structural::BlockError::SecondCoinbase { index: 1 };
    assert_eq!(chain.submit(&block), structural(error));
}

#[test]
fn block_above_the_size_limit_is_refused() {
    let mut chain = Chain::development();
    let max = chain.spec.limits().block_bytes;
    let mut transactions = Vec::new();
    let mut bytes = 0;
    while bytes <= max as usize {
        let outpoint = OutPoint { txid: Txid::ZERO, vout: transactions.len() as u32 };
        let transaction = Transaction {
            version: 1,
            inputs: vec![TxIn {
                previous_output: outpoint,
                script_sig: Script::default(),
                sequence: 0,
            }],
            outputs: vec![output(1, Amount::ZERO); 2_900],
            lock_time: 0,
        };
        bytes += transaction.encoded_len();
        transactions.push(transaction);
    }
    let block = chain.block_on(&chain.tip(), &transactions);
    let bytes = block.encoded_len();
    let error = structural::BlockError::TooLarge { bytes, max };
    assert_eq!(chain.submit(&block), structural(error));
}

#[test]
fn coinbase_of_another_network_is_refused() {
    let mut chain = Chain::development();
    let mut block = chain.block_on(&chain.tip(), &[]);
    let script_sig = coinbase::script_sig(BlockHeight::new(1), &[7; 8], &[]);
    block.transactions[0].inputs[0].script_sig = script_sig;
    seal(&mut block);
    assert_eq!(chain.submit(&block), semantic(semantic::BlockError::CoinbaseNetwork));
}

#[test]
fn coinbase_without_height_is_refused() {
    let mut chain = Chain::development();
    for script_sig in [vec![0x51, 0x51], vec![0x01, 0x01, 8], vec![0x02, 0x11, 0x00], vec![0; 99]] {
        let mut block = chain.block_on(&chain.tip(), &[]);
        block.transactions[0].inputs[0].script_sig = Script::from(script_sig);
        seal(&mut block);
        assert_eq!(chain.submit(&block), semantic(semantic::BlockError::CoinbaseForm));
    }
}

#[test]
fn bip34_coinbase_with_another_height_is_refused() {
    let mut chain = Chain::development();
    let tag = coinbase::tag(chain.spec.genesis_hash().as_bytes());
    let mut block = chain.block_on(&chain.tip(), &[]);
    block.transactions[0].inputs[0].script_sig =
        coinbase::script_sig(BlockHeight::new(2), &tag, &[]);
    seal(&mut block);
    let expected = BlockHeight::new(1);
    assert_eq!(chain.submit(&block), context(ContextError::CoinbaseHeight { expected }));
}

#[test]
fn bip30_duplicate_coinbase_is_refused() {
    let mut chain = Chain::development();
    let block = chain.block_on(&chain.tip(), &[]);
    // Heights make this impossible on a real chain: put the coinbase into the set by force.
    let outpoint = OutPoint { txid: block.transactions[0].txid(), vout: 0 };
    let utxo = Utxo {
        output: block.transactions[0].outputs[0].clone(),
        height: BlockHeight::new(1),
        from_coinbase: true,
    };
    let created = vec![(outpoint, utxo)];
    chain.utxos.apply(&pentad_ledger::UtxoChanges { spent: vec![], created });
    assert_eq!(chain.submit(&block), context(ContextError::DuplicateCoinbase { outpoint }));
}

#[test]
fn no_two_coinbases_have_one_id() {
    let mut chain = Chain::development();
    let mut txids = std::collections::BTreeSet::new();
    for _ in 0..300 {
        chain.salt = 0;
        let hash = chain.mine(&[]);
        assert!(txids.insert(chain.bodies[&hash].txids()[0]));
    }
}

#[test]
fn coinbase_above_subsidy_and_fees_is_refused() {
    let mut chain = Chain::development();
    let payment = pay(&chain.allocation(1), 4, 5_000);
    let block = chain.block_with_fees(&chain.tip(), std::slice::from_ref(&payment), 5_001);
    let allowed = units(coins(1_000).units() + 5_000);
    let paid = units(allowed.units() + 1);
    assert_eq!(chain.submit(&block), context(ContextError::CoinbaseExcess { paid, allowed }));
    let block = chain.block_with_fees(&chain.tip(), &[payment], 5_000);
    assert!(chain.submit(&block).is_ok());
}

#[test]
fn subsidy_halves() {
    let spec = ChainSpec::development("test", GENESIS_TIME, vec![]).unwrap();
    let at = |height| spec.subsidy(BlockHeight::new(height)).units();
    let start = coins(1_000).units();
    assert_eq!([at(1), at(10_499), at(10_500), at(21_000)], [start, start, start / 2, start / 4]);
    assert_eq!([at(10_500 * 36), at(10_500 * 37), at(u32::MAX)], [1, 0, 0]);
}

#[test]
fn double_spend_within_a_block_is_refused() {
    let mut chain = Chain::development();
    let allocation = chain.allocation(1);
    let block = chain.block_on(&chain.tip(), &[pay(&allocation, 4, 0), pay(&allocation, 5, 0)]);
    let outpoint = allocation.outpoint;
    assert_eq!(chain.submit(&block), at(2, TransactionError::SpentInBlock { input: 0, outpoint }));
}

#[test]
fn chain_of_spends_within_a_block_connects_in_order_only() {
    let mut chain = Chain::development();
    let first = pay(&chain.allocation(1), 4, 0);
    let second = pay(&coin(&first, 0, 4), 5, 0);
    let outpoint = OutPoint { txid: first.txid(), vout: 0 };
    let block = chain.block_on(&chain.tip(), &[second.clone(), first.clone()]);
    assert_eq!(chain.submit(&block), at(1, TransactionError::MissingInput { input: 0, outpoint }));
    let before = chain.utxos.len();
    chain.mine(&[first, second]);
    assert_eq!(chain.utxos.len(), before + 1);
    assert_eq!(chain.utxos, chain.rebuilt());
}

#[test]
fn output_spent_by_an_earlier_block_is_refused() {
    let mut chain = Chain::development();
    let allocation = chain.allocation(1);
    chain.mine(&[pay(&allocation, 4, 0)]);
    let block = chain.block_on(&chain.tip(), &[pay(&allocation, 5, 0)]);
    let outpoint = allocation.outpoint;
    assert_eq!(chain.submit(&block), at(1, TransactionError::MissingInput { input: 0, outpoint }));
}

#[test]
fn immature_coinbase_is_refused() {
    let mut parameters = Chain::development().spec.parameters().clone();
    parameters.rewards.coinbase_maturity = 3;
    let mut chain = Chain::new(pentad_ledger::ChainSpec::new(parameters).unwrap());
    chain.mine_empty(2);
    let spend = pay(&chain.mined_coin(1), 4, 0);
    let block = chain.block_on(&chain.tip(), std::slice::from_ref(&spend));
    let (created, height) = (BlockHeight::new(1), BlockHeight::new(3));
    let error = TransactionError::ImmatureCoinbase { input: 0, created, height };
    assert_eq!(chain.submit(&block), at(1, error));
    chain.mine_empty(1);
    chain.mine(&[spend]);
}

#[test]
fn coinbase_spent_in_its_own_block_is_refused() {
    let mut chain = Chain::development();
    let mut block = chain.block_on(&chain.tip(), &[]);
    let own = coin(&block.transactions[0], 0, 9);
    block.transactions.push(pay(&own, 4, 0));
    seal(&mut block);
    let height = BlockHeight::new(1);
    let error = TransactionError::ImmatureCoinbase { input: 0, created: height, height };
    assert_eq!(chain.submit(&block), at(1, error));
}

#[test]
fn genesis_outputs_are_spendable_at_once() {
    let mut parameters = Chain::development().spec.parameters().clone();
    parameters.rewards.coinbase_maturity = 100;
    let mut chain = Chain::new(pentad_ledger::ChainSpec::new(parameters).unwrap());
    chain.mine(&[pay(&chain.allocation(1), 4, 0)]);
}

#[test]
fn data_outputs_never_enter_the_utxo_set() {
    let mut chain = Chain::development();
    let allocation = chain.allocation(1);
    let data = TxOut {
        amount: Amount::ZERO,
        script_pubkey: script::data_script(b"for the record").unwrap(),
    };
    let payment =
        spend(std::slice::from_ref(&allocation), vec![data, output(4, allocation.amount())]);
    let data_coin = coin(&payment, 0, 4);
    let mut spending = spend(std::slice::from_ref(&data_coin), vec![output(5, Amount::ZERO)]);
    let outpoint = data_coin.outpoint;
    let missing = at(2, TransactionError::MissingInput { input: 0, outpoint });
    let block = chain.block_on(&chain.tip(), &[payment.clone(), spending.clone()]);
    assert_eq!(chain.submit(&block), missing);
    chain.mine(&[payment]);
    assert!(chain.utxos.iter().all(|(at, _)| *at != outpoint));
    spending.version = 2;
    let block = chain.block_on(&chain.tip(), &[spending]);
    assert_eq!(chain.submit(&block), at(1, TransactionError::MissingInput { input: 0, outpoint }));
}

#[test]
fn work_that_does_not_meet_its_bits_is_refused() {
    let mut chain = Chain::development();
    let mut block = chain.block_on(&chain.tip(), &[]);
    loop {
        block.header.nonce += 1;
        let hash = block.block_hash();
        if hash.as_bytes()[31] >= 0x80 {
            let bits = block.header.bits;
            let error = semantic::HeaderError::Work { hash, bits };
            let refusal = Refusal::Header(InsertError::Semantic(error));
            assert_eq!(chain.submit(&block), Err(refusal));
            return;
        }
    }
}

#[test]
fn bits_other_than_difficulty_asks_for_are_refused() {
    let mut chain = Chain::development();
    let mut block = chain.block_on(&chain.tip(), &[]);
    let expected = block.header.bits;
    let found = CompactTarget(0x2000_ffff);
    block.header.bits = found;
    solve(&mut block.header);
    let error = InsertError::Contextual(contextual::HeaderError::Bits { expected, found });
    assert_eq!(chain.submit(&block), Err(Refusal::Header(error)));
}

#[test]
fn bits_that_are_no_target_are_refused() {
    let mut chain = Chain::development();
    let limit = chain.spec.pow().unwrap().limit;
    for (bits, error) in [
        (0, semantic::HeaderError::Bits { bits: CompactTarget(0) }),
        (0x0180_0001, semantic::HeaderError::Bits { bits: CompactTarget(0x0180_0001) }),
        (0xff00_ffff, semantic::HeaderError::Bits { bits: CompactTarget(0xff00_ffff) }),
        (
            0x2100_ffff,
            semantic::HeaderError::TargetAboveLimit { bits: CompactTarget(0x2100_ffff), limit },
        ),
    ] {
        let mut block = chain.block_on(&chain.tip(), &[]);
        block.header.bits = CompactTarget(bits);
        assert_eq!(chain.submit(&block), Err(Refusal::Header(InsertError::Semantic(error))));
    }
}

#[test]
fn time_must_pass_the_median_of_eleven() {
    let mut chain = Chain::development();
    chain.mine_empty(12);
    let mut block = chain.block_on(&chain.tip(), &[]);
    let median_time_past = chain.context().median_time_past;
    for time in [median_time_past, median_time_past - 1, 0] {
        block.header.time = time;
        solve(&mut block.header);
        let min_time = median_time_past + 1;
        let error = contextual::HeaderError::TimeTooOld { time, min_time };
        assert_eq!(chain.submit(&block), Err(Refusal::Header(InsertError::Contextual(error))));
    }
    block.header.time = median_time_past + 1;
    solve(&mut block.header);
    assert!(chain.submit(&block).is_ok());
}

#[test]
fn time_may_be_two_hours_ahead_and_is_not_held_against_the_block_later() {
    let mut chain = Chain::development();
    let mut block = chain.block_on(&chain.tip(), &[]);
    block.header.time = NOW + semantic::FUTURE_SECONDS_MAX + 1;
    solve(&mut block.header);
    let error = semantic::HeaderError::TooFarAhead { time: block.header.time, now: NOW };
    assert_eq!(error.fault(), Fault::Premature);
    assert_eq!(chain.submit(&block), Err(Refusal::Header(InsertError::Semantic(error))));
    assert!(chain.tree.insert(&block.header, NOW + 1).is_ok());
}

#[test]
fn unreached_lock_time_is_refused() {
    let mut chain = Chain::development();
    let allocation = chain.allocation(1);
    let locked = |lock_time: u32, sequence: u32| {
        let amount = allocation.amount();
        let coins = [allocation.clone()];
        let mut transaction = crate::chain::unsigned(&coins, vec![output(4, amount)]);
        transaction.lock_time = lock_time;
        transaction.inputs[0].sequence = sequence;
        crate::chain::sign(transaction, &coins)
    };
    // The block has height 1; its lock time by time is the median, not its own time (BIP113).
    let median_time_past = chain.context().median_time_past;
    for lock_time in [1, 499_999_999, median_time_past, u32::MAX] {
        let block = chain.block_on(&chain.tip(), &[locked(lock_time, 0)]);
        assert_eq!(chain.submit(&block), at(1, TransactionError::NotFinal { lock_time }));
    }
    for (lock_time, sequence) in [(0, 0), (u32::MAX, u32::MAX), (median_time_past - 1, 0)] {
        let block = chain.block_on(&chain.tip(), &[locked(lock_time, sequence)]);
        let connected = chain.submit(&block);
        assert_eq!(connected, Ok(block.block_hash()));
        chain = Chain::development();
    }
}

/// Bitcoin asks it of the coinbase as well, which [`unreached_lock_time_is_refused`] leaves open.
#[test]
fn unreached_lock_time_of_the_coinbase_is_refused() {
    let mut chain = Chain::development();
    let context = chain.context();
    let mut locked = |lock_time: u32, sequence: u32| {
        let mut coinbase = chain.coinbase(&context, 0);
        coinbase.lock_time = lock_time;
        coinbase.inputs[0].sequence = sequence;
        assemble(&context, vec![coinbase])
    };
    let (unreached, ignored) = (locked(1, 0), locked(1, u32::MAX));
    let error = TransactionError::NotFinal { lock_time: 1 };
    assert_eq!(chain.submit(&unreached), at(0, error));
    assert_eq!(chain.submit(&ignored), Ok(ignored.block_hash()));
}
