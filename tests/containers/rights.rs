//! Who may not call, does not get through: wrong network, no credential, another's credential.

use std::fs;
use std::process::Command;

use pentad_tests::tool;

use crate::network::{Network, docker, said};

const SERVICES: [&str; 5] = ["wallet", "chain", "miner", "consensus", "peer"];
/// Exit codes of `pentad`.
const UNREACHABLE: i32 = 3;
const DENIED: i32 = 4;
/// gRPC's UNAUTHENTICATED; `buf` exits with eight times the code.
const UNAUTHENTICATED: i32 = 16;

/// A service's address on the host.
fn address(network: &Network, organisation: usize, service: &str) -> String {
    let port = 9991 + SERVICES.iter().position(|it| *it == service).expect("a service");
    let published = ["port", &network.container(organisation, service), &format!("{port}/tcp")];
    docker(&published).lines().next().expect("a published port").to_owned()
}

/// `buf curl` on the host; exit code as a gRPC code, and what it said.
fn buf(address: &str, cookie: Option<&str>, arguments: &[&str], path: &str) -> (i32, String) {
    let mut command = Command::new(tool("buf"));
    command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"]).args(arguments);
    if let Some(cookie) = cookie {
        command.arg("-H").arg(format!("authorization: Bearer {cookie}"));
    }
    let output = command.arg(format!("http://{address}{path}")).output().expect("buf runs");
    (output.status.code().expect("buf exits") / 8, said(&output))
}

/// `pentad` in a container of a network; its exit code and what it said.
fn pentad_within(network: &str, address: &str, arguments: &[&str]) -> (i32, String) {
    let container = ["run", "--rm", "--network", network, "pentad-cli", "--grpc", address];
    let output = Command::new("docker").args(container).args(arguments).output();
    let output = output.expect("docker is installed");
    (output.status.code().unwrap_or(-1), said(&output))
}

/// A call to each service, as it is typed.
const CALLS: [(&str, &[&str]); 5] = [
    ("wallet:9991", &["keystore", "list-wallets"]),
    ("chain:9992", &["chain", "get-info"]),
    ("miner:9993", &["miner", "get-status"]),
    ("consensus:9994", &["consensus", "get-status"]),
    ("peer:9995", &["peer", "get-self"]),
];

#[test]
fn nobody_calls_from_a_wrong_network_or_without_a_credential() {
    let network = Network::up("pbft");
    let cookie = |organisation: usize| {
        let path = network.folder().join(format!("org{organisation}/credentials/cookie"));
        fs::read_to_string(path).expect("a cookie").trim().to_owned()
    };
    let (own, others) = (cookie(1), cookie(2));
    let mut denied = 0;
    for service in SERVICES {
        let address = address(&network, 1, service);
        let (code, methods) = buf(&address, None, &["--list-methods"], "");
        assert_eq!(code, 0, "{methods}");
        // Reflection tells of the methods of other services as well.
        let package = format!("pentad.{service}.");
        for method in methods.lines().filter(|line| line.starts_with(&package)) {
            let path = format!("/{method}");
            for cookie in [None, Some(others.as_str())] {
                let (code, text) = buf(&address, cookie, &["-d", "{}"], &path);
                assert_eq!(code, UNAUTHENTICATED, "{method} with {cookie:?}: {text}");
                denied += 1;
            }
        }
    }
    println!("{denied} calls denied");
    assert!(denied > 2 * 80, "only {denied} calls");
    let info = "/pentad.chain.v1.ChainService/GetInfo";
    let (code, text) = buf(&address(&network, 1, "chain"), Some(&own), &["-d", "{}"], info);
    assert_eq!(code, 0, "with the right one: {text}");

    for (address, call) in CALLS {
        let (code, text) = pentad_within(&network.own(1), address, call);
        assert_eq!(code, DENIED, "{address} from its own network: {text}");
        if address == "peer:9995" {
            continue;
        }
        // Neither by name nor by address from where the peers meet.
        let (service, port) = address.split_once(':').expect("a port");
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let inspected = docker(&["inspect", "-f", format, &network.container(1, service)]);
        for host in [service, inspected.trim()] {
            let (code, text) = pentad_within(network.consortium(), &format!("{host}:{port}"), call);
            assert_eq!(code, UNREACHABLE, "{host}:{port} from the consortium's: {text}");
        }
    }
    let (code, text) = pentad_within(network.consortium(), "peer.org1:9995", CALLS[4].1);
    assert_eq!(code, DENIED, "the peer service from the consortium's network: {text}");
}
