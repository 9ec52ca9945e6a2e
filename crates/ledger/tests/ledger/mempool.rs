//! Admission to the mempool: rules, policy, bounds, queries.

use std::convert::Infallible;

use pentad_crypto::script;
use pentad_ledger::mempool::{
    ANCESTORS_MAX, AdmissionError, Admitted, DESCENDANTS_MAX, Entry, FeeRate, Mempool,
    ORPHAN_EXPIRY_SECONDS, ORPHANS_MAX, Policy, Rejection,
};
use pentad_ledger::verify::contextual::TransactionError;
use pentad_ledger::verify::{Fault, SignatureErrorKind, verify_signatures};
use pentad_primitives::{Amount, OutPoint, Transaction, TxOut, encode::Encode};

use crate::chain::{
    Chain, Coin, NOW, address, coin, coins, output, pay, script_of, sign, spend, units, unsigned,
};

pub fn mempool(chain: &Chain) -> Mempool {
    Mempool::new(Policy::default(), &chain.spec)
}

/// Admits a transaction at the chain's tip.
pub fn admit(
    mempool: &mut Mempool,
    chain: &Chain,
    transaction: &Transaction,
) -> Result<Admitted, Rejection> {
    admit_at(mempool, chain, transaction, NOW)
}

pub fn admit_at(
    mempool: &mut Mempool,
    chain: &Chain,
    transaction: &Transaction,
    now: u32,
) -> Result<Admitted, Rejection> {
    let transaction = chain.checked(transaction);
    mempool.admit(transaction, &chain.utxos, &chain.context(), now).map_err(rejection)
}

pub fn rejection(error: AdmissionError<Infallible>) -> Rejection {
    match error {
        AdmissionError::Rejected(rejection) => rejection,
        AdmissionError::View(never) => match never {},
    }
}

/// A payment of `coin` in `parts` equal outputs to the same owner.
pub fn split(coin: &Coin, parts: u64, fee: u64) -> Transaction {
    let part = units((coin.amount().units() - fee) / parts);
    spend(std::slice::from_ref(coin), vec![output(coin.owner, part); parts as usize])
}

#[test]
fn a_payment_is_admitted() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let payment = pay(&chain.allocation(1), 4, 1_000);
    let admitted = admit(&mut mempool, &chain, &payment).unwrap();
    let expected = Admitted { txid: payment.txid(), replaced: vec![], evicted: vec![] };
    assert_eq!(admitted, expected);
    let entry = mempool.get(&payment.txid()).unwrap();
    assert_eq!((entry.fee(), entry.time()), (units(1_000), NOW));
    assert_eq!(entry.bytes(), payment.encoded_len());
    assert_eq!(mempool.total_bytes(), entry.bytes());
    assert_eq!(mempool.spender(&chain.allocation(1).outpoint), Some(payment.txid()));
    assert_eq!(admit(&mut mempool, &chain, &payment), Err(Rejection::AlreadyKnown));
}

#[test]
fn a_dry_run_changes_nothing() {
    let chain = Chain::development();
    let mempool = mempool(&chain);
    let payment = chain.checked(&pay(&chain.allocation(1), 4, 1_000));
    let admission = mempool.prepare(payment, &chain.utxos, &chain.context()).unwrap();
    assert_eq!(admission.fee(), units(1_000));
    assert!(verify_signatures(admission.signature_checks()).is_ok());
    assert!(mempool.is_empty());
}

#[test]
fn payments_in_a_row_spend_unconfirmed_change() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let mut change = chain.allocation(1);
    let mut payments = Vec::new();
    for _ in 0..5 {
        let rest = units(change.amount().units() - coins(100).units() - 1_000);
        let payment = spend(&[change], vec![output(4, coins(100)), output(1, rest)]);
        admit(&mut mempool, &chain, &payment).unwrap();
        change = coin(&payment, 1, 1);
        payments.push(payment);
    }
    let received = coins(500).units() as i64;
    assert_eq!(mempool.pending(&script_of(4)), received);
    assert_eq!(mempool.pending(&script_of(1)), -received - 5_000);
    assert_eq!(mempool.unspent_outputs(&script_of(1)), [(change.outpoint, &change.output)]);
    assert_eq!(mempool.unspent_outputs(&script_of(4)).len(), 5);
    let order = mempool.gather(Entry::txid).in_topological_order();
    assert_eq!(order, payments.iter().map(Transaction::txid).collect::<Vec<_>>());
    chain.mine(&payments);
}

