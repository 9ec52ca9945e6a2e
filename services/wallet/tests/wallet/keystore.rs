//! Attack 54: wrong passphrase, tampered or downgraded keystore, absurd KDF cost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pentad_api::status::explain;
use pentad_api::wallet::v1::{CreateWalletRequest, UnlockWalletRequest};
use pentad_crypto::AddressVersions;
use pentad_keystore::{KdfCost, KeystoreError, Passphrase, Unlock};
use tonic::{Code, Status};

use crate::bed::{Bed, CHEAP, COIN, from_wallet};

/// Version 1 of the format, made by an independent implementation (Python: argon2-cffi,
/// pycryptodome, mnemonic) of entropy 000102…0f and passphrase `golden passphrase`.
const GOLDEN: &str = include_str!("golden-v1.json");
const GOLDEN_ADDRESS: &str = "1AVY4JSjkHuNkv2iw1sRnPkCrk6XNvSEJj";

async fn unlock(bed: &Bed, wallet: &str, passphrase: &str) -> Result<(), Status> {
    let request = UnlockWalletRequest {
        wallet: wallet.to_owned(),
        passphrase: passphrase.to_owned(),
        seconds: 0,
    };
    bed.keystore().unlock_wallet(request).await.map(drop)
}

#[track_caller]
fn cannot_open(result: Result<(), Status>, what: &str) {
    let status = result.expect_err(what);
    let reason = explain(&status).reason;
    assert_eq!(
        (status.code(), reason.as_str()),
        (Code::PermissionDenied, "CANNOT_OPEN_WALLET"),
        "{what}: {status:?}"
    );
    let text = "wrong passphrase, or the wallet file was altered";
    assert!(status.message().ends_with(text), "{what}: {}", status.message());
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("in a directory")).expect("writable");
    fs::write(path, content).expect("writable");
}

#[tokio::test]
async fn golden_file_opens() {
    let bed = Bed::start().await;
    write(&bed.wallet_file("golden"), GOLDEN.as_bytes());
    unlock(&bed, "golden", "golden passphrase").await.expect("opens");
    let wallets = bed.list().await;
    assert_eq!(wallets[0].wallet, "golden");
    assert_eq!(wallets[0].addresses[0], GOLDEN_ADDRESS);
    bed.chain.pay(GOLDEN_ADDRESS, COIN);
    bed.send(from_wallet("golden", GOLDEN_ADDRESS, COIN / 2)).await.expect("its key signs");
}

#[tokio::test]
async fn every_flipped_byte_and_every_cut_look_like_a_wrong_passphrase() {
    let bed = Bed::start().await;
    for index in 0..GOLDEN.len() {
        // Also what stays a legal character: 'a' to 'A', '1' to '0', ' ' to '\0'.
        for bit in [0x01, 0x20] {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[index] ^= bit;
            let name = format!("flip-{index}-{bit}");
            write(&bed.wallet_file(&name), &bytes);
            cannot_open(unlock(&bed, &name, "golden passphrase").await, &name);
            fs::remove_file(bed.wallet_file(&name)).expect("written above");
        }
    }
    for length in [0, 1, 100, GOLDEN.len() - 1] {
        let name = format!("cut-{length}");
        write(&bed.wallet_file(&name), &GOLDEN.as_bytes()[..length]);
        cannot_open(unlock(&bed, &name, "golden passphrase").await, &name);
    }
    write(&bed.wallet_file("golden"), GOLDEN.as_bytes());
    cannot_open(unlock(&bed, "golden", "golden passphrasE").await, "wrong passphrase");
    unlock(&bed, "golden", "golden passphrase").await.expect("the right one");
}

