//! Policies: a limit per day, allowed addresses, a second person who approves.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pentad_api::status::explain;
use pentad_api::wallet::v1::*;
use pentad_crypto::{Address, MessageSignature, SecretKey};
use pentad_keystore::audit::{AuditLog, Entry, Event, Summary};
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_wallet};

const PASSPHRASE: &str = "correct horse battery staple";
const STRANGER: &str = "1BitcoinEaterAddressDontSendf59kuE";

/// A second person, whose key is not on this node.
struct Approver(SecretKey);

impl Approver {
    fn new() -> Self {
        Self(SecretKey::from_bytes([7; 32]).expect("a key"))
    }

    fn address(&self) -> String {
        Address::P2pkh(self.0.public_key().key_hash()).encode(&Default::default())
    }

    fn sign(&self, text: &str) -> String {
        BASE64_STANDARD.encode(MessageSignature::sign(&self.0, text).as_bytes())
    }
}

/// Wallet `alice` with 100 coins, open, and the address of another wallet.
async fn rich(bed: &Bed) -> String {
    let alice = bed.create_sealed("alice", PASSPHRASE).await;
    for _ in 0..10 {
        bed.chain.pay(&alice, 10 * COIN);
    }
    unlock(bed).await;
    bed.create("bob").await
}

async fn unlock(bed: &Bed) {
    let (wallet, passphrase) = ("alice".to_owned(), PASSPHRASE.to_owned());
    let request = UnlockWalletRequest { wallet, passphrase, seconds: 0 };
    bed.keystore().unlock_wallet(request).await.expect("opens");
}

async fn set(bed: &Bed, passphrase: &str, policy: Policy) -> Result<(), Status> {
    let (wallet, passphrase) = ("alice".to_owned(), passphrase.to_owned());
    let request = SetPolicyRequest { wallet, passphrase, policy: Some(policy) };
    bed.policy().set_policy(request).await.map(drop)
}

async fn spent(bed: &Bed) -> u64 {
    let request = GetPolicyRequest { wallet: "alice".to_owned() };
    bed.policy().get_policy(request).await.expect("known").into_inner().spent
}

async fn waiting(bed: &Bed) -> Vec<Approval> {
    let request = ListApprovalsRequest::default();
    bed.policy().list_approvals(request).await.expect("listed").into_inner().approvals
}

async fn approve(bed: &Bed, approval: &str, signature: String) -> Result<ApproveResponse, Status> {
    let request = ApproveRequest { approval: approval.to_owned(), signature };
    Ok(bed.policy().approve(request).await?.into_inner())
}

async fn pay(bed: &Bed, to: &str, units: u64) -> Result<SendResponse, Status> {
    bed.send(from_wallet("alice", to, units)).await
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    assert_eq!((status.code(), explain(status).reason.as_str()), (code, reason), "{status:?}");
}

fn two_persons(approver: &Approver) -> Policy {
    let approver = approver.address();
    Policy { approval_above: Some(COIN), approver, ..Policy::default() }
}

#[tokio::test]
async fn no_more_than_the_limit_leaves_in_a_day() {
    let mut bed = Bed::start().await;
    let bob = rich(&bed).await;
    let before = pay(&bed, &bob, COIN).await.expect("no policy yet");
    assert_eq!(spent(&bed).await, COIN + before.fee);
    let limit = 3 * COIN;
    let policy = Policy { limit_per_day: Some(limit), ..Policy::default() };
    set(&bed, PASSPHRASE, policy).await.expect("set");
    let second = pay(&bed, &bob, COIN).await.expect("within the limit");
    let status = pay(&bed, &bob, COIN).await.expect_err("the fees are over it");
    refused(&status, Code::FailedPrecondition, "LIMIT_PER_DAY");
    // What was refused does not count, nor do payments to oneself but for their fees.
    let left = limit - spent(&bed).await;
    assert_eq!(left, COIN - before.fee - second.fee);
    let own = bed.list().await[0].addresses[0].clone();
    let third = pay(&bed, &own, 20 * COIN).await.expect("to oneself");
    assert_eq!(spent(&bed).await, limit - left + third.fee);
    // A restart does not forget what was spent.
    bed.restart().await;
    unlock(&bed).await;
    assert_eq!(spent(&bed).await, limit - left + third.fee);
    let status = pay(&bed, &bob, COIN).await.expect_err("still over it");
    refused(&status, Code::FailedPrecondition, "LIMIT_PER_DAY");
}

