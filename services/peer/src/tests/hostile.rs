//! What others may try.

use std::net::SocketAddr;

use pentad_primitives::Txid;
use pentad_wire::CERTIFICATE_MAX;
use pentad_wire::sync::{Body, HeaderBatch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fake_chain::{POISON, block, transaction};
use super::*;

fn headers(headers: Vec<Bytes>) -> HeaderBatch {
    HeaderBatch { headers, certificate: Bytes::new() }
}

fn pushed(hash: BlockHash, block: Bytes) -> Message {
    Message::Block { hash, body: Body { block, certificate: Bytes::new() } }
}

async fn assert_still_serves(node: &Node) {
    let honest = Node::start("test", &[node]).await;
    until_linked(node, &honest).await;
}

/// Reads until the other side closes; panics if it does not.
async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    let reading = async { while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    timeout(DEADLINE, reading).await.expect("the connection is closed");
}

async fn tcp(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

/// Attack 46: garbage before the handshake.
#[tokio::test]
async fn garbage_before_the_handshake_closes_and_bans_nobody() {
    let anna = Node::start("test", &[]).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0; 200], &[0, 32], &[]] {
        let mut stream = tcp(anna.address).await;
        stream.write_all(garbage).await.expect("sent");
        stream.shutdown().await.expect("closed");
        until_closed(&mut stream).await;
    }
    assert_still_serves(&anna).await;
}

