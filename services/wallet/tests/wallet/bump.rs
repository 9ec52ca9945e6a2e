//! Higher fees for payments that wait: of all versions of a payment one is made.

use std::collections::HashSet;

use pentad_api::status::explain;
use pentad_api::wallet::v1::{
    BumpFeeRequest, BumpFeeResponse, SendRequest, SendResponse, VerifyLogRequest,
};
use pentad_store::open_sled;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_address, from_wallet, until};
use crate::fake_chain::Mishap;

fn replaceable(request: SendRequest) -> SendRequest {
    SendRequest { replaceable: true, ..request }
}

fn bump(wallet: &str, txid: &str) -> BumpFeeRequest {
    let (wallet, txid) = (wallet.to_owned(), txid.to_owned());
    BumpFeeRequest { wallet, txid, ..BumpFeeRequest::default() }
}

fn keyed(key: &str, request: BumpFeeRequest) -> BumpFeeRequest {
    BumpFeeRequest { idempotency_key: key.to_owned(), ..request }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = outcome.expect_err("refused");
    let explained = explain(&status);
    assert_eq!((status.code(), explained.reason.as_str()), (code, reason), "{status:?}");
    status
}

fn mempool(bed: &Bed) -> Vec<String> {
    bed.chain.mempool().iter().map(|transaction| transaction.txid().to_string()).collect()
}

/// Wallet `alice` with three coins, and a payment of hers to `bob` that waits.
async fn paid(key: &str) -> (Bed, String, SendRequest, SendResponse) {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    for _ in 0..3 {
        bed.chain.pay(&alice, 10 * COIN);
    }
    let request = replaceable(from_wallet("alice", &bob, COIN));
    let request = SendRequest { idempotency_key: key.to_owned(), ..request };
    let sent = bed.send(request.clone()).await.expect("paid");
    (bed, bob, request, sent)
}

#[tokio::test]
async fn of_all_versions_of_a_payment_one_is_made() {
    let (mut bed, _, request, sent) = paid("rent").await;
    let first = bed.bump(keyed("1", bump("alice", &sent.txid))).await.expect("replaced");
    assert!(first.fee > sent.fee && first.txid != sent.txid);
    let rate = BumpFeeRequest { fee_rate: Some(50_000), ..bump("alice", &first.txid) };
    let second = bed.bump(rate).await.expect("replaced again");
    assert!(second.fee > 11_000, "{}", second.fee);
    assert_eq!(mempool(&bed), std::slice::from_ref(&second.txid));
    let pending = -i64::try_from(COIN + second.fee).expect("small");
    assert_eq!(bed.balance("alice").await.pending, pending);
    assert_eq!(bed.balance("bob").await.pending, COIN.cast_signed());
    let before = [sent.txid.clone(), first.txid.clone()];
    let check = async |bed: &Bed| {
        let history = bed.history("alice").await;
        let (payment, others) = history.split_first().expect("a payment");
        assert_eq!((payment.txid.as_str(), payment.fee), (second.txid.as_str(), Some(second.fee)));
        assert_eq!((&payment.replaced[..], payment.amount), (&before[..], pending));
        assert_eq!(others.len(), 3, "what was replaced is no payment of its own");
        // Whoever asks again is told what stands for it now.
        let again = bed.send(request.clone()).await.expect("answered");
        assert_eq!((&again.txid, again.repeated_request), (&second.txid, true));
        let again = bed.bump(keyed("1", bump("alice", &sent.txid))).await.expect("answered");
        assert_eq!(
            (&again.txid, again.fee, again.repeated_request),
            (&second.txid, second.fee, true)
        );
    };
    check(&bed).await;
    bed.restart().await;
    check(&bed).await;
    bed.chain.mine(6);
    // All but what callers may ask for leaves the journal, and no coin is claimed any more.
    until("settled", async || {
        bed.stop().await;
        let journal = open_sled(&sled::Config::new().path(bed.data_dir().join("payments")))
            .expect("nobody has it open");
        let records = journal.len();
        drop(journal);
        bed.restart().await;
        records == 2
    })
    .await;
    check(&bed).await;
    assert_eq!(bed.balance("bob").await.confirmed, COIN);
    let all = 29 * COIN - second.fee;
    assert_eq!(bed.balance("alice").await.confirmed, all);
    let request =
        SendRequest { subtract_fee: true, ..from_wallet("alice", &bed.create("c").await, all) };
    bed.send(request).await.expect("no coin is held back");
    bed.audit().verify_log(VerifyLogRequest::default()).await.expect("whole");
}

