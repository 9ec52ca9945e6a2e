//! Somebody else's receiver of traces: rotel, an OpenTelemetry collector, which writes down what
//! it understood.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use crate::collector::{Receiver, SeenSpan};
use crate::process::{Running, free_ports};
use crate::tools::tool;
use crate::wait::wait_for;

/// One that is running.
#[derive(Debug)]
pub struct Rotel {
    port: u16,
    running: Running,
    _dir: TempDir,
}

impl Rotel {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let port = free_ports(2);
        let mut command = Command::new(agent());
        command.args(["start", "--exporter", "blackhole"]);
        command.args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"]);
        command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{port}")]);
        command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{}", port + 1)]);
        let running = Running::spawn(command, &dir.path().join("log"));
        wait_for("rotel listens", || match TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}:\n{}", running.output())),
        });
        Self { port, running, _dir: dir }
    }
}

impl Receiver for Rotel {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// It says nothing of links.
    fn spans(&self) -> Vec<SeenSpan> {
        let output = self.running.output();
        // What is after the last new line is still being written.
        let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let groups = whole.split("ResourceSpans #").skip(1);
        groups.flat_map(spans_of_group).collect()
    }
}

/// The spans of one resource: a service of a node.
fn spans_of_group(group: &str) -> Vec<SeenSpan> {
    let mut spans = group.split("\nSpan #");
    let resource = attributes(spans.next().unwrap_or_default());
    let of = |key: &str| resource.get(key).cloned().unwrap_or_default();
    let (service, instance) = (of("service.name"), of("service.instance.id"));
    let read = |text: &str| {
        // The last line of a span that every span has.
        text.contains("Status message").then(|| read(&service, &instance, text))
    };
    spans.filter_map(read).collect()
}

fn read(service: &str, instance: &str, text: &str) -> SeenSpan {
    let field = |name: &str| {
        let value = |line: &str| Some(line.trim().strip_prefix(name)?.trim_start().to_owned());
        let of = |value: String| Some(value.strip_prefix(':')?.trim().to_owned());
        let found = text.lines().filter_map(value).find_map(of);
        found.unwrap_or_else(|| panic!("rotel tells no {name}: {text}"))
    };
    let time = |name: &str| field(name).parse().unwrap_or_else(|_| panic!("{name}: {text}"));
    SeenSpan {
        service: service.to_owned(),
        instance: instance.to_owned(),
        name: field("Name"),
        trace_id: field("Trace ID"),
        span_id: field("ID"),
        parent_id: field("Parent ID"),
        links: Vec::new(),
        attributes: attributes(text),
        start: time("Start time"),
        end: time("End time"),
    }
}

/// Lines such as `-> service.name: Str(pentad-chain)`.
fn attributes(text: &str) -> BTreeMap<String, String> {
    let attribute = |line: &str| {
        let (key, value) = line.trim().strip_prefix("-> ")?.split_once(": Str(")?;
        Some((key.to_owned(), value.strip_suffix(')')?.to_owned()))
    };
    text.lines().filter_map(attribute).collect()
}

/// The wheel has the binary among its modules; which folder that is depends on Python's version.
fn agent() -> String {
    let script = "from rotel.agent import Agent; print(Agent.agent_path)";
    let output = Command::new(tool("python")).args(["-c", script]).output().expect("Python runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "rotel, which has wheels for Python 3.10 to 3.13, is missing: run `make tools`\n{error}"
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
