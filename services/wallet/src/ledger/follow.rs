//! Following the chain service, over breaks of the connection, its restarts and ours.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pentad_api::block_hash_from_hex;
use pentad_api::chain::v1::StreamBlocksResponse;
use pentad_api::chain::v1::follow_tip_response::Event;
use pentad_api::types::v1::BlockHeader;
use pentad_api::{block_from_bytes, transaction_from_bytes, txid_from_hex};
use pentad_primitives::{Block, BlockHash, Txid};
use pentad_service_kit::telemetry::{BlockTrace, TraceContext};
use pentad_service_kit::{Backoff, since_1970};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::scan::Scan;
use super::{Ledger, Place, ScanProgress, Touch};
use crate::chain::{ChainClient, answer_error};
use crate::error::WalletError;

/// Pauses after the stream has broken.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Blocks on their way from the stream to the thread that reads them.
const BLOCKS_AHEAD: usize = 4;
/// A scan tells how far it has come this often.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Follows the chain until it is dropped.
pub(crate) async fn follow(ledger: Arc<Ledger>, chain: ChainClient) {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    let mut scanning = None;
    loop {
        let before = ledger.state().place();
        let outcome = follow_once(&ledger, &chain, &mut scanning).await;
        ledger.progress.send_modify(|progress| progress.is_live = false);
        // Nobody is told any more of what was submitted.
        let expected: Vec<Txid> = ledger.expected().keys().copied().collect();
        expected.iter().for_each(|txid| ledger.on_heard(txid));
        match outcome {
            Ok(()) => continue,
            Err(error) => tracing::debug!(%error, "the chain is not followed"),
        }
        if ledger.state().place() != before {
            backoff.reset();
        }
        backoff.pause().await;
    }
}

type Scanning = Option<AbortOnDropHandle<Result<Scan, WalletError>>>;

/// `Ok` when a scan is done: what waits has to be told anew, for its addresses.
async fn follow_once(
    ledger: &Arc<Ledger>,
    chain: &ChainClient,
    scanning: &mut Scanning,
) -> Result<(), WalletError> {
    let maturity = chain.network().await?.maturity;
    ledger.state().set_maturity(maturity);
    let place = ledger.state().place();
    let mut stream = chain.follow(place).await?;
    // Transactions that wait, and are to be told of before all is known.
    let mut untold = None;
    loop {
        if scanning.is_none() {
            *scanning = begin_scan(ledger, chain);
        }
        let scanned = async {
            match scanning {
                Some(scan) => scan.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            scan = scanned => {
                *scanning = None;
                let outcome = finish_scan(ledger, chain, scan??).await;
                ledger.progress.send_modify(|progress| progress.scan = None);
                return outcome;
            }
            () = ledger.is_pending.notified() => {}
            message = stream.message() => {
                let message = message?.ok_or_else(|| answer_error("an end of all events"))?;
                let event = message.event.ok_or_else(|| answer_error("no event"))?;
                match (&event, &mut untold) {
                    (Event::MempoolReset(reset), _) => untold = Some(reset.present),
                    (Event::Added(_), Some(untold)) => *untold = untold.saturating_sub(1),
                    _ => {}
                }
                on_event(ledger, event)?;
                if untold == Some(0) {
                    untold = None;
                    ledger.progress.send_modify(|progress| progress.is_live = true);
                }
            }
        }
    }
}

fn on_event(ledger: &Ledger, event: Event) -> Result<(), WalletError> {
    match event {
        Event::Apply(connected) => {
            let began = SystemTime::now();
            let place = place(connected.header.as_ref())?;
            let block = block_from_bytes("raw", &connected.raw)?;
            let (rows, touched) = ledger.state().apply(place, &block);
            ledger.store.write(rows)?;
            touched.iter().for_each(|txid| ledger.on_heard(txid));
            tell_place(ledger);
            let (own, transactions) = (&connected.traceparent, &connected.transaction_traceparents);
            let trace = BlockTrace::from_traceparents(own, transactions);
            trace.record(module_path!(), "wallet.apply", began, SystemTime::now());
        }
        Event::Undo(disconnected) => {
            let place = place(disconnected.header.as_ref())?;
            let block = block_from_bytes("raw", &disconnected.raw)?;
            let hash = block.header.prev_block_hash;
            let height = place.height.saturating_sub(1);
            let touches = touches(ledger, place.height, &block)?;
            let rows = ledger.state().undo(Place { height, hash, final_height: 0 }, touches);
            ledger.store.write(rows)?;
            tell_place(ledger);
        }
        Event::Reset(reset) => {
            let place = place(reset.header.as_ref())?;
            tracing::info!(height = place.height, "the ledger of the wallets starts over");
            ledger.store.clear()?;
            let wallets = ledger.state().reset(place);
            wallets.iter().for_each(|wallet| ledger.ask_for_scan(wallet));
            tell_place(ledger);
        }
        Event::Final(block) => {
            ledger.state().set_final(place(block.header.as_ref())?.height);
            tell_place(ledger);
        }
        Event::MempoolReset(_) => ledger.state().clear_waiting(),
        Event::Added(added) => {
            let trace = TraceContext::from_traceparent(&added.traceparent);
            let _span = trace.map(|trace| trace.begin(module_path!(), "wallet.notice"));
            let transaction = transaction_from_bytes("transaction", &added.transaction)?;
            let heard = ledger.state().add_waiting(&transaction, unix_time());
            heard.iter().for_each(|txid| ledger.on_heard(txid));
        }
        Event::Removed(removed) => {
            ledger.state().remove_waiting(&txid_from_hex("txid", &removed.txid)?);
        }
    }
    Ok(())
}

/// What the transactions of a block did to us.
fn touches(ledger: &Ledger, height: u32, block: &Block) -> Result<Vec<Touch>, WalletError> {
    let mut touches = Vec::new();
    for transaction in &block.transactions {
        let touch = ledger.store.touch(&transaction.txid())?;
        let is_here = |it: &Touch| it.place.is_some_and(|place| place.height == height);
        touches.extend(touch.filter(is_here));
    }
    Ok(touches)
}

fn tell_place(ledger: &Ledger) {
    let place = ledger.state().place();
    ledger.progress.send_modify(|progress| progress.place = place);
}

/// Reads all blocks up to the ledger's for the wallets that ask for it.
fn begin_scan(ledger: &Arc<Ledger>, chain: &ChainClient) -> Scanning {
    let to = ledger.state().place()?;
    let asked = ledger.pending().clone();
    if asked.is_empty() {
        return None;
    }
    let scan = {
        let state = ledger.state();
        let with_addresses = asked.into_iter().map(|(name, asked)| {
            let addresses = state.addresses_of(&name);
            (name, asked, addresses)
        });
        Scan::new(with_addresses)
    };
    tracing::info!(wallets = scan.wallets().len(), height = to.height, "blocks are read again");
    let reading = tokio::spawn(read(Arc::clone(ledger), chain.clone(), scan, to.height));
    Some(AbortOnDropHandle::new(reading))
}

/// Reads on to the block at `to`.
async fn read(
    ledger: Arc<Ledger>,
    chain: ChainClient,
    mut scan: Scan,
    to: u32,
) -> Result<Scan, WalletError> {
    let from = scan.place().map_or(0, |place| place.height + 1);
    let mut blocks = chain.blocks(from, to).await?;
    let (sender, mut ahead) = mpsc::channel::<StreamBlocksResponse>(BLOCKS_AHEAD);
    let reading = tokio::task::spawn_blocking(move || {
        if scan.place().is_none() {
            scan.wallets().keys().try_for_each(|wallet| ledger.store.clear_history(wallet))?;
        }
        let mut told: Option<Instant> = None;
        while let Some(message) = ahead.blocking_recv() {
            let place = place(message.header.as_ref())?;
            let block = block_from_bytes("raw", &message.raw)?;
            if !scan.add(place, &block, &ledger.store)? {
                return Err(answer_error("blocks of two branches"));
            }
            if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                tell_scan(&ledger, &scan, place.height, to);
            }
        }
        Ok(scan)
    });
    while let Some(message) = blocks.message().await? {
        // Whoever receives has ended with an error, then.
        if sender.send(message).await.is_err() {
            break;
        }
    }
    drop(sender);
    reading.await?
}