/// Attack 55, for limits: payments at one time do not all find the same room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_at_one_time_stay_within_the_limit_together() {
    let bed = Bed::start().await;
    let bob = rich(&bed).await;
    let limit = 5 * COIN + COIN / 2;
    let policy = Policy { limit_per_day: Some(limit), ..Policy::default() };
    set(&bed, PASSPHRASE, policy).await.expect("set");
    let payments = (0..10).map(|_| pay(&bed, &bob, COIN));
    let outcomes = futures_util::future::join_all(payments).await;
    let (paid, not): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(paid.len(), 5);
    for status in not {
        refused(&status.expect_err("partitioned"), Code::FailedPrecondition, "LIMIT_PER_DAY");
    }
    assert_eq!(bed.chain.mempool().len(), 5);
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_not_paid() {
    let bed = Bed::start().await;
    let bob = rich(&bed).await;
    let policy = Policy { allowed: vec![bob.clone()], ..Policy::default() };
    set(&bed, PASSPHRASE, policy).await.expect("set");
    pay(&bed, &bob, COIN).await.expect("allowed");
    let status = pay(&bed, STRANGER, COIN).await.expect_err("not allowed");
    refused(&status, Code::FailedPrecondition, "ADDRESS_NOT_ALLOWED");
    let mixed = from_wallet("alice", &bob, COIN);
    let stranger = Payment { address: STRANGER.to_owned(), amount: COIN };
    let payments = vec![mixed.payments[0].clone(), stranger];
    let mixed = SendRequest { payments, ..mixed };
    bed.send(mixed.clone()).await.expect_err("one of two is not allowed");
    // A signed transaction is not given away as a dry run, either.
    bed.send(SendRequest { dry_run: true, ..mixed }).await.expect_err("not allowed");
    let dry = SendRequest { dry_run: true, ..from_wallet("alice", &bob, COIN) };
    let dry = bed.send(dry).await.expect("what would be paid");
    assert!(dry.txid.is_empty() && !dry.transaction.is_empty());
    set(&bed, PASSPHRASE, Policy::default()).await.expect("lifted");
    pay(&bed, STRANGER, COIN).await.expect("no policy any more");
}

#[tokio::test]
async fn a_large_payment_waits_for_the_second_person() {
    let mut bed = Bed::start().await;
    let bob = rich(&bed).await;
    let approver = Approver::new();
    set(&bed, PASSPHRASE, two_persons(&approver)).await.expect("set");
    pay(&bed, &bob, COIN).await.expect("not above");
    let status = pay(&bed, &bob, COIN + 1).await.expect_err("waits");
    refused(&status, Code::FailedPrecondition, "APPROVAL_NEEDED");
    pay(&bed, &bob, COIN + 1).await.expect_err("asked again it waits once");
    assert_eq!(bed.chain.mempool().len(), 1);
    // It waits over a restart, and then while the wallet is locked.
    bed.restart().await;
    let [one] = waiting(&bed).await.try_into().expect("one");
    assert!(one.text.contains("1.00000001") && one.text.contains(&bob), "{}", one.text);
    assert_eq!(one.approver, approver.address());
    let signature = || approver.sign(&one.text);
    let status = approve(&bed, &one.approval, signature()).await.expect_err("locked");
    refused(&status, Code::FailedPrecondition, "WALLET_LOCKED");
    unlock(&bed).await;
    let other = SecretKey::from_bytes([8; 32]).expect("a key");
    for wrong in [String::new(), approver.sign("something"), Approver(other).sign(&one.text)] {
        let status = approve(&bed, &one.approval, wrong).await.expect_err("not the approver");
        refused(&status, Code::PermissionDenied, "NOT_THE_APPROVER");
    }
    let paid = approve(&bed, &one.approval, signature()).await.expect("paid");
    assert_eq!(bed.chain.mempool().last().expect("paid").txid().to_string(), paid.txid);
    // Nothing waits any more, and a signature counts once.
    assert!(waiting(&bed).await.is_empty());
    let status = approve(&bed, &one.approval, signature()).await.expect_err("paid already");
    refused(&status, Code::NotFound, "UNKNOWN_APPROVAL");
    pay(&bed, &bob, COIN + 1).await.expect_err("the next one waits anew");
    let [next] = waiting(&bed).await.try_into().expect("one");
    let status = approve(&bed, &next.approval, signature()).await.expect_err("of another payment");
    refused(&status, Code::PermissionDenied, "NOT_THE_APPROVER");
    assert_eq!(bed.chain.mempool().len(), 2);
}

