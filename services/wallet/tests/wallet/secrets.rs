//! Attack 56: no secret in logs, errors or files.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use pentad_api::wallet::v1::{
    ExportKeyRequest, RestoreWalletRequest, ShowWordsRequest, UnlockWalletRequest,
};
use pentad_service_kit::telemetry::install;
use tracing_subscriber::fmt::MakeWriter;

use crate::bed::{Bed, COIN, from_wallet};

const PASSPHRASE: &str = "correct-horse-battery-staple";
/// What stands in the passphrase file of every [`Bed`].
const SERVICE_PASSPHRASE: &str = "open sesame";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("unpoisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn secrets_are_in_no_log_error_or_file() {
    let log = Log::default();
    // For the whole process: work is done on blocking threads, too.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(log.clone())
        .finish();
    install(subscriber).expect("the only one");
    let mut bed = Bed::start().await;
    let alice = bed.create_sealed("alice", PASSPHRASE).await;
    let bob = bed.create("bob").await;
    bed.chain.pay(&alice, COIN);
    let unlock = |passphrase: &str| UnlockWalletRequest {
        wallet: "alice".to_owned(),
        passphrase: passphrase.to_owned(),
        seconds: 0,
    };
    let typo = format!("{PASSPHRASE}!");
    let error = bed.keystore().unlock_wallet(unlock(&typo)).await.expect_err("a typo");
    assert!(!format!("{error:?}").contains(PASSPHRASE));
    bed.keystore().unlock_wallet(unlock(PASSPHRASE)).await.expect("opens");
    bed.send(from_wallet("alice", &bob, COIN / 2)).await.expect("paid");
    let (wallet, passphrase) = ("alice".to_owned(), PASSPHRASE.to_owned());
    let request = ShowWordsRequest { wallet, passphrase: passphrase.clone() };
    let words = bed.keystore().show_words(request).await.expect("shown").into_inner().words;
    let request = ExportKeyRequest { address: alice.clone(), passphrase };
    let key = bed.keystore().export_key(request).await.expect("exported").into_inner().key;
    let restore = RestoreWalletRequest { words: words.clone(), ..Default::default() };
    bed.keystore().restore_wallet(restore).await.expect("restored");
    bed.restart().await;
    let log = String::from_utf8(log.0.lock().expect("unpoisoned").clone()).expect("text");
    // The log is there, and says what happened …
    assert!(log.contains("payment submitted") && log.contains("create_wallet"), "{log}");
    // … but nothing that opens a wallet.
    for secret in [PASSPHRASE, SERVICE_PASSPHRASE, &words, &key] {
        assert!(!log.contains(secret));
        for wallet in ["alice", "bob"] {
            let file = fs::read_to_string(bed.wallet_file(wallet)).expect("readable");
            assert!(!file.contains(secret));
        }
    }
}
