//! Each service as its own process, found by address.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pentad_tests::{Devnet, Running, free_port, outputs, pentad, start, wait_for};
use serde_json::Value;
use tempfile::TempDir;

fn local() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Four processes that share nothing but a cookie file.
struct Services {
    data: TempDir,
    chain: String,
    wallet: String,
    miner: String,
    running: Vec<Running>,
}

impl Services {
    fn new() -> Self {
        let data = TempDir::new().expect("a temporary folder");
        let [chain, wallet, miner] = [0; 3].map(|_| local());
        Self { data, chain, wallet, miner, running: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// Settings of a service that calls another one.
    fn upstream(&self, service: &str, address: &str) -> [String; 2] {
        let cookie = self.path("cookie");
        [
            format!("{service}.address=http://{address}"),
            format!("{service}.cookie_file={}", cookie.display()),
        ]
    }

    fn start(&mut self, name: &str, grpc: &str, flags: &[&str], settings: &[String]) {
        let [own, cookie] = [name, "cookie"].map(|file| self.path(file).display().to_string());
        let metrics = local();
        let standard = ["--data", &own, "--grpc", grpc, "--metrics", &metrics, "--cookie", &cookie];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<_> =
            standard.into_iter().chain(flags.to_vec()).chain(settings).collect();
        let log = self.path(&format!("{name}.log"));
        self.running.push(start(name, &arguments, &log));
    }

    /// Starts all of them in the wrong order: each waits for the others.
    fn start_all(&mut self, spec: &str, bootstrap: &str) {
        let to_chain = self.upstream("chain", &self.chain);
        let to_wallet = self.upstream("wallet", &self.wallet);
        let passphrase = self.path("passphrase");
        write_secret(&passphrase, "correct horse battery staple");
        let passphrase = format!("wallet.passphrase_file={}", passphrase.display());
        let listen = format!("peer.listen={}", local());
        let bootstrap = format!("peer.bootstrap=[\"{bootstrap}\"]");
        let [chain, wallet, miner] = [&self.chain, &self.wallet, &self.miner].map(String::clone);
        self.start("pentad-miner", &miner, &[], &[&to_chain[..], &to_wallet].concat());
        self.start("pentad-wallet", &wallet, &[], &[&to_chain[..], &[passphrase]].concat());
        self.start("pentad-peer", &local(), &[], &[&to_chain[..], &[listen, bootstrap]].concat());
        self.start("pentad-chain", &chain, &["--chain", spec], &[]);
    }

    /// `pentad` against one service by address and cookie.
    fn pentad(&self, grpc: &str, arguments: &[&str]) -> Result<Value, String> {
        let cookie = self.path("cookie").display().to_string();
        let arguments = [&["--grpc", grpc, "--cookie", &cookie], arguments].concat();
        pentad(None, &arguments).answer().map_err(|error| error + &outputs(&self.running))
    }
}

#[test]
fn four_processes_make_one_node() {
    let devnet = Devnet::up(1);
    let spec = devnet.network()["chain_spec"].as_str().expect("a chain spec").to_owned();
    let mut services = Services::new();
    services.start_all(&spec, &devnet.node(1).p2p());

    let made = wait_for("a wallet is made", || {
        services.pentad(&services.wallet, &["createwallet", "dave"])
    });
    let address = made["address"].as_str().expect("an address");
    wait_for("a block is mined by four processes", || {
        services.pentad(&services.miner, &["generate", "1"])
    });
    // The block reaches the other node, and a payment from there comes back.
    wait_for("the other node follows", || match devnet.status(1)["height"].as_u64() {
        Some(1..) => Ok(()),
        other => Err(format!("height {other:?}\n{}", outputs(&services.running))),
    });
    let pay = ["send", "--from", &devnet.genesis_address(), "--to", address, "--amount", "5"];
    devnet.on(1, &pay).success();
    devnet.generate(1, 1);
    wait_for("the payment is confirmed here", || {
        let balance = services.pentad(&services.chain, &["balance", address])?;
        if balance["confirmed"] == "5.00000000" { Ok(()) } else { Err(balance.to_string()) }
    });
    for service in &mut services.running {
        let status = service.terminate();
        assert!(status.success(), "{status}: {}", service.output());
    }
}

fn write_secret(path: &Path, text: &str) {
    let mut file =
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).expect("a new file");
    writeln!(file, "{text}").expect("a written file");
}