#[tokio::test]
async fn a_payment_to_a_stranger_waits_and_can_be_rejected() {
    let bed = Bed::start().await;
    let bob = rich(&bed).await;
    let approver = Approver::new();
    let policy = Policy { allowed: vec![bob.clone()], ..two_persons(&approver) };
    set(&bed, PASSPHRASE, policy).await.expect("set");
    let keyed = SendRequest {
        idempotency_key: "rent".to_owned(),
        ..from_wallet("alice", STRANGER, COIN / 2)
    };
    let status = bed.send(keyed.clone()).await.expect_err("waits");
    refused(&status, Code::FailedPrecondition, "APPROVAL_NEEDED");
    let [one] = waiting(&bed).await.try_into().expect("one");
    let reject = RejectRequest { approval: one.approval.clone() };
    bed.policy().reject(reject.clone()).await.expect("rejected");
    let status = bed.policy().reject(reject).await.expect_err("it is gone");
    refused(&status, Code::NotFound, "UNKNOWN_APPROVAL");
    approve(&bed, &one.approval, approver.sign(&one.text)).await.expect_err("it is gone");
    // Asked for and approved, its own key answers with the payment, and with no other.
    bed.send(keyed.clone()).await.expect_err("waits anew");
    let [again] = waiting(&bed).await.try_into().expect("one");
    assert_ne!(again.approval, one.approval);
    let paid = approve(&bed, &again.approval, approver.sign(&again.text)).await.expect("paid");
    let repeated = bed.send(keyed).await.expect("it was made");
    assert_eq!((repeated.txid, repeated.repeated_request), (paid.txid, true));
    assert_eq!(bed.chain.mempool().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approved_many_times_at_once_it_is_paid_once() {
    let bed = Bed::start().await;
    let bob = rich(&bed).await;
    let approver = Approver::new();
    set(&bed, PASSPHRASE, two_persons(&approver)).await.expect("set");
    pay(&bed, &bob, 2 * COIN).await.expect_err("waits");
    let [one] = waiting(&bed).await.try_into().expect("one");
    let approvals = (0..5).map(|_| approve(&bed, &one.approval, approver.sign(&one.text)));
    let outcomes = futures_util::future::join_all(approvals).await;
    assert!(outcomes.iter().any(Result::is_ok));
    assert_eq!(bed.chain.mempool().len(), 1);
}

/// Fills the first file of the log, whose end is the next entry's beginning.
#[derive(Clone)]
struct Nothing;

impl Summary for Nothing {
    fn note(&mut self, _: &Entry) {}

    fn carried(&self, _: u64) -> Vec<(String, Event)> {
        panic!("only the service goes on in the next file");
    }
}

/// What counts is known although the start reads no more than the last file.
#[tokio::test]
async fn what_was_spent_and_what_waits_is_carried_into_the_next_file_of_the_log() {
    let mut bed = Bed::start().await;
    let bob = rich(&bed).await;
    let approver = Approver::new();
    let policy = Policy { limit_per_day: Some(3 * COIN), ..two_persons(&approver) };
    set(&bed, PASSPHRASE, policy).await.expect("set");
    pay(&bed, &bob, COIN).await.expect("within both");
    pay(&bed, &bob, 2 * COIN).await.expect_err("waits");
    let before = (spent(&bed).await, waiting(&bed).await);
    bed.stop().await;
    let (log, _) = AuditLog::open(bed.audit_log(), Nothing).expect("opens");
    while fs::metadata(bed.audit_log()).expect("there").len() < 8 << 20 {
        let (address, sha256) = ("1".repeat(1 << 19), String::new());
        log.append(None, Event::MessageSigned { address, sha256 }).await.expect("written");
    }
    drop(log);
    let next = bed.audit_log().with_extension("log.2");
    for _ in 0..2 {
        bed.launch().await.expect("starts");
        assert!(fs::metadata(&next).expect("it goes on there").len() < 10_000);
        assert_eq!((spent(&bed).await, waiting(&bed).await), before);
        let request = VerifyLogRequest::default();
        bed.audit().verify_log(request).await.expect("whole");
        bed.stop().await;
    }
    bed.launch().await.expect("starts");
    unlock(&bed).await;
    let [one] = waiting(&bed).await.try_into().expect("one");
    let status =
        approve(&bed, &one.approval, approver.sign(&one.text)).await.expect_err("too much");
    refused(&status, Code::FailedPrecondition, "LIMIT_PER_DAY");
}

/// A replacement passes what a payment passes.
#[tokio::test]
async fn higher_fees_pass_the_same_gates() {
    let bed = Bed::start().await;
    let bob = rich(&bed).await;
    let replaceable =
        |units| SendRequest { replaceable: true, ..from_wallet("alice", &bob, units) };
    let bump = |txid: &str, fee_rate| BumpFeeRequest {
        wallet: "alice".to_owned(),
        txid: txid.to_owned(),
        fee_rate: Some(fee_rate),
        ..BumpFeeRequest::default()
    };
    let first = bed.send(replaceable(2 * COIN)).await.expect("no policy yet");
    let limit_per_day = Some(2 * COIN + 100_000);
    let approver = Approver::new();
    let policy = Policy { limit_per_day, ..two_persons(&approver) };
    set(&bed, PASSPHRASE, policy).await.expect("set");
    let status = bed.bump(bump(&first.txid, 2_000)).await.expect_err("waits");
    refused(&status, Code::FailedPrecondition, "APPROVAL_NEEDED");
    let dry = BumpFeeRequest { dry_run: true, ..bump(&first.txid, 2_000) };
    let dry = bed.bump(dry).await.expect("what would be made");
    assert!(dry.txid.is_empty() && !dry.transaction.is_empty(), "not signed");
    let [one] = waiting(&bed).await.try_into().expect("one");
    for part in [&first.txid, "2.00000000", &bob, "2000 units"] {
        assert!(one.text.contains(part), "{}", one.text);
    }
    let paid = approve(&bed, &one.approval, approver.sign(&one.text)).await.expect("made");
    assert_eq!(bed.chain.mempool().remove(0).txid().to_string(), paid.txid);
    assert_eq!(paid.fee, dry.fee);
    // The amount counts once, with the last fee.
    assert_eq!(spent(&bed).await, 2 * COIN + paid.fee);
    let alone = Policy { limit_per_day, ..Policy::default() };
    set(&bed, PASSPHRASE, alone).await.expect("set");
    let status = bed.bump(bump(&paid.txid, 1_000_000)).await.expect_err("over the limit");
    refused(&status, Code::FailedPrecondition, "LIMIT_PER_DAY");
    let last = bed.bump(bump(&paid.txid, 100_000)).await.expect("within the limit");
    assert_eq!(spent(&bed).await, 2 * COIN + last.fee);
    assert_eq!(bed.chain.mempool().len(), 1);
}

#[tokio::test]
async fn policies_are_set_for_the_passphrase_alone() {
    let mut bed = Bed::start().await;
    rich(&bed).await;
    let limit = Policy { limit_per_day: Some(1), ..Policy::default() };
    for wrong in ["wrong", "open sesame"] {
        let status = set(&bed, wrong, limit.clone()).await.expect_err(wrong);
        refused(&status, Code::PermissionDenied, "CANNOT_OPEN_WALLET");
    }
    let status = set(&bed, "", limit.clone()).await.expect_err("none");
    refused(&status, Code::InvalidArgument, "NO_PASSPHRASE");
    let bob = bed.list().await[1].addresses[0].clone();
    let approver = Approver::new().address();
    for (policy, what) in [
        (Policy { approval_above: Some(1), ..Policy::default() }, "nobody approves"),
        (Policy { approver: bob, ..Policy::default() }, "a key of this node"),
        (Policy { approver: format!("{approver}x"), ..Policy::default() }, "no address"),
        (Policy { allowed: vec!["bob".to_owned()], ..Policy::default() }, "no address"),
    ] {
        let status = set(&bed, PASSPHRASE, policy).await.expect_err(what);
        refused(&status, Code::InvalidArgument, "INVALID_POLICY");
    }
    set(&bed, PASSPHRASE, limit.clone()).await.expect("set");
    let request = GetPolicyRequest { wallet: "alice".to_owned() };
    for _ in 0..2 {
        let found = bed.policy().get_policy(request.clone()).await.expect("known").into_inner();
        assert_eq!(found.policy.as_ref(), Some(&limit));
        bed.restart().await;
    }
    // A wallet that unlocks by itself keeps its secrets from whoever only has the file's word.
    let (wallet, passphrase) = ("bob".to_owned(), "open sesame".to_owned());
    let request = SetPolicyRequest { wallet, passphrase, policy: Some(limit) };
    bed.policy().set_policy(request).await.expect("set");
    let request = ShowWordsRequest { wallet: "bob".to_owned(), passphrase: String::new() };
    let status = bed.keystore().show_words(request).await.expect_err("not given");
    refused(&status, Code::InvalidArgument, "NO_PASSPHRASE");
}

/// Attack 54, for policies: the file's policy is sealed, and an older file does not pass for it.
#[tokio::test]
async fn a_policy_cannot_be_taken_out_of_the_file() {
    let mut bed = Bed::start().await;
    let bob = rich(&bed).await;
    let old = fs::read(bed.wallet_file("alice")).expect("readable");
    let policy = Policy { limit_per_day: Some(COIN), ..Policy::default() };
    set(&bed, PASSPHRASE, policy).await.expect("set");
    bed.stop().await;
    let file = fs::read_to_string(bed.wallet_file("alice")).expect("readable");
    let raised = crate::keystore::mend(&file.replace("100000000", "900000000"));
    assert_ne!(raised, file);
    fs::write(bed.wallet_file("alice"), raised).expect("writable");
    bed.restart().await;
    let (wallet, passphrase) = ("alice".to_owned(), PASSPHRASE.to_owned());
    let request = UnlockWalletRequest { wallet, passphrase, seconds: 0 };
    let status = bed.keystore().unlock_wallet(request).await.expect_err("altered");
    refused(&status, Code::PermissionDenied, "CANNOT_OPEN_WALLET");
    bed.stop().await;
    fs::write(bed.wallet_file("alice"), old).expect("writable");
    bed.restart().await;
    unlock(&bed).await;
    let status = pay(&bed, &bob, 2 * COIN).await.expect_err("an older file");
    refused(&status, Code::FailedPrecondition, "POLICY_REPLACED");
}
