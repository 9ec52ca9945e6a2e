//! A network of containers that goes down with its handle.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pentad_tests::{Reply, binary, free_ports, pentad_with, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// Organisations of a network.
pub const ORGANISATIONS: usize = 4;
/// Ports of the host that a network may need: ten for each organisation, from the next ten on.
const PORTS: u16 = 60;

/// Four organisations, made and started as an operator does it.
#[derive(Debug)]
pub struct Network {
    dir: TempDir,
    name: String,
    ports: u16,
    profiles: &'static str,
}

impl Network {
    /// A network whose services all serve.
    ///
    /// # Panics
    /// When there is no Docker, or it does not come up.
    #[must_use]
    pub fn up(engine: &str) -> Self {
        Self::up_with(engine, "")
    }

    /// With more profiles, as `NETWORK_PROFILES` has them.
    ///
    /// # Panics
    /// As [`Network::up`].
    #[must_use]
    pub fn up_with(engine: &str, profiles: &'static str) -> Self {
        let mut network = Self::planned();
        network.profiles = profiles;
        network.script(&["up", engine]);
        network
    }

    /// A place for a network, and a name and ports of its own.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn planned() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let ports = free_ports(PORTS);
        // The ports are ours alone, and so is a name with them.
        let name = format!("pentad-test-{}-{ports}", std::process::id());
        Self { dir, name, ports, profiles: "" }
    }

    /// Runs `deploy/compose/network`; what it wrote.
    ///
    /// # Panics
    /// When it fails.
    pub fn script(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("a script that runs");
        let said = said(&output);
        assert!(output.status.success(), "network {arguments:?}: {said}");
        said
    }

    /// `deploy/compose/network` with these arguments, for this network.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose/network");
        let mut command = Command::new(script);
        command.args(arguments).envs(self.variables()).env("PENTAD", binary("pentad"));
        command.env("NETWORK_PROFILES", self.profiles);
        command
    }

    /// What tells the script where the network is.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("NETWORK_DIR", self.folder().display().to_string()),
            ("NETWORK_NAME", self.name.clone()),
            ("NETWORK_PORTS", (self.ports / 10 + 1).to_string()),
        ]
    }

    /// Where the network's files are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("network")
    }

    /// Name of the network that the organisations share.
    #[must_use]
    pub fn consortium(&self) -> &str {
        &self.name
    }

    /// Name of an organisation's own network.
    #[must_use]
    pub fn own(&self, organisation: usize) -> String {
        format!("{}_node", self.project(organisation))
    }

    fn project(&self, organisation: usize) -> String {
        format!("{}-org{organisation}", self.name)
    }

    /// Runs `pentad` on an organisation's node with JSON output.
    pub fn on(&self, organisation: usize, arguments: &[&str]) -> Reply {
        self.on_with(organisation, &[], arguments)
    }

    /// The same with more variables.
    pub fn on_with(
        &self,
        organisation: usize,
        variables: &[(&str, String)],
        arguments: &[&str],
    ) -> Reply {
        let context = format!("org{organisation}");
        let contexts = self.folder().join("contexts.toml").display().to_string();
        let variables = [&[("PENTAD_CONTEXTS", contexts)], variables].concat();
        pentad_with(&variables, &[&["--context", &context], arguments].concat())
    }

    /// The container of a service, running or not.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[must_use]
    pub fn container(&self, organisation: usize, service: &str) -> String {
        container(&self.project(organisation), service)
    }

    /// A service's address on the host.
    ///
    /// # Panics
    /// When there is no such service.
    #[must_use]
    pub fn address(&self, organisation: usize, service: &str) -> String {
        let services = ["wallet", "chain", "miner", "consensus", "peer"];
        let digit = 1 + services.iter().position(|it| *it == service).expect("a service");
        self.port(organisation, digit)
    }

    /// Where the host reaches an organisation's Prometheus.
    #[must_use]
    pub fn prometheus(&self, organisation: usize) -> String {
        self.port(organisation, 0)
    }

    /// Where the viewer of traces shows them, and where it takes spans.
    #[must_use]
    pub fn viewer(&self) -> [String; 2] {
        [6, 7].map(|digit| self.port(0, digit))
    }

    fn port(&self, organisation: usize, digit: usize) -> String {
        format!("127.0.0.1:{}{digit}", usize::from(self.ports / 10 + 1) + organisation)
    }

    /// What a service has logged so far.
    #[must_use]
    pub fn log(&self, organisation: usize, service: &str) -> String {
        docker_says(&["logs", &self.container(organisation, service)])
    }

    /// Height of an organisation's last final block; none while its chain does not answer.
    #[must_use]
    pub fn final_height(&self, organisation: usize) -> Option<u64> {
        let reply = self.on(organisation, &["chain", "get-info"]);
        reply.json["finalHeight"].as_u64()
    }

    /// Hashes of an organisation's main chain, from genesis on.
    ///
    /// # Panics
    /// When its chain does not answer.
    #[must_use]
    pub fn chain(&self, organisation: usize) -> Vec<String> {
        let reply = self.on(organisation, &["chain", "stream-headers", "--from-height", "0"]);
        assert_eq!(reply.code, 0, "{}", reply.stderr);
        let messages = serde_json::Deserializer::from_str(&reply.stdout).into_iter::<Value>();
        let lists = messages.map(|message| message.expect("a message in JSON")["headers"].take());
        let headers = lists.filter_map(|list| list.as_array().cloned()).flatten();
        headers.map(|header| text(&header, "hash")).collect()
    }

    /// Waits until all organisations have one tip; their chain.
    ///
    /// # Panics
    /// When they do not converge.
    pub fn converge(&self) -> Vec<String> {
        wait_for("the organisations converge", || {
            let tips: Vec<Value> = (1..=ORGANISATIONS)
                .map(|organisation| {
                    self.on(organisation, &["chain", "get-info"]).json["tip"].take()
                })
                .collect();
            let is_one = tips.iter().all(|tip| tip.is_string() && *tip == tips[0]);
            if is_one { Ok(()) } else { Err(format!("{tips:?}")) }
        });
        let chain = self.chain(1);
        for organisation in 2..=ORGANISATIONS {
            assert_eq!(self.chain(organisation), chain, "org{organisation}");
        }
        chain
    }

    /// A new wallet on an organisation's node: its address.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn create_wallet(&self, organisation: usize, name: &str) -> String {
        text(&self.on(organisation, &["createwallet", name]).success(), "address")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let is_failing = std::thread::panicking();
        if is_failing {
            (1..=ORGANISATIONS).for_each(|organisation| print_logs(&self.project(organisation)));
        }
        let output = self.command(&["down"]).output().expect("a script that runs");
        if is_failing {
            eprintln!("{}", said(&output));
            return;
        }
        assert!(output.status.success(), "network down: {}", said(&output));
        assert_gone(&self.name);
    }
}

