use pentad_api::status::explain;
use pentad_primitives::Transaction;
use pentad_primitives::encode::{Decode as _, Encode as _};

use crate::bed::{Bed, COIN, from_address, from_wallet, until};
use crate::fake_chain::ANCESTORS_MAX;

/// Sum of a transaction's outputs to an address.
fn paid_to(bed: &Bed, address: &str) -> u64 {
    let versions = pentad_crypto::AddressVersions::default();
    let script =
        pentad_crypto::Address::decode(address, &versions).expect("an address").script_pubkey();
    let mempool = bed.chain.mempool();
    let outputs = mempool.iter().flat_map(|transaction| &transaction.outputs);
    outputs.filter(|out| out.script_pubkey == script).map(|out| out.amount.units()).sum()
}

#[tokio::test]
async fn payments_in_a_row_from_one_address_spend_their_own_change() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 1000 * COIN);
    let mut fees = 0;
    for _ in 0..5 {
        let sent = bed.send(from_address(&alice, &bob, 100 * COIN)).await.expect("paid");
        assert_eq!(sent.fee, 226, "one input, two outputs, 1000 units per 1000 bytes");
        assert!(!sent.repeated_request);
        fees += sent.fee;
    }
    assert_eq!(bed.chain.mempool().len(), 5);
    let balance = bed.balance("alice").await;
    assert_eq!(balance.confirmed, 1000 * COIN);
    assert_eq!(balance.pending, -i64::try_from(500 * COIN + fees).expect("small"));
    bed.chain.mine(1);
    assert_eq!(bed.balance("alice").await.confirmed, 500 * COIN - fees);
    assert_eq!(bed.balance("bob").await.confirmed, 500 * COIN);
    // All change went back to the address itself.
    let wallets = bed.list().await;
    assert_eq!(wallets[0].addresses, [alice]);
}

#[tokio::test]
async fn own_change_is_recognised_after_a_restart() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    bed.send(from_address(&alice, &bob, COIN)).await.expect("paid");
    bed.restart().await;
    bed.send(from_address(&alice, &bob, COIN)).await.expect("paid from change");
    assert_eq!(paid_to(&bed, &bob), 2 * COIN);
}

#[tokio::test]
async fn a_wallet_pays_from_all_its_addresses_and_keeps_change_apart() {
    let bed = Bed::start().await;
    let (first, bob) = (bed.create("alice").await, bed.create("bob").await);
    let request = pentad_api::wallet::v1::NewAddressRequest {
        wallet: "alice".to_owned(),
        ..Default::default()
    };
    let second = bed.wallet().new_address(request).await.expect("an address").into_inner().address;
    assert_ne!(first, second);
    for address in [&first, &second, &first, &second] {
        bed.chain.pay(address, 2 * COIN);
    }
    let sent = bed.send(from_wallet("alice", &bob, 7 * COIN)).await.expect("paid");
    let [transaction] = bed.chain.mempool().try_into().expect("one payment");
    assert_eq!(transaction.inputs.len(), 4);
    assert_eq!(sent.txid, transaction.txid().to_string());
    let wallets = bed.list().await;
    let [receive_1, receive_2, change] = wallets[0].addresses.as_slice() else {
        panic!("{:?}", wallets[0].addresses);
    };
    assert_eq!((receive_1, receive_2), (&first, &second));
    assert_eq!(paid_to(&bed, change), COIN - sent.fee);
    // The change can be spent at once.
    bed.send(from_wallet("alice", &bob, COIN / 2)).await.expect("paid from change");
}

#[tokio::test]
async fn many_payments_in_one_transaction() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    let mut request = from_wallet("alice", &bob, COIN);
    request.payments.push(request.payments[0].clone());
    request.fee_rate = Some(5000);
    let sent = bed.send(request).await.expect("paid");
    assert_eq!(paid_to(&bed, &bob), 2 * COIN);
    assert_eq!(sent.fee, (226 + 34) * 5);
}

#[tokio::test]
async fn coins_of_others_wait_for_a_block() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.announce(&alice, 10 * COIN);
    until("the coins are seen", async || bed.balance("alice").await.pending != 0).await;
    let error = bed.send(from_address(&alice, &bob, COIN)).await.expect_err("unconfirmed");
    assert!(error.message().contains("10.00000000 are unconfirmed"), "{}", error.message());
    bed.chain.mine(1);
    bed.send(from_address(&alice, &bob, COIN)).await.expect("paid");
}

