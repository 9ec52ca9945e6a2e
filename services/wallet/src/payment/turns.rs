use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::PaymentKey;

/// Calls with one idempotency key take turns: a retry that comes while the first call is under way
/// waits for its outcome.
#[derive(Debug, Default)]
pub(crate) struct KeyTurns(Mutex<HashMap<PaymentKey, Arc<Turn<()>>>>);

impl KeyTurns {
    pub(crate) async fn take(&self, key: &PaymentKey) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for; what is left is bounded by the calls at once.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key.clone()).or_default())
        };
        turn.lock_owned().await
    }
}
