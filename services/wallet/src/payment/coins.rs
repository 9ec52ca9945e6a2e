//! Which of our outputs are coins that a payment may use.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pentad_crypto::Address;
use pentad_crypto::script::parse_p2pkh_script_sig;
use pentad_primitives::{Transaction, Txid};
use tonic::Code;

use super::{Coin, Leases, Shortage};
use crate::chain::{ChainClient, Output};
use crate::error::WalletError;
use pentad_keystore::Wallet;

/// Verdicts that are kept; each costs one question to the chain service.
const VERDICTS_MAX: usize = 10_000;

/// Who made the unconfirmed transactions that pay us. Change of our own payments can be spent at
/// once; coins from others can vanish until a block holds them.
#[derive(Debug, Default)]
pub(crate) struct Provenance {
    ours: Mutex<HashMap<Txid, bool>>,
}

impl Provenance {
    /// Notes a payment that we just made.
    pub(crate) fn is_ours(&self, txid: Txid) {
        self.remember(txid, true);
    }

    fn remember(&self, txid: Txid, ours: bool) {
        let mut verdicts = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= VERDICTS_MAX {
            verdicts.clear();
        }
        verdicts.insert(txid, ours);
    }

    /// Whether all inputs of an unconfirmed transaction were signed by keys of `wallet`.
    async fn made_by(
        &self,
        wallet: &Wallet,
        txid: Txid,
        chain: &ChainClient,
    ) -> Result<bool, WalletError> {
        let known = self.ours.lock().unwrap_or_else(PoisonError::into_inner).get(&txid).copied();
        if let Some(ours) = known {
            return Ok(ours);
        }
        match chain.transaction(txid).await {
            Ok(transaction) => {
                let ours = signed_by(wallet, &transaction);
                self.remember(txid, ours);
                Ok(ours)
            }
            // It left the mempool a moment ago.
            Err(WalletError::Chain(status)) if status.code() == Code::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn signed_by(wallet: &Wallet, transaction: &Transaction) -> bool {
    transaction.inputs.iter().all(|input| {
        parse_p2pkh_script_sig(&input.script_sig)
            .is_ok_and(|(_, key)| wallet.key_path(&Address::P2pkh(key.key_hash())).is_some())
    })
}

/// What can be spent now, and what cannot yet.
#[derive(Debug, Default)]
pub(crate) struct Coins {
    pub(crate) spendable: Vec<Coin>,
    /// Units.
    immature: u64,
    /// Units.
    pending: u64,
    /// Units.
    claimed: u64,
}

impl Coins {
    /// Sorts the outputs of a wallet's addresses.
    pub(crate) async fn sort(
        outputs: Vec<Output>,
        wallet: &Wallet,
        leases: &Mutex<Leases>,
        provenance: &Provenance,
        chain: &ChainClient,
    ) -> Result<Self, WalletError> {
        let mut coins = Self::default();
        for output in outputs.iter().filter(|output| !output.spent_in_mempool) {
            let Some(key) = wallet.key_path(&output.address) else {
                continue;
            };
            let Output { outpoint, amount, confirmations, from_coinbase, mature, .. } = *output;
            let claimed = || leases.lock().unwrap_or_else(PoisonError::into_inner).holds(&outpoint);
            if !mature {
                coins.immature += amount;
            } else if claimed() {
                coins.claimed += amount;
            } else if confirmations > 0 || provenance.made_by(wallet, outpoint.txid, chain).await? {
                coins.spendable.push(Coin { outpoint, amount, key, confirmations, from_coinbase });
            } else {
                coins.pending += amount;
            }
        }
        Ok(coins)
    }

    /// Says what is missing to `need`.
    pub(crate) fn shortage(&self, need: u64, maturity: u32) -> Shortage {
        Shortage {
            have: self.spendable.iter().map(|coin| coin.amount).sum(),
            need,
            immature: self.immature,
            maturity,
            pending: self.pending,
            claimed: self.claimed,
        }
    }
}
