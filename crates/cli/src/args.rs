//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum, value_parser};
use pentad_primitives::Amount;

use crate::certs::CertsVerb;
use crate::console::Format;
use crate::context::ContextVerb;
use crate::man::ManArgs;
use crate::verbs::{
    BackupArgs, ExplainTxArgs, ProofArgs, RestoreArgs, ValidatorArgs, ValidatorLine,
    VerifyProofArgs,
};

/// Where a development network lives unless `--dir` says otherwise.
pub const DEVNET_DIR: &str = "pentad-devnet";
/// Where a node started by hand keeps its data unless `--data` says otherwise.
pub const DATA_DIR: &str = "pentad-data";

const EXIT_CODES: &str = "\
Which network is meant; the first that there is:
  1. --context, --dir or --grpc, with --node and --cookie
  2. PENTAD_CONTEXT, PENTAD_DIR or PENTAD_GRPC, with PENTAD_NODE and PENTAD_COOKIE
  3. the context that `pentad context use` chose
  4. the network in ./pentad-devnet, or else the node in ./pentad-data
  5. the network that `pentad devnet up` started last (context devnet)
`pentad context show` says which it is.

Exit codes: 0 done, 1 the answer is no, 2 usage, 3 unreachable, 4 denied.
NO_COLOR turns colours off.";

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
    /// A network or node kept under a name; see `pentad context`
    #[arg(long, global = true, value_name = "NAME", env = "PENTAD_CONTEXT")]
    #[arg(hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub context: Option<String>,
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
    /// The node's gRPC address, in place of --dir and --node; where its services run each alone:
    /// wallet=HOST:PORT,chain=HOST:PORT,miner=…,consensus=…,peer=…
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
    /// A file with a token, the credential of people on other machines; it goes before a cookie
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PENTAD_TOKEN_FILE",
        hide_env_values = true
    )]
    pub token_file: Option<PathBuf>,
    /// The authorities by which the node is known (PEM): calls go over TLS
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PENTAD_TLS_AUTHORITY",
        hide_env_values = true
    )]
    pub tls_authority: Option<PathBuf>,
    /// The certificate to show (PEM)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PENTAD_TLS_CERTIFICATE",
        hide_env_values = true
    )]
    pub tls_certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PENTAD_TLS_KEY",
        hide_env_values = true
    )]
    pub tls_key: Option<PathBuf>,
    /// The environment says which network is meant, not the command line.
    #[arg(skip)]
    pub is_from_environment: bool,
}

impl Globals {
    /// Of what names a network, takes the command line's word before the environment's.
    ///
    /// # Errors
    /// When one of them names a context and something else.
    pub fn settle(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let is_typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let typed = ["context", "dir", "grpc"].map(is_typed);
        self.is_from_environment = typed == [false; 3];
        if !self.is_from_environment {
            let [context, dir, grpc] = typed;
            self.context = self.context.take().filter(|_| context);
            self.dir = self.dir.take().filter(|_| dir);
            self.grpc = self.grpc.take().filter(|_| grpc);
        }
        if self.context.is_some() && (self.dir.is_some() || self.grpc.is_some()) {
            let names = match self.is_from_environment {
                true => "PENTAD_CONTEXT names a network, and so does PENTAD_DIR or PENTAD_GRPC",
                false => "--context names a network, and so does --dir or --grpc",
            };
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, names));
        }
        Ok(())
    }
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a development network on this machine
    #[command(subcommand)]
    Devnet(DevnetVerb),
    /// Keep networks, nodes and credentials under names, and choose one
    #[command(
        subcommand,
        after_help = "\
They are kept in pentad/contexts.toml of XDG_CONFIG_HOME [default: ~/.config], or in the file that
PENTAD_CONTEXTS names. `pentad devnet up` keeps the network it starts as context devnet."
    )]
    Context(ContextVerb),
    /// Make authorities, certificates and tokens, renew and revoke them, show what they say
    #[command(subcommand)]
    Certs(CertsVerb),
    /// Run one node in the foreground
    Start(StartArgs),
    /// Make a wallet and a chain spec that pays it: the beginning of a network
    Genesis(GenesisArgs),
    /// Make a validator's key and the wallet for its fees; says what genesis needs to know of it
    Validator(ValidatorArgs),
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
    /// Raise the fee of a payment that waits and was sent with --replaceable
    Bump(BumpArgs),
    /// List a wallet's transactions, the last one first
    History(HistoryArgs),
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
    /// Say where a transaction is, and what keeps it from being confirmed
    ExplainTx(ExplainTxArgs),
    /// Say in words why no block becomes final, or that all is well (networks of validators)
    ExplainStall,
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
    /// Print or write manual pages
    Man(ManArgs),
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

impl EngineName {
    /// As it is typed, and as [`pentad_ledger::spec::Engine::name`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pow => "pow",
            Self::Pbft => "pbft",
            Self::Hybrid => "hybrid",
        }
    }
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// How many nodes, 1 to 100 [default for a new network: 2, with validators 4]
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

/// `--grpc`, `--cookie` and `--tls-…` are global flags: to this verb they say where the node
/// listens, where it keeps its cookie, and which certificate it shows.
#[derive(Debug, Args)]
#[command(after_help = "\
--grpc is the address that the node's gRPC port listens on [default: 127.0.0.1:9999]; --tls-… are
the files by which it speaks TLS there.
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
    /// Who orders the blocks [default: pbft where there are validators, else pow]
    #[arg(long, value_enum)]
    pub engine: Option<EngineName>,
    /// A validator as `pentad validator` says it, repeatable
    #[arg(long = "validator", value_name = "NAME:KEY:ADDRESS")]
    pub validators: Vec<ValidatorLine>,
    /// Where blocks are mined: let the difficulty follow the hash rate (10 s blocks, coinbase
    /// maturity 100) in place of the fixed easy target of a development network
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
    /// Return once the payment is final (networks with validators): after a minute at most, or ten
    /// where blocks are mined
    #[arg(long)]
    pub wait: bool,
    /// Take the fee out of the amount, not on top of it
    #[arg(long)]
    pub subtract_fee: bool,
    /// Let `pentad bump` raise its fee while it waits for a block (BIP125)
    #[arg(long)]
    pub replaceable: bool,
    /// What to call the payment: a line of 100 bytes at most
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Only say what would be paid
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Do not ask first; only on a terminal is anybody asked
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct BumpArgs {
    /// The payment, by its transaction id
    pub txid: String,
    /// The wallet that pays
    #[arg(long, value_name = "WALLET")]
    pub from: String,
    /// Fee in units of 0.00000001 coins per 1000 bytes [default: the least that replaces it]
    #[arg(long, value_name = "UNITS")]
    pub fee_rate: Option<u64>,
    /// Any text: a repeated command with the same key replaces once
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
    /// Only say what the fee would be
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask first; only on a terminal is anybody asked
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Which wallet
    pub wallet: String,
    /// Most transactions of blocks to list; those that wait come on top of them
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Go on with older ones: next_page of the answer before
    #[arg(long, value_name = "PAGE")]
    pub page: Option<String>,
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
mod tests;
