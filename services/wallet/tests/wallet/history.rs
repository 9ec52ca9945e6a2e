//! What wallets tell of their transactions, and looking for them again.

use pentad_api::status::explain;
use pentad_api::wallet::v1::{Direction, GetHistoryRequest, RescanRequest, RescanResponse};

use crate::bed::{Bed, COIN, from_address, from_wallet, until};

/// What a transaction did, in short.
type Line = (Direction, i64, Option<u64>, Option<u32>, u32);

async fn lines(bed: &Bed, wallet: &str) -> Vec<Line> {
    let transactions = bed.history(wallet).await;
    let line = |tx: &pentad_api::wallet::v1::WalletTransaction| {
        (tx.direction(), tx.amount, tx.fee, tx.height, tx.confirmations)
    };
    transactions.iter().map(line).collect()
}

pub(crate) async fn rescan(bed: &Bed, wallet: &str) -> Vec<RescanResponse> {
    let request = RescanRequest { wallet: wallet.to_owned() };
    let mut stream = bed.wallet().rescan(request).await.expect("a stream").into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.expect("no error") {
        messages.push(message);
    }
    messages
}

#[tokio::test]
async fn history_tells_direction_amount_fee_and_confirmations() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.reward(&alice, 50 * COIN);
    bed.chain.pay(&alice, 10 * COIN);
    let sent = bed.send(from_address(&alice, &bob, COIN)).await.expect("paid");
    bed.chain.mine(1);
    let own = bed.send(from_address(&alice, &alice, COIN)).await.expect("paid");
    let coins = |coins: u64, fee: u64| -i64::try_from(coins * COIN + fee).expect("small");
    let fee = |sent: &pentad_api::wallet::v1::SendResponse| Some(sent.fee);
    let expected: Vec<Line> = vec![
        (Direction::Internal, coins(0, own.fee), fee(&own), None, 0),
        (Direction::Sent, coins(1, sent.fee), fee(&sent), Some(3), 1),
        (Direction::Received, 10 * COIN.cast_signed(), None, Some(2), 2),
        (Direction::Mined, 50 * COIN.cast_signed(), None, Some(1), 3),
    ];
    assert_eq!(lines(&bed, "alice").await, expected);
    // This node's wallets know what each other paid.
    let received = (Direction::Received, COIN.cast_signed(), fee(&sent), Some(3), 1);
    assert_eq!(lines(&bed, "bob").await, [received]);
    // A block that is undone takes its transactions along; the payment waits again.
    bed.chain.undo(1);
    let waiting = (Direction::Received, COIN.cast_signed(), fee(&sent), None, 0);
    until("it waits", async || lines(&bed, "bob").await == [waiting]).await;
    assert!(bed.history("bob").await.iter().all(|transaction| !transaction.r#final));
}

#[tokio::test]
async fn history_comes_page_by_page() {
    let bed = Bed::start().await;
    let alice = bed.create("alice").await;
    for units in 1..=5 {
        bed.chain.pay(&alice, units);
    }
    bed.chain.announce(&alice, 6);
    until("it waits", async || bed.history("alice").await.len() == 6).await;
    let (mut page_token, mut pages) = (String::new(), Vec::new());
    loop {
        let request = GetHistoryRequest { wallet: "alice".to_owned(), page_size: 2, page_token };
        let page = bed.wallet().get_history(request).await.expect("a page").into_inner();
        pages.push(page.transactions.iter().map(|tx| tx.amount).collect::<Vec<_>>());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [vec![6, 5, 4], vec![3, 2], vec![1]]);
    for (page_size, token, reason) in [(1001, "", "PAGE_SIZE"), (1, "what", "PAGE_TOKEN")] {
        let (wallet, page_token) = ("alice".to_owned(), token.to_owned());
        let request = GetHistoryRequest { wallet, page_size, page_token };
        let error = bed.wallet().get_history(request).await.expect_err("refused");
        assert_eq!(explain(&error).reason, reason);
    }
}

#[tokio::test]
async fn a_rescan_finds_the_same_again() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.create("alice").await, bed.create("bob").await);
    bed.chain.reward(&bob, COIN);
    for _ in 0..3 {
        bed.chain.pay(&alice, 3 * COIN);
        bed.send(from_wallet("alice", &bob, COIN)).await.expect("paid");
        bed.chain.mine(1);
    }
    bed.send(from_wallet("alice", &bob, COIN)).await.expect("paid");
    let before = (bed.balance("alice").await, lines(&bed, "alice").await);
    let messages = rescan(&bed, "alice").await;
    let last = messages.last().expect("the end is told");
    assert_eq!((last.height, last.to_height, last.transactions, last.done), (7, 7, 6, true));
    assert_eq!((bed.balance("alice").await, lines(&bed, "alice").await), before);
    let bobs = bed.balance("bob").await;
    assert_eq!((bobs.confirmed, bobs.immature, bobs.pending), (3 * COIN, COIN, COIN.cast_signed()));
    // And pays on from what it found.
    bed.send(from_wallet("alice", &bob, COIN)).await.expect("paid");
}
