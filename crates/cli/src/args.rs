//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use pentad_primitives::Amount;

use crate::console::Format;
use crate::verbs::{BackupArgs, ProofArgs, RestoreArgs, VerifyProofArgs};

/// Where a development network lives unless `--dir` says otherwise.
pub const DEVNET_DIR: &str = "pentad-devnet";
/// Where a node started by hand keeps its data unless `--data` says otherwise.
pub const DATA_DIR: &str = "pentad-data";

const EXIT_CODES: &str = "\
Without --dir, the network in ./pentad-devnet or else the node in ./pentad-data is meant.
Exit codes: 0 done, 1 the answer is no, 2 usage, 3 unreachable, 4 denied.";

const EXAMPLES: &str = "\
Try it:
  pentad devnet up --detach           start two nodes
  pentad createwallet alice           make a wallet on node 1
  pentad send --from genesis --to ADDRESS --amount 100
  pentad generate 1                   mine the payment into a block
  pentad balance ADDRESS --node 2     see it on the other node";

/// A UTXO ledger network on your machine: start nodes, make wallets, send coins.
#[derive(Debug, Parser)]
#[command(name = "pentad", version, after_help = EXIT_CODES)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags accepted before and after every verb.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Directory of the network, where its network.json is
    #[arg(long, global = true, value_name = "DIR", env = "PENTAD_DIR", hide_env_values = true)]
    pub dir: Option<PathBuf>,
    /// Which node of the network, from 1
    #[arg(long, global = true, value_name = "N", env = "PENTAD_NODE", hide_env_values = true)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    pub node: Option<u16>,
    /// How to print answers
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "PENTAD_OUTPUT",
        hide_env_values = true
    )]
    #[arg(value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// The node's gRPC address, in place of --dir and --node
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "PENTAD_GRPC",
        hide_env_values = true
    )]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub grpc: Option<String>,
    /// The node's cookie file, the credential on one machine
    #[arg(long, global = true, value_name = "FILE", env = "PENTAD_COOKIE", hide_env_values = true)]
    pub cookie: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a development network on this machine
    #[command(subcommand)]
    Devnet(DevnetVerb),
    /// Run one node in the foreground
    Start(StartArgs),
    /// Make a wallet and a chain spec that pays it: the beginning of a network
    Genesis(GenesisArgs),
    /// Make a wallet on the node
    Createwallet(CreateWalletArgs),
    /// List the node's wallets and their addresses
    Printwallet,
    /// Write all that a wallet is made of, sealed, to one file
    Backup(BackupArgs),
    /// Make a wallet of a backup's file, or only check that it could be made
    Restore(RestoreArgs),
    /// Show the balance of an address
    Balance {
        /// An address of the network
        address: String,
    },
    /// Send coins
    Send(SendArgs),
    /// Show a block
    Print {
        /// Its height; 0 is genesis
        height: u32,
    },
    /// Mine blocks at once, on development networks
    Generate {
        /// How many
        blocks: u32,
    },
    /// Write the proof that a transaction is in a block
    Proof(ProofArgs),
    /// Check a proof against the chain spec; no node is asked
    VerifyProof(VerifyProofArgs),
    /// Check what a node has stored: every record, block and index row
    Verify(VerifyArgs),
    /// Wait until the node has what its peers have, and show how far it is
    Sync(SyncArgs),
    /// Watch a network live: nodes, finality, peers, mempools, blocks
    #[command(after_help = "Keys: q quits, p pauses, s sorts. NO_COLOR turns colours off.")]
    Top(TopArgs),
    /// Print what a shell needs to complete commands
    #[command(after_help = "For bash: source <(pentad completions bash)")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub enum DevnetVerb {
    /// Start a network, or what is not running of one
    Up(UpArgs),
    /// Show how the nodes are
    Status,
    /// Stop the nodes; their data stays
    Down,
}

