//! Organisations on machines of their own, by the commands of the operations page. A machine is a
//! folder, a Docker network and ports of the host; nothing leads from one to another but those
//! ports that are published.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pentad_tests::{Reply, binary, free_ports, path_folder, pentad, sessions, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use crate::network::{
    ORGANISATIONS, assert_gone, container, docker, docker_says, print_logs, said, text,
};
use crate::typed;

const PAGE: &str = include_str!("../../docs/operations.md");
/// What follows says on which machine.
const MARK: &str = "<!-- Run by tests/containers/machines.rs on ";
const ON_EACH: &str = "each machine";
/// What stands on the page for the machine's address, the one that org4 moves from, the one that it
/// moves to, the machine's data and the wallet that is paid.
const ADDRESS: &str = "203.0.113.1:5678";
const OLD_ADDRESS: &str = "203.0.113.4:5678";
const NEW_ADDRESS: &str = "203.0.113.14:5678";
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
        let mut world = Self { name, address: String::new(), ports };
        docker(&["network", "create", &world.name]);
        let gateway = "{{(index .IPAM.Config 0).Gateway}}";
        world.address = docker(&["network", "inspect", "--format", gateway, &world.name]);
        world
    }

    fn machines(&self) -> Vec<Machine> {
        let machine = |number: usize| {
            let ports = self.ports + u16::try_from(number).expect("a few");
            Machine::new(number, &format!("{}-{number}", self.name), ports, &self.address)
        };
        (1..=ORGANISATIONS).map(machine).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", docker_says(&["network", "rm", &self.name]));
            return;
        }
        docker(&["network", "rm", &self.name]);
        assert_gone(&self.name);
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
    fn new(number: usize, name: &str, ports: u16, host: &str) -> Self {
        Self {
            organisation: format!("org{number}"),
            dir: TempDir::new().expect("a temporary folder"),
            name: name.to_owned(),
            ports,
            host: host.to_owned(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn project(&self) -> String {
        format!("{}-{}", self.name, self.organisation)
    }

    /// Where the others may reach it: beside its ports for gRPC, which end with 1 to 5.
    fn port(&self, digit: u8) -> String {
        format!("{}:{}{digit}", self.host, self.ports)
    }

    /// Where the others reach it, by its line.
    fn address(&self) -> String {
        let line = fs::read_to_string(self.folder().join("member")).expect("it has made its line");
        line.split_whitespace().last().expect("an address").to_owned()
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
        let session = session
            .replace(ADDRESS, &self.port(8))
            .replace(OLD_ADDRESS, &self.port(8))
            .replace(NEW_ADDRESS, &self.port(9))
            .replace(DATA, &data);
        typed::run(&session, tools, &self.variables())
    }

    /// Runs `deploy/compose/node`.
    fn script(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose/node");
        let mut command = Command::new(script);
        command.args(arguments).envs(self.variables()).env("PENTAD", binary("pentad"));
        command.output().expect("a script that runs")
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
            let stop = self.script(&["stop"]);
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
    for (machine, own) in machines.iter().zip(&selves) {
        assert_eq!(machine.networks(), format!("{}_node", machine.project()));
        assert_eq!(text(own, "advertisedAddress"), machine.address());
    }
    // Of each machine, the texts at `key` of all the others.
    let others = |key: &str| -> Vec<BTreeSet<String>> {
        let but = |number: usize| selves.iter().enumerate().filter(move |(it, _)| *it != number);
        let of = |number| but(number).map(|(_, it)| text(it, key)).collect();
        (0..machines.len()).map(of).collect()
    };
    let lists = |call: &str, list: &str| -> Vec<Value> {
        machines.iter().map(|it| it.ask(&["peer", call]).json[list].take()).collect()
    };
    let ids = others("nodeId");
    wait_for("all are found over UDP", || {
        let contacts = lists("get-routing-table", "contacts");
        let is_all = contacts.iter().map(|list| texts(list, "nodeId")).eq(ids.iter().cloned());
        if is_all { Ok(()) } else { Err(format!("{contacts:?}")) }
    });
    let keys = others("staticKey");
    // In one look at all: a link may give way to another one between the same two.
    let dialled = wait_for("each two have one link, which one of them dialled", || {
        let peers = lists("list-peers", "peers");
        let is_all = peers.iter().map(|list| texts(list, "staticKey")).eq(keys.iter().cloned());
        let links: Vec<_> = peers.iter().filter_map(Value::as_array).flatten().collect();
        let is_dialled = |link: &&Value| text(link, "direction").ends_with("OUTBOUND");
        let dialled: Vec<_> = links.iter().copied().filter(is_dialled).collect();
        let pairs = ORGANISATIONS * (ORGANISATIONS - 1) / 2;
        if is_all && links.len() == 2 * pairs && dialled.len() == pairs {
            Ok(dialled.into_iter().map(|link| text(link, "address")).collect::<Vec<_>>())
        } else {
            Err(format!("{peers:?}"))
        }
    });
    let published: BTreeSet<_> = machines.iter().map(Machine::address).collect();
    assert!(dialled.iter().all(|it| published.contains(it)), "{dialled:?} of {published:?}");
}

/// Why the script refuses.
fn refusal(machine: &Machine, arguments: &[&str]) -> String {
    let output = machine.script(arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

#[test]
fn what_others_send_is_checked_before_anything_starts() {
    let machine =
        |number| Machine::new(number, "pentad-test", 1999, &format!("203.0.113.{number}"));
    let machines: Vec<_> = (1..=ORGANISATIONS).map(machine).collect();
    let first = &machines[0];
    assert!(refusal(first, &["make", "members", ADDRESS]).contains("called members"));
    refusal(first, &["make", "org1", "[2001:db8::1]:5678"]);
    let lines: Vec<String> = machines
        .iter()
        .map(|it| {
            let made = it.script(&["make", &it.organisation, &it.port(8)]);
            assert!(made.status.success(), "{}", said(&made));
            String::from_utf8(made.stdout).expect("a line").trim_end().to_owned()
        })
        .collect();
    let [members, spec] = ["members", "chain.toml"].map(|name| first.folder().join(name));
    let send = |text: &str| fs::write(&members, text).expect("written");
    assert!(refusal(first, &["genesis"]).contains("members is missing"));
    let all = lines.join("\n");
    let unlike = "none that make prints";
    let with_end = |end: &str| all.replacen(&lines[1], &format!("{}{end}", lines[1]), 1);
    for (text, line, why) in [
        (all.replacen(&format!(" {}", machines[1].port(8)), "", 1), "line 2", unlike),
        (with_end("\"]; x = [\""), "line 2", unlike),
        (with_end(" *"), "line 2", unlike),
        (all.to_uppercase(), "line 1", unlike),
        (format!("{all}\n\n{}", lines[1]), "line 6", "org2 is in line 2 too"),
        (all.replace(&machines[1].port(8), &machines[0].port(8)), "line 2", "is in line 1 too"),
        (lines[1..].join("\n"), "own line", "must be one of those"),
    ] {
        send(&text);
        let refusal = refusal(first, &["genesis"]);
        assert!(refusal.contains(line) && refusal.contains(why), "{text}\n{refusal}");
        assert!(!spec.exists());
    }
    // As mail brings it.
    send(&format!("\r\n{}\r\n\r\n", lines.join("\r\n")));
    let made = first.script(&["genesis"]);
    assert!(made.status.success(), "{}", said(&made));
    let right = fs::read_to_string(&spec).expect("made");
    let payout = lines[1].split([':', ' ']).nth(2).expect("an address");
    let own_payout = lines[0].split([':', ' ']).nth(2).expect("an address");
    for (wrong, why) in [
        (right.replace(payout, own_payout), "differ in their validators"),
        (right.replace("\"org2\"", "\"org5\""), "differ in their validators"),
        (right.replace("\"org2\"", "\"\"\"org2\"\"\""), "none that genesis writes"),
        (right.replace("[engine.pbft]", "[engine]\npbft = {}"), "none that genesis writes"),
    ] {
        assert_ne!(wrong, right);
        fs::write(&spec, &wrong).expect("written");
        assert!(refusal(first, &["start"]).contains(why), "{wrong}");
    }
    fs::write(&spec, &right).expect("written");
    send(&lines[..3].join("\n"));
    assert!(refusal(first, &["start"]).contains(&lines[3][..70]));
}
