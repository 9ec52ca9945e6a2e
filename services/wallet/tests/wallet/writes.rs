//! Times of durable writes.

use pentad_api::wallet::v1::set_label_request::Subject;
use pentad_api::wallet::v1::*;

use crate::bed::{Bed, COIN, from_wallet};
use crate::fake_chain::Mishap;

/// How many writes were timed: of payments, of the audit log and of wallets' files.
fn timed(bed: &Bed) -> [u64; 3] {
    ["payments", "audit", "wallet"]
        .map(|file| bed.metric(&format!("pentad_wallet_write_seconds_count{{file=\"{file}\"}}")))
}

#[tokio::test]
async fn the_metrics_tell_how_long_each_durable_write_took() {
    let bed = Bed::start().await;
    assert_eq!(timed(&bed), [0, 0, 0]);
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    assert_eq!(timed(&bed), [0, 2, 0], "the write of a new wallet cannot be told from its KDF");
    let request = NewAddressRequest { wallet: "alice".to_owned(), ..Default::default() };
    bed.wallet().new_address(request).await.expect("handed out");
    assert_eq!(timed(&bed), [0, 2, 1]);
    for _ in 0..3 {
        bed.chain.pay(&alice, COIN);
    }
    let request = from_wallet("alice", &bob, COIN / 2);
    bed.send(request.clone()).await.expect("paid");
    assert_eq!(timed(&bed), [1, 3, 2], "change addresses are issued ahead");
    bed.send(request.clone()).await.expect("paid");
    assert_eq!(timed(&bed), [2, 4, 2], "an address that is ready is not written again");
    bed.chain.begin(Mishap::Refused);
    let keyed = SendRequest { idempotency_key: "rent".to_owned(), ..request };
    bed.send(keyed).await.expect_err("refused");
    assert_eq!(timed(&bed), [4, 5, 2], "written down, and forgotten");
    let (wallet, label) = ("alice".to_owned(), "first".to_owned());
    let request = SetLabelRequest { wallet, subject: Some(Subject::Address(alice)), label };
    bed.wallet().set_label(request).await.expect("set");
    assert_eq!(timed(&bed), [5, 5, 2]);
}