/// The check at the end of the file is no secret: an attacker mends it. The seal then tells.
#[tokio::test]
async fn tampered_and_downgraded_headers_do_not_open() {
    let bed = Bed::start().await;
    let alter = |from: &str, to: &str| {
        assert!(GOLDEN.contains(from), "{from}");
        mend(&GOLDEN.replacen(from, to, 1))
    };
    for (name, file) in [
        ("version-0", alter("\"version\": 1", "\"version\": 0")),
        ("version-2", alter("\"version\": 1", "\"version\": 2")),
        ("weaker", alter("\"passes\": 1", "\"passes\": 2")),
        ("absurd-memory", alter("\"memory_kib\": 8", "\"memory_kib\": 4294967295")),
        ("absurd-passes", alter("\"passes\": 1", "\"passes\": 4294967295")),
        ("no-passes", alter("\"passes\": 1", "\"passes\": 0")),
        ("unlock", alter("\"unlock\": \"owner\"", "\"unlock\": \"service\"")),
        ("account", alter("\"account\": 0", "\"account\": 1")),
        ("counts", alter("\"receive\": 1", "\"receive\": 4294967295")),
    ] {
        write(&bed.wallet_file(name), file.as_bytes());
        let started = std::time::Instant::now();
        cannot_open(unlock(&bed, name, "golden passphrase").await, name);
        assert!(started.elapsed().as_secs() < 5, "{name} stalls the service");
    }
    // A mended count is no tampering with keys: it opens, and derives one address more.
    write(&bed.wallet_file("more"), alter("\"receive\": 1", "\"receive\": 2").as_bytes());
    unlock(&bed, "more", "golden passphrase").await.expect("opens");
}

/// Sets `check` as the format says.
pub fn mend(file: &str) -> String {
    let (before, after) = file.split_once("\"check\": \"").expect("a check");
    let zeroed = format!("{before}\"check\": \"{}{}", "0".repeat(16), &after[16..]);
    let digest = pentad_crypto::sha256d(zeroed.as_bytes()).to_bytes();
    let check: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    zeroed.replacen(&"0".repeat(16), &check, 1)
}

#[tokio::test]
async fn a_damaged_wallet_is_listed_and_does_not_hide_the_others() {
    let mut bed = Bed::start().await;
    bed.create("alice").await;
    write(&bed.wallet_file("broken"), b"{}");
    bed.restart().await;
    let wallets = bed.list().await;
    assert_eq!(wallets.len(), 2);
    assert!(wallets[0].unlocked && !wallets[1].unlocked);
    assert_eq!((wallets[1].wallet.as_str(), wallets[1].addresses.len()), ("broken", 0));
    let error = bed.send(from_wallet("broken", &wallets[0].addresses[0], COIN)).await;
    assert_eq!(error.expect_err("damaged").code(), Code::PermissionDenied);
    // And it is not overwritten by a new one of its name.
    let request = CreateWalletRequest { wallet: "broken".to_owned(), ..Default::default() };
    let error = bed.keystore().create_wallet(request).await.expect_err("taken");
    assert_eq!(error.code(), Code::AlreadyExists);
    assert_eq!(fs::read(bed.wallet_file("broken")).expect("still there"), b"{}");
}

#[tokio::test]
async fn files_are_for_their_owner_only_and_no_rest_stays() {
    let bed = Bed::start().await;
    bed.create("alice").await;
    for wallet in ["alice"; 5] {
        let request = pentad_api::wallet::v1::NewAddressRequest {
            wallet: wallet.to_owned(),
            ..Default::default()
        };
        bed.wallet().new_address(request).await.expect("an address");
    }
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&bed.wallet_file("alice")), 0o600);
    for directory in ["wallets", "payments"] {
        assert_eq!(mode(&bed.data_dir().join(directory)), 0o700);
    }
    let files = fs::read_dir(bed.data_dir().join("wallets")).expect("readable").count();
    assert_eq!(files, 1);
    let wallets = bed.list().await;
    assert_eq!(wallets[0].addresses.len(), 6);
}

#[test]
fn made_offline_and_never_overwritten() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let passphrase = Passphrase::new("correct horse".to_owned()).expect("valid");
    let name = "genesis".parse().expect("a name");
    let create =
        |cost| pentad_keystore::create(directory.path(), &name, &passphrase, Unlock::Owner, cost);
    let absurd = KdfCost { memory_kib: u32::MAX, ..CHEAP };
    assert!(matches!(create(absurd), Err(KeystoreError::Cost(_))));
    let address = create(CHEAP).expect("made").encode(&AddressVersions::default());
    let file = directory.path().join("wallets/genesis.json");
    let before = fs::read_to_string(&file).expect("readable");
    assert!(matches!(create(CHEAP), Err(KeystoreError::WalletExists(_))));
    assert_eq!(fs::read_to_string(&file).expect("readable"), before);
    assert!(!before.contains("correct horse") && address.starts_with('1'));
}
