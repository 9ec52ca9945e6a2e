//! Attack 55: a retry with the same idempotency key pays once.

use pentad_api::status::explain;
use pentad_api::wallet::v1::SendRequest;
use tonic::Code;

use crate::bed::{Bed, COIN, from_address, from_wallet};
use crate::fake_chain::Mishap;

fn keyed(key: &str, request: SendRequest) -> SendRequest {
    SendRequest { idempotency_key: key.to_owned(), ..request }
}

async fn bed() -> (Bed, String, String) {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    for _ in 0..3 {
        bed.chain.pay(&alice, 10 * COIN);
    }
    (bed, alice, bob)
}

#[tokio::test]
async fn a_retry_answers_with_the_first_payment() {
    let (mut bed, _, bob) = bed().await;
    let request = keyed("rent", from_wallet("alice", &bob, COIN));
    let first = bed.send(request.clone()).await.expect("paid");
    let second = bed.send(request.clone()).await.expect("answered");
    assert!(second.repeated_request && !first.repeated_request);
    assert_eq!((&first.txid, first.fee), (&second.txid, second.fee));
    bed.chain.mine(3);
    bed.restart().await;
    assert_eq!(bed.send(request).await.expect("answered").txid, first.txid);
    assert_eq!(bed.balance("bob").await.confirmed, COIN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_retries_pay_once() {
    let (bed, _, bob) = bed().await;
    let request = keyed("rent", from_wallet("alice", &bob, COIN));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (mut wallet, request) = (bed.wallet(), request.clone());
        calls.spawn(async move { wallet.send(request).await.expect("answered").into_inner().txid });
    }
    let mut txids = calls.join_all().await;
    txids.dedup();
    assert_eq!(txids.len(), 1);
    assert_eq!(bed.chain.mempool().len(), 1);
}

/// The service ends between writing the payment down and submitting it.
#[tokio::test]
async fn crash_before_the_submission() {
    let (mut bed, alice, bob) = bed().await;
    let request = keyed("rent", from_address(&alice, &bob, COIN));
    bed.chain.begin(Mishap::Lost);
    bed.send(request.clone()).await.expect_err("lost");
    assert!(bed.chain.mempool().is_empty());
    bed.restart().await;
    bed.chain.end();
    // Another payment does not take the coins that the first one needs.
    bed.send(from_wallet("alice", &bob, 2 * COIN)).await.expect("paid");
    let sent = bed.send(request.clone()).await.expect("paid at last");
    assert!(sent.repeated_request);
    assert_eq!(bed.chain.mempool().len(), 2);
    assert_eq!(bed.send(request).await.expect("answered").txid, sent.txid);
}

/// The service ends after submitting, before the answer is out.
#[tokio::test]
async fn crash_before_the_answer() {
    let (mut bed, alice, bob) = bed().await;
    let request = keyed("rent", from_address(&alice, &bob, COIN));
    bed.chain.begin(Mishap::AnswerLost);
    bed.send(request.clone()).await.expect_err("lost");
    bed.chain.end();
    bed.restart().await;
    let sent = bed.send(request).await.expect("answered");
    assert!(sent.repeated_request);
    let [transaction] = bed.chain.mempool().try_into().expect("one payment");
    assert_eq!(transaction.txid().to_string(), sent.txid);
    let submissions = bed.chain.submissions();
    assert!(submissions.len() > 1 && submissions.iter().all(|txid| *txid == transaction.txid()));
}

#[tokio::test]
async fn a_refused_payment_frees_its_key() {
    let (bed, alice, bob) = bed().await;
    let request = keyed("rent", from_address(&alice, &bob, COIN));
    bed.chain.begin(Mishap::Refused);
    let error = bed.send(request.clone()).await.expect_err("refused");
    assert_eq!(
        (error.code(), explain(&error).reason.as_str()),
        (Code::FailedPrecondition, "REFUSED")
    );
    bed.chain.end();
    assert!(!bed.send(request).await.expect("paid").repeated_request);
}

/// The first attempt may have arrived: a refusal now must not free the key.
#[tokio::test]
async fn a_payment_that_is_refused_at_a_retry_is_never_made_anew() {
    let (bed, alice, bob) = bed().await;
    let request = keyed("rent", from_address(&alice, &bob, COIN));
    bed.chain.begin(Mishap::Lost);
    bed.send(request.clone()).await.expect_err("lost");
    bed.chain.begin(Mishap::Refused);
    for _ in 0..2 {
        let error = bed.send(request.clone()).await.expect_err("refused");
        assert_eq!(
            (error.code(), explain(&error).reason.as_str()),
            (Code::Unavailable, "PAYMENT_WAITS")
        );
    }
    bed.chain.end();
    assert!(bed.send(request).await.expect("paid").repeated_request);
    assert_eq!(bed.chain.mempool().len(), 1);
}

#[tokio::test]
async fn a_key_stands_for_one_payment_of_one_wallet() {
    let (bed, _, bob) = bed().await;
    bed.chain.pay(&bob, COIN);
    bed.send(keyed("1", from_wallet("alice", &bob, COIN))).await.expect("paid");
    let error = bed.send(keyed("1", from_wallet("alice", &bob, 2 * COIN))).await.expect_err("used");
    assert_eq!(error.code(), Code::AlreadyExists);
    assert_eq!(explain(&error).reason, "IDEMPOTENCY_KEY_REUSED");
    bed.send(keyed("1", from_wallet("bob", &bob, COIN / 2))).await.expect("another wallet's key");
    let long = "x".repeat(129);
    let error = bed.send(keyed(&long, from_wallet("alice", &bob, COIN))).await.expect_err("long");
    assert_eq!(explain(&error).field.as_deref(), Some("idempotency_key"));
}
