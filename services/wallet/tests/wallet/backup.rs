//! Backups: one text, checked before anything is made of it.

use std::fs;

use pentad_api::status::explain;
use pentad_api::wallet::v1::*;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_wallet};
use crate::history::rescan;

const PASSPHRASE: &str = "correct horse battery staple";

async fn back_up(bed: &Bed, wallet: &str) -> String {
    let request = BackupWalletRequest { wallet: wallet.to_owned() };
    bed.keystore().backup_wallet(request).await.expect("backed up").into_inner().backup
}

async fn restore(
    bed: &Bed,
    backup: &str,
    passphrase: &str,
) -> Result<RestoreBackupResponse, Status> {
    let (backup, passphrase) = (backup.to_owned(), passphrase.to_owned());
    let request = RestoreBackupRequest { backup, passphrase, ..Default::default() };
    Ok(bed.keystore().restore_backup(request).await?.into_inner())
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    assert_eq!((status.code(), explain(status).reason.as_str()), (code, reason), "{status:?}");
}

#[tokio::test]
async fn a_backup_gives_the_wallet_with_all_its_addresses_and_its_policy() {
    let bed = Bed::start().await;
    bed.create_sealed("alice", PASSPHRASE).await;
    let next = bed
        .wallet()
        .new_address(NewAddressRequest { wallet: "alice".to_owned(), ..Default::default() })
        .await;
    let next = next.expect("handed out").into_inner().address;
    let policy = Policy { limit_per_day: Some(COIN), ..Policy::default() };
    let (wallet, passphrase) = ("alice".to_owned(), PASSPHRASE.to_owned());
    let request = SetPolicyRequest { wallet, passphrase, policy: Some(policy.clone()) };
    bed.policy().set_policy(request).await.expect("set");
    let before = bed.list().await;
    let backup = back_up(&bed, "alice").await;
    assert!(!backup.contains(PASSPHRASE));

    let mut elsewhere = Bed::start().await;
    elsewhere.chain = bed.chain.clone();
    elsewhere.restart().await;
    let request = RestoreBackupRequest {
        backup: backup.clone(),
        passphrase: PASSPHRASE.to_owned(),
        dry_run: true,
        ..Default::default()
    };
    let checked = elsewhere.keystore().restore_backup(request).await.expect("it could be");
    assert_eq!(checked.into_inner().addresses, 2);
    assert!(elsewhere.list().await.is_empty(), "nothing was made");
    let restored = restore(&elsewhere, &backup, PASSPHRASE).await.expect("restored");
    assert_eq!((restored.wallet.as_str(), restored.addresses), ("alice", 2));
    assert_eq!(elsewhere.list().await, before);
    let request = GetPolicyRequest { wallet: "alice".to_owned() };
    let found = elsewhere.policy().get_policy(request).await.expect("known").into_inner();
    assert_eq!(found.policy, Some(policy));
    elsewhere.chain.pay(&next, COIN);
    let (wallet, passphrase) = ("alice".to_owned(), PASSPHRASE.to_owned());
    let request = UnlockWalletRequest { wallet, passphrase, seconds: 0 };
    elsewhere.keystore().unlock_wallet(request).await.expect("opens");
    elsewhere.send(from_wallet("alice", &next, COIN / 2)).await.expect("its keys sign");
}

/// A wallet that was paid, backed up, and only then paid others: its change and its next address
/// are younger than the backup.
async fn paid_after_its_backup(bed: &Bed) -> String {
    let first = bed.create("alice").await;
    bed.chain.pay(&first, 2 * COIN);
    let backup = back_up(bed, "alice").await;
    let other = bed.create("bob").await;
    bed.send(from_wallet("alice", &other, COIN / 2)).await.expect("paid");
    let next = NewAddressRequest { wallet: "alice".to_owned(), ..Default::default() };
    let next = bed.wallet().new_address(next).await.expect("handed out").into_inner().address;
    bed.chain.pay(&next, COIN);
    bed.chain.mine(1);
    backup
}

