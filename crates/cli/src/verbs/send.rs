use std::time::Duration;

use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::submit_service_client::SubmitServiceClient;
use pentad_api::chain::v1::{
    GetInfoRequest, SubmitTransactionRequest, SubmitTransactionResponse, Wait,
};
use pentad_api::wallet::v1::send_request::From;
use pentad_api::wallet::v1::wallet_service_client::WalletServiceClient;
use pentad_api::wallet::v1::{Payment, SendRequest};
use pentad_crypto::base58check;
use serde::Serialize;

use super::{KEYS_DEADLINE, READ_DEADLINE};
use crate::args::{Globals, SendArgs};
use crate::coins::coins;
use crate::console::{Answer, Console};
use crate::fault::{Exit, Fault};
use crate::table::pairs;
use crate::target::Target;

/// A payment is final within a second; a view change or two may come in between.
const FINAL_DEADLINE: Duration = Duration::from_secs(60);
/// Where blocks are mined, some must stand on its block: with the defaults that takes a minute or
/// two, and luck may be bad.
const MINED_TRIES: u32 = 10;
/// Engine of networks whose blocks are mined and made final.
const HYBRID: &str = "hybrid";

#[derive(Debug, Serialize)]
struct Sent {
    txid: String,
    fee: String,
    /// Hash of the final block that holds it, when that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_hash: Option<String>,
    /// Its height.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip)]
    to: String,
    #[serde(skip)]
    repeated: bool,
    /// The transaction that would be made, hex, of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
}

impl Answer for Sent {
    fn to_table(&self) -> String {
        let mut rows = vec![("txid", self.txid.clone()), ("fee", self.fee.clone())];
        if let (Some(hash), Some(height)) = (&self.block_hash, self.height) {
            rows.push(("final in", hash.clone()));
            rows.push(("height", height.to_string()));
        }
        if self.transaction.is_some() {
            rows.push((
                "note",
                "a dry run: nothing was paid; --output json has the bytes".to_owned(),
            ));
        }
        if self.repeated {
            rows.push(("note", "sent before under this idempotency key; not again".to_owned()));
        }
        pairs(rows)
    }

    fn next(&self) -> Vec<String> {
        let balance = format!("pentad balance {}", self.to);
        match (self.height, &self.transaction) {
            (_, Some(_)) => Vec::new(),
            (Some(_), None) => vec![balance],
            (None, None) => vec!["pentad generate 1".to_owned(), balance],
        }
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
        dry_run: arguments.dry_run,
        subtract_fee: arguments.subtract_fee,
        replaceable: arguments.replaceable,
        label: arguments.label.unwrap_or_default(),
        ..SendRequest::default()
    };
    let mut client = WalletServiceClient::new(target.connection());
    if console.can_ask() && !arguments.dry_run && !arguments.yes {
        let planned =
            SendRequest { dry_run: true, idempotency_key: String::new(), ..request.clone() };
        let planned = target.call(KEYS_DEADLINE, client.send(planned)).await?;
        let (amount, fee) = (coins(arguments.amount.units()), coins(planned.fee));
        console.confirm(&format!("Send {amount} to {} for a fee of {fee}?", arguments.to))?;
    }
    let reply = target.call(KEYS_DEADLINE, client.send(request)).await?;
    let transaction = arguments.dry_run.then(|| hex::encode(&reply.transaction));
    let in_block = match arguments.wait {
        true => Some(wait_until_final(&target, reply.transaction).await?),
        false => None,
    };
    let (block_hash, height) = in_block.map(|it| (it.block_hash, it.height)).unzip();
    console.answer(&Sent {
        txid: reply.txid,
        fee: coins(reply.fee),
        block_hash,
        height,
        to: arguments.to,
        repeated: reply.repeated_request,
        transaction,
    })
}

/// Hands the transaction in again, to hear when it is final.
async fn wait_until_final(
    target: &Target,
    transaction: bytes::Bytes,
) -> Result<SubmitTransactionResponse, Fault> {
    let mut submit = SubmitServiceClient::new(target.connection());
    for _ in 1..MINED_TRIES {
        match target.call(FINAL_DEADLINE, submit.submit_transaction(wait(&transaction))).await {
            Err(fault) if fault.exit() == Exit::Unreachable && is_mined(target).await? => {}
            outcome => return outcome,
        }
    }
    let last = target.call(FINAL_DEADLINE, submit.submit_transaction(wait(&transaction))).await;
    last.map_err(|fault| fault.with_hint("`pentad explain-tx` tells where the payment is"))
}

fn wait(transaction: &bytes::Bytes) -> tonic::Request<SubmitTransactionRequest> {
    let (transaction, wait) = (transaction.clone(), Wait::Final.into());
    let mut request = tonic::Request::new(SubmitTransactionRequest { transaction, wait });
    request.set_timeout(FINAL_DEADLINE);
    request
}

/// Are the blocks mined? A node that cannot be reached does not say.
async fn is_mined(target: &Target) -> Result<bool, Fault> {
    let mut chain = ChainServiceClient::new(target.connection());
    let info = target.call(READ_DEADLINE, chain.get_info(GetInfoRequest {})).await?;
    Ok(info.engine == HYBRID)
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
            block_hash: None,
            height: None,
            to: "1abc".to_owned(),
            repeated: false,
            transaction: None,
        };
        assert_eq!(
            serde_json::to_string(&sent).expect("JSON"),
            format!(r#"{{"txid":"{}","fee":"0.00000226"}}"#, "ab".repeat(32))
        );
    }
}
