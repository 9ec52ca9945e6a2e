//! Each service as its own process, found by address.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pentad_tests::{Devnet, Running, free_port, outputs, pentad, start, wait_for};
use serde_json::Value;
use tempfile::TempDir;

fn local() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Processes that share nothing but a cookie file.
struct Services {
    data: TempDir,
    chain: String,
    wallet: String,
    miner: String,
    peer: String,
    running: Vec<Running>,
}

impl Services {
    fn new() -> Self {
        let data = TempDir::new().expect("a temporary folder");
        let [chain, wallet, miner, peer] = [0; 4].map(|_| local());
        Self { data, chain, wallet, miner, peer, running: Vec::new() }
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
        let addresses = [&self.chain, &self.wallet, &self.miner, &self.peer];
        let [chain, wallet, miner, peer] = addresses.map(String::clone);
        self.start("pentad-miner", &miner, &[], &[&to_chain[..], &to_wallet].concat());
        self.start("pentad-wallet", &wallet, &[], &[&to_chain[..], &[passphrase]].concat());
        self.start("pentad-peer", &peer, &[], &[&to_chain[..], &[listen, bootstrap]].concat());
        self.start("pentad-chain", &chain, &["--chain", spec], &[]);
    }

    /// Starts a consensus service that votes with this key.
    fn start_validator(&mut self, spec: &str, key: &str) {
        let upstreams = [self.upstream("chain", &self.chain), self.upstream("peer", &self.peer)];
        let flags = ["--chain", spec, "--validator-key", key];
        self.start("pentad-consensus", &local(), &flags, &upstreams.concat());
    }

    /// Stops all of them.
    fn stop(mut self) {
        for service in &mut self.running {
            let status = service.terminate();
            assert!(status.success(), "{status}: {}", service.output());
        }
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
    services.stop();
}

/// Two of the four validators are away, so that nothing is final without the fifth process.
#[test]
fn five_processes_make_one_node_that_mines_and_votes() {
    let devnet = Devnet::up_hybrid(4);
    let spec = devnet.chain_spec().display().to_string();
    let key = fs::read_to_string(devnet.node(4).data_dir().join("validator.key")).expect("a key");
    for number in [3, 4] {
        devnet.stop(number);
    }
    let mut services = Services::new();
    services.start_all(&spec, &devnet.node(1).p2p());
    let copy = services.path("validator.key");
    write_secret(&copy, key.trim());
    services.start_validator(&spec, &copy.display().to_string());

    // One more than stand on the block that is final by them.
    wait_for("blocks are mined by five processes", || {
        services.pentad(&services.miner, &["generate", "7"])
    });
    wait_for("the first is final on all nodes", || {
        let [first, second] = [1, 2].map(|number| devnet.status(number)["final_height"].clone());
        let info = services.pentad(&services.chain, &["chain", "get-info"])?;
        match (first.as_u64(), second.as_u64(), info["finalHeight"].as_u64()) {
            (Some(1..), Some(1..), Some(1..)) => Ok(()),
            found => Err(format!("{found:?}\n{}", outputs(&services.running))),
        }
    });
    services.stop();
}

fn write_secret(path: &Path, text: &str) {
    let mut file =
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).expect("a new file");
    writeln!(file, "{text}").expect("a written file");
}