/// Attack 46: half-open connections.
#[tokio::test]
async fn a_half_open_connection_is_closed_in_time() {
    let chain = FakeChain::new("test");
    let config = PeerConfig { handshake_ms_max: 300, ..config() };
    let anna = Node::start_with(chain, config).await;
    let mut silent = tcp(anna.address).await;
    let mut slow = tcp(anna.address).await;
    let started = Instant::now();
    let trickle = async {
        // A byte now and then does not keep it open.
        while slow.write_all(&[0]).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(until_closed(&mut silent), trickle);
    assert!(started.elapsed() < DEADLINE / 2);
    assert_still_serves(&anna).await;
}

/// Attack 35.
#[tokio::test]
async fn a_length_over_the_limit_ends_the_link_and_bans() {
    let anna = Node::start("test", &[]).await;
    let stranger = Stranger::new(&anna.chain, "test");
    let mut session = stranger.connect(anna.address).await;
    until("a peer", async || anna.peers().await.len() == 1).await;
    // A frame of kind 4 that announces 4 GiB.
    let chunk = [1, 0, 6, 4, 0, 0xff, 0xff, 0xff, 0xff];
    session.writer.send(&chunk).await.expect("sent");
    session.end().await;
    let mut again = stranger.connect(anna.address).await;
    assert_eq!(again.end().await.as_deref(), Some("BANNED"));
    assert_still_serves(&anna).await;
}

#[tokio::test]
async fn malformed_messages_ban() {
    let anna = Node::start("test", &[]).await;
    let bad_header = Message::Headers(headers(vec![Bytes::from_static(&[0; 79])]));
    let mut too_long = Stranger::new(&anna.chain, "test").handshake();
    too_long.hello.network = "x".repeat(65);
    let short_block = pushed(anna.chain.genesis(), vec![0; 10].into());
    let long_certificate = Message::Headers(HeaderBatch {
        headers: Vec::new(),
        certificate: vec![0; CERTIFICATE_MAX + 1].into(),
    });
    for message in [bad_header, Message::Handshake(too_long), short_block, long_certificate] {
        let stranger = Stranger::new(&anna.chain, "test");
        let mut session = stranger.connect(anna.address).await;
        session.send(&message).await;
        session.end().await;
        let mut again = stranger.connect(anna.address).await;
        assert_eq!(again.end().await.as_deref(), Some("BANNED"), "{message:?}");
    }
    assert_still_serves(&anna).await;
}

#[tokio::test]
async fn a_first_message_that_is_no_handshake_closes() {
    let anna = Node::start("test", &[]).await;
    let stream = tcp(anna.address).await;
    let identity = Identity::generate().expect("entropy");
    let counters = Arc::new(Counters::default());
    let (reader, writer, _) =
        transport::open(stream, Direction::Outbound, &identity, DEADLINE, counters)
            .await
            .expect("noise");
    let mut session = Session { reader, writer, frames: Vec::new() };
    session.send(&Message::Inventory(Vec::new())).await;
    session.end().await;
    assert!(anna.peers().await.is_empty());
    assert_still_serves(&anna).await;
}

/// What is allocated before the handshake is over, for anybody, is no more than it takes.
#[tokio::test]
async fn a_large_frame_that_begins_before_the_handshake_closes() {
    let anna = Node::start("test", &[]).await;
    let stream = tcp(anna.address).await;
    let identity = Identity::generate().expect("entropy");
    let opening = transport::open(stream, Direction::Outbound, &identity, DEADLINE, Arc::default());
    let (reader, mut writer, _) = opening.await.expect("noise");
    // A frame of kind 4 that announces 8 MiB, and its first bytes.
    let mut chunk = vec![2, 0x20, 0x06, 4, 0, 0, 0x80, 0, 0];
    chunk.resize(3 + 6 + 0x2000, 0);
    let started = Instant::now();
    writer.send(&chunk).await.expect("sent");
    Session { reader, writer, frames: Vec::new() }.end().await;
    assert!(started.elapsed() < Duration::from_secs(4), "it waited for the rest");
}

/// Attack 36: an answer that nobody reads does not pile up.
#[tokio::test]
async fn transactions_are_fetched_as_fast_as_they_are_read() {
    let anna = Node::start("test", &[]).await;
    let input = pentad_primitives::TxIn {
        previous_output: pentad_primitives::OutPoint { txid: Txid::ZERO, vout: 0 },
        script_sig: pentad_primitives::Script::from(vec![7; 99_000]),
        sequence: 0,
    };
    let large = pentad_primitives::Transaction {
        version: 1,
        inputs: vec![input],
        outputs: Vec::new(),
        lock_time: 0,
    };
    anna.chain.submit(&pentad_primitives::encode::Encode::to_bytes(&large).into());
    let mut session = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    until("a peer", async || anna.peers().await.len() == 1).await;
    session.send(&Message::GetTransactions(vec![large.txid(); 1000])).await;
    until("an answer", async || anna.chain.fetched() > 0).await;
    let mut before = 0;
    while anna.chain.fetched() > before {
        before = anna.chain.fetched();
        sleep(Duration::from_millis(300)).await;
    }
    assert!(before < 500, "{before} transactions were fetched for somebody who does not read");
}

/// Attack 36.
#[tokio::test]
async fn a_slow_reader_is_dropped_and_others_are_served() {
    let chain = FakeChain::new("test");
    let anna = Node::start_with(chain, PeerConfig { write_ms_max: 1_000, ..config() }).await;
    let slow = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    let bert = Node::start("test", &[&anna]).await;
    until_linked(&anna, &bert).await;
    assert_eq!(anna.peers().await.len(), 2);
    // Blocks on top of what the stranger claims are pushed to it; it never reads.
    let dropped = async || {
        if anna.chain.height() < 2 {
            anna.chain.mine(1, 0, 7 << 20);
        }
        anna.peers().await.len() == 1
    };
    until("the slow reader is dropped", dropped).await;
    until_tip(&bert, anna.chain.tip()).await;
    assert!(anna.is_linked_to(&bert).await);
    drop(slow);
}

#[tokio::test]
async fn an_invalid_block_bans_its_sender() {
    let anna = Node::start("test", &[]).await;
    let stranger = Stranger::new(&anna.chain, "test");
    let mut session = stranger.connect(anna.address).await;
    let (hash, block) = block(anna.chain.genesis(), 1, 50);
    let mut poisoned = block.to_vec();
    *poisoned.last_mut().expect("a body") = POISON;
    session.send(&pushed(hash, poisoned.into())).await;
    assert_eq!(session.end().await.as_deref(), Some("MISBEHAVIOR"));
    // Attack 40: the honest block under the same hash is welcome.
    let mut honest = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    honest.send(&pushed(hash, block)).await;
    until_tip(&anna, hash).await;
}

#[tokio::test]
async fn an_invalid_transaction_bans_its_sender() {
    let anna = Node::start("test", &[]).await;
    let mut session = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    let junk = Bytes::from_static(b"no transaction");
    session.send(&Message::Transactions(vec![(Txid::ZERO, junk)])).await;
    assert_eq!(session.end().await.as_deref(), Some("MISBEHAVIOR"));
}

#[tokio::test]
async fn too_many_questions_at_once_end_the_link() {
    let anna = Node::start("test", &[]).await;
    anna.chain.mine(200, 0, 100_000);
    let mut session = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    let hashes = vec![anna.chain.tip(); 128];
    // The answers are never read, so the questions pile up.
    for _ in 0..200 {
        session.send(&Message::GetBlocks(hashes.clone())).await;
    }
    assert_eq!(session.end().await.as_deref(), Some("MISBEHAVIOR"));
}

/// Attack 37.
#[tokio::test]
async fn unasked_headers_end_the_link() {
    let anna = Node::start("test", &[]).await;
    let mut session = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    let headers = Message::Headers(headers(vec![Bytes::from_static(&[7; 80]); 2000]));
    for _ in 0..20 {
        session.send(&headers).await;
    }
    assert_eq!(session.end().await.as_deref(), Some("MISBEHAVIOR"));
    assert_eq!(anna.chain.height(), 0);
}

/// Attack 38.
#[tokio::test]
async fn orphans_are_kept_within_bounds() {
    let anna = Node::start("test", &[]).await;
    let mut session = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    for batch in 0..4_u8 {
        let orphans = (0..=255_u8).map(|salt| transaction(Txid::from_bytes([batch + 1; 32]), salt));
        session.send(&Message::Transactions(orphans.collect())).await;
    }
    let (parent, bytes) = transaction(Txid::ZERO, 1);
    let (child, orphan) = transaction(parent, 2);
    session.send(&Message::Transactions(vec![(child, orphan)])).await;
    session.send(&Message::Transactions(vec![(parent, bytes)])).await;
    until("both", async || anna.chain.mempool().len() == 2).await;
    assert!(anna.chain.mempool().contains(&child));
    assert_eq!(anna.peers().await.len(), 1, "an orphan is no offence");
}

/// Attack 45.
#[tokio::test]
async fn a_peer_that_lies_about_its_height_does_not_stop_the_sync() {
    let anna = Node::start("test", &[]).await;
    let mut liar =
        Stranger::new(&anna.chain, "test").claiming(1_000_000).connect(anna.address).await;
    let lying = tokio::spawn(async move {
        // It answers every question for headers with nothing.
        while let Ok(message) = liar.receive().await {
            if matches!(message, Message::GetHeaders { .. }) {
                liar.send(&Message::Headers(HeaderBatch::default())).await;
            }
        }
    });
    until("the liar", async || anna.peers().await.len() == 1).await;
    let bert = Node::start("test", &[]).await;
    bert.chain.mine(300, 0, 500);
    anna.add(&bert).await;
    until_tip(&anna, bert.chain.tip()).await;
    until("the lie counts", async || {
        anna.peers().await.iter().any(|peer| peer.misbehavior > 0 && peer.height == 1_000_000)
    })
    .await;
    lying.abort();
}