fn tell_scan(ledger: &Ledger, scan: &Scan, height: u32, to: u32) {
    let (wallets, found) = (scan.wallets().keys().cloned().collect(), scan.found());
    let told = ScanProgress { wallets, height, to, found };
    ledger.progress.send_modify(|progress| progress.scan = Some(told));
}

/// Reads the blocks that have come meanwhile, and takes over what was found.
async fn finish_scan(
    ledger: &Arc<Ledger>,
    chain: &ChainClient,
    mut scan: Scan,
) -> Result<(), WalletError> {
    let place = ledger.state().place().ok_or_else(|| answer_error("no tip"))?;
    if scan.place().is_none_or(|scanned| scanned.height < place.height) {
        scan = read(Arc::clone(ledger), chain.clone(), scan, place.height).await?;
    }
    // The chain was reorganised meanwhile: once more, then.
    if scan.place().is_none_or(|scanned| scanned.hash != place.hash) {
        return Err(answer_error("blocks of another branch"));
    }
    let found = scan.found();
    let scanned = scan.finish(&ledger.store)?;
    let mut rows = ledger.state().replace(&scanned.addresses, scanned.coins);
    let mut pending = ledger.pending();
    for (wallet, asked) in &scanned.wallets {
        // Asked for again since, it is looked for again.
        if pending.get(wallet) == Some(asked) {
            pending.remove(wallet);
            rows.put_wallet(wallet);
        }
    }
    ledger.store.write(rows)?;
    drop(pending);
    tracing::info!(transactions = found, "all blocks are read");
    Ok(())
}

fn place(header: Option<&BlockHeader>) -> Result<Place, WalletError> {
    let header = header.ok_or_else(|| answer_error("no header"))?;
    let hash: BlockHash = block_hash_from_hex("hash", &header.hash)?;
    Ok(Place { height: header.height, hash, final_height: 0 })
}

fn unix_time() -> u32 {
    u32::try_from(since_1970().as_secs()).unwrap_or(u32::MAX)
}
