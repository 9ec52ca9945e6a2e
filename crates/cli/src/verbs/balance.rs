use pentad_api::chain::v1::GetBalanceRequest;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use serde::Serialize;

use super::READ_DEADLINE;
use crate::args::Globals;
use crate::coins::coins;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::pairs;
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Balance {
    address: String,
    /// Mature outputs at the tip, spent in the mempool or not.
    confirmed: String,
    /// The mempool's signed effect.
    pending: String,
    /// Coinbase outputs that have not matured.
    immature: String,
}

impl Answer for Balance {
    fn to_table(&self) -> String {
        let amounts = [&self.confirmed, &self.pending, &self.immature];
        let width = amounts.map(String::len).into_iter().max().unwrap_or(0);
        let [confirmed, pending, immature] = amounts.map(|amount| format!("{amount:>width$}"));
        pairs([
            ("address", self.address.clone()),
            ("confirmed", confirmed),
            ("pending", pending),
            ("immature", immature),
        ])
    }
}

/// `balance ADDRESS`.
///
/// # Errors
/// When the address is none of this network, or the node does not answer.
pub async fn balance(console: Console, globals: &Globals, address: String) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let request = GetBalanceRequest { address: address.clone() };
    let mut client = ChainServiceClient::new(target.connection());
    let reply = target.call(READ_DEADLINE, client.get_balance(request)).await?;
    console.answer(&Balance {
        address,
        confirmed: coins(reply.confirmed),
        pending: coins(reply.pending),
        immature: coins(reply.immature),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape() {
        let balance = Balance {
            address: "1abc".to_owned(),
            confirmed: coins(100_000_000_000_u64),
            pending: coins(-20_000_000_226_i64),
            immature: coins(0_u64),
        };
        assert_eq!(
            serde_json::to_string(&balance).expect("JSON"),
            concat!(
                r#"{"address":"1abc","confirmed":"1000.00000000","#,
                r#""pending":"-200.00000226","immature":"0.00000000"}"#
            )
        );
        assert_eq!(
            balance.to_table(),
            "address    1abc\n\
             confirmed  1000.00000000\n\
             pending    -200.00000226\n\
             immature      0.00000000"
        );
    }
}