#[tokio::test]
async fn further_coins_pay_where_the_change_does_not_suffice() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    for units in [COIN, 2_000, 30_000] {
        bed.chain.pay(&alice, units);
    }
    let all = replaceable(from_address(&alice, &bob, COIN - 192));
    let sent = bed.send(all).await.expect("paid without change");
    let bumped = bed.bump(bump("alice", &sent.txid)).await.expect("replaced");
    let transaction = bed.chain.mempool().remove(0);
    assert_eq!((transaction.inputs.len(), transaction.outputs.len()), (2, 2));
    assert_eq!(transaction.outputs[0].amount.units(), COIN - 192, "bob gets what he was to get");
    let change = transaction.outputs[1].clone();
    let to = pentad_crypto::Address::decode(&alice, &Default::default()).expect("an address");
    assert_eq!(change.script_pubkey, to.script_pubkey(), "change of an address returns to it");
    assert_eq!(change.amount.units(), 192 + 30_000 - bumped.fee);
    let rate = |rate| BumpFeeRequest { fee_rate: Some(rate), ..bump("alice", &bumped.txid) };
    let status = bed.bump(rate(200_000)).await;
    refused(status, Code::FailedPrecondition, "NOT_ENOUGH_COINS");
    let dry = BumpFeeRequest { dry_run: true, ..rate(20_000) };
    let dry = bed.bump(dry).await.expect("what would be made");
    assert_eq!(mempool(&bed), std::slice::from_ref(&bumped.txid), "nothing was made");
    let made = bed.bump(rate(20_000)).await.expect("replaced again");
    assert_eq!(made.fee, dry.fee);
}

#[tokio::test]
async fn what_cannot_be_replaced_is_said_with_the_reason() {
    let (bed, bob, _, sent) = paid("").await;
    let fixed = bed.send(from_wallet("alice", &bob, COIN)).await.expect("paid");
    let status = bed.bump(bump("alice", &fixed.txid)).await;
    refused(status, Code::FailedPrecondition, "NOT_REPLACEABLE");
    for (wallet, txid) in [("alice", "00".repeat(32)), ("bob", sent.txid.clone())] {
        refused(bed.bump(bump(wallet, &txid)).await, Code::NotFound, "UNKNOWN_PAYMENT");
    }
    refused(bed.bump(bump("alice", "what")).await, Code::InvalidArgument, "INVALID_TXID");
    refused(bed.bump(bump("carol", &sent.txid)).await, Code::NotFound, "UNKNOWN_WALLET");
    let low = BumpFeeRequest { fee_rate: Some(1_001), ..bump("alice", &sent.txid) };
    let status = refused(bed.bump(low.clone()).await, Code::InvalidArgument, "FEE_TOO_LOW");
    let hint = explain(&status).hint.expect("what would do");
    let least = hint.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    let first = BumpFeeRequest { fee_rate: Some(least), ..low };
    let first = bed.bump(first).await.expect("the least does");
    let status = bed.bump(bump("alice", &sent.txid)).await;
    let status = refused(status, Code::FailedPrecondition, "PAYMENT_REPLACED");
    assert!(status.message().contains(&first.txid), "{status:?}");
    // Another payment that spends its change would be undone.
    let most = bed.balance("alice").await;
    let most = most.confirmed.saturating_add_signed(most.pending) - COIN;
    let last = bed.send(replaceable(from_wallet("alice", &bob, most))).await.expect("paid");
    let status = bed.bump(bump("alice", &first.txid)).await;
    refused(status, Code::FailedPrecondition, "PAYMENT_SPENT");
    bed.bump(bump("alice", &last.txid)).await.expect("the last one can be replaced");
    bed.chain.mine(1);
    let status = bed.bump(bump("alice", &first.txid)).await;
    refused(status, Code::FailedPrecondition, "PAYMENT_CONFIRMED");
}

