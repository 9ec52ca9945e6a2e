use std::time::Duration;

use pentad_api::chain::v1::chain_service_client::ChainServiceClient;
use pentad_api::chain::v1::{GetBlockRequest, get_block_request};
use pentad_api::miner::v1::GenerateRequest;
use pentad_api::miner::v1::miner_service_client::MinerServiceClient;
use pentad_api::types::v1::Block;
use serde::Serialize;

use super::{KEYS_DEADLINE, READ_DEADLINE};
use crate::args::Globals;
use crate::console::{Answer, Console};
use crate::fault::Fault;
use crate::table::pairs;
use crate::target::{ANSWER_BYTES_MAX, Target};

/// A block of a development network takes a few milliseconds, most of them for the disk.
const BLOCK_TIME_MAX: Duration = Duration::from_millis(500);
/// Characters of a line of hex for people.
const HEX_LINE: usize = 80;
/// Lines of hex for people; all of it is in the JSON.
const HEX_LINES_MAX: usize = 4;

#[derive(Debug, Serialize)]
struct Printed {
    height: u32,
    hash: String,
    prev_block_hash: String,
    merkle_root: String,
    time: u32,
    /// Eight hex digits.
    bits: String,
    nonce: u32,
    txids: Vec<String>,
    /// Header and transactions.
    hex: String,
}

impl Printed {
    fn new(block: Block) -> Result<Self, Fault> {
        let header =
            block.header.ok_or_else(|| Fault::refused("the node sent a block without a header"))?;
        Ok(Self {
            height: header.height,
            hash: header.hash,
            prev_block_hash: header.prev_block_hash,
            merkle_root: header.merkle_root,
            time: header.time,
            bits: header.bits,
            nonce: header.nonce,
            txids: block.txids,
            hex: hex::encode(&block.raw),
        })
    }
}

impl Answer for Printed {
    fn to_table(&self) -> String {
        let mut rows = vec![
            ("height", self.height.to_string()),
            ("hash", self.hash.clone()),
            ("prev_block_hash", self.prev_block_hash.clone()),
            ("merkle_root", self.merkle_root.clone()),
            ("time", self.time.to_string()),
            ("bits", self.bits.clone()),
            ("nonce", self.nonce.to_string()),
        ];
        let mut name = "txids";
        for txid in &self.txids {
            rows.push((name, txid.clone()));
            name = "";
        }
        // Hex digits are one byte each, so every cut is at a character.
        let lines: Vec<&[u8]> = self.hex.as_bytes().chunks(HEX_LINE).collect();
        let mut name = "hex";
        for line in lines.iter().take(HEX_LINES_MAX) {
            rows.push((name, String::from_utf8_lossy(line).into_owned()));
            name = "";
        }
        if lines.len() > HEX_LINES_MAX {
            let bytes = self.hex.len() / 2;
            rows.push(("", format!("… {bytes} bytes in all; --output json has them")));
        }
        pairs(rows)
    }
}

#[derive(Debug, Serialize)]
struct Generated {
    hashes: Vec<String>,
}

impl Answer for Generated {
    fn to_table(&self) -> String {
        self.hashes.join("\n")
    }
}

/// `print HEIGHT`.
///
/// # Errors
/// When there is no such block or the node does not answer.
pub async fn print(console: Console, globals: &Globals, height: u32) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let mut client =
        ChainServiceClient::new(target.connection()).max_decoding_message_size(ANSWER_BYTES_MAX);
    let request = GetBlockRequest { block: Some(get_block_request::Block::Height(height)) };
    let reply = target.call(READ_DEADLINE, client.get_block(request)).await?;
    let block = reply.block.ok_or_else(|| Fault::refused("the node sent no block"))?;
    console.answer(&Printed::new(block)?)
}

/// `generate N`.
///
/// # Errors
/// When the network is none for development, or the node does not answer.
pub async fn generate(console: Console, globals: &Globals, blocks: u32) -> Result<(), Fault> {
    let target = Target::of(globals)?;
    let mut client = MinerServiceClient::new(target.connection());
    let request = GenerateRequest { blocks, payout_address: String::new() };
    let deadline = KEYS_DEADLINE.saturating_add(BLOCK_TIME_MAX.saturating_mul(blocks));
    let reply = target.call(deadline, client.generate(request)).await?;
    console.answer(&Generated { hashes: reply.hashes })
}

#[cfg(test)]
mod tests {
    use pentad_api::types::v1::BlockHeader;

    use super::*;

    fn block() -> Block {
        let header = BlockHeader {
            hash: "aa".repeat(32),
            height: 1,
            version: 4,
            prev_block_hash: "bb".repeat(32),
            merkle_root: "cc".repeat(32),
            time: 1_700_000_000,
            bits: "207fffff".to_owned(),
            nonce: 2,
            chain_work: "02".to_owned(),
            confirmations: 1,
        };
        Block { header: Some(header), txids: vec!["dd".repeat(32)], raw: vec![0x0f; 300].into() }
    }

    #[test]
    fn shapes() {
        let printed = Printed::new(block()).expect("whole");
        let expected = format!(
            concat!(
                r#"{{"height":1,"hash":"{}","prev_block_hash":"{}","merkle_root":"{}","#,
                r#""time":1700000000,"bits":"207fffff","nonce":2,"txids":["{}"],"hex":"{}"}}"#
            ),
            "aa".repeat(32),
            "bb".repeat(32),
            "cc".repeat(32),
            "dd".repeat(32),
            "0f".repeat(300)
        );
        assert_eq!(serde_json::to_string(&printed).expect("JSON"), expected);
        let generated = Generated { hashes: vec!["aa".to_owned()] };
        assert_eq!(serde_json::to_string(&generated).expect("JSON"), r#"{"hashes":["aa"]}"#);
    }

    #[test]
    fn people_get_the_beginning_of_the_hex() {
        let text = Printed::new(block()).expect("whole").to_table();
        assert!(text.ends_with("… 300 bytes in all; --output json has them"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 100));
    }

    #[test]
    fn a_block_without_a_header_is_refused() {
        assert!(Printed::new(Block::default()).is_err());
    }
}
