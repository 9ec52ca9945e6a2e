//! Every refusal has its code, its reason and, where there is something to do, a hint.

use pentad_api::status::explain;
use pentad_api::wallet::v1::*;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_address, from_wallet};

/// An address of Bitcoin's test network: version 0x6f.
const FOREIGN: &str = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn";

#[track_caller]
fn check(result: Result<SendResponse, Status>, code: Code, reason: &str, says: &str) {
    let status = result.expect_err(reason);
    let explanation = explain(&status);
    assert_eq!((status.code(), explanation.reason.as_str()), (code, reason), "{status:?}");
    let text = format!("{} | {}", status.message(), explanation.hint.unwrap_or_default());
    assert!(text.contains(says), "{says:?} is not in {text:?}");
}

#[tokio::test]
async fn sources_that_cannot_pay() {
    use Code::{InvalidArgument, NotFound};
    let bed = Bed::start().await;
    let bob = bed.create("bob").await;
    let stranger = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2";
    let wallet = |name: &str| from_wallet(name, &bob, COIN);
    let address = |text: &str| from_address(text, &bob, COIN);
    let nothing = SendRequest::default();
    check(bed.send(nothing).await, InvalidArgument, "NO_SOURCE", "from");
    check(bed.send(wallet("nobody")).await, NotFound, "UNKNOWN_WALLET", "nobody");
    check(bed.send(wallet("../cookie")).await, InvalidArgument, "INVALID_WALLET_NAME", "a-z");
    check(bed.send(address(stranger)).await, NotFound, "NOT_OUR_ADDRESS", stranger);
    check(bed.send(address("rubbish")).await, InvalidArgument, "INVALID_ADDRESS", "address");
    check(bed.send(address(FOREIGN)).await, InvalidArgument, "WRONG_NETWORK", "0x6f");
}

#[tokio::test]
async fn payments_that_cannot_be_made() {
    use Code::{FailedPrecondition, InvalidArgument};
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 5 * COIN);
    // One address in 58 ends with an x by itself.
    let letter = if bob.ends_with('x') { 'y' } else { 'x' };
    let broken = format!("{}{letter}", &bob[..bob.len() - 1]);
    let (address, amount) = ("payments[0].address", "payments[0].amount");
    for (to, units, code, reason, says) in [
        (FOREIGN, COIN, InvalidArgument, "WRONG_NETWORK", address),
        (&broken, COIN, InvalidArgument, "INVALID_ADDRESS", address),
        (&bob, 0, InvalidArgument, "AMOUNT_ZERO", amount),
        (&bob, 545, InvalidArgument, "DUST", "0.00000546"),
        (&bob, u64::MAX, InvalidArgument, "AMOUNT_TOO_LARGE", "21000000"),
        (&bob, 6 * COIN, FailedPrecondition, "NOT_ENOUGH_COINS", "have 5.00000000"),
        (&bob, 6 * COIN, FailedPrecondition, "NOT_ENOUGH_COINS", "need 6.00000192"),
        (&bob, 5 * COIN, FailedPrecondition, "NOT_ENOUGH_COINS", "5.00000192 with the fee"),
    ] {
        check(bed.send(from_address(&alice, to, units)).await, code, reason, says);
    }
    assert!(bed.chain.submissions().is_empty());
}

#[tokio::test]
async fn payments_and_fee_rates_out_of_range() {
    let bed = Bed::start().await;
    let bob = bed.create("bob").await;
    bed.chain.pay(&bob, 5 * COIN);
    let base = from_wallet("bob", &bob, COIN);
    let none = SendRequest { payments: Vec::new(), ..base.clone() };
    check(bed.send(none).await, Code::InvalidArgument, "PAYMENTS", "1 to 1000");
    let many = SendRequest { payments: vec![base.payments[0].clone(); 1001], ..base.clone() };
    check(bed.send(many).await, Code::InvalidArgument, "PAYMENTS", "1001");
    for fee_rate in [0, 999, 100_000_001] {
        let request = SendRequest { fee_rate: Some(fee_rate), ..base.clone() };
        check(bed.send(request).await, Code::InvalidArgument, "FEE_RATE", &fee_rate.to_string());
    }
    let mut riches = base.clone();
    riches.payments[0].amount = 20_000_000 * COIN;
    riches.payments.push(riches.payments[0].clone());
    check(bed.send(riches).await, Code::InvalidArgument, "AMOUNT_TOO_LARGE", "payments");
}

#[tokio::test]
async fn immature_coins_are_named_as_the_cause() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.reward(&alice, 1000 * COIN);
    let request = from_address(&alice, &bob, COIN);
    let result = bed.send(request.clone()).await;
    let (code, reason) = (Code::FailedPrecondition, "NOT_ENOUGH_COINS");
    check(result, code, reason, "1000.00000000 are immature");
    check(bed.send(request.clone()).await, code, reason, "100 blocks later");
    assert_eq!(bed.balance("alice").await.immature, 1000 * COIN);
    bed.chain.mine(99);
    assert_eq!(bed.balance("alice").await.confirmed, 1000 * COIN);
    bed.send(request).await.expect("mature now");
}

#[tokio::test]
async fn too_many_small_coins() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    for _ in 0..680 {
        bed.chain.pay(&alice, 1_000_000);
    }
    let result = bed.send(from_address(&alice, &bob, 678_000_000)).await;
    check(result, Code::FailedPrecondition, "TOO_MANY_COINS", "675");
}

#[tokio::test]
async fn names_and_wallets() {
    let bed = Bed::start().await;
    bed.create("alice").await;
    let create = |wallet: &str, passphrase: String| CreateWalletRequest {
        wallet: wallet.to_owned(),
        passphrase,
    };
    let mut keystore = bed.keystore();
    let error = keystore.create_wallet(create("alice", String::new())).await.expect_err("taken");
    assert_eq!(
        (error.code(), explain(&error).reason.as_str()),
        (Code::AlreadyExists, "WALLET_EXISTS")
    );
    for name in ["Alice", "a/b", "..", &"a".repeat(65)] {
        let error = keystore.create_wallet(create(name, String::new())).await.expect_err(name);
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    let error = keystore.create_wallet(create("long", "x".repeat(1025))).await.expect_err("long");
    assert_eq!(explain(&error).field.as_deref(), Some("passphrase"));
    assert!(!error.message().contains("xxx"));
    let request = GetBalanceRequest { wallet: "nobody".to_owned() };
    let error = bed.wallet().get_balance(request).await.expect_err("unknown");
    assert_eq!((error.code(), explain(&error).reason.as_str()), (Code::NotFound, "UNKNOWN_WALLET"));
}
