use pentad_crypto::script::ScriptTemplate;
use pentad_crypto::{Address, classify};
use pentad_primitives::{OutPoint, Transaction, TxOut, Txid};

use super::Coin;

/// What a transaction does to coins of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) txid: Txid,
    pub(crate) place: Option<TouchPlace>,
    /// Unix seconds: of its block, or when it was first seen.
    pub(crate) time: u32,
    pub(crate) is_coinbase: bool,
    /// Our coins that it spends.
    pub(crate) spent: Vec<Coin>,
    /// Our coins that it makes.
    pub(crate) made: Vec<Coin>,
    /// How many coins it spends, others' included.
    pub(crate) inputs: u32,
    /// Units of all that it makes.
    pub(crate) outputs_sum: u64,
}

/// Where in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TouchPlace {
    pub(crate) height: u32,
    /// In its block.
    pub(crate) index: u32,
}

impl Touch {
    /// Units; `None` when others' coins are in it.
    pub(crate) fn fee(&self) -> Option<u64> {
        let all = !self.is_coinbase && self.spent.len() == self.inputs as usize;
        all.then(|| sum(&self.spent).saturating_sub(self.outputs_sum))
    }

    /// Both know parts of what one transaction does.
    pub(super) fn merge(&mut self, other: Self) {
        for (mine, theirs) in [(&mut self.spent, other.spent), (&mut self.made, other.made)] {
            let new =
                theirs.into_iter().filter(|it| mine.iter().all(|m| m.outpoint != it.outpoint));
            let new: Vec<Coin> = new.collect();
            mine.extend(new);
        }
    }
}

pub(crate) fn sum<'a>(coins: impl IntoIterator<Item = &'a Coin>) -> u64 {
    coins.into_iter().fold(0, |sum, coin| sum.saturating_add(coin.amount))
}

/// A transaction with its place in the chain.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) transaction: &'a Transaction,
    pub(super) place: Option<TouchPlace>,
    /// Unix seconds.
    pub(super) time: u32,
}

impl Seen<'_> {
    /// What it does to coins of ours: `coin` knows those there are, `is_ours` the addresses that
    /// there are. `None`: nothing.
    pub(super) fn touch(
        self,
        mut coin: impl FnMut(&OutPoint) -> Option<Coin>,
        is_ours: impl Fn(&Address) -> bool,
    ) -> Option<Touch> {
        let Self { transaction, place, time } = self;
        let is_coinbase = transaction.is_coinbase();
        let inputs = transaction.inputs.iter().filter(|_| !is_coinbase);
        let spent: Vec<Coin> = inputs.filter_map(|input| coin(&input.previous_output)).collect();
        let ours = |output: &TxOut| address(output).filter(&is_ours);
        if spent.is_empty() && !transaction.outputs.iter().any(|output| ours(output).is_some()) {
            return None;
        }
        let txid = transaction.txid();
        let made = (0..).zip(&transaction.outputs).filter_map(|(vout, output)| {
            Some(Coin {
                outpoint: OutPoint { txid, vout },
                amount: output.amount.units(),
                address: ours(output)?,
                height: place.map(|place| place.height),
                from_coinbase: is_coinbase,
            })
        });
        let units = transaction.outputs.iter().map(|output| output.amount.units());
        Some(Touch {
            txid,
            place,
            time,
            is_coinbase,
            spent,
            made: made.collect(),
            inputs: u32::try_from(transaction.inputs.len()).unwrap_or(u32::MAX),
            outputs_sum: units.fold(0, u64::saturating_add),
        })
    }
}

fn address(output: &TxOut) -> Option<Address> {
    match classify(&output.script_pubkey)? {
        ScriptTemplate::P2pkh(hash) => Some(Address::P2pkh(hash)),
        ScriptTemplate::P2sh(hash) => Some(Address::P2sh(hash)),
        ScriptTemplate::Data(_) => None,
    }
}