/// The service ends after the signature: before the transaction is handed in, or before the answer.
#[tokio::test]
async fn a_crash_before_the_answer_makes_one_payment() {
    for mishap in [Mishap::Lost, Mishap::AnswerLost] {
        let (mut bed, bob, request, sent) = paid("rent").await;
        let bumping = keyed("bump", bump("alice", &sent.txid));
        bed.chain.begin(mishap);
        bed.bump(bumping.clone()).await.expect_err("no answer");
        if matches!(mishap, Mishap::Lost) {
            // It waits still, and nobody spends its change: it may be gone at any time.
            let free = bed.balance("alice").await.confirmed - 10 * COIN;
            let status = bed.send(from_wallet("alice", &bob, free)).await;
            refused(status, Code::FailedPrecondition, "NOT_ENOUGH_COINS");
        }
        bed.restart().await;
        bed.chain.end();
        let bumped = bed.bump(bumping).await.expect("made at last");
        assert!(bumped.repeated_request);
        assert_eq!(mempool(&bed), std::slice::from_ref(&bumped.txid));
        let again = bed.send(request).await.expect("answered");
        assert_eq!(again.txid, bumped.txid);
        bed.chain.mine(1);
        assert_eq!(bed.balance("bob").await.confirmed, COIN);
    }
}

/// Without a key and without a retry: the service sees it through by itself.
#[tokio::test]
async fn a_replacement_that_was_written_down_is_made() {
    let (mut bed, _, _, sent) = paid("").await;
    bed.chain.begin(Mishap::Lost);
    bed.bump(bump("alice", &sent.txid)).await.expect_err("lost");
    bed.restart().await;
    bed.chain.end();
    bed.chain.announce(&bed.create("dave").await, 1);
    until("it is replaced", async || mempool(&bed).iter().all(|txid| *txid != sent.txid)).await;
    assert_eq!(mempool(&bed).len(), 2);
    // The whole node dies: what was replaced does not come back.
    let waiting: HashSet<String> = mempool(&bed).into_iter().collect();
    bed.stop().await;
    bed.chain.forget_mempool();
    bed.restart().await;
    until("it is there again", async || !mempool(&bed).is_empty()).await;
    assert!(mempool(&bed).iter().all(|txid| waiting.contains(txid)));
}

/// A block takes the first version before the mempool hears of the second.
#[tokio::test]
async fn the_first_version_may_be_the_one_that_is_made() {
    let (mut bed, bob, request, sent) = paid("rent").await;
    let bumping = keyed("bump", bump("alice", &sent.txid));
    bed.chain.begin(Mishap::Lost);
    bed.bump(bumping.clone()).await.expect_err("lost");
    bed.chain.mine(1);
    bed.chain.end();
    let again = bed.send(request.clone()).await.expect("answered");
    assert_eq!(again.txid, sent.txid, "it is in a block");
    bed.chain.mine(5);
    // Settled, both keys answer with what was made, and its change can be spent.
    let is_settled = async || {
        let answer = bed.bump(bumping.clone()).await;
        answer.is_ok_and(|answer| answer.txid == sent.txid && answer.fee == sent.fee)
    };
    until("both are settled", is_settled).await;
    let history = bed.history("alice").await;
    assert!(history.iter().all(|payment| payment.replaced.is_empty()));
    let all = bed.balance("alice").await.confirmed;
    let request = SendRequest { subtract_fee: true, ..from_wallet("alice", &bob, all) };
    bed.send(request).await.expect("no coin is held back");
    bed.restart().await;
    assert_eq!(bed.chain.mempool().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_takes_the_place() {
    let (bed, bob, _, sent) = paid("").await;
    let bumps = (0..8).map(|_| bed.bump(bump("alice", &sent.txid)));
    let sends = (0..8).map(|_| bed.send(from_wallet("alice", &bob, COIN / 2)));
    let (bumps, sends) =
        tokio::join!(futures_util::future::join_all(bumps), futures_util::future::join_all(sends));
    let made: Vec<BumpFeeResponse> = bumps.into_iter().filter_map(Result::ok).collect();
    let sends: Vec<String> = sends.into_iter().filter_map(|it| Some(it.ok()?.txid)).collect();
    // Either a payment took the change first, or one replacement was made.
    assert!(made.len() <= 1, "{made:?}");
    let mut expected: HashSet<String> = sends.into_iter().collect();
    expected.insert(made.first().map_or(&sent.txid, |made| &made.txid).clone());
    assert_eq!(mempool(&bed).into_iter().collect::<HashSet<_>>(), expected);
}
