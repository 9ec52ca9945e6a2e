//! Blocks travel by short ids of what the other side has.

use pentad_primitives::encode::{Decode as _, Encode as _};
use pentad_primitives::merkle::root;
use pentad_primitives::{Block, BlockHeader, CompactTarget, Transaction, Txid};
use pentad_wire::compact::CompactBlock;

use super::fake_chain::transaction;
use super::*;

/// A block of these transactions, after something for a coinbase.
fn block(parent: BlockHash, transactions: &[Bytes]) -> Bytes {
    let coinbase = transaction(Txid::from_bytes([9; 32]), 1).1;
    let transactions: Vec<Transaction> = std::iter::once(&coinbase)
        .chain(transactions)
        .map(|bytes| Transaction::from_bytes(bytes).expect("a transaction"))
        .collect();
    let txids: Vec<Txid> = transactions.iter().map(Transaction::txid).collect();
    let header = BlockHeader {
        version: 1,
        prev_block_hash: parent,
        merkle_root: root(&txids),
        time: 4,
        bits: CompactTarget(5),
        nonce: 6,
    };
    Block { header, transactions }.to_bytes().into()
}

/// A chain of transactions.
fn transactions(count: u8) -> Vec<Bytes> {
    let mut parent = Txid::ZERO;
    let next = |salt| {
        let (txid, bytes) = transaction(parent, salt);
        parent = txid;
        bytes
    };
    (0..count).map(next).collect()
}

async fn pair() -> [Node; 2] {
    let anna = Node::start("test", &[]).await;
    let bert = Node::start("test", &[&anna]).await;
    until_linked(&anna, &bert).await;
    [anna, bert]
}

async fn sent_by(node: &Node) -> u64 {
    let [peer] = &node.peers().await[..] else { panic!("one peer") };
    peer.traffic.iter().map(|traffic| traffic.bytes_sent).sum()
}

#[tokio::test]
async fn a_block_of_known_transactions_is_put_together_there() {
    let [anna, bert] = pair().await;
    let known = transactions(250);
    known.iter().for_each(|bytes| anna.chain.submit(bytes));
    until("the mempools are one", async || bert.chain.mempool().len() == 250).await;
    let before = sent_by(&anna).await;
    let block = block(anna.chain.tip(), &known);
    anna.chain.take(&block);
    until_tip(&bert, anna.chain.tip()).await;
    let sent = sent_by(&anna).await - before;
    assert!(block.len() > 30_000 && sent < 10_000, "{sent} bytes for {}", block.len());
}

#[tokio::test]
async fn what_the_other_side_lacks_is_fetched() {
    let [anna, bert] = pair().await;
    let all = transactions(250);
    let (known, unknown) = all.split_at(200);
    known.iter().for_each(|bytes| anna.chain.submit(bytes));
    until("the mempools are one", async || bert.chain.mempool().len() == 200).await;
    let before = sent_by(&anna).await;
    let block = block(anna.chain.tip(), &[unknown, known].concat());
    anna.chain.take(&block);
    until_tip(&bert, anna.chain.tip()).await;
    let sent = sent_by(&anna).await - before;
    assert!(sent < u64::try_from(block.len() / 2).expect("short"), "{sent} bytes");
}

#[tokio::test]
async fn a_block_of_unknown_transactions_travels_whole() {
    let [anna, bert] = pair().await;
    anna.chain.take(&block(anna.chain.tip(), &transactions(250)));
    until_tip(&bert, anna.chain.tip()).await;
}

/// Attack 40: short ids that mean other transactions, and a sender that gives nothing more.
#[tokio::test]
async fn a_compact_block_that_does_not_fit_keeps_the_honest_one_not_out() {
    let anna = Node::start("test", &[]).await;
    let known = transactions(100);
    known.iter().for_each(|bytes| anna.chain.submit(bytes));
    let honest = block(anna.chain.genesis(), &known[..99]);
    let other = block(anna.chain.genesis(), &known[1..]);
    let mut liar = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    until("a peer", async || anna.peers().await.len() == 1).await;
    // The ids are those of the other block, as computed under the honest header.
    let compact = |block: &[u8]| CompactBlock::of(block, Bytes::new(), 7).expect("compact");
    let mut lie = compact(&[&honest[..80], &other[80..]].concat());
    lie.coinbase = compact(&honest).coinbase;
    let hash = lie.hash();
    // Only once the mempool is known here all of it is found.
    liar.send_in(Class::Announcements, &Message::CompactBlock(lie)).await;
    loop {
        match liar.receive().await.expect("it is no offence") {
            Message::GetBlocks(hashes) => break assert_eq!(hashes, [hash]),
            Message::GetBlockTransactions { hash: asked, places } => {
                assert_eq!(asked, hash);
                let all = Block::from_bytes(&other).expect("a block").transactions;
                let at = |place: u32| all[place as usize].to_bytes().into();
                let transactions = places.into_iter().map(at).collect();
                let answer = Message::BlockTransactions { hash, transactions };
                liar.send_in(Class::Announcements, &answer).await;
            }
            _ => {}
        }
    }
    let mut friend = Stranger::new(&anna.chain, "test").connect(anna.address).await;
    friend.send_in(Class::Announcements, &Message::CompactBlock(compact(&honest))).await;
    until_tip(&anna, hash).await;
    assert!(anna.peers().await.iter().all(|peer| peer.misbehavior == 0));
    drop(liar);
}
