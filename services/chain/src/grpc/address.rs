//! Balance and unspent outputs of addresses, confirmed and in the mempool.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pentad_api::chain::v1 as proto;
use pentad_api::types::v1::Utxo as UtxoMessage;
use pentad_api::{FieldError, utxo_message};
use pentad_crypto::Address;
use pentad_ledger::{ChainSpec, Mempool, coinbase};
use pentad_primitives::{BlockHeight, OutPoint, Script, TxOut, Txid, Utxo};
use pentad_store::IndexRead as _;

use super::{at_most, capped};
use crate::error::ChainError;
use crate::reader::{Reader, View};

/// Addresses in one request.
pub(super) const ADDRESSES_MAX: usize = 1_000;
/// Outputs in one answer unless the caller says otherwise.
const PAGE_SIZE_DEFAULT: u32 = 1_000;
/// Outputs in one answer: about 3 MB.
const PAGE_SIZE_MAX: u32 = 10_000;
/// Rows read at once.
const ROWS: usize = 1_000;

/// What an address holds at the tip, and what the mempool does to it.
pub(super) async fn balance(
    reader: &Reader,
    request: proto::GetBalanceRequest,
) -> Result<proto::GetBalanceResponse, ChainError> {
    let script = script_of("address", &request.address, &reader.published().spec)?;
    let gathered_for = script.clone();
    reader
        .read_with(
            move |mempool| mempool.pending(&gathered_for),
            move |view, pending| {
                let (mut confirmed, mut immature) = (0_u64, 0_u64);
                for utxo in Unspent::new(&view, &script, None) {
                    let (_, utxo) = utxo?;
                    let units = utxo.output.amount.units();
                    let sum = if is_mature(&view, &utxo) { &mut confirmed } else { &mut immature };
                    *sum = sum.saturating_add(units);
                }
                Ok(proto::GetBalanceResponse { confirmed, pending, immature })
            },
        )
        .await
}

/// What the mempool holds for some scripts.
struct Waiting {
    /// Outputs that it creates.
    created: BTreeMap<OutPoint, TxOut>,
    /// Outputs that it spends.
    spent: HashSet<OutPoint>,
}

