//! The flags of `pentad-node`; each stands for a field of the configuration.

use clap::Parser;
use pentad_service_kit::config::{ConfigArgs, Sources};

/// A whole Pentad node in one process: chain, wallet, miner, consensus and peer services on one
/// gRPC port.
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
    /// File of mode 0600 with this validator's key (consensus.validator_key)
    #[arg(long, value_name = "FILE")]
    validator_key: Option<String>,
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
            .set_some("consensus.validator_key", self.validator_key.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pentad_service_kit::Settings as _;
    use pentad_service_kit::config::{self, ConfigError};

    use super::*;
    use crate::NodeConfig;

    fn load(line: &str) -> Result<NodeConfig, ConfigError> {
        let arguments = NodeArgs::try_parse_from(line.split(' ')).expect(line);
        config::load(&arguments.sources())
    }

    #[test]
    fn every_flag_reaches_its_field() {
        let config = load(
            "pentad-node --chain c.toml --data d --grpc 127.0.0.1:1 --metrics 127.0.0.1:2 \
             --p2p 127.0.0.1:3 --bootstrap a:4 --bootstrap b:5 --mine --passphrase-file p \
             --validator-key v --cookie k --insecure-listen --log-format json \
             --otlp-endpoint http://127.0.0.1:6 --tls-certificate t.pem --tls-key t.key \
             --tls-authority a.pem --tokens tokens.toml --profile production",
        )
        .expect("valid");
        assert_eq!(config.chain_spec, Path::new("c.toml"));
        assert_eq!(config.data_dir(), Path::new("d"));
        let server = config.server();
        assert_eq!(server.grpc, "127.0.0.1:1".parse().ok());
        assert_eq!(server.metrics, "127.0.0.1:2".parse().ok());
        assert_eq!(server.cookie_file.as_deref(), Some(Path::new("k")));
        assert!(server.insecure_listen);
        assert_eq!(server.tokens_file.as_deref(), Some(Path::new("tokens.toml")));
        assert!(!server.reflection() && !server.admin());
        let tls = config.tls();
        let files = [&tls.certificate, &tls.key, &tls.authority].map(|file| file.as_deref());
        assert_eq!(files, ["t.pem", "t.key", "a.pem"].map(|file| Some(Path::new(file))));
        assert_eq!(config.peer.listen.to_string(), "127.0.0.1:3");
        assert_eq!(config.peer.bootstrap, ["a:4", "b:5"]);
        assert!(config.miner.mine);
        assert_eq!(config.wallet.passphrase_file.as_deref(), Some(Path::new("p")));
        assert_eq!(config.consensus.validator_key.as_deref(), Some(Path::new("v")));
        let otlp_endpoint = config.telemetry().otlp_endpoint.as_deref();
        assert_eq!(otlp_endpoint, Some("http://127.0.0.1:6"));
    }

    #[test]
    fn a_switch_left_out_leaves_the_file_as_it_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("node.toml");
        std::fs::write(&file, "data_dir = \"here\"\n[miner]\nmine = true\n").expect("written");
        let line = format!("pentad-node --config {} --data there", file.display());
        let config = load(&line).expect("valid");
        assert!(config.miner.mine);
        assert_eq!(config.data_dir, Path::new("there"));
    }

    #[test]
    fn a_wrong_value_names_its_field() {
        for (line, field) in [
            ("pentad-node --grpc nowhere", "server.grpc"),
            ("pentad-node --p2p 5678", "peer.listen"),
            ("pentad-node --log-format xml", "telemetry.format"),
            ("pentad-node --set no.such=1", "no"),
        ] {
            let error = load(line).expect_err(line).to_string();
            assert!(error.contains(field), "{line}: {error}");
        }
    }
}
