//! The rules of engine pbft, one by one. Certificates are checked elsewhere.

use pentad_ledger::header_tree::InsertError;
use pentad_ledger::mempool::{Mempool, Policy};
use pentad_ledger::proposal::{self, Proposal, ProposalError};
use pentad_ledger::spec::{Allocation, ChainSpec, Engine, PBFT_BITS, Parameters};
use pentad_ledger::template::{BlockTemplate, TemplateError};
use pentad_ledger::verify::contextual::{self, BlockError};
use pentad_ledger::verify::semantic::{self, FUTURE_SECONDS_MAX};
use pentad_ledger::verify::{CheckedBlock, Fault};
use pentad_primitives::pow::{CompactTarget, Target};
use pentad_primitives::{Amount, Block, BlockHash, Transaction, TxOut, merkle};

use crate::chain::{Chain, GENESIS_TIME, NOW, Refusal, address, coins, output, pay, units};
use crate::pbft_spec::validator;

const FEE: u64 = 1_000;

fn parameters() -> Parameters {
    let allocations =
        (1..=3).map(|n| Allocation { address: address(n), amount: coins(1_000) }).collect();
    let validators = (11..=14).map(validator).collect();
    Parameters::pbft("test", GENESIS_TIME, allocations, validators).unwrap()
}

/// Four validators, keys 11 to 14; genesis pays keys 1 to 3.
fn chain() -> Chain {
    Chain::new(ChainSpec::new(parameters()).unwrap())
}

/// A block on the tip that validator 0 would propose, with one payment.
fn block(chain: &mut Chain) -> Block {
    let context = chain.context();
    let payment = pay(&chain.allocation(1), 2, FEE);
    let mut coinbase = chain.coinbase(&context, FEE);
    coinbase.outputs[0].script_pubkey = address(11).script_pubkey();
    let mut block = crate::chain::assemble(&context, vec![coinbase, payment]);
    block.header.time = context.min_time;
    seal(&mut block);
    block
}

/// Sets the merkle root again; nobody works.
fn seal(block: &mut Block) {
    let txids: Vec<_> = block.transactions.iter().map(Transaction::txid).collect();
    block.header.merkle_root = merkle::root(&txids);
    block.header.nonce = 0;
}

/// What becomes of a block after one change.
fn after(change: impl FnOnce(&mut Block)) -> Result<BlockHash, Refusal> {
    let mut chain = chain();
    let mut block = block(&mut chain);
    change(&mut block);
    chain.submit(&block)
}

fn refused(error: BlockError) -> Result<BlockHash, Refusal> {
    Err(Refusal::Context(error))
}

#[test]
fn nobody_works_for_a_block() {
    let mut chain = chain();
    // Half of all hashes miss even this target.
    let mut block = block(&mut chain);
    let target = Target::from_compact(PBFT_BITS).unwrap();
    while target.is_met_by(&block.block_hash()) {
        block.header.time += 1;
    }
    assert_eq!(chain.submit(&block), Ok(block.block_hash()));
}

#[test]
fn nonce_is_zero() {
    let error = semantic::HeaderError::Nonce { nonce: 1 };
    let refusal = after(|block| block.header.nonce = 1);
    assert_eq!(refusal, Err(Refusal::Header(InsertError::Semantic(error))));
}

#[test]
fn bits_are_fixed() {
    let found = CompactTarget(0x207f_fffe);
    let error = contextual::HeaderError::Bits { expected: PBFT_BITS, found };
    let refusal = after(|block| block.header.bits = found);
    assert_eq!(refusal, Err(Refusal::Header(InsertError::Contextual(error))));
}

#[test]
fn time_may_equal_the_parents_and_not_precede_it() {
    let mut chain = chain();
    let mut first = block(&mut chain);
    first.header.time = GENESIS_TIME + 100;
    chain.submit(&first).unwrap();
    let context = chain.context();
    assert_eq!(context.min_time, GENESIS_TIME + 100);
    let payment = pay(&chain.allocation(2), 3, FEE);
    let mut coinbase = chain.coinbase(&context, FEE);
    coinbase.outputs[0].script_pubkey = address(12).script_pubkey();
    let mut second = crate::chain::assemble(&context, vec![coinbase, payment]);
    second.header.nonce = 0;
    for time in [context.min_time - 1, GENESIS_TIME, 0] {
        second.header.time = time;
        let error = contextual::HeaderError::TimeTooOld { time, min_time: context.min_time };
        let refusal = Refusal::Header(InsertError::Contextual(error));
        assert_eq!(chain.submit(&second), Err(refusal));
    }
    second.header.time = context.min_time;
    assert_eq!(chain.submit(&second), Ok(second.block_hash()));
}

/// A certified block is final, whatever this node's clock says.
#[test]
fn time_ahead_of_the_clock_matters_to_a_first_proposal_alone() {
    let mut chain = chain();
    let mut block = block(&mut chain);
    block.header.time = NOW + FUTURE_SECONDS_MAX + 1;
    let checked = CheckedBlock::check(block.clone(), &chain.spec).unwrap();
    let ask = |is_first, now| {
        let proposal = Proposal { proposer: None, is_first };
        proposal::check(&checked, &chain.context(), &chain.spec, proposal, now)
    };
    let time = block.header.time;
    let error = ProposalError::Semantic(semantic::HeaderError::TooFarAhead { time, now: NOW });
    assert_eq!(error.fault(), Fault::Premature);
    assert_eq!(ask(true, NOW), Err(error));
    assert_eq!(ask(true, NOW + 1), Ok(()));
    assert_eq!(ask(false, NOW), Ok(()));
    assert_eq!(chain.submit(&block), Ok(block.block_hash()));
}

