//! Finalizer and extractor.

use pentad_keystore::audit::Event;
use pentad_primitives::Transaction;
use pentad_psbt::Psbt;

use super::SigningError;
use crate::error::WalletError;
use crate::payment::{Made, PaymentKey, Progress, Record};
use crate::wallets::Inner;

/// The transaction of a PSBT that all have signed.
pub(crate) fn finalize(mut psbt: Psbt) -> Result<Transaction, SigningError> {
    for index in 0..psbt.inputs.len() {
        psbt.finalize(index)?;
    }
    Ok(psbt.extract()?)
}

impl Inner {
    /// Submits the transaction of a PSBT, and sees it through as any other payment; answers with
    /// the fee in units, too.
    pub(crate) async fn submit_psbt(&self, psbt: Psbt) -> Result<(Transaction, u64), WalletError> {
        let fee = psbt.fee().map_err(SigningError::from)?;
        let unsigned_txid = psbt.transaction().txid().to_string();
        let transaction = finalize(psbt)?;
        let txid = transaction.txid().to_string();
        self.append(None, Event::PsbtSubmitted { unsigned_txid, txid }).await?;
        self.submit(&transaction).await?;
        let txid = transaction.txid();
        // No request stands for it: nobody can ask for it again.
        let (change, of_address, replaces) = (None, false, None);
        let made = Made { transaction: transaction.clone(), fee, change, of_address, replaces };
        let record = Record::new(Progress::Submitted, [0; 32], made);
        if let Err(error) = self.journal.put(&PaymentKey::of_transaction(&txid), &record).await {
            tracing::error!(%txid, %error, "a payment is made, but would not survive a crash");
        }
        Ok((transaction, fee))
    }
}
