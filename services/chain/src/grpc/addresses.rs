//! Following addresses: the same cursor as following the tip, and of every block only what
//! touches them.

use std::collections::HashSet;

use pentad_api::chain::v1 as proto;
use pentad_api::chain::v1::follow_addresses_response::Event;
use pentad_api::{header_message, transaction_message};
use pentad_primitives::{BlockHeight, Script, Transaction, Utxo};
use pentad_store::{BlockEntry, read_block, read_undo};
use tokio::sync::mpsc;
use tonic::Status;

use crate::error::ChainError;
use crate::follow::{Cursor, Step, steps};
use crate::reader::{Reader, View};

/// Blocks that one read looks at.
const STEPS_PER_READ: usize = 8;
/// Reads without a find after which the client is told how far the stream has come.
const SILENT_READS_MAX: u32 = 128;

type Sender = mpsc::Sender<Result<proto::FollowAddressesResponse, Status>>;

/// Sends events until the client goes.
pub(super) async fn follow(
    reader: Reader,
    mut cursor: Option<Cursor>,
    scripts: HashSet<Script>,
    sender: Sender,
) {
    let mut tip = reader.published().watch_tip();
    let scripts = std::sync::Arc::new(scripts);
    let mut silent_reads = 0;
    loop {
        tip.borrow_and_update();
        let wanted = std::sync::Arc::clone(&scripts);
        let reading = reader.read(move |view| {
            let (steps, next) = steps(&view, cursor, STEPS_PER_READ)?;
            let is_at_tip = steps.is_empty();
            let events = steps.into_iter().map(|step| event(&view, step, &wanted));
            let events = events.filter_map(Result::transpose);
            Ok((events.collect::<Result<Vec<_>, _>>()?, next, is_at_tip))
        });
        let (mut events, is_at_tip) = match reading.await {
            Ok((events, next, is_at_tip)) => {
                cursor = next;
                (events, is_at_tip)
            }
            Err(error) => {
                drop(sender.send(Err(error.into())).await);
                return;
            }
        };
        silent_reads = if events.is_empty() { silent_reads + 1 } else { 0 };
        if silent_reads >= SILENT_READS_MAX
            && let Some(cursor) = cursor
        {
            silent_reads = 0;
            let event = Event::Pass(proto::AddressesUntouched { height: cursor.height.get() });
            events.push(message(cursor, event));
        }
        for event in events {
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
        if is_at_tip {
            tokio::select! {
                changed = tip.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    }
}

/// What a step means to the addresses; none if nothing.
fn event(
    view: &View<'_>,
    step: Step,
    scripts: &HashSet<Script>,
) -> Result<Option<proto::FollowAddressesResponse>, ChainError> {
    let header = |entry: &BlockEntry, confirmations| {
        Some(header_message(&entry.header, entry.height, &entry.chain_work, confirmations))
    };
    let touched = |entry: &BlockEntry, confirmations| {
        let transactions = touching(view, entry, scripts)?;
        let header = header(entry, confirmations);
        let touched = proto::AddressesTouched { header, transactions };
        Ok::<_, ChainError>(Some(touched).filter(|touched| !touched.transactions.is_empty()))
    };
    let (cursor, event) = match step {
        Step::Apply(hash, entry) => {
            let event = touched(&entry, view.depth(entry.height))?.map(Event::Apply);
            (Cursor { height: entry.height, hash }, event)
        }
        Step::Undo(_, entry) => {
            let height = entry.height.prev().unwrap_or(BlockHeight::GENESIS);
            let event = touched(&entry, 0)?.map(Event::Undo);
            (Cursor { height, hash: entry.header.prev_block_hash }, event)
        }
        Step::Reset(hash, entry) => {
            let header = header(&entry, view.depth(entry.height));
            let event = Event::Reset(proto::TipReset { header });
            (Cursor { height: entry.height, hash }, Some(event))
        }
    };
    Ok(event.map(|event| message(cursor, event)))
}

fn message(cursor: Cursor, event: Event) -> proto::FollowAddressesResponse {
    proto::FollowAddressesResponse { cursor: cursor.to_string(), event: Some(event) }
}

/// The transactions of a block that pay to the scripts or spend from them. A block that is applied
/// and one that is undone go the same way.
fn touching(
    view: &View<'_>,
    entry: &BlockEntry,
    scripts: &HashSet<Script>,
) -> Result<Vec<pentad_api::types::v1::Transaction>, ChainError> {
    let versions = view.published.spec.address_versions();
    let log = &view.published.log;
    let block = read_block(log, entry.body)?;
    // A block that was on the main chain has undo data.
    let undo = entry.undo.map(|undo| read_undo(log, undo)).transpose()?.unwrap_or_default();
    let mut spent = undo.iter();
    let touching = block.transactions.iter().filter(|transaction| {
        let inputs = if transaction.is_coinbase() { 0 } else { transaction.inputs.len() };
        let spends: Vec<&Utxo> = spent.by_ref().take(inputs).collect();
        pays(transaction, scripts)
            || spends.iter().any(|utxo| scripts.contains(&utxo.output.script_pubkey))
    });
    Ok(touching.map(|transaction| transaction_message(transaction, versions)).collect())
}

fn pays(transaction: &Transaction, scripts: &HashSet<Script>) -> bool {
    transaction.outputs.iter().any(|output| scripts.contains(&output.script_pubkey))
}