/// Who orders the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// Proof of work: most work wins
    Pow,
    /// PBFT: validators agree, blocks are final at once
    Pbft,
    /// Blocks by proof of work, made final by PBFT
    Hybrid,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// How many nodes, 1 to 100 [default for a new network: 2, of validators 4]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=100))]
    pub nodes: Option<u16>,
    /// Who orders the blocks [default: pow for a new network]
    #[arg(long, value_enum)]
    pub engine: Option<EngineName>,
    /// First of the ports, ten for each node; 0 finds free ones [default: 5678 for a new network]
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Let the nodes started by this command mine
    #[arg(long)]
    pub mine: bool,
    /// Return once the nodes are healthy and connected, and leave them running
    #[arg(long)]
    pub detach: bool,
}

/// `--grpc` and `--cookie` are global flags: to this verb they say where the node listens and
/// where it keeps its cookie.
#[derive(Debug, Args)]
#[command(after_help = "\
--grpc is the address that the node's gRPC port listens on [default: 127.0.0.1:9999].
What follows -- goes to pentad-node as it is; see pentad-node --help.")]
pub struct StartArgs {
    /// The chain spec of the network
    #[arg(long, value_name = "FILE")]
    pub chain: PathBuf,
    /// Where the node keeps its data
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data: PathBuf,
    /// A node to join, repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Vec<String>,
    /// Where other nodes reach this one, TCP and UDP [default: 127.0.0.1:5678]
    #[arg(long, value_name = "ADDRESS")]
    pub p2p: Option<String>,
    /// Where the metrics page is [default: the gRPC port + 1000]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
    /// Mine from the start on
    #[arg(long)]
    pub mine: bool,
    /// What the wallets unlock by [default: DIR/passphrase, made when there is none]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Flags of pentad-node
    #[arg(last = true, value_name = "NODE FLAGS")]
    pub node_flags: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct GenesisArgs {
    /// The chain spec to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Data directory of the node that is to hold the wallet
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data: PathBuf,
    /// Name of the network
    #[arg(long, default_value = "local")]
    pub name: String,
    /// Coins that genesis pays to the wallet
    #[arg(long, value_name = "COINS", default_value = "1000", allow_hyphen_values = true)]
    pub amount: Amount,
    /// Let the difficulty follow the hash rate (10 s blocks, coinbase maturity 100) in place of
    /// the fixed easy target of a development network
    #[arg(long)]
    pub retarget: bool,
}

#[derive(Debug, Args)]
pub struct CreateWalletArgs {
    /// 1 to 64 of a-z, 0-9, '-', '_'; left out, the node finds a free one
    #[arg(default_value = "", hide_default_value = true)]
    pub name: String,
    /// What to encrypt it under, in place of the node's own passphrase file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SendArgs {
    /// An address, whose coins alone are spent and get the change; or a wallet by name
    #[arg(long, value_name = "ADDRESS|WALLET")]
    pub from: String,
    /// Who gets the coins
    #[arg(long, value_name = "ADDRESS")]
    pub to: String,
    /// In coins, with at most eight decimals
    #[arg(long, value_name = "COINS", allow_hyphen_values = true)]
    pub amount: Amount,
    /// Fee in units of 0.00000001 coins per 1000 bytes [default: the node's]
    #[arg(long, value_name = "UNITS")]
    pub fee_rate: Option<u64>,
    /// Any text: a repeated command with the same key pays once
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
    /// Return once the payment is final, a minute at most (networks of validators)
    #[arg(long)]
    pub wait: bool,
    /// Take the fee out of the amount, not on top of it
    #[arg(long)]
    pub subtract_fee: bool,
    /// Only say what would be paid
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// How much; each level checks what those before it do
    #[arg(long, value_enum, default_value_t = Depth::Ledger)]
    pub level: Depth,
}

/// How much of what is stored is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Depth {
    /// Every record of the block log
    Records,
    /// Every block by the rules of the network, and every row of the index
    Ledger,
    /// Every signature
    Signatures,
}

