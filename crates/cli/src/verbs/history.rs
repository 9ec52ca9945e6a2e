use pentad_api::wallet::v1::wallet_service_client::WalletServiceClient;
use pentad_api::wallet::v1::{Direction, GetHistoryRequest, WalletTransaction};
use serde::Serialize;

use super::READ_DEADLINE;
use crate::args::{Globals, HistoryArgs};
use crate::coins::coins;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::grid;
use crate::target::Target;

#[derive(Debug, Serialize)]
struct History {
    wallet: String,
    /// The last one first.
    transactions: Vec<Line>,
    /// Where the next page begins; null on the last one.
    next_page: Option<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    txid: String,
    /// received, sent, internal or mined.
    direction: &'static str,
    amount: String,
    /// Null where others paid it.
    fee: Option<String>,
    /// Null while it waits for a block.
    height: Option<u32>,
    confirmations: u32,
    r#final: bool,
    /// Unix seconds.
    time: u32,
    /// Empty: none.
    label: String,
    /// Payments whose place it took.
    replaced: Vec<String>,
}

impl From<WalletTransaction> for Line {
    fn from(transaction: WalletTransaction) -> Self {
        let direction = match transaction.direction() {
            Direction::Unspecified => "",
            Direction::Received => "received",
            Direction::Sent => "sent",
            Direction::Internal => "internal",
            Direction::Mined => "mined",
        };
        Self {
            txid: transaction.txid,
            direction,
            amount: coins(transaction.amount),
            fee: transaction.fee.map(coins),
            height: transaction.height,
            confirmations: transaction.confirmations,
            r#final: transaction.r#final,
            time: transaction.time,
            label: transaction.label,
            replaced: transaction.replaced,
        }
    }
}

impl Line {
    fn state(&self) -> String {
        match (self.height, self.r#final) {
            (None, _) => "waits".to_owned(),
            (Some(_), true) => "final".to_owned(),
            (Some(_), false) => self.confirmations.to_string(),
        }
    }

    fn note(&self) -> String {
        match (self.label.as_str(), self.replaced.len()) {
            (label, 0) => label.to_owned(),
            ("", _) => "(fee raised)".to_owned(),
            (label, _) => format!("{label} (fee raised)"),
        }
    }
}

impl Answer for History {
    fn to_table(&self) -> String {
        if self.transactions.is_empty() {
            return "no transactions".to_owned();
        }
        let row = |line: &Line| {
            [
                line.direction.to_owned(),
                line.amount.clone(),
                line.fee.clone().unwrap_or_default(),
                line.state(),
                line.txid.clone(),
                line.note(),
            ]
        };
        let header = ["", "AMOUNT", "FEE", "CONFIRMED", "TXID", "LABEL"];
        grid(header, &[1, 2, 3], self.transactions.iter().map(row).collect())
    }

    fn next(&self) -> Vec<String> {
        let older = |page: &String| format!("pentad history {} --page {page}", self.wallet);
        self.next_page.iter().map(older).collect()
    }
}

/// `history WALLET`.
///
/// # Errors
/// When there is no such wallet, or the node does not answer.
pub async fn history(
    console: Console,
    globals: &Globals,
    arguments: HistoryArgs,
) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let request = GetHistoryRequest {
        wallet: arguments.wallet.clone(),
        page_size: arguments.limit,
        page_token: arguments.page.unwrap_or_default(),
    };
    let mut client = WalletServiceClient::new(target.connection());
    let reply = target.call(READ_DEADLINE, client.get_history(request)).await?;
    console.answer(&History {
        wallet: arguments.wallet,
        transactions: reply.transactions.into_iter().map(Line::from).collect(),
        next_page: Some(reply.next_page_token).filter(|token| !token.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let waits = WalletTransaction {
            txid: "ab".repeat(32),
            direction: Direction::Sent.into(),
            amount: -100_000_226,
            fee: Some(226),
            time: 7,
            label: "rent".to_owned(),
            replaced: vec!["cd".repeat(32)],
            ..WalletTransaction::default()
        };
        let came = WalletTransaction {
            txid: "ef".repeat(32),
            direction: Direction::Received.into(),
            amount: 500,
            height: Some(3),
            confirmations: 2,
            ..WalletTransaction::default()
        };
        let last = WalletTransaction { r#final: true, ..came.clone() };
        let history = History {
            wallet: "alice".to_owned(),
            transactions: [waits, came, last].map(Line::from).into(),
            next_page: Some("3:1".to_owned()),
        };
        let json = serde_json::to_value(&history).expect("JSON");
        assert_eq!(json["transactions"][0]["amount"], "-1.00000226");
        assert_eq!(json["transactions"][0]["height"], serde_json::Value::Null);
        assert_eq!(json["transactions"][1]["fee"], serde_json::Value::Null);
        assert_eq!(json["next_page"], "3:1");
        let table = history.to_table();
        let lines: Vec<Vec<&str>> =
            table.lines().map(|it| it.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["AMOUNT", "FEE", "CONFIRMED", "TXID", "LABEL"]);
        assert_eq!(lines[1][..4], ["sent", "-1.00000226", "0.00000226", "waits"]);
        assert_eq!(lines[1][5..], ["rent", "(fee", "raised)"]);
        assert_eq!(lines[2][..3], ["received", "0.00000500", "2"]);
        assert_eq!(lines[3][2], "final");
        assert_eq!(history.next(), ["pentad history alice --page 3:1"]);
    }
}
