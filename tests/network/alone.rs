//! Each service as its own process, found by address.

use std::path::Path;
use std::process::Command;

use pentad_tests::{Devnet, Running, binary, free_port, start, wait_for};
use serde_json::Value;

fn local() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// `pentad` against one service by address and cookie.
fn pentad(grpc: &str, cookie: &Path, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(binary("pentad"))
        .args(["--output", "json", "--grpc", grpc, "--cookie"])
        .arg(cookie)
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

#[test]
fn four_processes_make_one_node() {
    let devnet = Devnet::up(1);
    let spec = devnet.network()["chain_spec"]
        .as_str()
        .expect("a chain spec")
        .to_owned();
    let data = tempfile::TempDir::new().expect("a temporary folder");
    let dir = |name: &str| {
        data.path()
            .join(name)
            .to_str()
            .expect("a UTF-8 path")
            .to_owned()
    };
    let cookie = dir("cookie");
    let [chain, wallet, miner, peer, p2p] = [0; 5].map(|_| local());
    let run = |name: &str, grpc: &str, arguments: &[&str]| -> Running {
        let (own, metrics) = (dir(name), local());
        let standard = [
            "--data",
            &own,
            "--grpc",
            grpc,
            "--metrics",
            &metrics,
            "--cookie",
            &cookie,
        ];
        start(
            name,
            &[&standard[..], arguments].concat(),
            &data.path().join(format!("{name}.log")),
        )
    };
    let upstream = |service: &str, address: &str| {
        let settings = [
            format!("{service}.address=http://{address}"),
            format!("{service}.cookie_file={cookie}"),
        ];
        settings
            .map(|setting| ["--set".to_owned(), setting])
            .concat()
    };
    let (to_chain, to_wallet) = (upstream("chain", &chain), upstream("wallet", &wallet));
    let to_chain: Vec<_> = to_chain.iter().map(String::as_str).collect();
    let to_wallet: Vec<_> = to_wallet.iter().map(String::as_str).collect();
    let passphrase = format!("wallet.passphrase_file={}", dir("passphrase"));
    write_secret(
        Path::new(&dir("passphrase")),
        "correct horse battery staple",
    );
    let listen = format!("peer.listen={p2p}");
    let bootstrap = format!("peer.bootstrap=[\"{}\"]", devnet.node(1).p2p());
    // Any order: each waits for the others.
    let mut services = vec![
        run(
            "pentad-miner",
            &miner,
            &[&to_chain[..], &to_wallet].concat(),
        ),
        run(
            "pentad-wallet",
            &wallet,
            &[&to_chain[..], &["--set", &passphrase]].concat(),
        ),
        run(
            "pentad-peer",
            &peer,
            &[&to_chain[..], &["--set", &listen, "--set", &bootstrap]].concat(),
        ),
        run("pentad-chain", &chain, &["--chain", &spec]),
    ];
    let cookie = Path::new(&cookie);
    let logs = |services: &[Running]| {
        services
            .iter()
            .map(Running::output)
            .collect::<Vec<_>>()
            .join("\n---\n")
    };

    let address = wait_for("a wallet is made", || {
        let made = pentad(&wallet, cookie, &["createwallet", "dave"])
            .map_err(|error| format!("{error}\n{}", logs(&services)))?;
        Ok(made["address"].as_str().expect("an address").to_owned())
    });
    wait_for("a block is mined by four processes", || {
        pentad(&miner, cookie, &["generate", "1"])
            .map_err(|error| format!("{error}\n{}", logs(&services)))
    });
    // The block reaches the other node, and a payment from there comes back.
    wait_for(
        "the other node follows",
        || match devnet.status(1)["height"].as_u64() {
            Some(1) => Ok(()),
            other => Err(format!("height {other:?}\n{}", logs(&services))),
        },
    );
    let pay = [
        "send",
        "--from",
        &devnet.genesis_address(),
        "--to",
        &address,
        "--amount",
        "5",
    ];
    devnet.on(1, &pay).success();
    devnet.generate(1, 1);
    wait_for("the payment is confirmed here", || {
        let balance = pentad(&chain, cookie, &["balance", &address])?;
        if balance["confirmed"] == "5.00000000" {
            Ok(())
        } else {
            Err(balance.to_string())
        }
    });
    for service in &mut services {
        let status = service.terminate();
        assert!(status.success(), "{status}: {}", service.output());
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .expect("a new file");
    writeln!(file, "{text}").expect("a written file");
}