#[test]
fn rules_hold_in_the_mempool() {
    let mut chain = Chain::development();
    chain.mine_empty(1);
    let mut mempool = mempool(&chain);
    let coinbase = chain.coinbase(&chain.context(), 0);
    assert_eq!(admit(&mut mempool, &chain, &coinbase), Err(Rejection::Coinbase));
    let allocation = chain.allocation(1);

    let mut locked = unsigned(std::slice::from_ref(&allocation), vec![output(4, coins(1))]);
    locked.lock_time = 2;
    locked.inputs[0].sequence = 0;
    let locked = sign(locked, std::slice::from_ref(&allocation));
    let error = Rejection::Rule(TransactionError::NotFinal { lock_time: 2 });
    assert_eq!(admit(&mut mempool, &chain, &locked), Err(error));

    let much = spend(std::slice::from_ref(&allocation), vec![output(4, coins(1_001))]);
    let error = admit(&mut mempool, &chain, &much).unwrap_err();
    assert!(matches!(error, Rejection::Rule(TransactionError::OutputsExceedInputs { .. })));
    assert_eq!(error.fault(), Fault::Invalid);

    let mut forged = pay(&allocation, 4, 1_000);
    forged.outputs[0] = output(5, coins(999));
    let error = admit(&mut mempool, &chain, &forged).unwrap_err();
    assert_eq!(error.fault(), Fault::Invalid);
    match error {
        Rejection::Signature(error) => assert_eq!(error.kind, SignatureErrorKind::Signature),
        other => panic!("{other:?}"),
    }
    assert!(mempool.is_empty());
}

#[test]
fn immature_coinbase_waits() {
    let mut parameters = Chain::development().spec.parameters().clone();
    parameters.rewards.coinbase_maturity = 2;
    let mut chain = Chain::new(pentad_ledger::ChainSpec::new(parameters).unwrap());
    let mut mempool = mempool(&chain);
    chain.mine_empty(1);
    let payment = pay(&chain.mined_coin(1), 4, 1_000);
    let error = admit(&mut mempool, &chain, &payment).unwrap_err();
    assert!(matches!(error, Rejection::Rule(TransactionError::ImmatureCoinbase { .. })));
    assert_eq!(error.fault(), Fault::Premature);
    chain.mine_empty(1);
    admit(&mut mempool, &chain, &payment).unwrap();
}

#[test]
fn missing_and_confirmed_are_told_apart() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let parent = pay(&chain.allocation(1), 4, 1_000);
    let child = pay(&coin(&parent, 0, 4), 5, 1_000);
    let outpoint = OutPoint { txid: parent.txid(), vout: 0 };
    let error = Rejection::MissingInputs { outpoints: vec![outpoint] };
    assert_eq!(error.fault(), Fault::Premature);
    assert_eq!(admit(&mut mempool, &chain, &child), Err(error));
    chain.mine(std::slice::from_ref(&parent));
    assert_eq!(admit(&mut mempool, &chain, &parent), Err(Rejection::AlreadyConfirmed));
    admit(&mut mempool, &chain, &child).unwrap();
}

#[test]
fn dust_and_lost_coins_are_policy() {
    let chain = Chain::development();
    let allocation = chain.allocation(1);
    let paying = |output: TxOut| {
        let change = crate::chain::output(1, coins(999));
        spend(std::slice::from_ref(&allocation), vec![output, change])
    };
    let mut mempool = mempool(&chain);
    let error = admit(&mut mempool, &chain, &paying(output(4, units(545))));
    let least = units(546);
    assert_eq!(error, Err(Rejection::Dust { output: 0, amount: units(545), least }));
    let data = |amount| TxOut { amount, script_pubkey: script::data_script(b"x").unwrap() };
    let error = admit(&mut mempool, &chain, &paying(data(units(1))));
    assert_eq!(error, Err(Rejection::DataOutputAmount { output: 0 }));
    admit(&mut mempool, &chain, &paying(data(Amount::ZERO))).unwrap();
    let lenient = Policy { dust_fee_rate: FeeRate::ZERO, ..Policy::default() };
    let mut mempool = Mempool::new(lenient, &chain.spec);
    admit(&mut mempool, &chain, &paying(output(4, Amount::ZERO))).unwrap();
}

#[test]
fn minimum_fee_rate_is_policy() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let free = pay(&chain.allocation(1), 4, 0);
    let least = units(free.encoded_len() as u64);
    let error = Rejection::FeeTooLow { fee: Amount::ZERO, least };
    assert_eq!(admit(&mut mempool, &chain, &free), Err(error));
    let enough = pay(&chain.allocation(1), 4, least.units() + 2);
    admit(&mut mempool, &chain, &enough).unwrap();
    let none = Policy { min_fee_rate: FeeRate::ZERO, ..Policy::default() };
    let mut mempool = Mempool::new(none, &chain.spec);
    admit(&mut mempool, &chain, &free).unwrap();
}