#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Do not wait: exit with 1 when it is not there yet
    #[arg(long)]
    pub now: bool,
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds between two looks, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    #[arg(value_parser = value_parser!(u8).range(1..=60))]
    pub interval: u8,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_can_be_typed() {
        for line in [
            "pentad devnet up",
            "pentad devnet up --nodes 4 --engine pow --dir D --base-port 0 --mine --detach",
            "pentad --dir D --node 2 --output json devnet status",
            "pentad devnet status --dir D --node 2 --output json",
            "pentad devnet --dir D down",
            "pentad start --chain chain.toml",
            "pentad start --chain c --data d --bootstrap a:1 --bootstrap b:2 --grpc 127.0.0.1:1",
            "pentad start --chain c --p2p 127.0.0.1:1 --metrics 127.0.0.1:2 --mine -- --set a=b",
            "pentad genesis --out chain.toml",
            "pentad genesis --out c --data d --name net --amount 0.5 --retarget",
            "pentad createwallet",
            "pentad createwallet bob --node 2",
            "pentad printwallet",
            "pentad balance 1abc",
            "pentad send --from a --to b --amount 100",
            "pentad send --from a --to b --amount 1.00000001 --fee-rate 0 --idempotency-key k",
            "pentad send --from a --to b --amount 1 --wait",
            "pentad send --from a --to b --amount 1 --dry-run --subtract-fee",
            "pentad print 0",
            "pentad print 1 --output=json",
            "pentad proof 00ff --out proof.json",
            "pentad verify-proof proof.json --chain chain.toml",
            "pentad generate 10 --grpc 127.0.0.1:1 --cookie file",
            "pentad completions bash",
            "pentad verify",
            "pentad verify --level signatures --node 2",
            "pentad top --dir D --interval 5",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_cannot_is_named() {
        for (line, word) in [
            ("pentad no-such-verb", "no-such-verb"),
            ("pentad devnet", "devnet"),
            ("pentad devnet up --nodes 0", "--nodes"),
            ("pentad devnet up --nodes 101", "--nodes"),
            ("pentad devnet up --engine raft", "--engine"),
            ("pentad devnet up --base-port 70000", "--base-port"),
            ("pentad --node 0 printwallet", "--node"),
            ("pentad --output xml printwallet", "--output"),
            ("pentad --grpc= printwallet", "--grpc"),
            ("pentad start", "--chain"),
            ("pentad genesis", "--out"),
            ("pentad balance", "ADDRESS"),
            ("pentad print -1", "-1"),
            ("pentad print 4294967296", "HEIGHT"),
            ("pentad generate many", "BLOCKS"),
            ("pentad proof 00ff", "--out"),
            ("pentad verify-proof proof.json", "--chain"),
            ("pentad send --from a --to b", "--amount"),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn global_flags_are_taken_before_and_after_the_verb() {
        for line in [
            "pentad --dir D --node 2 --output json balance 1abc",
            "pentad balance --dir D 1abc --node 2 --output json",
            "pentad --dir D balance 1abc --node 2 --output json",
        ] {
            let globals = parse(line).expect(line).globals;
            assert_eq!(globals.dir, Some("D".into()));
            assert_eq!(globals.node, Some(2));
            assert_eq!(globals.output, Format::Json);
        }
    }

    fn amount(text: &str) -> Result<Amount, clap::Error> {
        let line = ["pentad", "send", "--from", "a", "--to", "b", "--amount", text];
        Cli::try_parse_from(line).map(|cli| match cli.verb {
            Verb::Send(send) => send.amount,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn amounts_are_exact() {
        for (text, units) in [
            ("0", 0),
            ("1", 100_000_000),
            ("1.0", 100_000_000),
            ("0.00000001", 1),
            ("0.1", 10_000_000),
            ("0.3", 30_000_000),
            ("200.00000000", 20_000_000_000),
            // Floating point has no such number.
            ("20999999.99999999", 2_099_999_999_999_999),
            ("21000000", 2_100_000_000_000_000),
        ] {
            assert_eq!(amount(text).expect(text).units(), units, "{text}");
        }
        for text in [
            "",
            " ",
            "-1",
            "+1",
            "1.000000001",
            "1e3",
            "21000000.00000001",
            "21000001",
            "ten",
            "0x10",
            "1,5",
            "NaN",
            "inf",
            "1 ",
            ".",
            "--",
            "1_000",
            "٣",
            "1.-1",
        ] {
            let error = amount(text).expect_err(text);
            assert_eq!(error.exit_code(), 2, "{text:?}");
            assert!(error.to_string().contains("amount"), "{text:?}: {error}");
        }
    }
}
