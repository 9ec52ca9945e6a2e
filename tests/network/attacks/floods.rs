//! More of something than anybody needs.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pentad_tests::{Devnet, Node, buf_curl, wait_until};
use serde_json::{Value, json};

use super::{MIB, Watch, assert_others_are_served};
use crate::coins::create_wallet;
use crate::stranger::{
    ANNOUNCEMENTS, BULK, CONSENSUS, GET_BLOCKS, GET_HEADERS, HANDSHAKE, HEADERS, Hello, Session,
    TRANSACTIONS, bytes, frame, sha256d,
};

/// A mined child of `parent`; the devnet's target is met by every second hash.
fn child(parent: &[u8; 32], salt: u32) -> [u8; 80] {
    let mut header = [0; 80];
    header[0] = 1;
    header[4..36].copy_from_slice(parent);
    header[36..40].copy_from_slice(&salt.to_le_bytes());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let time = u32::try_from(now.as_secs()).expect("before 2106") + 60;
    header[68..72].copy_from_slice(&time.to_le_bytes());
    header[72..76].copy_from_slice(&0x207f_ffff_u32.to_le_bytes());
    for nonce in 0..1000_u32 {
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        if sha256d(&header)[31] < 0x7f {
            break;
        }
    }
    header
}

/// Attack 37: branches without end, each of less work than the chain that is here.
#[test]
fn attack_37_a_flood_of_headers_of_low_work_is_bounded() {
    let devnet = Devnet::up(2);
    devnet.generate(1, 60);
    devnet.converge(&[1, 2]);
    let to = devnet.node(1).p2p();
    let hello = Hello::of(&devnet, 1).claiming(1_000_000);
    let genesis: [u8; 32] = hello.genesis.clone().try_into().expect("32 bytes");
    let watch = Watch::on(&devnet.node(1));
    let mut told = 0_u32;
    for _ in 0..60 {
        let mut session = hello.again().connect(&to).expect("open");
        let mut parent = genesis;
        let headers: Vec<u8> = (0..50)
            .flat_map(|number| {
                let header = child(&parent, told + number);
                parent = sha256d(&header);
                bytes(1, &header)
            })
            .collect();
        if session.wait_for(GET_HEADERS).is_ok() {
            session.send(BULK, HEADERS, &headers).expect("sent");
            told += 50;
        }
    }
    assert!(told > 500, "only {told} headers were told");
    watch.assert_grown_less_than(48 * MIB);
    assert_others_are_served(&devnet);
}

/// A transaction of the right form that spends what nobody has heard of.
fn orphan(number: u32) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0, 1];
    bytes.extend(sha256d(&number.to_le_bytes()));
    bytes.extend([0; 4]);
    // The signature of nobody: strict DER, low S, SIGHASH_ALL; the key is the generator.
    let mut script = vec![9, 0x30, 6, 2, 1, 1, 2, 1, 1, 1, 33];
    let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    script.extend(hex::decode(key).expect("hex"));
    bytes.push(u8::try_from(script.len()).expect("short"));
    bytes.extend(script);
    bytes.extend([0xff; 4]);
    // One coin to the hash of zeros.
    bytes.push(1);
    bytes.extend(100_000_000_u64.to_le_bytes());
    bytes.extend([25, 0x76, 0xa9, 20]);
    bytes.extend([0; 20]);
    bytes.extend([0x88, 0xac]);
    bytes.extend([0; 4]);
    bytes
}

/// Attack 38.
#[test]
fn attack_38_a_flood_of_orphans_is_bounded() {
    let devnet = Devnet::up(2);
    let to = devnet.node(1).p2p();
    let hello = Hello::of(&devnet, 1);
    let watch = Watch::on(&devnet.node(1));
    let mut session = hello.connect(&to).expect("open");
    for batch in 0..40 {
        let payload: Vec<u8> =
            (0..500).flat_map(|number| bytes(1, &orphan(batch * 500 + number))).collect();
        session.send(BULK, TRANSACTIONS, &payload).expect("sent");
    }
    wait_until("all were looked at", || {
        super::metric(&devnet.node(1), "pentad_peer_orphans") == 256
    });
    session.send(ANNOUNCEMENTS, GET_HEADERS, &[]).expect("it is still a peer");
    session.wait_for(HEADERS).expect("and gets answers");
    watch.assert_grown_less_than(48 * MIB);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    devnet.on(1, &["send", "--from", &alice, "--to", &bob, "--amount", "1"]).success();
    wait_until("an honest payment gets through", || devnet.balance(2, &bob)[1] == "1.00000000");
    assert_others_are_served(&devnet);
}