#[test]
fn fee_rates_round_up() {
    let rate = FeeRate(1_001);
    assert_eq!([0, 1, 999, 1_000].map(|bytes| rate.fee(bytes).units()), [0, 2, 1_000, 1_001]);
    assert_eq!(FeeRate(u64::MAX).fee(usize::MAX), Amount::MAX_MONEY);
}

#[test]
fn unconfirmed_ancestors_are_bounded() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let mut last = chain.allocation(1);
    for _ in 0..ANCESTORS_MAX {
        let payment = pay(&last, 1, 1_000);
        admit(&mut mempool, &chain, &payment).unwrap();
        last = coin(&payment, 0, 1);
    }
    let error = Rejection::TooManyAncestors { max: ANCESTORS_MAX };
    assert_eq!(admit(&mut mempool, &chain, &pay(&last, 1, 1_000)), Err(error));
}

#[test]
fn unconfirmed_descendants_are_bounded() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let parent = split(&chain.allocation(1), 30, 10_000);
    admit(&mut mempool, &chain, &parent).unwrap();
    for vout in 0..DESCENDANTS_MAX - 1 {
        admit(&mut mempool, &chain, &pay(&coin(&parent, vout, 1), 4, 1_000)).unwrap();
    }
    let one_more = pay(&coin(&parent, 29, 1), 4, 1_000);
    let error = Rejection::TooManyDescendants { txid: parent.txid(), max: DESCENDANTS_MAX };
    assert_eq!(admit(&mut mempool, &chain, &one_more), Err(error));
    let totals = mempool.get(&parent.txid()).unwrap().descendants();
    assert_eq!(
        (totals.count, totals.fees),
        (25, 10_000 + (coins(1_000).units() - 10_000) % 30 + 24_000)
    );
}

#[test]
fn lowest_fee_rates_go_when_it_is_full() {
    let chain = Chain::development();
    let policy = Policy { bytes_max: 700, ..Policy::default() };
    let mut mempool = Mempool::new(policy, &chain.spec);
    // The parent pays little, its child pays for both.
    let parent = pay(&chain.allocation(1), 4, 500);
    let child = pay(&coin(&parent, 0, 4), 4, 5_000);
    let middle = pay(&chain.allocation(2), 4, 1_000);
    for transaction in [&parent, &child, &middle] {
        admit(&mut mempool, &chain, transaction).unwrap();
    }
    let better = pay(&chain.allocation(3), 4, 2_000);
    let admitted = admit(&mut mempool, &chain, &better).unwrap();
    assert_eq!(admitted.evicted, [middle.txid()]);
    assert_eq!(admit(&mut mempool, &chain, &middle), Err(Rejection::Full));
    let kept: Vec<_> = mempool.iter().map(|entry| entry.txid()).collect();
    assert!([&parent, &child, &better].iter().all(|t| kept.contains(&t.txid())));
    assert!(mempool.total_bytes() <= 700);
}

#[test]
fn old_transactions_expire_with_their_descendants() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let expiry = mempool.policy().expiry_seconds;
    let old = pay(&chain.allocation(1), 4, 1_000);
    let child = pay(&coin(&old, 0, 4), 4, 1_000);
    let young = pay(&chain.allocation(2), 4, 1_000);
    admit_at(&mut mempool, &chain, &old, NOW).unwrap();
    admit_at(&mut mempool, &chain, &child, NOW + 10).unwrap();
    admit_at(&mut mempool, &chain, &young, NOW + 10).unwrap();
    assert_eq!(mempool.expire(NOW + expiry - 1), []);
    let mut expired = mempool.expire(NOW + expiry);
    expired.sort();
    let mut expected = [old.txid(), child.txid()];
    expected.sort();
    assert_eq!(expired, expected);
    assert_eq!(mempool.len(), 1);
}

/// Between the steps of an admission, the mempool or the chain may change.
#[test]
fn a_stale_admission_is_refused() {
    let mut chain = Chain::development();
    let mut mempool = mempool(&chain);
    let prepare = |mempool: &Mempool, chain: &Chain, transaction: &Transaction| {
        let checked = chain.checked(transaction);
        mempool.prepare(checked, &chain.utxos, &chain.context()).unwrap()
    };
    let (first, second) =
        (pay(&chain.allocation(1), 4, 1_000), pay(&chain.allocation(1), 5, 1_000));
    let one = prepare(&mempool, &chain, &first);
    let other = prepare(&mempool, &chain, &second);
    mempool.commit(one.clone(), &chain.context(), NOW).unwrap();
    let error = Rejection::Conflict { txid: first.txid() };
    assert_eq!(mempool.commit(other, &chain.context(), NOW), Err(error));
    assert_eq!(mempool.commit(one, &chain.context(), NOW), Err(Rejection::AlreadyKnown));
    // The parent goes between the steps.
    let child = pay(&coin(&first, 0, 4), 5, 1_000);
    let orphaned = prepare(&mempool, &chain, &child);
    mempool.expire(u32::MAX);
    let outpoints = vec![OutPoint { txid: first.txid(), vout: 0 }];
    let missing = Rejection::MissingInputs { outpoints };
    assert_eq!(mempool.commit(orphaned, &chain.context(), NOW), Err(missing));
    let stale = prepare(&mempool, &chain, &first);
    chain.mine(&[second]);
    assert_eq!(mempool.commit(stale, &chain.context(), NOW), Err(Rejection::Stale));
}

