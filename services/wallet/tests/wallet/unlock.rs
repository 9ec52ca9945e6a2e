use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use pentad_api::status::explain;
use pentad_api::wallet::v1::{LockWalletRequest, UnlockWalletRequest};
use pentad_service_kit::{Metrics, Supervisor};
use pentad_wallet::{StartError, Wallets};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use crate::bed::{Bed, COIN, from_wallet, until};

async fn unlock(bed: &Bed, passphrase: &str, seconds: u32) -> Result<(), Status> {
    let (wallet, passphrase) = ("alice".to_owned(), passphrase.to_owned());
    let request = UnlockWalletRequest { wallet, passphrase, seconds };
    bed.keystore().unlock_wallet(request).await.map(drop)
}

async fn lock(bed: &Bed) {
    let request = LockWalletRequest { wallet: "alice".to_owned() };
    bed.keystore().lock_wallet(request).await.expect("locked");
}

#[tokio::test]
async fn a_wallet_with_a_passphrase_of_its_own_stays_locked() {
    let bed = Bed::start().await;
    let alice = bed.create_sealed("alice", "correct horse").await;
    bed.chain.pay(&alice, 3 * COIN);
    // Locked, its addresses and its balance are there all the same.
    let wallets = bed.list().await;
    assert_eq!(
        (wallets[0].addresses.as_slice(), wallets[0].unlocked),
        ([alice.clone()].as_slice(), false)
    );
    assert_eq!(bed.balance("alice").await.confirmed, 3 * COIN);
    let error = bed.send(from_wallet("alice", &alice, COIN)).await.expect_err("locked");
    assert_eq!(
        (error.code(), explain(&error).reason.as_str()),
        (Code::FailedPrecondition, "WALLET_LOCKED")
    );
    assert!(explain(&error).hint.expect("a hint").contains("UnlockWallet"));

    unlock(&bed, "wrong", 0).await.expect_err("wrong passphrase");
    unlock(&bed, "correct horse", 0).await.expect("opens");
    assert!(bed.list().await[0].unlocked);
    bed.send(from_wallet("alice", &alice, COIN)).await.expect("paid");
    lock(&bed).await;
    bed.send(from_wallet("alice", &alice, COIN)).await.expect_err("locked again");
}

#[tokio::test]
async fn an_unlocked_wallet_locks_when_its_time_is_over() {
    let bed = Bed::start().await;
    bed.create_sealed("alice", "correct horse").await;
    unlock(&bed, "correct horse", 1).await.expect("opens");
    assert!(bed.list().await[0].unlocked);
    until("locked again", async || !bed.list().await[0].unlocked).await;
}

#[tokio::test]
async fn wallets_without_a_passphrase_unlock_by_themselves_at_restarts_too() {
    let mut bed = Bed::start().await;
    let alice = bed.create("alice").await;
    bed.create_sealed("bob", "correct horse").await;
    bed.chain.pay(&alice, 2 * COIN);
    bed.restart().await;
    let wallets = bed.list().await;
    assert!(wallets[0].unlocked && !wallets[1].unlocked);
    bed.send(from_wallet("alice", &alice, COIN)).await.expect("paid");
    // Locked on purpose, it stays locked until somebody opens it.
    lock(&bed).await;
    assert!(!bed.list().await[0].unlocked);
    unlock(&bed, "", 0).await.expect("the service knows the passphrase");
    assert!(bed.list().await[0].unlocked);
}

#[tokio::test]
async fn a_passphrase_file_open_to_others_stops_the_start() {
    let bed = Bed::start().await;
    let file = bed.data_dir().join("passphrase");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("own file");
    let shutdown = CancellationToken::new();
    let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
    let other = tempfile::tempdir().expect("a temporary directory");
    let chain = pentad_api::Connection::lazy("http://127.0.0.1:1").expect("an address");
    let (config, metrics) = (bed.config(), Metrics::new());
    let error = Wallets::start(config, other.path(), chain, &metrics, &supervisor, shutdown)
        .await
        .expect_err("exposed");
    assert!(matches!(error, StartError::PassphraseFile(_)));
    assert!(error.to_string().contains("0644"), "{error}");
}

#[tokio::test]
async fn one_data_directory_serves_one_process() {
    let bed = Bed::start().await;
    let shutdown = CancellationToken::new();
    let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
    let chain = pentad_api::Connection::lazy("http://127.0.0.1:1").expect("an address");
    let (config, metrics) = (bed.config(), Metrics::new());
    let error = Wallets::start(config, bed.data_dir(), chain, &metrics, &supervisor, shutdown)
        .await
        .expect_err("in use");
    assert!(error.to_string().contains("another process"), "{error}");
}
