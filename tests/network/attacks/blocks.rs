//! Blocks and headers that are withheld, mutated or made up.

use std::thread;

use pentad_tests::{Devnet, wait_until};

use crate::stranger::{
    ANNOUNCEMENTS, BLOCK, BULK, GET_HEADERS, GOODBYE, HEADERS, Hello, bytes, sha256d,
};

/// The header's bytes.
const HEADER_LEN: usize = 80;

/// A network whose node 1 is alone and has not heard of the blocks that node 2 mined, and those.
fn with_blocks_elsewhere(count: u32) -> (Devnet, Vec<Vec<u8>>) {
    let devnet = Devnet::up(2);
    devnet.stop(1);
    devnet.generate(2, count);
    let blocks = (1..=count).map(|height| {
        let block = devnet.on(2, &["print", &height.to_string()]).success();
        hex::decode(block["hex"].as_str().expect("hex")).expect("hex digits")
    });
    let blocks = blocks.collect();
    devnet.stop(2);
    devnet.run(&["--node", "1", "devnet", "up", "--detach"]).success();
    wait_until("node 1 is healthy", || devnet.status(1)["healthy"] == true);
    (devnet, blocks)
}

fn pushed(block: &[u8]) -> Vec<u8> {
    [bytes(1, block), bytes(2, &sha256d(&block[..HEADER_LEN]))].concat()
}

fn tip_of(blocks: &[Vec<u8>]) -> String {
    let mut hash = sha256d(&blocks.last().expect("some")[..HEADER_LEN]);
    hash.reverse();
    hex::encode(hash)
}

/// Attack 40.
#[test]
fn attack_40_a_mutated_block_does_not_keep_the_honest_one_out() {
    let (devnet, blocks) = with_blocks_elsewhere(1);
    let to = devnet.node(1).p2p();
    let hello = Hello::of(&devnet, 1);
    let [block] = &blocks[..] else { panic!("one block") };
    let mut mutated = block.clone();
    // A byte of the coinbase: another body under the same header.
    *mutated.last_mut().expect("a byte") ^= 1;
    let mut session = hello.again().connect(&to).expect("open");
    session.send(ANNOUNCEMENTS, BLOCK, &pushed(&mutated)).expect("sent");
    assert_eq!(session.end().as_deref(), Some("MISBEHAVIOR"));
    assert_eq!(devnet.status(1)["height"], 0);
    let mut session = hello.again().connect(&to).expect("open");
    session.send(ANNOUNCEMENTS, BLOCK, &pushed(block)).expect("sent");
    wait_until("the honest one is here", || devnet.tip(1) == tip_of(&blocks));
}

/// Attack 39.
#[test]
fn attack_39_announced_and_withheld_is_fetched_elsewhere() {
    let (devnet, blocks) = with_blocks_elsewhere(40);
    let hello = Hello::of(&devnet, 1).claiming(40);
    let liars: Vec<_> = (0..4).map(|_| hello.again().connect(&devnet.node(1).p2p())).collect();
    let headers: Vec<u8> = blocks.iter().flat_map(|block| bytes(1, &block[..HEADER_LEN])).collect();
    let lying: Vec<_> = liars
        .into_iter()
        .map(|liar| {
            let (mut liar, headers) = (liar.expect("open"), headers.clone());
            // It tells of all blocks and gives none.
            thread::spawn(move || {
                let mut asked = false;
                while let Ok(frame) = liar.receive() {
                    match frame.kind {
                        GET_HEADERS => drop(liar.send(BULK, HEADERS, &headers)),
                        GOODBYE => return true,
                        kind => asked |= kind == 2,
                    }
                }
                asked
            })
        })
        .collect();
    wait_until("node 1 has heard of the blocks", || {
        super::metric(&devnet.node(1), "pentad_peer_sync_best_height_blocks") == 40
    });
    devnet.restart();
    assert_eq!(devnet.converge(&[1, 2]), tip_of(&blocks));
    devnet.stop(1);
    for liar in lying {
        assert!(liar.join().expect("no panic"), "nobody asked it for blocks");
    }
}

/// Attack 45.
#[test]
fn attack_45_a_peer_that_lies_about_its_height_does_not_stop_the_sync() {
    let (devnet, blocks) = with_blocks_elsewhere(40);
    let hello = Hello::of(&devnet, 1).claiming(1_000_000);
    let to = devnet.node(1).p2p();
    for _ in 0..8 {
        let (liar, to) = (hello.again(), to.clone());
        // Each has nothing to show for its word; sent away, it comes again under another name.
        thread::spawn(move || {
            while let Ok(mut session) = liar.again().connect(&to) {
                while let Ok(frame) = session.receive() {
                    if frame.kind == GET_HEADERS {
                        drop(session.send(BULK, HEADERS, &[]));
                    }
                }
            }
        });
    }
    wait_until("the liars are there", || devnet.status(1)["peers"].as_u64() >= Some(4));
    devnet.restart();
    assert_eq!(devnet.converge(&[1, 2]), tip_of(&blocks));
}
