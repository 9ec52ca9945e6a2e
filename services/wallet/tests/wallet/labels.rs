//! Labels of addresses and payments.

use pentad_api::status::explain;
use pentad_api::wallet::v1::label::Subject;
use pentad_api::wallet::v1::set_label_request::Subject as Asked;
use pentad_api::wallet::v1::*;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_wallet};

async fn set(bed: &Bed, subject: Option<Asked>, label: &str) -> Result<(), Status> {
    let (wallet, label) = ("alice".to_owned(), label.to_owned());
    bed.wallet().set_label(SetLabelRequest { wallet, subject, label }).await.map(drop)
}

async fn page(bed: &Bed, page_size: u32, page_token: String) -> ListLabelsResponse {
    let request = ListLabelsRequest { wallet: "alice".to_owned(), page_size, page_token };
    bed.wallet().list_labels(request).await.expect("listed").into_inner()
}

async fn new_address(bed: &Bed, label: &str) -> Result<String, Status> {
    let (wallet, label) = ("alice".to_owned(), label.to_owned());
    let answer = bed.wallet().new_address(NewAddressRequest { wallet, label }).await?;
    Ok(answer.into_inner().address)
}

/// The labels of a wallet's history, the last transaction first.
async fn shown(bed: &Bed) -> Vec<String> {
    bed.history("alice").await.into_iter().map(|transaction| transaction.label).collect()
}

#[tokio::test]
async fn labels_are_shown_where_their_subjects_are_and_are_kept() {
    let mut bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    let shop = new_address(&bed, "shop").await.expect("handed out");
    bed.chain.pay(&shop, 10 * COIN);
    bed.chain.pay(&alice, COIN);
    let request = from_wallet("alice", &bob, COIN / 2);
    let request = SendRequest { label: "rent".to_owned(), replaceable: true, ..request };
    let sent = bed.send(request).await.expect("paid");
    assert_eq!(shown(&bed).await, ["rent", "", "shop"]);
    // A raised fee changes the transaction, not what the payment is called.
    let (wallet, txid) = ("alice".to_owned(), sent.txid.clone());
    let bumped = bed.bump(BumpFeeRequest { wallet, txid, ..Default::default() }).await;
    let bumped = bumped.expect("replaced").txid;
    assert_eq!(shown(&bed).await, ["rent", "", "shop"]);
    let received = bed.history("alice").await[1].txid.clone();
    set(&bed, Some(Asked::Txid(received.clone())), "gift").await.expect("set");
    set(&bed, Some(Asked::Address(alice.clone())), "first").await.expect("set");
    set(&bed, Some(Asked::Txid(bumped.clone())), "rent, May").await.expect("set");
    assert_eq!(shown(&bed).await, ["rent, May", "gift", "shop"]);
    bed.restart().await;
    assert_eq!(shown(&bed).await, ["rent, May", "gift", "shop"]);
    // Only of its own wallet.
    assert!(bed.history("bob").await.iter().all(|transaction| transaction.label.is_empty()));
    let [listed, other] = bed.list().await.try_into().expect("two wallets");
    let label = |(address, label): (&String, &str)| Label {
        subject: Some(Subject::Address(address.clone())),
        label: label.to_owned(),
    };
    let mut expected = [(&alice, "first"), (&shop, "shop")];
    expected.sort_unstable();
    assert_eq!(listed.labels, expected.map(label));
    assert!(other.labels.is_empty());

    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let ListLabelsResponse { labels, next_page_token } = page(&bed, 2, token).await;
        all.extend(labels);
        token = next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let mut names: Vec<String> = all.into_iter().map(|label| label.label).collect();
    names.sort_unstable();
    assert_eq!(names, ["first", "gift", "rent", "rent, May", "shop"]);
    set(&bed, Some(Asked::Txid(received)), "").await.expect("taken away");
    assert_eq!(shown(&bed).await, ["rent, May", "first", "shop"], "that of its address is left");
}

#[tokio::test]
async fn labels_come_back_with_a_backup() {
    let bed = Bed::start().await;
    let alice = bed.create("alice").await;
    set(&bed, Some(Asked::Address(alice)), "all \"mine\"").await.expect("set");
    let request = BackupWalletRequest { wallet: "alice".to_owned() };
    let backup = bed.keystore().backup_wallet(request).await.expect("backed up").into_inner();
    let elsewhere = Bed::start().await;
    let backup = backup.backup;
    let altered = backup.replace("mine", "Mine");
    assert_ne!(altered, backup);
    let restore = async |backup| {
        let wallet = "again".to_owned();
        let request = RestoreBackupRequest { backup, wallet, ..Default::default() };
        elsewhere.keystore().restore_backup(request).await
    };
    let status = restore(altered).await.expect_err("altered");
    assert_eq!(explain(&status).reason, "INVALID_BACKUP");
    restore(backup).await.expect("restored");
    let [again] = elsewhere.list().await.try_into().expect("one wallet");
    assert_eq!(again.labels.len(), 1);
    assert_eq!(again.labels[0].label, "all \"mine\"");
}

#[tokio::test]
async fn what_cannot_be_labelled_is_said() {
    let bed = Bed::start().await;
    let alice = bed.create("alice").await;
    let bob = bed.create("bob").await;
    bed.chain.pay(&bob, COIN);
    let theirs = bed.history("bob").await[0].txid.clone();
    for (subject, label, code, reason) in [
        (None, "x", Code::InvalidArgument, "NO_SUBJECT"),
        (Some(Asked::Address("what".to_owned())), "x", Code::InvalidArgument, "INVALID_ADDRESS"),
        (Some(Asked::Address(bob)), "x", Code::NotFound, "NOT_OUR_ADDRESS"),
        (Some(Asked::Txid(theirs)), "x", Code::NotFound, "UNKNOWN_TRANSACTION"),
        (Some(Asked::Txid("what".to_owned())), "x", Code::NotFound, "UNKNOWN_TRANSACTION"),
        (Some(Asked::Address(alice.clone())), "a\nb", Code::InvalidArgument, "INVALID_LABEL"),
    ] {
        let status = set(&bed, subject.clone(), label).await.expect_err(reason);
        assert_eq!(
            (status.code(), explain(&status).reason.as_str()),
            (code, reason),
            "{subject:?}"
        );
    }
    let long = "x".repeat(101);
    let status = new_address(&bed, &long).await.expect_err("too long");
    assert_eq!(explain(&status).field.as_deref(), Some("label"));
    let request = SendRequest { label: long, ..from_wallet("alice", &alice, COIN) };
    let status = bed.send(request).await.expect_err("too long");
    assert_eq!(explain(&status).field.as_deref(), Some("label"));
    assert_eq!(bed.list().await[0].addresses.len(), 1, "nothing was handed out");
    let request =
        ListLabelsRequest { wallet: "alice".to_owned(), page_size: 1001, ..Default::default() };
    let status = bed.wallet().list_labels(request).await.expect_err("too many");
    assert_eq!(explain(&status).reason, "PAGE_SIZE");
}