#[tokio::test]
async fn one_payment_takes_all_but_the_fee() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, COIN);
    let sent = bed.send(from_address(&alice, &bob, COIN - 192)).await.expect("paid");
    assert_eq!(sent.fee, 192);
    assert_eq!(bed.chain.mempool()[0].outputs.len(), 1);
}

/// Change of change of change: when the mempool takes no more of it, another coin begins anew.
#[tokio::test]
async fn long_chains_of_change_give_way_to_other_coins() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.mature_at_once();
    bed.restart().await;
    bed.chain.reward(&alice, 1000 * COIN);
    bed.chain.reward(&alice, 1000 * COIN);
    for _ in 0..2 * (ANCESTORS_MAX + 1) {
        bed.send(from_address(&alice, &bob, COIN)).await.expect("paid");
    }
    let error = bed.send(from_address(&alice, &bob, COIN)).await.expect_err("no coin is left");
    assert_eq!(explain(&error).reason, "TOO_MANY_ANCESTORS");
    bed.chain.mine(1);
    bed.send(from_address(&alice, &bob, COIN)).await.expect("paid");
}

#[tokio::test]
async fn a_dry_run_answers_with_the_transaction_and_takes_nothing() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    let mut request = from_wallet("alice", &bob, COIN);
    request.dry_run = true;
    let tried = bed.send(request.clone()).await.expect("possible");
    assert!(bed.chain.mempool().is_empty());
    assert_eq!(bed.list().await[0].addresses.len(), 1, "its change address is kept for the next");
    request.dry_run = false;
    request.idempotency_key = "once".to_owned();
    let sent = bed.send(request.clone()).await.expect("paid");
    // The same coins, the same change address, and RFC 6979: the same transaction to the byte.
    assert_eq!((&sent.txid, &sent.transaction), (&tried.txid, &tried.transaction));
    let again = bed.send(request).await.expect("paid once");
    assert!(again.repeated_request);
    assert_eq!(again.transaction, sent.transaction);
    let [transaction] = bed.chain.mempool().try_into().expect("one payment");
    assert_eq!(transaction.to_bytes(), sent.transaction);
}

#[tokio::test]
async fn data_lock_time_and_replacement_are_in_the_transaction() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, 10 * COIN);
    for (lock_time, replaceable, sequence) in [
        (0, false, u32::MAX),
        (7, false, u32::MAX - 1),
        (0, true, u32::MAX - 2),
        (7, true, u32::MAX - 2),
    ] {
        let mut request = from_wallet("alice", &bob, COIN);
        request.dry_run = true;
        (request.lock_time, request.replaceable) = (lock_time, replaceable);
        request.data = b"hello"[..].into();
        let tried = bed.send(request).await.expect("possible");
        let transaction = Transaction::from_bytes(&tried.transaction).expect("a transaction");
        assert_eq!(transaction.lock_time, lock_time);
        assert!(transaction.inputs.iter().all(|input| input.sequence == sequence));
        let data = [&[0x6a, 5], &b"hello"[..]].concat();
        assert_eq!(transaction.outputs[1].script_pubkey.as_bytes(), data);
        assert_eq!(transaction.outputs.len(), 3);
        // The bytes of the data are paid for.
        assert_eq!(tried.fee, 226 + 16);
    }
    let mut request = from_wallet("alice", &bob, COIN);
    request.data = vec![0; 81].into();
    let status = bed.send(request).await.expect_err("too long");
    assert_eq!(explain(&status).reason, "DATA_TOO_LONG");
}

#[tokio::test]
async fn a_subtracted_fee_empties_a_wallet_to_the_unit() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.pay(&alice, COIN);
    bed.chain.pay(&alice, COIN);
    let mut request = from_wallet("alice", &bob, 2 * COIN);
    request.subtract_fee = true;
    let sent = bed.send(request).await.expect("paid");
    assert_eq!(paid_to(&bed, &bob), 2 * COIN - sent.fee);
    assert_eq!(sent.fee, 340, "two inputs, one output");
    bed.chain.mine(1);
    assert_eq!(bed.balance("alice").await.confirmed, 0);
    // What the fee leaves must be worth paying.
    bed.chain.pay(&alice, COIN);
    let mut request = from_wallet("alice", &bob, 600);
    request.subtract_fee = true;
    let status = bed.send(request).await.expect_err("dust");
    assert_eq!(explain(&status).reason, "DUST");
}