#[test]
fn coinbase_has_one_output() {
    let refusal = after(|block| {
        let outputs = &mut block.transactions[0].outputs;
        outputs.push(TxOut { amount: Amount::ZERO, ..outputs[0].clone() });
        seal(block);
    });
    assert_eq!(refusal, refused(BlockError::CoinbaseOutputs { found: 2 }));
}

#[test]
fn coinbase_pays_a_validator() {
    let pay_to = |number| {
        after(|block| {
            block.transactions[0].outputs[0].script_pubkey = address(number).script_pubkey();
            seal(block);
        })
    };
    assert_eq!(pay_to(9), refused(BlockError::CoinbasePayee));
    for validator in 11..=14 {
        assert!(pay_to(validator).is_ok());
    }
}

#[test]
fn coinbase_pays_all_of_the_reward_and_no_more() {
    for paid in [0, FEE - 1, FEE + 1] {
        let refusal = after(|block| {
            block.transactions[0].outputs[0].amount = units(paid);
            seal(block);
        });
        let (paid, expected) = (units(paid), units(FEE));
        assert_eq!(refusal, refused(BlockError::CoinbaseAmount { paid, expected }));
    }
    let mut parameters = parameters();
    parameters.rewards.subsidy = coins(5);
    let mut chain = Chain::new(ChainSpec::new(parameters).unwrap());
    let block = block(&mut chain);
    assert_eq!(block.transactions[0].outputs[0].amount, units(coins(5).units() + FEE));
    chain.submit(&block).unwrap();
}

#[test]
fn first_proposal_pays_its_proposer() {
    let mut chain = chain();
    let block = block(&mut chain);
    let checked = CheckedBlock::check(block, &chain.spec).unwrap();
    let ask = |proposer| {
        let proposal = Proposal { proposer, is_first: true };
        proposal::check(&checked, &chain.context(), &chain.spec, proposal, NOW)
    };
    assert_eq!((ask(Some(0)), ask(None)), (Ok(()), Ok(())));
    assert_eq!(ask(Some(1)), Err(ProposalError::Payee { proposer: 1 }));
    assert_eq!(ask(Some(4)), Err(ProposalError::UnknownProposer { proposer: 4 }));
    // The block itself is sound: another proposer may be entitled to it.
    assert_eq!(ask(Some(1)).unwrap_err().fault(), Fault::Premature);
}

#[test]
fn nothing_is_proposed_under_proof_of_work() {
    let mut chain = Chain::development();
    let block = chain.block_on(&chain.tip(), &[]);
    let checked = CheckedBlock::check(block, &chain.spec).unwrap();
    let proposal = Proposal { proposer: None, is_first: false };
    let refusal = proposal::check(&checked, &chain.context(), &chain.spec, proposal, NOW);
    assert_eq!(refusal, Err(ProposalError::NotPbft));
}

#[test]
fn empty_blocks_are_heartbeats() {
    let empty = |chain: &mut Chain| {
        let mut block = block(chain);
        block.transactions.truncate(1);
        block.transactions[0].outputs[0].amount = Amount::ZERO;
        seal(&mut block);
        chain.submit(&block)
    };
    assert_eq!(empty(&mut chain()), refused(BlockError::Empty));
    let mut parameters = parameters();
    let Engine::Pbft(pbft) = &mut parameters.engine else { unreachable!() };
    pbft.heartbeat_ms = 60_000;
    assert!(empty(&mut Chain::new(ChainSpec::new(parameters).unwrap())).is_ok());
}

#[test]
fn template_is_what_a_replica_votes_for() {
    let mut chain = chain();
    let mut mempool = Mempool::new(Policy::default(), &chain.spec);
    for owner in [1, 2] {
        let payment = chain.checked(&pay(&chain.allocation(owner), 3, FEE));
        let admission = mempool.prepare(payment, &chain.utxos, &chain.context()).unwrap();
        mempool.commit(admission, &chain.context(), NOW).unwrap();
    }
    let build = |now, payee| {
        let payout = address(payee).script_pubkey();
        BlockTemplate::build(&chain.context(), &mempool, &chain.spec, payout, now)
    };
    // The parent's time is the least, even where the clock is behind.
    let slow = build(GENESIS_TIME - 5, 12).unwrap();
    assert_eq!((slow.block().header.time, slow.min_time()), (GENESIS_TIME, GENESIS_TIME));
    let template = build(NOW, 12).unwrap();
    let header = template.block().header;
    assert_eq!((header.time, header.bits, header.nonce), (NOW, PBFT_BITS, 0));
    let coinbase = &template.block().transactions[0];
    assert_eq!(coinbase.outputs, [output(12, units(2 * FEE))]);
    assert_eq!(build(NOW, 9), Err(TemplateError::NoValidator));
    let block = template.into_block();
    let checked = CheckedBlock::check(block.clone(), &chain.spec).unwrap();
    let proposal = Proposal { proposer: Some(1), is_first: true };
    proposal::check(&checked, &chain.context(), &chain.spec, proposal, NOW).unwrap();
    assert_eq!(chain.submit(&block), Ok(block.block_hash()));
}

/// What is final stays, and costs no walk through the tree.
#[test]
fn no_reorganisation_below_a_final_block() {
    let mut chain = chain();
    let rival = block(&mut chain);
    let first = block(&mut chain);
    assert_ne!(rival.block_hash(), first.block_hash());
    chain.submit(&first).unwrap();
    chain.tree.finalise(&first.block_hash()).unwrap();
    let refusal = chain.submit(&rival);
    assert!(
        matches!(refusal, Err(Refusal::Header(InsertError::BelowFinality { .. }))),
        "{refusal:?}"
    );
}
