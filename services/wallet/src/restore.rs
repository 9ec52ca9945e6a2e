//! Wallets made again from their words.

use std::sync::Arc;

use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use pentad_crypto::Address;
use pentad_crypto::hd::DerivationError;
use pentad_keystore::{Chain, Issued, KeyPath, Passphrase, Wallet, WalletName, Words};

use crate::error::WalletError;
use crate::ledger::LedgerError;
use crate::wallets::Inner;

/// Addresses in a row that were never paid end the search (BIP44).
const GAP: u32 = 20;
/// Nothing is known of an account.
pub(crate) const NONE: Issued = Issued { receive: 0, change: 0 };
/// Addresses that are asked for at once.
const AT_ONCE: usize = 8;

impl Inner {
    /// Looks for the addresses of a wallet on the chain, and makes it.
    pub(crate) async fn restore(
        &self,
        name: WalletName,
        words: Words,
        owner: Option<Passphrase>,
    ) -> Result<(Arc<Wallet>, Issued), WalletError> {
        let found = self.issued(|path| words.address(path), NONE).await?;
        // Its first address is there, whether it was paid or not.
        let issued = Issued { receive: found.receive.max(1), ..found };
        let wallet = self
            .hashing(move |keystore| {
                let restored = keystore.restore(&name, &words, issued, owner.as_ref());
                Ok(restored.ok_or(WalletError::NoPassphrase)??)
            })
            .await?;
        // Its coins are looked for meanwhile; on a long chain that goes on after the answer.
        self.ledger.watch(&wallet)?;
        match self.ledger.catch_up(wallet.name(), &self.chain.tip().await?).await {
            Ok(()) | Err(LedgerError::Behind { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok((wallet, found))
    }

    /// Looks whether others have handed out addresses of a watched account, whose owner or
    /// cosigners have it on nodes of their own.
    pub(crate) async fn find_addresses(&self, wallet: &Arc<Wallet>) -> Result<(), WalletError> {
        if wallet.is_watch_only() { self.find_paid_addresses(wallet).await } else { Ok(()) }
    }

    /// Learns addresses that were paid before anybody here knew them, and looks for their coins.
    pub(crate) async fn find_paid_addresses(
        &self,
        wallet: &Arc<Wallet>,
    ) -> Result<(), WalletError> {
        if self.learn_addresses(wallet).await? {
            self.ledger.rescan(wallet)?;
        }
        Ok(())
    }

    /// Takes addresses that were paid and are not known here for handed out, by another node or
    /// after the backup that the wallet comes from. Says whether there were any: their coins are
    /// to be looked for, then.
    pub(crate) async fn learn_addresses(&self, wallet: &Arc<Wallet>) -> Result<bool, WalletError> {
        let Some(known) = wallet.issued() else { return Ok(false) };
        let address = |path| wallet.address_at(path).ok_or(DerivationError::Index);
        let found = self.issued(address, known).await?;
        if found == known {
            return Ok(false);
        }
        self.on_disk(wallet, move |wallet| wallet.issue_up_to(found)).await?;
        Ok(true)
    }

    /// Addresses of an account up to the last ones that were ever paid, and those that are known.
    pub(crate) async fn issued(
        &self,
        address: impl Fn(KeyPath) -> Result<Address, DerivationError>,
        known: Issued,
    ) -> Result<Issued, WalletError> {
        let receive = self.count_used(&address, Chain::Receive, known.receive).await?;
        let change = self.count_used(&address, Chain::Change, known.change).await?;
        Ok(Issued { receive, change })
    }

    /// Addresses of a chain up to the last one that was ever paid.
    async fn count_used(
        &self,
        address: &impl Fn(KeyPath) -> Result<Address, DerivationError>,
        chain: Chain,
        known: u32,
    ) -> Result<u32, WalletError> {
        let (mut used, mut next) = (known, known);
        while next < used + GAP {
            let addresses =
                (next..used + GAP).map(|index| Ok((index, address(KeyPath { chain, index })?)));
            let addresses = addresses.collect::<Result<Vec<_>, DerivationError>>()?;
            next = used + GAP;
            let asked = iter(addresses).map(|(index, address)| async move {
                Ok::<_, WalletError>((index, self.chain.was_used(address).await?))
            });
            let answers: Vec<_> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
            let last = answers.into_iter().filter_map(|(index, is_used)| is_used.then_some(index));
            used = last.max().map_or(used, |last| last + 1);
        }
        Ok(used)
    }
}
