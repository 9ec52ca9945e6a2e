//! Wallets made again from their words.

use pentad_api::status::explain;
use pentad_api::wallet::v1::*;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_wallet};

/// The most published mnemonic.
const ABANDON: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                       abandon abandon about";

async fn restore(bed: &Bed, wallet: &str, words: &str) -> Result<RestoreWalletResponse, Status> {
    let request = RestoreWalletRequest {
        wallet: wallet.to_owned(),
        words: words.to_owned(),
        passphrase: String::new(),
    };
    bed.keystore().restore_wallet(request).await.map(tonic::Response::into_inner)
}

async fn words(bed: &Bed, wallet: &str) -> String {
    let request = ShowWordsRequest { wallet: wallet.to_owned(), ..Default::default() };
    bed.keystore().show_words(request).await.expect("the service's").into_inner().words
}

async fn new_address(bed: &Bed, wallet: &str) -> String {
    let request = NewAddressRequest { wallet: wallet.to_owned(), ..Default::default() };
    bed.wallet().new_address(request).await.expect("an address").into_inner().address
}

#[tokio::test]
async fn a_restored_wallet_finds_its_coins() {
    let bed = Bed::start().await;
    let first = bed.create("alice").await;
    // Paid on the first and, after a gap, on the last of 15 addresses; then change of its own.
    let mut last = String::new();
    for _ in 0..14 {
        last = new_address(&bed, "alice").await;
    }
    bed.chain.pay(&first, COIN);
    bed.chain.pay(&last, 2 * COIN);
    let other = bed.create("bob").await;
    bed.send(from_wallet("alice", &other, COIN / 2)).await.expect("paid");
    bed.chain.mine(1);
    let balance = bed.balance("alice").await;
    let words = words(&bed, "alice").await;

    let elsewhere = {
        let mut elsewhere = Bed::start().await;
        elsewhere.chain = bed.chain.clone();
        elsewhere.restart().await;
        elsewhere
    };
    let restored = restore(&elsewhere, "again", &words).await.expect("restored");
    assert_eq!((restored.wallet.as_str(), restored.address), ("again", first));
    assert_eq!((restored.receive_addresses, restored.change_addresses), (15, 1));
    assert_eq!(elsewhere.balance("again").await, balance);
    // It pays, and its next address is a new one.
    elsewhere.send(from_wallet("again", &other, COIN)).await.expect("paid");
    let fresh = new_address(&elsewhere, "again").await;
    assert!(!bed.list().await[0].addresses.contains(&fresh));
}

#[tokio::test]
async fn an_unused_wallet_has_its_first_address() {
    let bed = Bed::start().await;
    let restored = restore(&bed, "", ABANDON).await.expect("restored");
    assert_eq!((restored.receive_addresses, restored.change_addresses), (0, 0));
    // m/44'/1'/0'/0/0, as other wallets derive it for test networks.
    assert_eq!(restored.address, bed.list().await[0].addresses[0]);
    assert_eq!(words(&bed, &restored.wallet).await, ABANDON);
}

#[tokio::test]
async fn words_that_are_none_and_names_that_are_taken() {
    let bed = Bed::start().await;
    for wrong in
        ["", "abandon", &ABANDON.replace("about", "abandon"), &ABANDON.replace("about", "abuot")]
    {
        let status = restore(&bed, "again", wrong).await.expect_err(wrong);
        let explained = explain(&status);
        assert_eq!(
            (status.code(), explained.reason.as_str()),
            (Code::InvalidArgument, "INVALID_WORDS")
        );
        assert!(!status.message().contains("about") && explained.hint.is_some());
    }
    bed.create("taken").await;
    let status = restore(&bed, "taken", ABANDON).await.expect_err("taken");
    assert_eq!(explain(&status).reason, "WALLET_EXISTS");
}
