//! A real process: exit codes, signals, ports.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use http_body_util::BodyExt as _;
use pentad_api::Connection;
use pentad_trust::Role;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::load::is_closed;
use crate::observe::get;
use crate::rig::{soon, until};
use crate::trust::Organisation;

/// The example stands beside the tests' own directory.
fn minimal() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.ancestors().nth(2).expect("a target directory").join("examples/minimal")
}

fn command(dir: &TempDir, settings: &[&str]) -> Command {
    let mut command = Command::new(minimal());
    command.arg("--data").arg(dir.path().join("data"));
    for setting in ["server.grpc=127.0.0.1:0"].iter().chain(settings) {
        command.arg("--set").arg(setting);
    }
    command.stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs to the end; the exit code and what it said.
async fn end_of(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.spawn().expect("the example is built");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    soon(stderr.read_to_string(&mut said)).await.expect("text");
    (soon(child.wait()).await.expect("ended").code(), said)
}

struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    grpc: SocketAddr,
    metrics: SocketAddr,
}

impl Running {
    async fn start(dir: &TempDir, settings: &[&str]) -> Self {
        let json = ["telemetry.format=json"];
        let settings: Vec<&str> = json.iter().chain(settings).copied().collect();
        let mut child = command(dir, &settings).spawn().expect("the example is built");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let line = next_with(&mut log, "\"listening\"").await;
        let address = |key: &str| -> SocketAddr {
            let rest = line.split(&format!("\"{key}\":\"")).nth(1);
            let text = rest.and_then(|rest| rest.split('"').next());
            text.expect("an address").parse().expect("an address")
        };
        let (grpc, metrics) = (address("grpc"), address("metrics"));
        Self { child, log, grpc, metrics }
    }

    fn pid(&self) -> String {
        self.child.id().expect("running").to_string()
    }

    async fn signal(&self, name: &str) {
        signal(&self.pid(), name).await;
    }

    async fn end(mut self) -> ExitStatus {
        soon(self.child.wait()).await.expect("ended")
    }
}

/// `kill` of the system: a signal without unsafe code.
async fn signal(pid: &str, name: &str) {
    let sent = Command::new("kill").args(["-s", name, pid]).status().await.expect("kill");
    assert!(sent.success());
}

async fn next_with(log: &mut Lines<BufReader<ChildStderr>>, text: &str) -> String {
    soon(async {
        loop {
            let line = log.next_line().await.expect("text").expect("the log goes on");
            if line.contains(text) {
                return line;
            }
        }
    })
    .await
}

#[tokio::test]
async fn wrong_configuration_exits_with_2() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (setting, said) in [
        ("server.typo=1", "unknown field `typo`"),
        ("server.grpc=0.0.0.0:0", "insecure_listen"),
        ("telemetry.log=a=b=c", "telemetry.log"),
        ("nonsense", "KEY=VALUE"),
    ] {
        let (code, text) = end_of(command(&dir, &[setting])).await;
        assert_eq!(code, Some(2), "{setting}: {text}");
        assert!(text.contains(said), "{setting}: {text}");
    }
    assert!(!dir.path().join("data").exists(), "nothing is touched");
}

#[tokio::test]
async fn limits_of_the_configuration_hold() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let limit = "server.limits.connections_per_address_max=1";
    let running = Running::start(&dir, &[limit]).await;
    let _first = TcpStream::connect(running.grpc).await.expect("room for one");
    let mut second = TcpStream::connect(running.grpc).await.expect("the system's own queue");
    assert!(is_closed(&mut second).await);
}

#[tokio::test]
async fn a_port_in_use_exits_with_1_and_names_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let taken = StdListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let grpc = format!("server.grpc={address}");
    let (code, text) = end_of(command(&dir, &[&grpc, "server.metrics=127.0.0.1:0"])).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&address.to_string()) && text.contains("in use"), "{text}");
}

#[tokio::test]
async fn sigterm_and_sigint_end_a_service_cleanly() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut service = Running::start(&dir, &[]).await;
        let connection = Connection::lazy(&format!("http://{}", service.grpc)).expect("valid");
        let whole = HealthCheckRequest { service: String::new() };
        HealthClient::new(connection).check(whole).await.expect("served");
        assert!(dir.path().join("data/cookie").exists());
        service.signal(signal).await;
        next_with(&mut service.log, "\"stopped\"").await;
        assert_eq!(service.end().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut service = Running::start(&dir, &["server.drain_ms_max=600000"]).await;
    // A client that says hello and then nothing, so that it never says goodbye either.
    let mut stubborn = TcpStream::connect(service.grpc).await.expect("accepted");
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stubborn.write_all(hello).await.expect("sent");
    soon(stubborn.read_exact(&mut [0; 9])).await.expect("the server's settings");
    service.signal("TERM").await;
    next_with(&mut service.log, "shutting down").await;
    service.signal("TERM").await;
    next_with(&mut service.log, "ending at once").await;
    assert_eq!(service.end().await.code(), Some(130));
}

