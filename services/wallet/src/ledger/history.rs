//! What a wallet's transactions did to it.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

fn entry(state: &State, wallet: &WalletName, touch: &Touch) -> Entry {
    let ours = |coins: &[super::Coin]| -> u64 {
        sum(coins.iter().filter(|coin| state.is_of(&coin.address, wallet)))
    };
    let (spent, made) = (ours(&touch.spent), ours(&touch.made));
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
    }
}