/// One page of the unspent outputs of addresses.
pub(super) async fn utxos(
    reader: &Reader,
    request: proto::GetUtxosRequest,
) -> Result<proto::GetUtxosResponse, ChainError> {
    at_most("addresses", request.addresses.len(), ADDRESSES_MAX)?;
    let page_size = capped("page_size", request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
    let after = after_token(&request.page_token)?;
    let spec = &reader.published().spec;
    let scripts = request.addresses.iter().map(|text| script_of("addresses", text, spec));
    let scripts = scripts.collect::<Result<BTreeSet<Script>, _>>()?;
    let gathered_for = scripts.clone();
    let (include, exclude) = (request.include_mempool, request.exclude_spent_in_mempool);
    reader
        .read_with(
            move |mempool| waiting(mempool, &gathered_for),
            move |view, waiting| {
                let mut page = Page { after, size: page_size, outputs: BTreeMap::new() };
                for script in &scripts {
                    for utxo in Unspent::new(&view, script, after) {
                        let (outpoint, utxo) = utxo?;
                        if page.is_full_before(&outpoint) {
                            break;
                        }
                        if !(exclude && waiting.spent.contains(&outpoint)) {
                            page.add(outpoint, message(&view, &outpoint, &utxo, &waiting));
                        }
                    }
                }
                for (outpoint, output) in waiting.created.iter().filter(|_| include) {
                    if !(exclude && waiting.spent.contains(outpoint)) {
                        page.add(*outpoint, unconfirmed(&view, outpoint, output, &waiting));
                    }
                }
                let (utxos, next_page_token) = page.finish();
                Ok(proto::GetUtxosResponse {
                    utxos,
                    next_page_token,
                    height: view.tip.height.get(),
                    tip: view.tip.hash.to_string(),
                })
            },
        )
        .await
}

/// The first outputs behind a place, in the order of their outpoints, and one more to know
/// whether there are more.
struct Page {
    after: Option<OutPoint>,
    size: usize,
    outputs: BTreeMap<OutPoint, UtxoMessage>,
}

impl Page {
    fn is_full_before(&self, outpoint: &OutPoint) -> bool {
        self.outputs.len() > self.size
            && self.outputs.last_key_value().is_some_and(|(last, _)| last < outpoint)
    }

    fn add(&mut self, outpoint: OutPoint, message: UtxoMessage) {
        if self.after.is_none_or(|after| outpoint > after) {
            self.outputs.insert(outpoint, message);
            if self.outputs.len() > self.size + 1 {
                self.outputs.pop_last();
            }
        }
    }

    fn finish(mut self) -> (Vec<UtxoMessage>, String) {
        let has_more = self.outputs.len() > self.size;
        if has_more {
            self.outputs.pop_last();
        }
        let last = self.outputs.keys().last().filter(|_| has_more);
        let token = last.map(ToString::to_string).unwrap_or_default();
        (self.outputs.into_values().collect(), token)
    }
}

fn waiting(mempool: &Mempool, scripts: &BTreeSet<Script>) -> Waiting {
    let (mut created, mut spent) = (BTreeMap::new(), HashSet::new());
    for script in scripts {
        for entry in mempool.by_script(script) {
            let txid = entry.txid();
            let inputs = entry.transaction().inputs.iter();
            spent.extend(inputs.map(|input| input.previous_output));
            for (vout, output) in (0..).zip(&entry.transaction().outputs) {
                if output.script_pubkey == *script {
                    created.insert(OutPoint { txid, vout }, output.clone());
                }
            }
        }
    }
    Waiting { created, spent }
}

fn message(view: &View<'_>, outpoint: &OutPoint, utxo: &Utxo, waiting: &Waiting) -> UtxoMessage {
    let versions = view.published.spec.address_versions();
    UtxoMessage {
        mature: is_mature(view, utxo),
        spent_in_mempool: waiting.spent.contains(outpoint),
        ..utxo_message(outpoint, utxo, Some(view.tip.height), versions)
    }
}

fn unconfirmed(
    view: &View<'_>,
    outpoint: &OutPoint,
    output: &TxOut,
    waiting: &Waiting,
) -> UtxoMessage {
    let output = output.clone();
    let utxo = Utxo { output, height: BlockHeight::GENESIS, from_coinbase: false };
    UtxoMessage {
        spent_in_mempool: waiting.spent.contains(outpoint),
        ..utxo_message(outpoint, &utxo, None, view.published.spec.address_versions())
    }
}

/// Can the output be spent in the next block?
fn is_mature(view: &View<'_>, utxo: &Utxo) -> bool {
    let next = view.tip.height.next().unwrap_or(view.tip.height);
    coinbase::is_mature(utxo, next, view.published.spec.coinbase_maturity())
}

pub(super) fn script_of(
    field: &'static str,
    text: &str,
    spec: &ChainSpec,
) -> Result<Script, ChainError> {
    let address = Address::decode(text, spec.address_versions()).map_err(|error| FieldError {
        field,
        problem: format!("{text:?} is not an address of network {}: {error}", spec.name()),
    })?;
    Ok(address.script_pubkey())
}

fn after_token(token: &str) -> Result<Option<OutPoint>, ChainError> {
    if token.is_empty() {
        return Ok(None);
    }
    let outpoint = token.split_once(':').and_then(|(txid, vout)| {
        Some(OutPoint { txid: txid.parse::<Txid>().ok()?, vout: vout.parse().ok()? })
    });
    let malformed = || FieldError {
        field: "page_token",
        problem: "not a token of this service; hand in next_page_token as it came".to_owned(),
    };
    Ok(Some(outpoint.ok_or_else(malformed)?))
}

/// The unspent outputs of a script, some rows at a time.
struct Unspent<'a> {
    view: &'a View<'a>,
    script: &'a Script,
    after: Option<OutPoint>,
    rows: std::vec::IntoIter<(OutPoint, Utxo)>,
    is_last_page: bool,
}

impl<'a> Unspent<'a> {
    fn new(view: &'a View<'a>, script: &'a Script, after: Option<OutPoint>) -> Self {
        Self { view, script, after, rows: Vec::new().into_iter(), is_last_page: false }
    }
}

impl Iterator for Unspent<'_> {
    type Item = Result<(OutPoint, Utxo), ChainError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows.len() == 0 && !self.is_last_page {
            let after = self.after.as_ref();
            match self.view.tip.snapshot.utxos_of(self.script, after, ROWS) {
                Ok(rows) => {
                    self.is_last_page = rows.len() < ROWS;
                    self.rows = rows.into_iter();
                }
                Err(error) => {
                    self.is_last_page = true;
                    return Some(Err(error.into()));
                }
            }
        }
        let row = self.rows.next()?;
        self.after = Some(row.0);
        Some(Ok(row))
    }
}