/// The exit code of `--health` or another question to whoever listens on `grpc`.
async fn health(dir: &TempDir, question: &str, grpc: SocketAddr) -> (Option<i32>, String) {
    let mut asking = Command::new(minimal());
    asking.arg(question).arg("--data").arg(dir.path().join("data"));
    // As in a container: where it listens stands in the environment.
    asking.env("PENTAD_SERVER__GRPC", grpc.to_string());
    asking.stderr(Stdio::piped()).kill_on_drop(true);
    end_of(asking).await
}

#[tokio::test]
async fn a_service_is_asked_for_its_health_by_its_own_binary() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let service = Running::start(&dir, &[]).await;
    let grpc = service.grpc;
    // It listens a moment before its probes have told that it serves.
    until("it serves", async || health(&dir, "--health", grpc).await.0 == Some(0)).await;
    for question in ["--health", "--health=serving", "--health=answering"] {
        assert_eq!(health(&dir, question, grpc).await, (Some(0), String::new()), "{question}");
    }
    service.signal("TERM").await;
    assert_eq!(service.end().await.code(), Some(0));
    let (code, text) = health(&dir, "--health", grpc).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&grpc.to_string()), "{text}");
}

#[tokio::test]
async fn a_service_that_does_not_serve_answers_all_the_same() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let grpc = listener.local_addr().expect("bound");
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );
    let (code, text) = health(&dir, "--health", grpc).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not serving"), "{text}");
    assert_eq!(health(&dir, "--health=answering", grpc).await, (Some(0), String::new()));
}

/// Attack 56, at the most talkative level there is.
#[tokio::test]
async fn the_cookie_is_in_no_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut service = Running::start(&dir, &["telemetry.log=trace"]).await;
    let cookie = std::fs::read_to_string(dir.path().join("data/cookie")).expect("made");
    let connection = Connection::lazy(&format!("http://{}", service.grpc))
        .and_then(|connection| connection.with_credential(cookie.trim()))
        .expect("valid");
    // Read as it comes: a full pipe would stop the service.
    let (pid, mut log) = (service.pid(), service.log);
    let said = tokio::spawn(async move {
        let mut said = Vec::new();
        while let Some(line) = log.next_line().await.expect("text") {
            said.push(line);
        }
        said
    });
    for (name, code) in [("", Code::Ok), ("no.Such", Code::NotFound)] {
        let request = HealthCheckRequest { service: name.to_owned() };
        let checked = HealthClient::new(connection.clone()).check(request).await;
        assert_eq!(checked.map_or_else(|status| status.code(), |_| Code::Ok), code);
    }
    signal(&pid, "TERM").await;
    let said = soon(said).await.expect("no panic");
    assert!(said.iter().any(|line| line.contains("\"TRACE\"")), "it is talkative");
    let leak = said.iter().find(|line| line.contains(cookie.trim()));
    assert_eq!(leak, None);
    assert_eq!(soon(service.child.wait()).await.expect("ended").code(), Some(0));
}

/// Takes whatever is exported, and keeps the bytes.
async fn collector() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let sender = sender.clone();
        async move {
            let export = request.into_body().collect().await.expect("a body").to_bytes();
            // The test may be over.
            sender.send(export.to_vec()).ok();
            Ok::<http::Response<Body>, Infallible>(Status::ok("").into_http())
        }
    });
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(service, incoming));
    (address, receiver)
}

#[tokio::test]
async fn spans_reach_the_collector_before_the_exit() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (address, mut exports) = collector().await;
    let endpoint = format!("telemetry.otlp_endpoint=http://{address}");
    let all = "telemetry.sample_ratio=1.0";
    let service = Running::start(&dir, &[&endpoint, all, "telemetry.instance=this-one"]).await;
    let connection = Connection::lazy(&format!("http://{}", service.grpc)).expect("valid");
    let whole = HealthCheckRequest { service: String::new() };
    HealthClient::new(connection).check(whole).await.expect("served");
    service.signal("TERM").await;
    assert_eq!(service.end().await.code(), Some(0));
    let export = soon(exports.recv()).await.expect("an export");
    let text = String::from_utf8_lossy(&export);
    assert!(text.contains("minimal") && text.contains("this-one"), "the service's name");
    assert!(text.contains("grpc.health.v1.Health/Check"), "the span's name");
}

