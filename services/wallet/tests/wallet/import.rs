//! Wallets of keys from elsewhere, and wallets without keys.

use pentad_api::status::explain;
use pentad_api::wallet::v1::*;
use pentad_crypto::{Address, SecretKey};
use pentad_primitives::Transaction;
use pentad_primitives::encode::Decode as _;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_address, from_wallet};

const PASSPHRASE: &str = "correct horse battery staple";

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes([byte; 32]).expect("a key")
}

fn address(byte: u8) -> String {
    Address::P2pkh(key(byte).public_key().key_hash()).encode(&Default::default())
}

async fn import(bed: &Bed, keys: &[&str]) -> Result<ImportKeysResponse, Status> {
    let request = ImportKeysRequest {
        wallet: "paper".to_owned(),
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
        passphrase: PASSPHRASE.to_owned(),
    };
    Ok(bed.keystore().import_keys(request).await?.into_inner())
}

async fn watch(bed: &Bed, account: &str, list: &[String]) -> Result<WatchWalletResponse, Status> {
    let (wallet, account) = ("eye".to_owned(), account.to_owned());
    let request = WatchWalletRequest { wallet, account, addresses: list.to_vec() };
    Ok(bed.keystore().watch_wallet(request).await?.into_inner())
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    assert_eq!((status.code(), explain(status).reason.as_str()), (code, reason), "{status:?}");
}

#[tokio::test]
async fn imported_keys_pay_and_are_shown_again() {
    let mut bed = Bed::start().await;
    let bob = bed.create("bob").await;
    let (one, two) = (key(1).to_wif(0x80), key(2).to_wif(0x80));
    let imported = import(&bed, &[&one, &two, &one]).await.expect("imported");
    assert_eq!(imported.addresses, [address(1), address(2)]);
    bed.chain.pay(&address(1), COIN);
    bed.chain.pay(&address(2), COIN);
    bed.restart().await;
    assert_eq!(bed.balance("paper").await.confirmed, 2 * COIN);
    let status = bed.send(from_wallet("paper", &bob, COIN)).await.expect_err("locked");
    refused(&status, Code::FailedPrecondition, "WALLET_LOCKED");
    let (wallet, passphrase) = ("paper".to_owned(), PASSPHRASE.to_owned());
    let request = UnlockWalletRequest { wallet, passphrase: passphrase.clone(), seconds: 0 };
    bed.keystore().unlock_wallet(request).await.expect("opens");
    bed.send(from_wallet("paper", &bob, COIN + COIN / 2)).await.expect("both keys sign");
    // There is no change chain: what is left is back at the first address.
    bed.chain.mine(1);
    let left = bed.balance("paper").await.confirmed;
    bed.send(from_address(&address(1), &bob, left / 2)).await.expect("change is there");
    let (address, passphrase) = (address(2), passphrase);
    let request = ExportKeyRequest { address, passphrase: passphrase.clone() };
    let exported = bed.keystore().export_key(request).await.expect("exported").into_inner();
    assert_eq!(exported.key, *two);
    let request = ShowWordsRequest { wallet: "paper".to_owned(), passphrase };
    let status = bed.keystore().show_words(request).await.expect_err("no words");
    refused(&status, Code::FailedPrecondition, "NO_WORDS");
    let request = NewAddressRequest { wallet: "paper".to_owned(), ..Default::default() };
    let status = bed.wallet().new_address(request).await.expect_err("no more");
    refused(&status, Code::FailedPrecondition, "FIXED_ADDRESSES");
}

#[tokio::test]
async fn keys_that_are_none_are_refused_and_not_repeated() {
    let bed = Bed::start().await;
    let (good, other) = (key(1).to_wif(0x80), key(2).to_wif(0xef));
    let typo = format!("{}1", &good[..good.len() - 1]);
    for (keys, reason) in [
        (vec![], "KEY_COUNT"),
        (vec![good.as_str(), &typo], "INVALID_KEY"),
        (vec!["hello"], "INVALID_KEY"),
        (vec![other.as_str()], "WRONG_NETWORK"),
        (vec![good.as_str(); 1001], "KEY_COUNT"),
    ] {
        let status = import(&bed, &keys).await.expect_err(reason);
        refused(&status, Code::InvalidArgument, reason);
        assert!(keys.iter().all(|key| !format!("{status:?}").contains(key)), "{status:?}");
    }
    assert!(bed.list().await.is_empty());
    import(&bed, &[&good]).await.expect("imported");
    let status = import(&bed, &[&good]).await.expect_err("the name is taken");
    refused(&status, Code::AlreadyExists, "WALLET_EXISTS");
}

