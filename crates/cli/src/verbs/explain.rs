//! Why something does not happen, in words.

use clap::Args;
use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::explain_transaction_request::Transaction;
use pentad_api::chain::v1::{
    ContestedOutput, ExplainTransactionRequest, ExplainTransactionResponse, OutputClaim,
    TransactionState,
};
use pentad_api::consensus::v1::consensus_service_client::ConsensusServiceClient;
use pentad_api::consensus::v1::{ExplainStallRequest, ExplainStallResponse};
use serde::Serialize;

use super::READ_DEADLINE;
use crate::args::Globals;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::pairs;
use crate::target::Target;

#[derive(Debug, Args)]
pub struct ExplainTxArgs {
    /// Id of the transaction
    #[arg(required_unless_present = "raw")]
    pub txid: Option<String>,
    /// The transaction itself in hex, as `pentad send --dry-run` gives it
    #[arg(long, value_name = "HEX", conflicts_with = "txid", value_parser = hex_bytes)]
    pub raw: Option<bytes::Bytes>,
}

fn hex_bytes(text: &str) -> Result<bytes::Bytes, String> {
    hex::decode(text).map(Into::into).map_err(|error| format!("hex digits expected: {error}"))
}

#[derive(Debug, Serialize)]
struct Explained {
    txid: String,
    /// `confirmed`, `mempool`, `orphan`, `unknown`.
    state: &'static str,
    block_hash: Option<String>,
    height: Option<u32>,
    confirmations: u32,
    /// The rule that keeps it out.
    reason: Option<String>,
    message: String,
    contested: Vec<Contested>,
}

/// Nothing else can be said of an id alone.
const UNHEARD_OF: &str =
    "this node never had it or dropped it; --raw with its bytes tells what keeps it out";

/// An output that it spends and cannot have.
#[derive(Debug, Serialize)]
struct Contested {
    outpoint: String,
    claim: &'static str,
    spender: Option<String>,
    height: Option<u32>,
}

impl From<ExplainTransactionResponse> for Explained {
    fn from(reply: ExplainTransactionResponse) -> Self {
        let state = match reply.state() {
            TransactionState::Confirmed => "confirmed",
            TransactionState::Mempool => "mempool",
            TransactionState::Orphan => "orphan",
            TransactionState::Unknown | TransactionState::Unspecified => "unknown",
        };
        let in_block = !reply.block_hash.is_empty();
        Self {
            txid: reply.txid,
            state,
            height: in_block.then_some(reply.height),
            block_hash: some(reply.block_hash),
            confirmations: reply.confirmations,
            reason: some(reply.reason),
            message: reply.message,
            contested: reply.contested.into_iter().map(Contested::from).collect(),
        }
    }
}