/// A block of 700 kB at the tip of node 1; its hash in internal order.
fn mine_a_large_block(devnet: &Devnet) -> Vec<u8> {
    let node = devnet.node(1);
    let alice = devnet.genesis_address();
    let payments: Vec<Value> =
        (0..1_000).map(|_| json!({"address": alice, "amount": "10000"})).collect();
    for _ in 0..20 {
        let request = json!({"wallet": "genesis", "payments": payments});
        let reply = buf_curl(&node, "pentad.wallet.v1.WalletService/Send", &request);
        assert_eq!(reply.code, 0, "{}", reply.text);
    }
    let mut hash = hex::decode(devnet.generate(1, 1).pop().expect("a hash")).expect("hex");
    hash.reverse();
    hash
}

/// Attack 36: many ask for much and read nothing.
#[test]
fn attack_36_what_waits_for_slow_readers_is_bounded_together() {
    let devnet = Devnet::up(2);
    let hash = mine_a_large_block(&devnet);
    devnet.converge(&[1, 2]);
    let to = devnet.node(1).p2p();
    let hello = Hello::of(&devnet, 1);
    let watch = Watch::on(&devnet.node(1));
    let question: Vec<u8> = (0..128).flat_map(|_| bytes(1, &hash)).collect();
    let sessions: Vec<_> = (0..40)
        .map(|_| {
            let session = hello.again().connect(&to).and_then(Session::joined);
            let mut session = session.expect("a peer");
            session.send(ANNOUNCEMENTS, GET_BLOCKS, &question).expect("sent");
            session
        })
        .collect();
    wait_until("they are being answered", || {
        super::metric(&devnet.node(1), "pentad_peer_sent_bytes_total") > 40 * (200 << 10)
    });
    assert_others_are_served(&devnet);
    // Two blocks wait for each of them, and what the allocator keeps of reading forty at once.
    watch.assert_grown_less_than(320 * MIB);
    drop(sessions);
}

/// Attack 41: whoever is banned again and again under other names fills neither list nor log.
#[test]
fn attack_41_ban_list_and_log_are_capped() {
    let devnet = Devnet::up(2);
    let node = devnet.node(1);
    let hello = Hello::of(&devnet, 1);
    let watch = Watch::on(&node);
    let lines = || node.log().lines().count();
    let before = lines();
    let mut banned = 0;
    while banned < 250 {
        let session = hello.again().connect(&node.p2p()).and_then(Session::joined);
        let Ok(mut session) = session else { continue };
        if session.send(BULK, HEADERS, &[0xff]).is_ok() {
            banned += usize::from(session.end().is_none());
        }
    }
    let reply = buf_curl(&node, "pentad.peer.v1.PeerService/ListBans", &json!({}));
    let bans = reply.json["bans"].as_array().map_or(0, Vec::len);
    assert!((250..=1024).contains(&bans), "{bans} bans");
    assert!(lines() - before < 400, "{} lines for {banned} bans", lines() - before);
    watch.assert_grown_less_than(32 * MIB);
    assert_others_are_served(&devnet);
}

/// Messages that a node has received from its peers.
fn received(node: &Node) -> u64 {
    let reply = buf_curl(node, "pentad.peer.v1.PeerService/ListPeers", &json!({}));
    let peers = reply.json["peers"].as_array().cloned().unwrap_or_default();
    let classes = peers.iter().filter_map(|peer| peer["traffic"].as_array()).flatten();
    let counts = classes.filter_map(|class| class["messagesReceived"].as_str());
    counts.map(|count| count.parse::<u64>().expect("a number")).sum()
}

/// What is cheap to send and costs this node an answer or a look-up is read no faster than the
/// rules for all peers allow; honest ones do not wait for it.
#[test]
fn a_flood_of_announcements_costs_a_bounded_share_of_the_processor() {
    let devnet = Devnet::up(2);
    let node = devnet.node(1);
    let hello = Hello::of(&devnet, 1);
    let started = Instant::now();
    let mut session = hello.connect(&node.p2p()).and_then(Session::joined).expect("a peer");
    let beats = frame(HANDSHAKE, &hello.payload(0)).repeat(64);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                session.send_bytes(CONSENSUS, &beats).expect("read, if slowly");
            }
        });
        // What may come at once has come: from here on it is the rate.
        wait_until("the flood is there", || received(&node) >= 1_000);
        let watch = Watch::on(&node);
        assert_others_are_served(&devnet);
        wait_until("more of it has come", || received(&node) >= 1_500);
        let (count, elapsed) = (received(&node), started.elapsed());
        is_over.store(true, Relaxed);
        println!("{count} in {elapsed:?}, {:.2} cores", watch.cores());
        // Four seconds' worth, then 250 a second; the other node's own are few.
        let limit = 1_000.0 + 252.0 * elapsed.as_secs_f64() + 300.0;
        assert!((count as f64) < limit, "{count} in {elapsed:?}");
        assert!(watch.cores() < 0.5, "{:.2} cores", watch.cores());
    });
}
