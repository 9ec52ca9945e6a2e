use pentad_api::wallet::v1::BumpFeeRequest;
use pentad_api::wallet::v1::wallet_service_client::WalletServiceClient;
use serde::Serialize;

use super::KEYS_DEADLINE;
use crate::args::{BumpArgs, Globals};
use crate::coins::coins;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::pairs;
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Bumped {
    txid: String,
    fee: String,
    /// The payment whose place it takes.
    replaced: String,
    #[serde(skip)]
    is_dry_run: bool,
    #[serde(skip)]
    repeated: bool,
}

impl Answer for Bumped {
    fn to_table(&self) -> String {
        let mut rows = vec![
            ("txid", self.txid.clone()),
            ("fee", self.fee.clone()),
            ("replaced", self.replaced.clone()),
        ];
        if self.is_dry_run {
            rows.push(("note", "a dry run: nothing was replaced".to_owned()));
        }
        if self.repeated {
            rows.push(("note", "made before under this idempotency key; not again".to_owned()));
        }
        pairs(rows)
    }
}

/// `bump TXID --from WALLET`.
///
/// # Errors
/// When the payment cannot be replaced, the fee is too low, or the node does not answer.
pub async fn bump(console: Console, globals: &Globals, arguments: BumpArgs) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let request = BumpFeeRequest {
        wallet: arguments.from,
        txid: arguments.txid.clone(),
        fee_rate: arguments.fee_rate,
        idempotency_key: arguments.idempotency_key.unwrap_or_default(),
        dry_run: arguments.dry_run,
    };
    let mut client = WalletServiceClient::new(target.connection());
    if console.can_ask() && !arguments.dry_run && !arguments.yes {
        let planned = BumpFeeRequest { dry_run: true, ..request.clone() };
        let planned = target.call(KEYS_DEADLINE, client.bump_fee(planned)).await?;
        console.confirm(&format!("Raise the fee to {}?", coins(planned.fee)))?;
    }
    let reply = target.call(KEYS_DEADLINE, client.bump_fee(request)).await?;
    console.answer(&Bumped {
        txid: reply.txid,
        fee: coins(reply.fee),
        replaced: arguments.txid,
        is_dry_run: arguments.dry_run,
        repeated: reply.repeated_request,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape() {
        let bumped = Bumped {
            txid: "ab".to_owned(),
            fee: coins(452_u64),
            replaced: "cd".to_owned(),
            is_dry_run: false,
            repeated: false,
        };
        assert_eq!(
            serde_json::to_string(&bumped).expect("JSON"),
            r#"{"txid":"ab","fee":"0.00000452","replaced":"cd"}"#
        );
    }
}
