//! The audit log tells of every use of a key, and notices when it is altered.

use std::fs;

use pentad_api::status::explain;
use pentad_api::wallet::v1::*;
use pentad_wallet::StartError;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_wallet};

const STRANGER: &str = "1BitcoinEaterAddressDontSendf59kuE";
const PASSPHRASE: &str = "correct horse battery staple";

async fn list(bed: &Bed, first: u64, limit: u32, wallet: &str) -> ListEntriesResponse {
    let request = ListEntriesRequest { first, limit, wallet: wallet.to_owned() };
    bed.audit().list_entries(request).await.expect("listed").into_inner()
}

async fn verify(bed: &Bed) -> Result<VerifyLogResponse, Status> {
    Ok(bed.audit().verify_log(VerifyLogRequest::default()).await?.into_inner())
}

fn events(entries: &[AuditEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.event.as_str()).collect()
}

/// Uses the key of a wallet in every way there is.
async fn use_keys(bed: &Bed) -> SendResponse {
    let wallet = || "alice".to_owned();
    let passphrase = || PASSPHRASE.to_owned();
    let address = bed.create_sealed("alice", PASSPHRASE).await;
    bed.chain.pay(&address, 10 * COIN);
    let mut keystore = bed.keystore();
    let unlock = |passphrase| UnlockWalletRequest { wallet: wallet(), passphrase, seconds: 60 };
    keystore.unlock_wallet(unlock("wrong".to_owned())).await.expect_err("wrong");
    keystore.unlock_wallet(unlock(passphrase())).await.expect("opens");
    let request = SignMessageRequest { address: address.clone(), message: "hello".to_owned() };
    keystore.sign_message(request).await.expect("signed");
    let dry = SendRequest { dry_run: true, ..from_wallet("alice", STRANGER, COIN) };
    bed.send(dry).await.expect("a dry run");
    let sent = bed.send(from_wallet("alice", STRANGER, 2 * COIN)).await.expect("paid");
    let request = ShowWordsRequest { wallet: wallet(), passphrase: passphrase() };
    keystore.show_words(request).await.expect("shown");
    let request = ExportKeyRequest { address, passphrase: "wrong".to_owned() };
    keystore.export_key(request.clone()).await.expect_err("wrong");
    let request = ExportKeyRequest { passphrase: passphrase(), ..request };
    keystore.export_key(request).await.expect("exported");
    let request = ChangePassphraseRequest {
        wallet: wallet(),
        passphrase: passphrase(),
        new_passphrase: "another".to_owned(),
    };
    keystore.change_passphrase(request).await.expect("changed");
    keystore.lock_wallet(LockWalletRequest { wallet: wallet() }).await.expect("locked");
    sent
}

#[tokio::test]
async fn every_use_of_a_key_is_in_the_log() {
    let mut bed = Bed::start().await;
    let sent = use_keys(&bed).await;
    let listed = list(&bed, 0, 0, "").await;
    let expected = [
        "opened",
        "created",
        "refused",
        "unlocked",
        "message-signed",
        "payment-signed",
        "payment-signed",
        "words-shown",
        "refused",
        "key-exported",
        "passphrase-changed",
        "locked",
    ];
    assert_eq!(events(&listed.entries), expected);
    let payment = &listed.entries[6].details;
    for part in [&sent.txid, r#""amount":200000000"#, r#""dry_run":false"#] {
        assert!(payment.contains(part), "{payment}");
    }
    assert!(listed.entries[5].details.contains(r#""dry_run":true"#));
    assert_eq!(listed.entries[8].details, r#"{"attempt":"key-exported"}"#);
    let log = fs::read_to_string(bed.audit_log()).expect("text");
    for secret in [PASSPHRASE, "hello", "another"] {
        assert!(!log.contains(secret), "{secret}");
    }
    let verified = verify(&bed).await.expect("whole");
    assert_eq!((verified.entries, &verified.hash), (12, &listed.entries[11].hash));
    // The log goes on after a restart, and what was noted is in it still.
    bed.restart().await;
    let VerifyLogResponse { entries: known_number, hash: known_hash } = verified;
    let known = VerifyLogRequest { known_number, known_hash };
    let verified = bed.audit().verify_log(known.clone()).await.expect("the same").into_inner();
    assert_eq!(verified.entries, 13);
    let other = VerifyLogRequest { known_number: 11, ..known };
    let status = bed.audit().verify_log(other).await.expect_err("another hash");
    assert_eq!(explain(&status).reason, "AUDIT_LOG_REPLACED");
}

#[tokio::test]
async fn entries_are_listed_in_pages_and_by_wallet() {
    let bed = Bed::start().await;
    for wallet in ["alice", "bob", "carol"] {
        bed.create(wallet).await;
    }
    let first = list(&bed, 1, 3, "").await;
    assert_eq!(first.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2, 3]);
    let second = list(&bed, first.next, 3, "").await;
    assert_eq!((second.entries.len(), second.entries[0].wallet.as_str()), (1, "carol"));
    assert_eq!(second.next, 0);
    assert_eq!(list(&bed, 0, 2, "").await.entries[0].number, 3);
    for first in [0, 1] {
        let bobs = list(&bed, first, 0, "bob").await;
        assert_eq!(events(&bobs.entries), ["created"]);
    }
    assert!(list(&bed, 99, 0, "").await.entries.is_empty());
}

#[tokio::test]
async fn an_altered_log_is_reported_and_stops_the_start() {
    let mut bed = Bed::start().await;
    use_keys(&bed).await;
    let whole = fs::read_to_string(bed.audit_log()).expect("text");
    let altered = whole.replace("200000000", "100000000");
    assert_ne!(altered, whole);
    fs::write(bed.audit_log(), &altered).expect("writable");
    let status = verify(&bed).await.expect_err("altered");
    assert_eq!(
        (status.code(), explain(&status).reason.as_str()),
        (Code::DataLoss, "AUDIT_LOG_DAMAGED")
    );
    assert!(status.message().contains("entry 7 "), "{status:?}");
    bed.stop().await;
    let error = bed.launch().await.expect_err("altered");
    assert!(matches!(&error, StartError::Audit(_)), "{error}");
    assert!(error.to_string().contains("entry 7 "), "{error}");
    fs::write(bed.audit_log(), &whole).expect("writable");
    bed.launch().await.expect("starts");
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_noted() {
    let mut bed = Bed::start().await;
    bed.create("alice").await;
    bed.stop().await;
    let mut torn = fs::read(bed.audit_log()).expect("readable");
    torn.extend_from_slice(b"half of an entr");
    fs::write(bed.audit_log(), torn).expect("writable");
    bed.restart().await;
    let listed = list(&bed, 0, 0, "").await.entries;
    assert_eq!(events(&listed), ["opened", "created", "tail-cut", "opened"]);
    assert!(listed[2].details.contains(r#""bytes":15"#), "{}", listed[2].details);
    verify(&bed).await.expect("whole");
}