#[tokio::test]
async fn a_watched_account_finds_its_coins_and_signs_nothing() {
    let mut bed = Bed::start().await;
    // m/44'/0'/0' of the words abandon … about: as other wallets show it.
    let account = concat!(
        "xpub6BosfCnifzxcFwrSzQiqu2DBVTshkCXacvNsWGYJVVhhawA7d4R5WSWGFNbi8Aw6ZRc1brxMyWMz",
        "G3DSSSSoekkudhUd9yLb6qx39T9nMdj",
    );
    let first = "1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA";
    bed.chain.pay(first, 2 * COIN);
    let watched = watch(&bed, account, &[]).await.expect("watched");
    assert_eq!(watched.addresses[0], first);
    bed.restart().await;
    assert_eq!(bed.balance("eye").await.confirmed, 2 * COIN);
    let [wallet] = bed.list().await.try_into().expect("one");
    assert!(wallet.watch_only && !wallet.unlocked);
    let next = bed
        .wallet()
        .new_address(NewAddressRequest { wallet: "eye".to_owned(), ..Default::default() })
        .await;
    assert_ne!(next.expect("the next one").into_inner().address, first);
    let bob = bed.create("bob").await;
    for request in [from_wallet("eye", &bob, COIN), from_address(first, &bob, COIN)] {
        let status = bed.send(request.clone()).await.expect_err("no keys");
        refused(&status, Code::FailedPrecondition, "WATCH_ONLY");
        let dry = bed.send(SendRequest { dry_run: true, ..request }).await.expect("unsigned");
        let transaction = Transaction::from_bytes(&dry.transaction).expect("a transaction");
        assert!(dry.txid.is_empty() && transaction.inputs[0].script_sig.is_empty());
    }
    let passphrase = "open sesame".to_owned();
    let request = ExportKeyRequest { address: first.to_owned(), passphrase: passphrase.clone() };
    let status = bed.keystore().export_key(request).await.expect_err("no keys");
    refused(&status, Code::FailedPrecondition, "WATCH_ONLY");
    let request = UnlockWalletRequest { wallet: "eye".to_owned(), passphrase, seconds: 0 };
    let status = bed.keystore().unlock_wallet(request).await.expect_err("no keys");
    refused(&status, Code::FailedPrecondition, "WATCH_ONLY");
}

#[tokio::test]
async fn watched_addresses_do_not_stand_before_those_who_have_the_key() {
    let bed = Bed::start().await;
    let bob = bed.create("bob").await;
    let script = "3P14159f73E4gFr7JterCCQh9QjiTjiZrG";
    bed.chain.pay(script, COIN);
    bed.chain.pay(&bob, 2 * COIN);
    // Its name comes before `bob`.
    let request = WatchWalletRequest {
        wallet: "anna".to_owned(),
        account: String::new(),
        addresses: vec![bob.clone(), script.to_owned(), bob.clone()],
    };
    let watched = bed.keystore().watch_wallet(request).await.expect("watched").into_inner();
    assert_eq!(watched.addresses, [bob.as_str(), script]);
    assert_eq!(bed.balance("anna").await.confirmed, 3 * COIN);
    bed.send(from_address(&bob, &bob, COIN)).await.expect("bob has the key");
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused() {
    let bed = Bed::start().await;
    let xprv = concat!(
        "xprv9xpXFhFpqdQK3TmytPBqXtGSwS3DLjojFhTGht8gwAAii8py5X6pxeBnQ6ehJiyJ6nDjWGJfZ95Wx",
        "ByFXVkDxHXrqu53WCRGypk2ttuqncb",
    );
    let addresses = vec![address(1)];
    for (account, list, reason) in [
        ("", vec![], "WATCHED"),
        ("xpub", addresses.clone(), "WATCHED"),
        ("", vec![address(1); 1001], "WATCHED"),
        (xprv, vec![], "INVALID_ACCOUNT"),
        ("", vec!["bob".to_owned()], "INVALID_ADDRESS"),
    ] {
        let status = watch(&bed, account, &list).await.expect_err(reason);
        refused(&status, Code::InvalidArgument, reason);
        assert!(!format!("{status:?}").contains(xprv));
    }
    watch(&bed, "", &addresses).await.expect("watched");
}