/// Where nothing is sampled here, a caller's word decides, both ways.
#[tokio::test]
async fn whoever_began_a_trace_decides_whether_it_is_sampled() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (address, mut exports) = collector().await;
    let endpoint = format!("telemetry.otlp_endpoint=http://{address}");
    let service = Running::start(&dir, &[&endpoint, "telemetry.sample_ratio=0.0"]).await;
    let connection = Connection::lazy(&format!("http://{}", service.grpc)).expect("valid");
    let [sampled, unsampled] =
        ["4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"];
    let parents = [None, Some((unsampled, "00")), Some((sampled, "01"))];
    for parent in parents {
        let mut request = tonic::Request::new(HealthCheckRequest { service: String::new() });
        if let Some((trace, flags)) = parent {
            let parent = format!("00-{trace}-00f067aa0ba902b7-{flags}");
            request.metadata_mut().insert("traceparent", parent.parse().expect("a header value"));
        }
        HealthClient::new(connection.clone()).check(request).await.expect("served");
    }
    service.signal("TERM").await;
    assert_eq!(service.end().await.code(), Some(0));
    let export = soon(exports.recv()).await.expect("an export");
    let has = |id: &str| {
        let id = hex::decode(id).expect("hex");
        export.windows(id.len()).any(|window| window == id)
    };
    assert!(has(sampled) && !has(unsampled));
    let text = String::from_utf8_lossy(&export);
    assert_eq!(text.matches("grpc.health.v1.Health/Check").count(), 1, "one span");
}

#[tokio::test]
async fn a_collector_that_is_away_disturbs_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let away = StdListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", away.local_addr().expect("bound"));
    drop(away);
    let setting = format!("telemetry.otlp_endpoint={endpoint}");
    let mut service = Running::start(&dir, &[&setting, "telemetry.sample_ratio=1.0"]).await;
    let connection = Connection::lazy(&format!("http://{}", service.grpc)).expect("valid");
    let call = async || {
        let whole = HealthCheckRequest { service: String::new() };
        HealthClient::new(connection.clone()).check(whole).await.expect("served");
    };
    call().await;
    let told = next_with(&mut service.log, "the collector takes no spans").await;
    assert!(told.contains("\"lost\":1"), "{told}");
    let dropped = r#"pentad_telemetry_spans_dropped_total{reason="unreachable"} "#;
    let lost = async || {
        let page = get(service.metrics, "/metrics").await;
        let line = page.lines().find_map(|line| line.strip_prefix(dropped));
        line.expect("it is counted").parse::<u64>().expect("a number")
    };
    for so_far in 1..=3 {
        until("the span is counted as lost", async || lost().await >= so_far).await;
        call().await;
    }
    service.signal("TERM").await;
    let mut said = Vec::new();
    while let Some(line) = soon(service.log.next_line()).await.expect("text") {
        said.push(line);
    }
    assert!(said.iter().any(|line| line.contains("\"stopped\"")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("takes no spans")), "said once: {said:?}");
    assert_eq!(soon(service.child.wait()).await.expect("ended").code(), Some(0));
}

#[tokio::test]
async fn a_service_under_tls_is_asked_for_its_health_over_tls() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let acme = Organisation::new("acme");
    let files = acme.member(Role::Chain);
    let names = ["certificate", "key", "authority"];
    let files = [files.certificate, files.key, files.authority].map(|file| file.expect("named"));
    let files = names.into_iter().zip(&files);
    let settings: Vec<String> =
        files.map(|(name, file)| format!("tls.{name}={}", file.display())).collect();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let service = Running::start(&dir, &settings).await;
    let grpc = format!("server.grpc={}", service.grpc);
    let asked = async |settings: &[&str]| {
        let mut asking = command(&dir, &[&[grpc.as_str()], settings].concat());
        asking.arg("--health");
        end_of(asking).await
    };
    assert_eq!(asked(&settings).await, (Some(0), String::new()));
    let (code, text) = asked(&[]).await;
    assert_eq!(code, Some(1), "in the clear: {text}");
    service.signal("TERM").await;
    assert_eq!(service.end().await.code(), Some(0));
}
