//! Traces and metrics of calls.

use pentad_service_kit::metrics::serve_page;
use pentad_service_kit::telemetry::propagation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::echo::{Echo, RELAY, SAY, TRACE, UNDECLARED, call, listen, say};
use crate::rig::{Plan, Rig, soon, until};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traced() -> Request<String> {
    let mut request = Request::new(String::new());
    let parent = format!("00-{TRACE_ID}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().expect("a header value"));
    request
}

#[tokio::test]
async fn one_trace_over_tcp_and_in_process_hops() {
    let inner = Rig::start().await;
    let over_tcp = inner.tcp().with_header_hook(propagation::inject);
    for hop in [inner.local(), over_tcp] {
        let echo = Echo { relay: Some(hop), ..Echo::new() };
        let outer = Rig::with(Plan { echo, ..Plan::default() }).await;
        // The tests' own connection passes no context on: the header is the only link.
        for connection in [outer.tcp(), outer.local()] {
            let ids = call(&connection, RELAY, traced()).await.expect("served");
            assert_eq!(ids, format!("{TRACE_ID} {TRACE_ID}"));
        }
        let fresh = say(&outer.tcp(), TRACE, "").await.expect("served");
        assert!(fresh != TRACE_ID && fresh.len() == TRACE_ID.len(), "{fresh}");
        outer.stop().await;
    }
    inner.stop().await;
}

pub async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut reply = String::new();
    soon(stream.read_to_string(&mut reply)).await.expect("text");
    reply
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_on_the_page() {
    let rig = Rig::start().await;
    say(&rig.tcp(), SAY, "").await.expect("served");
    say(&rig.local(), SAY, "").await.expect("served");
    say(&rig.stranger(), SAY, "").await.expect_err("refused");
    say(&rig.tcp(), UNDECLARED, "").await.expect_err("refused");
    say(&rig.tcp(), "/made.Up/Series", "").await.expect_err("refused");
    drop(listen(&rig.tcp()).await.expect("a stream"));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let stop = CancellationToken::new();
    let page = tokio::spawn(serve_page(listener, rig.metrics.clone(), stop.clone()));

    let cancelled = r#"pentad_rpc_handled_total{method="/test.Echo/Count",code="CANCELLED"} 1"#;
    until("the dropped stream is counted", async || {
        get(address, "/metrics").await.contains(cancelled)
    })
    .await;
    let reply = get(address, "/metrics").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    for line in [
        r#"pentad_rpc_handled_total{method="/test.Echo/Say",code="OK"} 2"#,
        r#"pentad_rpc_handled_total{method="/test.Echo/Say",code="UNAUTHENTICATED"} 1"#,
        r#"pentad_rpc_handled_total{method="undeclared",code="PERMISSION_DENIED"} 2"#,
        r#"pentad_rpc_started_total{method="/test.Echo/Say"} 3"#,
        r#"pentad_rpc_in_flight{method="/test.Echo/Say"} 0"#,
        r#"pentad_rpc_duration_seconds_count{method="/test.Echo/Say"} 3"#,
        "# UNIT pentad_rpc_duration_seconds seconds",
    ] {
        assert!(reply.contains(line), "no {line} in {reply}");
    }
    assert!(!reply.contains("made.Up"), "{reply}");
    #[cfg(target_os = "linux")]
    assert!(reply.contains("process_resident_memory_bytes "), "{reply}");

    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    assert!(get(address, "/metrics/x").await.starts_with("HTTP/1.1 404"));
    stop.cancel();
    soon(page).await.expect("no panic");
    rig.stop().await;
}
