//! Organisations on machines of their own, by the commands of the operations page. A machine is a
//! folder, a Docker network and ports of the host; nothing leads from one to another but those
//! ports that are published.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use pentad_tests::{Reply, free_ports, path_folder, pentad, sessions, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use crate::network::{ORGANISATIONS, assert_gone, container, docker, print_logs, said, text};
use crate::typed;

const PAGE: &str = include_str!("../../docs/operations.md");
/// What follows says on which machine.
const MARK: &str = "<!-- Run by tests/containers/machines.rs on ";
const ON_EACH: &str = "each machine";
/// What stands on the page for the machine's address, its data and the wallet that is paid.
const ADDRESS: &str = "203.0.113.1:5678";
const DATA: &str = "deploy/compose/data";
const WALLET: &str = "1MopqiCrKgEvVLzX2ovRwvVf1zma8RgRH5";
/// Ports of the host that four machines may need: ten for each, from the next but one ten on.
const PORTS: u16 = 60;

/// An address of the host at which all machines take peers: the gateway of a network of Docker's
/// that no container is on.
#[derive(Debug)]
struct World {
    name: String,
    address: String,
    ports: u16,
}

impl World {
    fn new() -> Self {
        let ports = free_ports(PORTS) / 10 + 1;
        let name = format!("pentad-test-{}-{ports}", std::process::id());
        docker(&["network", "create", &name]);
        let gateway = "{{(index .IPAM.Config 0).Gateway}}";
        let address = docker(&["network", "inspect", "--format", gateway, &name]);
        Self { name, address, ports }
    }

    fn machines(&self) -> Vec<Machine> {
        let machine = |number: usize| Machine {
            organisation: format!("org{number}"),
            dir: TempDir::new().expect("a temporary folder"),
            name: format!("{}-{number}", self.name),
            ports: self.ports + u16::try_from(number).expect("a few"),
            host: self.address.clone(),
        };
        (1..=ORGANISATIONS).map(machine).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        docker(&["network", "rm", &self.name]);
        if !std::thread::panicking() {
            assert_gone(&self.name);
        }
    }
}

/// One organisation's machine.
#[derive(Debug)]
struct Machine {
    organisation: String,
    dir: TempDir,
    name: String,
    /// First digits of its ports.
    ports: u16,
    /// See [`World`].
    host: String,
}

impl Machine {
    fn folder(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn project(&self) -> String {
        format!("{}-{}", self.name, self.organisation)
    }

    /// Where the others reach it: beside its ports for gRPC, which end with 1 to 5.
    fn address(&self) -> String {
        format!("{}:{}8", self.host, self.ports)
    }

    fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("NETWORK_DIR", self.folder().display().to_string()),
            ("NETWORK_NAME", self.name.clone()),
            ("NETWORK_PORTS", self.ports.to_string()),
            ("PEER_BIND", self.host.clone()),
            ("PENTAD_CONTEXTS", self.folder().join("contexts.toml").display().to_string()),
        ]
    }

    /// Types a session of the page; what the commands wrote.
    fn type_in(&self, session: &str, tools: &Path) -> Vec<String> {
        let data = self.folder().display().to_string();
        let session = session.replace(ADDRESS, &self.address()).replace(DATA, &data);
        typed::run(&session, tools, &self.variables())
    }

    /// Runs `pentad` on its node with JSON output.
    fn ask(&self, arguments: &[&str]) -> Reply {
        let contexts = self.folder().join("contexts.toml");
        pentad(Some(&contexts), &[&["--context", &self.organisation], arguments].concat())
    }

    /// Networks that its peer service is on.
    fn networks(&self) -> String {
        let names = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
        docker(&["inspect", "--format", names, &container(&self.project(), "peer")])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let is_failing = std::thread::panicking();
        if is_failing {
            print_logs(&self.project());
        }
        if self.folder().join(&self.organisation).join("compose.log").exists() {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose/node");
            let stop = Command::new(script).arg("stop").envs(self.variables()).output();
            let stop = stop.expect("a script that runs");
            if is_failing {
                eprintln!("{}", said(&stop));
            } else {
                assert!(stop.status.success(), "node stop: {}", said(&stop));
            }
        }
    }
}

