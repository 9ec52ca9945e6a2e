//! The full check: every row of the index is what the block log says.

use std::fs;
use std::path::Path;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::admin_service_client::AdminServiceClient;
use pentad_api::chain::v1::verify_response::Event;
use pentad_primitives::{BlockHash, OutPoint, Utxo};
use pentad_store::{BlockEntry, EngineKind, IndexRead as _, Pair, Table};

use super::copy;
use crate::Options;
use crate::tests::fixture::{Node, directory};

/// Every table but the index's own notes and [`blocks`].
const TABLES: [Table; 5] =
    [Table::Height, Table::Transaction, Table::Utxo, Table::ScriptUtxo, Table::ScriptHistory];

/// A tip and all unspent outputs under it.
pub type State = (BlockHash, Vec<(OutPoint, Utxo)>);

pub async fn state(node: &Node) -> State {
    (node.tip().await, node.utxo_set().await)
}

/// Every row of the index.
async fn rows(node: &Node) -> Vec<Pair> {
    let read = node.chain.reader().read(|view| {
        let mut rows: Vec<Pair> = Vec::new();
        for table in TABLES {
            let prefix = [table as u8];
            loop {
                let after = rows.last().map(|(key, _)| key.clone());
                let after = after.filter(|key| key.starts_with(&prefix));
                let page = view.tip.snapshot.page(&prefix, after.as_deref(), 500)?;
                if page.is_empty() {
                    break;
                }
                rows.extend(page);
            }
        }
        Ok(rows)
    });
    read.await.expect("a working index")
}

/// Every stored block. That one is invalid is learned when it could be the tip; the log does not
/// tell.
async fn blocks(node: &Node) -> Vec<(BlockHash, BlockEntry)> {
    let read = node.chain.reader().read(|view| {
        let mut blocks: Vec<(BlockHash, BlockEntry)> = Vec::new();
        loop {
            let after = blocks.last().map(|(hash, _)| *hash);
            let page = view.tip.snapshot.blocks(after.as_ref(), 500)?;
            if page.is_empty() {
                return Ok(blocks);
            }
            let known = |(hash, entry)| (hash, BlockEntry { is_invalid: false, ..entry });
            blocks.extend(page.into_iter().map(known));
        }
    });
    read.await.expect("a working index")
}

/// What the service itself finds when it verifies all that it stores, signatures included.
async fn assert_verified(node: &Node) {
    let level = proto::VerifyLevel::Signatures.into();
    let request = proto::VerifyRequest { level, ..Default::default() };
    let mut admin = AdminServiceClient::new(node.connection.clone());
    let mut events = admin.verify(request).await.expect("a stream").into_inner();
    let mut report = None;
    while let Some(message) = events.message().await.expect("no error") {
        match message.event.expect("an event") {
            Event::Damage(damage) => panic!("{damage:?}"),
            Event::Report(found) => report = Some(found),
            Event::Progress(_) => {}
        }
    }
    assert!(report.expect("a report").ok);
}

/// The service's own verification; and the same tables as a new index makes of the block log.
/// `options` are those that the node works with.
pub async fn assert_sound(node: &Node, options: &Options) {
    assert_verified(node).await;
    let copied = directory();
    copy_log(&options.data_dir, copied.path());
    let mut rebuilt = Options { data_dir: copied.path().to_owned(), ..options.clone() };
    rebuilt.store.engine = EngineKind::Memory;
    let rebuilt = Node::try_open(rebuilt).expect("a sound log");
    assert_eq!(node.tip().await, rebuilt.tip().await, "tip");
    assert_eq!(blocks(node).await, blocks(&rebuilt).await, "stored blocks");
    let (ours, theirs) = (rows(node).await, rows(&rebuilt).await);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "first row that differs, in table {}", char::from(theirs.0[0]));
    }
    assert_eq!(ours.len(), theirs.len(), "rows");
    rebuilt.stop().await;
}

fn copy_log(from: &Path, to: &Path) {
    copy(&from.join("blocks"), &to.join("blocks"));
    fs::copy(from.join("FORMAT"), to.join("FORMAT")).expect("a copy");
}
