//! The hash of the UTXO set: kept or made from all of it, at the tip and below.

use pentad_api::chain::v1 as proto;
use pentad_crypto::MuHash;
use pentad_primitives::{BlockHash, Hash256, OutPoint, Utxo};

use super::fixture::{
    COIN, FEE, Node, Person, alice, bob, directory, genesis_output, options, reason,
};

/// Made with nothing but the set.
pub fn of<'a>(set: impl IntoIterator<Item = (&'a OutPoint, &'a Utxo)>) -> Hash256 {
    let mut hash = MuHash::default();
    set.into_iter().for_each(|(outpoint, utxo)| hash.insert_utxo(outpoint, utxo));
    hash.hash()
}

/// What the node says of its tip.
pub async fn at_tip(node: &Node) -> (BlockHash, Hash256) {
    let request = proto::GetUtxoSetHashRequest {};
    let answer = node.reads.clone().get_utxo_set_hash(request).await.expect("an answer");
    let answer = answer.into_inner();
    let hash = answer.utxo_set_hash.parse().expect("a hash");
    (answer.tip.parse().expect("a hash"), hash)
}

/// What a validator would sign at a height.
pub async fn root_at(node: &Node, height: u32) -> Result<(BlockHash, Hash256), tonic::Status> {
    let request = proto::GetStateRootRequest { height };
    let answer = node.assembly.clone().get_state_root(request).await?.into_inner();
    let bytes = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).expect("32 bytes");
    Ok((BlockHash::from_bytes(bytes(&answer.hash)), Hash256::from_bytes(bytes(&answer.root))))
}

async fn of_set(node: &Node) -> (BlockHash, Hash256) {
    let set = node.utxo_set().await;
    (node.tip().await, of(set.iter().map(|(outpoint, utxo)| (outpoint, utxo))))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_height_below_the_tip_has_the_root_that_it_had_as_the_tip() {
    let directory = directory();
    let node = Node::open(directory.path());
    let mut roots = vec![of_set(&node).await];
    let mut coin = genesis_output(0);
    for n in 1..20_u64 {
        if n % 3 > 0 {
            let payment = alice().spend(&[coin], &[(&alice(), 100 * COIN - n * FEE)]);
            coin = OutPoint { txid: payment.txid(), vout: 0 };
            node.submit_transaction(&payment).await.expect("valid");
        }
        node.mine(1, &bob()).await;
        roots.push(of_set(&node).await);
        assert_eq!(at_tip(&node).await, roots[roots.len() - 1]);
    }
    let check = async |node: &Node| {
        for (height, expected) in (0..).zip(&roots) {
            assert_eq!(root_at(node, height).await.expect("near the tip"), *expected);
        }
        let error = root_at(node, 20).await.expect_err("above the tip");
        assert_eq!(reason(&error), "UNKNOWN_HEIGHT");
    };
    check(&node).await;
    node.stop().await;
    let node = Node::open(directory.path());
    check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_end_where_no_two_checkpoints_are_further_apart() {
    let directory = directory();
    let node = Node::in_memory(directory.path());
    node.mine(1_024, &bob()).await;
    let error = root_at(&node, 0).await.expect_err("too deep");
    assert_eq!(reason(&error), "TOO_DEEP");
    let genesis = node.block_at(1).await;
    assert_eq!(root_at(&node, 1).await.expect("an answer").0, genesis.block_hash());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_hash_is_kept_it_is_made_from_the_whole_set() {
    let directory = directory();
    let mut options = options(directory.path());
    options.store.keeps_set_hash = false;
    let node = Node::try_open(options.clone()).expect("a new directory");
    // Pages of rows, and a chain that moves on while they are read.
    let payer = alice();
    for n in 0..4 {
        let outputs = vec![(&payer, COIN / 100); 400];
        let payment = payer.spend(&[genesis_output(n)], &outputs);
        node.submit_transaction(&payment).await.expect("valid");
        node.mine(1, &bob()).await;
    }
    assert_eq!(at_tip(&node).await, of_set(&node).await);
    let error = root_at(&node, 1).await.expect_err("none is kept");
    assert_eq!(reason(&error), "NO_SET_HASH");
    let mut known = vec![of_set(&node).await];
    let asking = async {
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(at_tip(&node).await);
        }
        answers
    };
    let mining = async {
        for _ in 0..8 {
            node.mine(1, &Person::new(9)).await;
            known.push(of_set(&node).await);
        }
    };
    let (answers, ()) = tokio::join!(asking, mining);
    assert!(answers.iter().all(|answer| known.contains(answer)));
    node.stop().await;
    // From now on it is kept.
    options.store.keeps_set_hash = true;
    let node = Node::try_open(options).expect("sound");
    assert_eq!(root_at(&node, 12).await.expect("kept"), of_set(&node).await);
    node.stop().await;
}