/// The machine that a session is typed at, as its mark says.
fn place(session: &Range<usize>) -> &'static str {
    let before = &PAGE[..session.start];
    let mark = before.rfind(MARK).expect("a mark before the session");
    before[mark + MARK.len()..].split(" -->").next().unwrap_or_default()
}

/// What operators send each other: their lines, and the chain spec of whoever made it.
fn exchange(machines: &[Machine]) {
    let folders: Vec<_> = machines.iter().map(Machine::folder).collect();
    let lines: Result<Vec<_>, _> =
        folders.iter().map(|folder| fs::read_to_string(folder.join("member"))).collect();
    let Ok(lines) = lines else { return };
    let spec = folders.iter().find_map(|folder| fs::read(folder.join("chain.toml")).ok());
    for folder in &folders {
        fs::write(folder.join("members"), lines.concat()).expect("written");
        if let Some(spec) = &spec {
            fs::write(folder.join("chain.toml"), spec).expect("written");
        }
    }
}

/// Texts at `key` of a list's entries.
fn texts(list: &Value, key: &str) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().map(|entry| text(entry, key)).collect()
}

#[test]
fn organisations_on_machines_of_their_own_pay_each_other_and_one_comes_back() {
    let world = World::new();
    let machines = world.machines();
    let tools = TempDir::new().expect("a temporary folder");
    path_folder(tools.path(), &["pentad"]);
    let sessions = sessions(PAGE, MARK);
    assert!(sessions.len() >= 7, "the marks are gone");
    let mut wallet = WALLET.to_owned();
    for session in sessions {
        let place = place(&session.range);
        let commands = PAGE[session.range].replace(WALLET, &wallet);
        for machine in &machines {
            let organisation = machine.organisation.as_str();
            if place == ON_EACH {
                machine.type_in(&commands.replace("org1", organisation), tools.path());
            } else if place == format!("the machine of {organisation}") {
                let said = machine.type_in(&commands, tools.path()).concat();
                if commands.contains("createwallet") {
                    wallet = said.split_whitespace().last().expect("an address").to_owned();
                }
            }
        }
        exchange(&machines);
    }
    assert_ne!(wallet, WALLET, "no wallet was made");
    all_are_linked_by_published_ports(&machines);
}

fn all_are_linked_by_published_ports(machines: &[Machine]) {
    let selves: Vec<Value> =
        machines.iter().map(|it| it.ask(&["peer", "get-self"]).success()).collect();
    let published: BTreeSet<_> = machines.iter().map(Machine::address).collect();
    let mut dialled = 0;
    for (number, machine) in machines.iter().enumerate() {
        let organisation = &machine.organisation;
        assert_eq!(machine.networks(), format!("{}_node", machine.project()));
        assert_eq!(text(&selves[number], "advertisedAddress"), machine.address());
        let others = |key: &str| -> BTreeSet<String> {
            let others = selves.iter().enumerate().filter(|(other, _)| *other != number);
            others.map(|(_, it)| text(it, key)).collect()
        };
        let peers = wait_for("a link to each of the others", || {
            let peers = machine.ask(&["peer", "list-peers"]).json["peers"].take();
            let keys = texts(&peers, "staticKey");
            if keys == others("staticKey") {
                Ok(peers)
            } else {
                Err(format!("{organisation}: {peers}"))
            }
        });
        wait_for("the others are found over UDP", || {
            let contacts = machine.ask(&["peer", "get-routing-table"]).json["contacts"].take();
            let ids = texts(&contacts, "nodeId");
            if ids == others("nodeId") {
                Ok(())
            } else {
                Err(format!("{organisation}: {contacts}"))
            }
        });
        for peer in peers.as_array().into_iter().flatten() {
            if text(peer, "direction").ends_with("OUTBOUND") {
                dialled += 1;
                let address = text(peer, "address");
                assert!(published.contains(&address), "{organisation} dialled {address}");
            }
        }
    }
    // Each pair has one link, which one of the two dialled.
    assert_eq!(dialled, ORGANISATIONS * (ORGANISATIONS - 1) / 2);
}
