use pentad_api::wallet::v1::send_request::From;
use pentad_api::wallet::v1::wallet_service_client::WalletServiceClient;
use pentad_api::wallet::v1::{Payment, SendRequest};
use pentad_crypto::base58check;
use serde::Serialize;

use super::KEYS_DEADLINE;
use crate::args::{Globals, SendArgs};
use crate::coins::coins;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::pairs;
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Sent {
    txid: String,
    fee: String,
    #[serde(skip)]
    to: String,
    #[serde(skip)]
    repeated: bool,
}

impl Answer for Sent {
    fn to_table(&self) -> String {
        let mut rows = vec![("txid", self.txid.clone()), ("fee", self.fee.clone())];
        if self.repeated {
            rows.push(("note", "sent before under this idempotency key; not again".to_owned()));
        }
        pairs(rows)
    }

    fn next(&self) -> Vec<String> {
        vec!["pentad generate 1".to_owned(), format!("pentad balance {}", self.to)]
    }
}

/// `send --from --to --amount`.
///
/// # Errors
/// When the coins do not suffice, an address is wrong, or the node does not answer.
pub async fn send(console: Console, globals: &Globals, arguments: SendArgs) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let payment = Payment { address: arguments.to.clone(), amount: arguments.amount.units() };
    let request = SendRequest {
        from: Some(source(arguments.from)),
        payments: vec![payment],
        fee_rate: arguments.fee_rate,
        idempotency_key: arguments.idempotency_key.unwrap_or_default(),
    };
    let mut client = WalletServiceClient::new(target.connection());
    let reply = target.call(KEYS_DEADLINE, client.send(request)).await?;
    console.answer(&Sent {
        txid: reply.txid,
        fee: coins(reply.fee),
        to: arguments.to,
        repeated: reply.repeated_request,
    })
}

/// A wallet by its name, or else an address: what is neither is left to the node to refuse as an
/// address, so that a typing error in one is called that.
fn source(text: String) -> From {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let is_name = !text.is_empty() && text.bytes().all(allowed);
    if is_name && base58check::decode(&text).is_err() {
        From::Wallet(text)
    } else {
        From::Address(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wallets_and_addresses_are_told_apart() {
        for wallet in ["genesis", "my-wallet_2", "nobody", "1"] {
            assert_eq!(source(wallet.to_owned()), From::Wallet(wallet.to_owned()));
        }
        for address in [
            "1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
            // A typing error.
            "1BoatSLRHtKNngkdXEeobR76b53LETtpyU",
            "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
            "",
            "no body",
        ] {
            assert_eq!(source(address.to_owned()), From::Address(address.to_owned()));
        }
    }

    #[test]
    fn shape() {
        let sent = Sent {
            txid: "ab".repeat(32),
            fee: coins(226_u64),
            to: "1abc".to_owned(),
            repeated: false,
        };
        assert_eq!(
            serde_json::to_string(&sent).expect("JSON"),
            format!(r#"{{"txid":"{}","fee":"0.00000226"}}"#, "ab".repeat(32))
        );
    }
}