#[test]
fn orphans_wait_for_their_parents() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let parent = pay(&chain.allocation(1), 4, 1_000);
    let child = pay(&coin(&parent, 0, 4), 5, 1_000);
    mempool.keep_orphan(chain.checked(&child), NOW);
    assert_eq!(mempool.orphans(), 1);
    admit(&mut mempool, &chain, &parent).unwrap();
    let adopted = mempool.adopt(&parent.txid());
    assert_eq!(adopted, [chain.checked(&child)]);
    assert_eq!(mempool.orphans(), 0);
    admit(&mut mempool, &chain, &child).unwrap();
}

/// Attack 38.
#[test]
fn orphan_flood_is_bounded() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let orphan = |vout: u32| {
        let mut coin = chain.allocation(1);
        coin.outpoint.vout = 100 + vout;
        let transaction = unsigned(&[coin], vec![output(4, units(1_000))]);
        chain.checked(&transaction)
    };
    for number in 0..ORPHANS_MAX as u32 + 50 {
        mempool.keep_orphan(orphan(number), NOW);
        mempool.keep_orphan(orphan(number), NOW);
    }
    assert_eq!(mempool.orphans(), ORPHANS_MAX);
    mempool.expire(NOW + ORPHAN_EXPIRY_SECONDS);
    assert_eq!(mempool.orphans(), 0);
    // By bytes.
    for number in 0..ORPHANS_MAX as u32 {
        let mut large = unsigned(&[chain.allocation(1)], vec![output(4, units(1_000)); 2_900]);
        large.lock_time = number;
        mempool.keep_orphan(chain.checked(&large), NOW);
    }
    assert!(mempool.orphans() < 51, "{} orphans of 98 kB", mempool.orphans());
}

#[test]
fn addresses_index_what_they_receive_and_spend() {
    let chain = Chain::development();
    let mut mempool = mempool(&chain);
    let payment = pay(&chain.allocation(1), 4, 1_000);
    admit(&mut mempool, &chain, &payment).unwrap();
    for owner in [1, 4] {
        let script = address(owner).script_pubkey();
        let txids: Vec<_> = mempool.by_script(&script).map(|entry| entry.txid()).collect();
        assert_eq!(txids, [payment.txid()]);
    }
    assert_eq!(mempool.by_script(&script_of(5)).count(), 0);
    mempool.expire(u32::MAX);
    assert_eq!(mempool.by_script(&script_of(4)).count(), 0);
    assert_eq!(mempool.pending(&script_of(4)), 0);
}

/// Whatever a refused transaction would have pushed out stays.
#[test]
fn a_refusal_changes_nothing() {
    let chain = Chain::development();
    let policy = Policy { bytes_max: 600, ..Policy::default() };
    let mut mempool = Mempool::new(policy, &chain.spec);
    let poor = pay(&chain.allocation(1), 4, 1_000);
    let rich = pay(&chain.allocation(2), 4, 9_000);
    for transaction in [&poor, &rich] {
        admit(&mut mempool, &chain, transaction).unwrap();
    }
    // Room for it would take both, and one of them pays better.
    let middle = split(&chain.allocation(3), 8, 2_500);
    assert_eq!(admit(&mut mempool, &chain, &middle), Err(Rejection::Full));
    assert_eq!(mempool.len(), 2);
    let script = script_of(4);
    assert_eq!(mempool.by_script(&script).count(), 2);
}

#[test]
fn a_child_that_pays_keeps_its_parent_in_a_full_mempool() {
    let chain = Chain::development();
    let policy = Policy { bytes_max: 400, ..Policy::default() };
    let mut mempool = Mempool::new(policy, &chain.spec);
    let parent = pay(&chain.allocation(1), 4, 500);
    let child = pay(&coin(&parent, 0, 4), 4, 5_000);
    for transaction in [&parent, &child] {
        admit(&mut mempool, &chain, transaction).unwrap();
    }
    let middle = pay(&chain.allocation(2), 4, 2_000);
    assert_eq!(admit(&mut mempool, &chain, &middle), Err(Rejection::Full));
    let better = pay(&chain.allocation(2), 4, 6_000);
    let evicted = admit(&mut mempool, &chain, &better).unwrap().evicted;
    assert_eq!(evicted, [child.txid(), parent.txid()]);
}
