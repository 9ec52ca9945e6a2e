//! Who may not call, does not get through: wrong network, no credential, another organisation's
//! certificate, a certificate of another role.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use pentad_tests::{pentad, tool};

use crate::network::{Network, docker, said};

const SERVICES: [&str; 5] = ["wallet", "chain", "miner", "consensus", "peer"];
/// Exit codes of `pentad`.
const UNREACHABLE: i32 = 3;
const DENIED: i32 = 4;
/// gRPC's codes; `buf` exits with eight times the code.
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;
/// All that a worker may call.
const TAKE_WORK: &str = "pentad.miner.v1.WorkService/TakeWork";

/// Who calls.
enum Caller {
    /// Nobody in particular.
    Nobody,
    /// A service of an organisation.
    Service(usize, &'static str),
}

/// A file of an organisation.
fn file(network: &Network, organisation: usize, path: &str) -> PathBuf {
    network.folder().join(format!("org{organisation}")).join(path)
}

/// `buf curl` on the host to a service of the first organisation; exit code as a gRPC code, and
/// what it said.
fn buf(
    network: &Network,
    caller: &Caller,
    service: &str,
    arguments: &[&str],
    path: &str,
) -> (i32, String) {
    let url = format!("https://{}{path}", network.address(1, service));
    curl(Command::new(tool("buf")), network, caller, arguments, &url)
}

/// The same from a container of the network on which the peers meet, to the peer service.
fn buf_from_consortium(network: &Network, caller: &Caller, path: &str) -> (i32, String) {
    let mount = |from: &str, to: &str| format!("--volume={from}:{to}:ro");
    let own = |path: PathBuf| mount(&path.display().to_string(), &path.display().to_string());
    // As whoever the keys are of.
    let key = fs::metadata(file(network, 2, "tls/peer/key.pem")).expect("there");
    // Without reflection, which not everybody reaches.
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--network", network.consortium(), "--entrypoint", "/buf"]);
    command.args(["--tmpfs", "/cache:mode=1777", "--env", "XDG_CACHE_HOME=/cache"]);
    command.args([mount(&tool("buf").display().to_string(), "/buf"), mount(protos, "/proto")]);
    command.arg(own(file(network, 1, "authority/authority.pem")));
    command.arg(own(file(network, 2, "tls/peer")));
    command.args(["--user", &format!("{}:{}", key.uid(), key.gid())]);
    command.arg("pentad-cli");
    let url = format!("https://peer.org1:9995{path}");
    curl(command, network, caller, &["--schema", "/proto", "-d", "{}"], &url)
}

fn curl(
    mut command: Command,
    network: &Network,
    caller: &Caller,
    arguments: &[&str],
    url: &str,
) -> (i32, String) {
    command.args(["curl", "--protocol", "grpc", "--cacert"]);
    command.arg(file(network, 1, "authority/authority.pem"));
    if let Caller::Service(organisation, name) = caller {
        let own = |name: &str| file(network, *organisation, &format!("tls/{name}"));
        command.arg("--cert").arg(own(&format!("{name}/certificate.pem")));
        command.arg("--key").arg(own(&format!("{name}/key.pem")));
    }
    let output = command.args(arguments).arg(url).output().expect("it runs");
    let (exit, said) = (output.status.code().expect("buf exits"), said(&output));
    assert_eq!(exit % 8, 0, "buf failed before any call: {said}");
    (exit / 8, said)
}

/// `pentad` in a container of a network; its exit code and what it said.
fn pentad_within(
    network: &Network,
    within: &str,
    address: &str,
    arguments: &[&str],
) -> (i32, String) {
    let authority = file(network, 1, "authority/authority.pem");
    let mount = format!("{}:/authority.pem:ro", authority.display());
    let container = ["run", "--rm", "--network", within, "--volume", &mount, "pentad-cli"];
    let place = ["--tls-authority", "/authority.pem", "--grpc", address];
    let output = Command::new("docker").args(container).args(place).args(arguments).output();
    let output = output.expect("docker is installed");
    (output.status.code().unwrap_or(-1), said(&output))
}

/// A call to each service, as it is typed.
const CALLS: [(&str, &str, &[&str]); 5] = [
    ("wallet", "9991", &["keystore", "list-wallets"]),
    ("chain", "9992", &["chain", "get-info"]),
    ("miner", "9993", &["miner", "get-status"]),
    ("consensus", "9994", &["consensus", "get-status"]),
    ("peer", "9995", &["peer", "get-self"]),
];

/// Methods of a service, as its reflection tells.
fn methods(network: &Network, service: &str) -> Vec<String> {
    let (code, text) = buf(network, &Caller::Nobody, service, &["--list-methods"], "");
    assert_eq!(code, 0, "{text}");
    // Reflection tells of the methods of other services as well.
    let package = format!("pentad.{service}.");
    text.lines().filter(|line| line.starts_with(&package)).map(str::to_owned).collect()
}

#[test]
fn nobody_calls_from_a_wrong_network_or_without_a_right() {
    let network = Network::up("pbft");
    let mut denied = 0;
    for service in SERVICES {
        for method in methods(&network, service) {
            for (caller, code) in [
                (Caller::Nobody, UNAUTHENTICATED),
                (Caller::Service(1, "worker"), PERMISSION_DENIED),
            ] {
                if code == PERMISSION_DENIED && method == TAKE_WORK {
                    continue;
                }
                let path = format!("/{method}");
                let (found, text) = buf(&network, &caller, service, &["-d", "{}"], &path);
                assert_eq!(found, code, "{method}: {text}");
                denied += 1;
            }
        }
    }
    println!("{denied} calls denied");
    assert!(denied > 2 * 80, "only {denied} calls");
    let info = "/pentad.chain.v1.ChainService/GetInfo";
    let (code, text) = buf(&network, &Caller::Service(1, "wallet"), "chain", &["-d", "{}"], info);
    assert_eq!(code, 0, "with the right one: {text}");
    // Another organisation's authority is none here, even its operator's.
    let [authority, certificate, key] =
        [(1, "authority.pem"), (2, "operator.pem"), (2, "operator.key")]
            .map(|(organisation, name)| file(&network, organisation, "authority").join(name));
    let place = ["--grpc".to_owned(), network.address(1, "chain")];
    let files = [("--tls-authority", authority), ("--tls-certificate", certificate)];
    let files = files.into_iter().chain([("--tls-key", key)]);
    let files = files.flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]);
    let call = ["chain", "get-info"].map(str::to_owned);
    let arguments: Vec<String> = place.into_iter().chain(files).chain(call).collect();
    pentad(None, &arguments).failure(DENIED);
    from_containers(&network);
}