#[tokio::test]
async fn what_came_after_a_backup_is_found() {
    let bed = Bed::start().await;
    let backup = paid_after_its_backup(&bed).await;
    let mut elsewhere = Bed::start().await;
    elsewhere.chain = bed.chain.clone();
    elsewhere.restart().await;
    restore(&elsewhere, &backup, "").await.expect("restored");
    assert_eq!(elsewhere.balance("alice").await, bed.balance("alice").await);
}

#[tokio::test]
async fn a_rescan_finds_what_a_node_did_not_have_when_it_restored_a_backup() {
    let bed = Bed::start().await;
    let backup = paid_after_its_backup(&bed).await;
    let mut elsewhere = Bed::start().await;
    restore(&elsewhere, &backup, "").await.expect("restored");
    elsewhere.chain = bed.chain.clone();
    elsewhere.restart().await;
    rescan(&elsewhere, "alice").await;
    assert_eq!(elsewhere.balance("alice").await, bed.balance("alice").await);
}

#[tokio::test]
async fn nothing_is_overwritten_and_no_key_is_here_twice() {
    let bed = Bed::start().await;
    let alice = bed.create("alice").await;
    let backup = back_up(&bed, "alice").await;
    let before = fs::read(bed.wallet_file("alice")).expect("readable");
    for wallet in ["", "other"] {
        let request = RestoreBackupRequest {
            backup: backup.clone(),
            wallet: wallet.to_owned(),
            ..Default::default()
        };
        let status = bed.keystore().restore_backup(request).await.expect_err("it is here");
        refused(&status, Code::AlreadyExists, "WALLET_EXISTS");
    }
    assert_eq!(fs::read(bed.wallet_file("alice")).expect("readable"), before);
    let elsewhere = Bed::start().await;
    elsewhere.create("alice").await;
    let status = restore(&elsewhere, &backup, "").await.expect_err("another alice is here");
    refused(&status, Code::AlreadyExists, "WALLET_EXISTS");
    let request =
        RestoreBackupRequest { backup, wallet: "alice-2".to_owned(), ..Default::default() };
    let restored = elsewhere.keystore().restore_backup(request).await.expect("by another name");
    assert_eq!(restored.into_inner().address, alice);
}

#[tokio::test]
async fn every_altered_byte_of_a_backup_is_noticed() {
    let bed = Bed::start().await;
    bed.create_sealed("alice", PASSPHRASE).await;
    let backup = back_up(&bed, "alice").await;
    let elsewhere = Bed::start().await;
    for index in 0..backup.trim_end().len() {
        let mut bytes = backup.clone().into_bytes();
        bytes[index] ^= 1;
        let altered = String::from_utf8(bytes).expect("still ASCII");
        let status = restore(&elsewhere, &altered, PASSPHRASE).await.expect_err("altered");
        refused(&status, Code::InvalidArgument, "INVALID_BACKUP");
    }
    for cut in [0, 1, backup.len() / 2, backup.len() - 3] {
        restore(&elsewhere, &backup[..cut], PASSPHRASE).await.expect_err("cut");
    }
    let status = restore(&elsewhere, &backup, "wrong").await.expect_err("wrong");
    refused(&status, Code::PermissionDenied, "CANNOT_OPEN_WALLET");
    assert!(elsewhere.list().await.is_empty());
    // An editor may have taken the last line end.
    restore(&elsewhere, backup.trim_end(), PASSPHRASE).await.expect("whole");
}

#[tokio::test]
async fn watched_wallets_are_backed_up_as_well() {
    let bed = Bed::start().await;
    let alice = bed.create("alice").await;
    let (wallet, addresses) = ("eye".to_owned(), vec![alice.clone()]);
    let request = WatchWalletRequest { wallet, account: String::new(), addresses };
    bed.keystore().watch_wallet(request).await.expect("watched");
    let (eye, keys) = (back_up(&bed, "eye").await, back_up(&bed, "alice").await);
    let elsewhere = Bed::start().await;
    assert_eq!(restore(&elsewhere, &eye, "").await.expect("restored").address, alice);
    restore(&elsewhere, &eye, "").await.expect_err("it is watched already");
    restore(&elsewhere, &keys, "").await.expect("the keys of what is watched");
}