/// Nothing of Docker's is left that has this in its name.
///
/// # Panics
/// When something is.
pub fn assert_gone(name: &str) {
    let name = format!("name={name}");
    for kind in ["container", "network", "volume"] {
        let left = docker(&[kind, "ls", "--quiet", "--filter", &name]);
        assert_eq!(left, "", "a {kind} is left");
    }
}

/// The container of a project's service, running or not.
///
/// # Panics
/// When there is not exactly one.
#[must_use]
pub fn container(project: &str, service: &str) -> String {
    let found = docker(&list(project, service));
    assert_eq!(found.lines().count(), 1, "{project} {service}: {found:?}");
    found
}

/// What lists the containers of a project's service.
fn list(project: &str, service: &str) -> Vec<String> {
    let labels = [("project", project), ("service", service)];
    let filters =
        labels.map(|(label, it)| format!("--filter=label=com.docker.compose.{label}={it}"));
    [vec!["ps".to_owned(), "--all".to_owned(), "--quiet".to_owned()], filters.to_vec()].concat()
}

/// Prints what a project's services logged last.
pub fn print_logs(project: &str) {
    for service in ["chain", "wallet", "miner", "consensus", "follower", "peer"] {
        let id = docker_says(&list(project, service));
        let id = id.trim();
        if !id.is_empty() {
            let log = docker_says(&["logs", "--tail", "20", id]);
            eprintln!("--- log of {service} of {project}\n{log}");
        }
    }
}

/// Runs `docker`; what it wrote.
///
/// # Panics
/// When it fails.
pub fn docker<A: AsRef<OsStr> + Debug>(arguments: &[A]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker is installed");
    assert!(output.status.success(), "docker {arguments:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The same when it may fail.
pub fn docker_says<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    let output = Command::new("docker").args(arguments).output();
    output.map_or_else(|error| error.to_string(), |output| said(&output))
}

/// Both streams.
#[must_use]
pub fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}{err}")
}

/// The text at `key`.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn text(json: &Value, key: &str) -> String {
    json[key].as_str().unwrap_or_else(|| panic!("no {key} in {json}")).to_owned()
}