fn from_containers(network: &Network) {
    for (service, port, call) in CALLS {
        let address = format!("{service}:{port}");
        let (code, text) = pentad_within(network, &network.own(1), &address, call);
        assert_eq!(code, DENIED, "{address} from its own network: {text}");
        if service == "peer" {
            continue;
        }
        // Neither by name nor by address from where the peers meet.
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let inspected = docker(&["inspect", "-f", format, &network.container(1, service)]);
        for host in [service, inspected.trim()] {
            let address = format!("{host}:{port}");
            let (code, text) = pentad_within(network, network.consortium(), &address, call);
            assert_eq!(code, UNREACHABLE, "{address} from the consortium's: {text}");
        }
    }
    // The one service that is reached from there lets nobody in, not even another's peer service.
    for path in methods(network, "peer").iter().map(|method| format!("/{method}")) {
        let (code, text) = buf_from_consortium(network, &Caller::Nobody, &path);
        assert_eq!(code, UNAUTHENTICATED, "{path}: {text}");
        // What a client makes of a handshake that fails is its own affair.
        let (code, text) = buf_from_consortium(network, &Caller::Service(2, "peer"), &path);
        assert_ne!(code, 0, "{path}: {text}");
    }
}

#[test]
fn certificates_and_authorities_are_replaced_without_a_restart() {
    let network = Network::up("pbft");
    let to = network.create_wallet(2, "payee");
    let pay = ["send", "--from", "genesis", "--to", &to, "--amount", "1", "--wait"];
    let mut paid = 0;
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| replace_authorities(&network));
        while !replacing.is_finished() {
            network.on(1, &pay).success();
            paid += 1;
        }
        replacing.join().expect("they are replaced");
    });
    println!("{paid} payments meanwhile");
    assert!(paid >= 4, "only {paid} payments");
    network.converge();
}

/// Each step ends when all services have taken what it hands out.
fn replace_authorities(network: &Network) {
    let read = |path: &str| fs::read_to_string(file(network, 1, path)).expect("there");
    let authorities = || read("tls/chain/authority.pem").matches("BEGIN").count();
    let certificate = || read("tls/chain/certificate.pem");
    let before = certificate();
    network.script(&["renew-authority"]);
    assert_eq!((authorities(), certificate()), (2, before.clone()));
    let early = network.command(&["retire"]).output().expect("a script that runs");
    assert!(!early.status.success(), "{}", said(&early));
    assert_eq!(authorities(), 2);
    network.script(&["renew"]);
    let renewed = certificate();
    assert_ne!(renewed, before);
    network.script(&["retire"]);
    assert_eq!((authorities(), certificate()), (1, renewed.clone()));
    network.script(&["renew"]);
    assert_ne!(certificate(), renewed);
    for service in SERVICES {
        let seen = network.log(1, service).matches("read anew").count();
        assert_eq!(seen, 4, "{service} takes each step once");
    }
}
