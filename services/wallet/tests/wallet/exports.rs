//! What leaves the keystore, and for whom: words, keys, signed messages, another passphrase.

use std::fs;

use pentad_api::status::explain;
use pentad_api::wallet::v1::*;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_wallet};

const PASSPHRASE: &str = "correct horse battery staple";

async fn words(bed: &Bed, wallet: &str, passphrase: &str) -> Result<String, Status> {
    let (wallet, passphrase) = (wallet.to_owned(), passphrase.to_owned());
    let shown = bed.keystore().show_words(ShowWordsRequest { wallet, passphrase }).await?;
    Ok(shown.into_inner().words)
}

async fn export(bed: &Bed, address: &str, passphrase: &str) -> Result<String, Status> {
    let (address, passphrase) = (address.to_owned(), passphrase.to_owned());
    let exported = bed.keystore().export_key(ExportKeyRequest { address, passphrase }).await?;
    Ok(exported.into_inner().key)
}

async fn change(bed: &Bed, wallet: &str, old: &str, new: &str) -> Result<(), Status> {
    let request = ChangePassphraseRequest {
        wallet: wallet.to_owned(),
        passphrase: old.to_owned(),
        new_passphrase: new.to_owned(),
    };
    bed.keystore().change_passphrase(request).await.map(drop)
}

async fn unlock(bed: &Bed, wallet: &str, passphrase: &str) -> Result<(), Status> {
    let (wallet, passphrase) = (wallet.to_owned(), passphrase.to_owned());
    let request = UnlockWalletRequest { wallet, passphrase, seconds: 0 };
    bed.keystore().unlock_wallet(request).await.map(drop)
}

async fn sign(bed: &Bed, address: &str, message: &str) -> Result<String, Status> {
    let (address, message) = (address.to_owned(), message.to_owned());
    let signed = bed.keystore().sign_message(SignMessageRequest { address, message }).await?;
    Ok(signed.into_inner().signature)
}

async fn verify(bed: &Bed, address: &str, message: &str, signature: &str) -> (bool, String) {
    let request = VerifyMessageRequest {
        address: address.to_owned(),
        message: message.to_owned(),
        signature: signature.to_owned(),
    };
    let verified = bed.keystore().verify_message(request).await.expect("a verdict").into_inner();
    (verified.valid, verified.reason)
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    assert_eq!((status.code(), explain(status).reason.as_str()), (code, reason), "{status:?}");
}

/// An open wallet is not enough: whoever wants its secrets gives the passphrase again.
#[tokio::test]
async fn words_and_keys_only_for_the_passphrase() {
    let bed = Bed::start().await;
    let address = bed.create_sealed("alice", PASSPHRASE).await;
    unlock(&bed, "alice", PASSPHRASE).await.expect("opens");
    for wrong in ["", "correct horse", "open sesame"] {
        let status = words(&bed, "alice", wrong).await.expect_err(wrong);
        refused(&status, Code::PermissionDenied, "CANNOT_OPEN_WALLET");
        let status = export(&bed, &address, wrong).await.expect_err(wrong);
        refused(&status, Code::PermissionDenied, "CANNOT_OPEN_WALLET");
    }
    let shown = words(&bed, "alice", PASSPHRASE).await.expect("its owner");
    assert_eq!(shown.split(' ').count(), 12);
    let key = export(&bed, &address, PASSPHRASE).await.expect("its owner");
    let key = pentad_crypto::SecretKey::from_wif(&key, 0x80).expect("a WIF key");
    let exported = pentad_crypto::Address::P2pkh(key.public_key().key_hash());
    assert_eq!(exported.encode(&Default::default()), address);
    // A wallet of the service's own is opened by the service's passphrase.
    bed.create("bob").await;
    assert_eq!(words(&bed, "bob", "").await.expect("the service's").split(' ').count(), 12);
    let status =
        export(&bed, "1BitcoinEaterAddressDontSendf59kuE", "").await.expect_err("nobody's");
    refused(&status, Code::NotFound, "NOT_OUR_ADDRESS");
}

#[tokio::test]
async fn another_passphrase_opens_and_the_old_one_does_not() {
    let mut bed = Bed::start().await;
    let alice = bed.create_sealed("alice", PASSPHRASE).await;
    let before = words(&bed, "alice", PASSPHRASE).await.expect("opens");
    let status = change(&bed, "alice", "wrong", "new").await.expect_err("wrong");
    refused(&status, Code::PermissionDenied, "CANNOT_OPEN_WALLET");
    let status = change(&bed, "alice", PASSPHRASE, "").await.expect_err("nothing");
    refused(&status, Code::InvalidArgument, "NO_PASSPHRASE");
    change(&bed, "alice", PASSPHRASE, "another").await.expect("changed");
    for _ in 0..2 {
        let status = unlock(&bed, "alice", PASSPHRASE).await.expect_err("the old one");
        refused(&status, Code::PermissionDenied, "CANNOT_OPEN_WALLET");
        assert_eq!(words(&bed, "alice", "another").await.expect("the new one"), before);
        assert_eq!(bed.list().await[0].addresses, [alice.as_str()]);
        bed.restart().await;
    }
    // A wallet that unlocked by itself does so no more.
    let bob = bed.create("bob").await;
    bed.chain.pay(&bob, COIN);
    change(&bed, "bob", "", "bob's own").await.expect("changed");
    bed.restart().await;
    let status = bed.send(from_wallet("bob", &alice, COIN / 2)).await.expect_err("locked");
    refused(&status, Code::FailedPrecondition, "WALLET_LOCKED");
    unlock(&bed, "bob", "bob's own").await.expect("opens");
    bed.send(from_wallet("bob", &alice, COIN / 2)).await.expect("paid");
    // Nothing is left of the file before.
    let names = fs::read_dir(bed.data_dir().join("wallets")).expect("readable");
    assert_eq!(names.count(), 2);
}

#[tokio::test]
async fn messages_are_signed_and_verified() {
    let bed = Bed::start().await;
    let address = bed.create_sealed("alice", PASSPHRASE).await;
    let status = sign(&bed, &address, "hello").await.expect_err("locked");
    refused(&status, Code::FailedPrecondition, "WALLET_LOCKED");
    unlock(&bed, "alice", PASSPHRASE).await.expect("opens");
    let signature = sign(&bed, &address, "hello").await.expect("signed");
    assert_eq!(verify(&bed, &address, "hello", &signature).await, (true, String::new()));
    let other = bed.create("bob").await;
    for (address, message, signature) in [
        (other.as_str(), "hello", signature.as_str()),
        (&address, "hello!", &signature),
        (&address, "hello", ""),
        (&address, "hello", "no base64"),
        (&address, "hello", &signature[4..]),
    ] {
        let (valid, reason) = verify(&bed, address, message, signature).await;
        assert!(!valid && !reason.is_empty(), "{message} {signature}");
    }
    let long = "x".repeat(64 * 1024 + 1);
    let status = sign(&bed, &address, &long).await.expect_err("too long");
    refused(&status, Code::InvalidArgument, "MESSAGE_TOO_LONG");
    let script = "3P14159f73E4gFr7JterCCQh9QjiTjiZrG";
    let status = sign(&bed, script, "hello").await.expect_err("no key");
    refused(&status, Code::InvalidArgument, "NOT_A_KEY_ADDRESS");
}
