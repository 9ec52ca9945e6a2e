//! Services in processes of their own under mutual TLS, each with the certificate of its role and
//! without any cookie: what the table of roles lets them call is what they need.

use std::path::{Path, PathBuf};

use pentad_tests::{Devnet, Running, free_port, metrics_page, outputs, pentad, start, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use crate::coins::create_wallet;

const ROLES: [&str; 7] = ["chain", "wallet", "miner", "consensus", "peer", "worker", "operator"];

fn local() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// An organisation's processes, and certificates for them.
struct Site {
    data: TempDir,
    running: Vec<Running>,
}

impl Site {
    fn new() -> Self {
        let site = Self { data: TempDir::new().expect("a temporary folder"), running: Vec::new() };
        let certs = site.path("certs").display().to_string();
        let run = |arguments: &[&str]| {
            pentad(None, arguments).success();
        };
        run(&["certs", "init", "--dir", &certs, "--organisation", "acme"]);
        for role in ROLES {
            run(&["certs", "issue", "--dir", &certs, "--role", role, "--name", role]);
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// The flags by which a process shows the certificate of `role`.
    fn tls(&self, role: &str) -> Vec<String> {
        let path = |name: &str| self.path("certs").join(name).display().to_string();
        let pair = [format!("{role}.pem"), format!("{role}.key"), "authority.pem".to_owned()];
        let flags = ["--tls-certificate", "--tls-key", "--tls-authority"];
        let flags = flags.into_iter().zip(pair);
        flags.flat_map(|(flag, name)| [flag.to_owned(), path(&name)]).collect()
    }

    /// Starts `pentad-{program}` with the certificate of `role` on `grpc`.
    fn start(&mut self, program: &str, role: &str, grpc: &str, flags: &[&str]) -> String {
        let metrics = local();
        let standard = ["--grpc", grpc, "--metrics", &metrics];
        let standard = standard.into_iter().chain(flags.iter().copied()).map(str::to_owned);
        let arguments: Vec<String> = self.tls(role).into_iter().chain(standard).collect();
        let log = self.path(&format!("{role}.log"));
        self.running.push(start(&format!("pentad-{program}"), &arguments, &log));
        metrics
    }

    /// `pentad` with the certificate of the operator.
    fn pentad(&self, grpc: &str, arguments: &[&str]) -> Result<Value, String> {
        let tls = self.tls("operator");
        let flags = ["--grpc", grpc].into_iter().chain(tls.iter().map(String::as_str));
        let arguments: Vec<_> = flags.chain(arguments.iter().copied()).collect();
        pentad(None, &arguments).answer().map_err(|error| error + &outputs(&self.running))
    }

    fn end(&mut self) {
        for service in &mut self.running {
            let status = service.terminate();
            assert!(status.success(), "{status}: {}", service.output());
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a UTF-8 path").to_owned()
}

#[test]
fn roles_let_processes_mine_and_pay_under_mutual_tls() {
    let devnet = Devnet::up(1);
    let spec = text(&devnet.chain_spec());
    let mut site = Site::new();
    let [chain, wallet, miner, peer, worker] = [0; 5].map(|_| local());
    let to_chain = format!("chain.address=https://{chain}");
    let to_wallet = format!("wallet.address=https://{wallet}");
    let from = format!("https://{miner}");
    let folder = |site: &Site, name: &str| text(&site.path(name));
    let passphrase = devnet.node(1).data_dir().join("passphrase");
    let passphrase = format!("wallet.passphrase_file={}", passphrase.display());
    let (data, p2p, bootstrap) = (folder(&site, "peer"), local(), devnet.node(1).p2p());
    let flags = ["--data", &data, "--set", &to_chain, "--p2p", &p2p, "--bootstrap", &bootstrap];
    site.start("peer", "peer", &peer, &flags);
    let data = folder(&site, "miner");
    let flags = ["--data", &data, "--set", &to_chain, "--set", &to_wallet];
    let workers_only = ["--set", "miner.workers_only=true", "--set", "miner.mine=true"];
    site.start("miner", "miner", &miner, &[&flags[..], &workers_only].concat());
    let data = folder(&site, "wallet");
    let flags = ["--data", &data, "--set", &to_chain, "--set", &passphrase];
    site.start("wallet", "wallet", &wallet, &flags);
    let data = folder(&site, "worker");
    let flags = ["--data", &data, "--work-from", &from, "--set", "worker.threads=1"];
    site.start("miner", "worker", &worker, &flags);
    let data = folder(&site, "chain");
    let metrics = site.start("chain", "chain", &chain, &["--data", &data, "--chain", &spec]);

    let made = wait_for("a wallet is made", || site.pentad(&wallet, &["createwallet", "dave"]));
    let address = made["address"].as_str().expect("an address");
    // The worker takes work from the miner, which has its template from the chain service, and
    // mines to an address of the wallet service; the peer service tells the other node.
    wait_for("the other node follows", || match devnet.status(1)["height"].as_u64() {
        Some(1..) => Ok(()),
        other => Err(format!("height {other:?}\n{}", outputs(&site.running))),
    });
    let pay = ["send", "--from", &devnet.genesis_address(), "--to", address, "--amount", "5"];
    devnet.on(1, &pay).success();
    wait_for("the payment is confirmed here", || {
        let balance = site.pentad(&chain, &["balance", address])?;
        if balance["confirmed"] == "5.00000000" { Ok(()) } else { Err(balance.to_string()) }
    });
    // Back again, through the wallet service and the chain service that it may submit to.
    let to = devnet.genesis_address();
    let pay = ["send", "--from", "dave", "--to", &to, "--amount", "1"];
    wait_for("a payment goes back", || site.pentad(&wallet, &pay).map(drop));
    let page = metrics_page(&metrics).expect("a page");
    for kind in ["own", "authority"] {
        let series = format!("pentad_certificate_expiry_timestamp_seconds{{kind=\"{kind}\"}}");
        assert!(page.contains(&series), "{page}");
    }
    let refused = page.lines().find(|line| line.starts_with("pentad_calls_refused_total"));
    assert_eq!(refused, None, "services call what they may not");
    site.end();
}

#[test]
fn roles_let_processes_be_a_validator_under_mutual_tls() {
    let devnet = Devnet::up_pbft(4);
    let alice = devnet.genesis_address();
    let bob = create_wallet(&devnet, 2, "bob");
    let spec = text(&devnet.chain_spec());
    // Node 4 goes on as three processes over the same files; without them there is no quorum.
    devnet.stop(4);
    devnet.stop(3);
    let node = devnet.node(4);
    let folder = |name: &str| text(&node.data_dir().join(name));
    let mut site = Site::new();
    let [chain, peer, consensus] = [0; 3].map(|_| local());
    let to_chain = format!("chain.address=https://{chain}");
    let to_peer = format!("peer.address=https://{peer}");
    let (data, key) = (folder("consensus"), folder("validator.key"));
    let flags = ["--data", &data, "--chain", &spec, "--validator-key", &key];
    let upstreams = ["--set", &to_chain, "--set", &to_peer];
    site.start("consensus", "consensus", &consensus, &[&flags[..], &upstreams].concat());
    let (data, p2p) = (folder("peer"), node.p2p());
    let (first, second) = (devnet.node(1).p2p(), devnet.node(2).p2p());
    let flags = ["--data", &data, "--p2p", &p2p, "--bootstrap", &first, "--bootstrap", &second];
    site.start("peer", "peer", &peer, &[&flags[..], &["--set", &to_chain]].concat());
    let data = folder("chain");
    let metrics = site.start("chain", "chain", &chain, &["--data", &data, "--chain", &spec]);

    devnet.on(1, &["send", "--from", &alice, "--to", &bob, "--amount", "10"]).success();
    wait_for("the payment is final", || {
        let balance = devnet.balance(2, &bob);
        if balance[0] == "10.00000000" { Ok(()) } else { Err(outputs(&site.running)) }
    });
    wait_for("the processes have it too", || {
        let balance = site.pentad(&chain, &["balance", &bob])?;
        if balance["confirmed"] == "10.00000000" { Ok(()) } else { Err(balance.to_string()) }
    });
    let page = metrics_page(&metrics).expect("a page");
    let refused = page.lines().find(|line| line.starts_with("pentad_calls_refused_total"));
    assert_eq!(refused, None, "services call what they may not");
    site.end();
}
