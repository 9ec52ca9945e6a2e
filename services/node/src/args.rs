//! The flags of `pentad-node`; each stands for a field of the configuration.

use clap::Parser;
use pentad_service_kit::config::{ConfigArgs, Sources};

/// A whole Pentad node in one process: chain, wallet, miner and peer services on one gRPC port.
///
/// Settings come from the file that --config names, then from variables (PENTAD_DATA_DIR,
/// PENTAD_SERVER__GRPC for server.grpc, …), then from --set and flags. Logs go to standard error;
/// SIGTERM and Ctrl-C drain and stop the node.
///
/// Exit codes: 0 stopped, 1 failed, 2 the configuration is wrong.
#[derive(Debug, Parser)]
#[command(name = "pentad-node", version)]
pub struct NodeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The chain spec of the network (chain_spec)
    #[arg(long, value_name = "FILE")]
    chain: Option<String>,
    /// Address for other nodes, TCP and UDP (peer.listen) [default: 127.0.0.1:5678]
    #[arg(long, value_name = "ADDRESS")]
    p2p: Option<String>,
    /// A node to join, repeatable (peer.bootstrap)
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Vec<String>,
    /// Mine from the start on (miner.mine)
    #[arg(long)]
    mine: bool,
    /// File of mode 0600 with what the wallets unlock by (wallet.passphrase_file)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<String>,
}

impl NodeArgs {
    /// The sources of the configuration, these flags the last.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let bootstrap = (!self.bootstrap.is_empty()).then(|| self.bootstrap.clone());
        self.config
            .sources()
            .set_some("chain_spec", self.chain.as_deref())
            .set_some("peer.listen", self.p2p.as_deref())
            .set_some("peer.bootstrap", bootstrap)
            .set_some("miner.mine", self.mine.then_some(true))
            .set_some("wallet.passphrase_file", self.passphrase_file.as_deref())
    }
}
