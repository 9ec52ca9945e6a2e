//! What a wallet's transactions did to it.

use pentad_crypto::Address;
use pentad_keystore::WalletName;
use pentad_primitives::Txid;

use super::touch::{TouchPlace, sum};
use super::{Ledger, LedgerError, State, Touch};

/// Which way the coins went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From others.
    Received,
    /// To others.
    Sent,
    /// From the wallet to itself.
    Internal,
    /// From a coinbase.
    Mined,
}

/// A transaction, as one wallet sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) txid: Txid,
    pub(crate) direction: Direction,
    /// Units that the wallet has more, or, negative, less; the fee is in it.
    pub(crate) amount: i64,
    /// Units; known of payments of this node's wallets.
    pub(crate) fee: Option<u64>,
    /// `None` in the mempool.
    pub(crate) place: Option<TouchPlace>,
    /// Blocks over it, its own counted; 0 in the mempool.
    pub(crate) confirmations: u32,
    /// It will never be undone.
    pub(crate) is_final: bool,
    /// Unix seconds.
    pub(crate) time: u32,
    /// Addresses of the wallet that it pays.
    pub(crate) to: Vec<Address>,
}

impl Ledger {
    /// A wallet's transactions below a place, the last one first; `None` begins with the mempool.
    pub(crate) fn history(
        &self,
        wallet: &WalletName,
        below: Option<TouchPlace>,
        limit: usize,
    ) -> Result<Vec<Entry>, LedgerError> {
        let mut touches = match below {
            None => self.state().waiting_of(wallet),
            Some(_) => Vec::new(),
        };
        touches.sort_by_key(|touch| (std::cmp::Reverse(touch.time), touch.txid));
        let top = TouchPlace { height: u32::MAX, index: u32::MAX };
        let below = below.unwrap_or(top);
        touches.extend(self.store.history(wallet, below, limit)?);
        let state = self.state();
        Ok(touches.iter().map(|touch| entry(&state, wallet, touch)).collect())
    }

    /// Whether a transaction of the main chain or of the mempool touches a wallet.
    pub(crate) fn has_transaction(
        &self,
        wallet: &WalletName,
        txid: &Txid,
    ) -> Result<bool, LedgerError> {
        let known = self.store.touch(txid)?;
        let state = self.state();
        let touches = state.waiting(txid).into_iter().chain(known.as_ref());
        let mut coins = touches.flat_map(|touch| touch.spent.iter().chain(&touch.made));
        Ok(coins.any(|coin| state.is_of(&coin.address, wallet)))
    }
}

fn entry(state: &State, wallet: &WalletName, touch: &Touch) -> Entry {
    let ours = |coins: &[super::Coin]| -> u64 {
        sum(coins.iter().filter(|coin| state.is_of(&coin.address, wallet)))
    };
    let (spent, made) = (ours(&touch.spent), ours(&touch.made));
    let made_here = touch.made.iter().map(|coin| coin.address);
    let to = made_here.filter(|address| state.is_of(address, wallet)).collect();
    let fee = touch.fee();
    let direction = match (touch.is_coinbase, spent) {
        (true, _) => Direction::Mined,
        (false, 0) => Direction::Received,
        (false, _) if fee.is_some_and(|fee| made.saturating_add(fee) == spent) => {
            Direction::Internal
        }
        (false, _) => Direction::Sent,
    };
    let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    let place = state.place();
    let (tip, final_height) = place.map_or((0, 0), |it| (it.height, it.final_height));
    let height = touch.place.map(|place| place.height);
    Entry {
        txid: touch.txid,
        direction,
        amount: signed(made).saturating_sub(signed(spent)),
        fee,
        place: touch.place,
        confirmations: height.map_or(0, |height| (tip + 1).saturating_sub(height)),
        is_final: height.is_some_and(|height| height <= final_height),
        time: touch.time,
        to,
    }
}