impl From<ContestedOutput> for Contested {
    fn from(output: ContestedOutput) -> Self {
        let claim = match output.claim() {
            OutputClaim::Unspecified => "not free",
            OutputClaim::Mempool => "spent in the mempool",
            OutputClaim::Block => "spent in a block",
            OutputClaim::UnknownTransaction => "of a transaction that is not known",
            OutputClaim::NoSuchOutput => "no such output",
        };
        let outpoint = output.outpoint.unwrap_or_default();
        let in_block = !output.block_hash.is_empty();
        Self {
            outpoint: format!("{}:{}", outpoint.txid, outpoint.vout),
            claim,
            spender: some(output.spender),
            height: in_block.then_some(output.height),
        }
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl Answer for Explained {
    fn to_table(&self) -> String {
        let contested = self.contested.iter().map(|output| {
            let spender = output.spender.iter().map(|txid| format!(" by {txid}"));
            let height = output.height.iter().map(|height| format!(" at height {height}"));
            let rest: String = spender.chain(height).collect();
            format!("{}: {}{rest}", output.outpoint, output.claim)
        });
        let contested = contested.collect::<Vec<_>>().join("\n");
        let is_unheard_of = self.state == "unknown" && self.message.is_empty();
        let rows = [
            ("txid", Some(self.txid.clone())),
            ("state", Some(self.state.to_owned())),
            ("block_hash", self.block_hash.clone()),
            ("height", self.height.map(|height| height.to_string())),
            ("confirmations", self.height.map(|_| self.confirmations.to_string())),
            ("reason", self.reason.clone()),
            ("message", some(self.message.clone())),
            ("contested", some(contested)),
            ("note", is_unheard_of.then(|| UNHEARD_OF.to_owned())),
        ];
        pairs(rows.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

/// `explain-tx TXID`.
///
/// # Errors
/// When it is no id or transaction, or the node does not answer.
pub async fn explain_tx(
    console: Console,
    globals: &Globals,
    arguments: ExplainTxArgs,
) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let by_id = arguments.txid.map(Transaction::Txid);
    let transaction = by_id.or_else(|| arguments.raw.map(Transaction::Raw));
    let request = ExplainTransactionRequest { transaction };
    let mut client = ChainServiceClient::new(target.connection());
    let reply = target.call(READ_DEADLINE, client.explain_transaction(request)).await?;
    console.answer(&Explained::from(reply))
}

#[derive(Debug, Serialize)]
struct Stall {
    healthy: bool,
    /// The most likely cause first.
    findings: Vec<String>,
    votes_missing: u32,
    /// Names of validators whose vote has not come.
    silent: Vec<String>,
}

impl From<ExplainStallResponse> for Stall {
    fn from(reply: ExplainStallResponse) -> Self {
        let ExplainStallResponse { is_healthy, findings, votes_missing, silent, .. } = reply;
        Self { healthy: is_healthy, findings, votes_missing, silent }
    }
}

impl Answer for Stall {
    fn to_table(&self) -> String {
        let mut rows = vec![("healthy", if self.healthy { "yes" } else { "no" }.to_owned())];
        rows.extend(some(self.findings.join("\n")).map(|text| ("findings", text)));
        if self.votes_missing > 0 {
            rows.push(("missing", format!("{} votes", self.votes_missing)));
        }
        rows.extend(some(self.silent.join(", ")).map(|names| ("silent", names)));
        pairs(rows)
    }
}

/// `explain-stall`.
///
/// # Errors
/// When nothing moves that should: that is the answer no; or the node does not answer.
pub async fn explain_stall(console: Console, globals: &Globals) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let mut client = ConsensusServiceClient::new(target.connection());
    let reply = target.call(READ_DEADLINE, client.explain_stall(ExplainStallRequest {})).await?;
    let stall = Stall::from(reply);
    console.answer(&stall)?;
    match stall.healthy {
        true => Ok(()),
        false => Err(Fault::refused("agreement does not go on")),
    }
}

#[cfg(test)]
mod tests {
    use pentad_api::types::v1::OutPoint;

    use super::*;

    #[test]
    fn a_double_spend_names_its_rival() {
        let output = ContestedOutput {
            outpoint: Some(OutPoint { txid: "aa".to_owned(), vout: 1 }),
            claim: OutputClaim::Block.into(),
            spender: "bb".to_owned(),
            block_hash: "cc".to_owned(),
            height: 7,
        };
        let explained = Explained::from(ExplainTransactionResponse {
            txid: "dd".to_owned(),
            state: TransactionState::Unknown.into(),
            reason: "MISSING_INPUT".to_owned(),
            message: "its coin is gone".to_owned(),
            contested: vec![output],
            ..ExplainTransactionResponse::default()
        });
        assert_eq!(
            explained.to_table(),
            "txid       dd\n\
             state      unknown\n\
             reason     MISSING_INPUT\n\
             message    its coin is gone\n\
             contested  aa:1: spent in a block by bb at height 7"
        );
        assert_eq!(
            serde_json::to_string(&explained).expect("JSON"),
            concat!(
                r#"{"txid":"dd","state":"unknown","block_hash":null,"height":null,"#,
                r#""confirmations":0,"reason":"MISSING_INPUT","message":"its coin is gone","#,
                r#""contested":[{"outpoint":"aa:1","claim":"spent in a block","#,
                r#""spender":"bb","height":7}]}"#
            )
        );
    }

    #[test]
    fn a_stall_is_told_in_words() {
        let reply = ExplainStallResponse {
            findings: vec!["two are silent".to_owned(), "view 3".to_owned()],
            votes_missing: 1,
            silent: vec!["node2".to_owned(), "node3".to_owned()],
            ..ExplainStallResponse::default()
        };
        assert_eq!(
            Stall::from(reply).to_table(),
            "healthy   no\n\
             findings  two are silent\n\
             \u{20}         view 3\n\
             missing   1 votes\n\
             silent    node2, node3"
        );
    }
}
