//! The page shows what was exported.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService as _;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use pentad_trace_viewer::{Spans, serve_page};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn exported() -> ExportTraceServiceRequest {
    let span = |id: u8, parent: &[u8], name: &str| Span {
        trace_id: vec![7; 16],
        span_id: vec![id; 8],
        parent_span_id: parent.to_vec(),
        name: name.to_owned(),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 3_000,
        attributes: vec![text("outcome", "<script>")],
        ..Span::default()
    };
    let spans = vec![span(1, &[], "pentad send"), span(2, &[1; 8], "chain.admit")];
    let resource = Resource {
        attributes: vec![text("service.name", "pentad-chain"), text("service.instance.id", "n1")],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let group = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("text");
    reply
}

#[tokio::test]
async fn the_page_shows_what_was_exported() {
    let spans = Spans::default();
    spans.export(tonic::Request::new(exported())).await.expect("taken");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(serve_page(listener, spans));

    let page = get(address, "/").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<!doctype html>"), "{page}");
    let list = get(address, "/traces").await;
    let id = "07".repeat(16);
    let (_, body) = list.split_once("\r\n\r\n").expect("a body");
    let list: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(list[0]["trace_id"], id);
    assert_eq!(
        (list[0]["name"].as_str(), list[0]["spans"].as_u64()),
        (Some("pentad send"), Some(2))
    );
    let trace = get(address, &format!("/traces/{id}")).await;
    for part in ["\"instance\":\"n1\"", "\"name\":\"chain.admit\"", "\"parent_id\":\"01010101"] {
        assert!(trace.contains(part), "{part}: {trace}");
    }
    // Whatever a name or an attribute holds, a browser does not take it for a page.
    assert!(trace.contains("content-type: application/json"), "{trace}");
    assert!(get(address, "/traces/none").await.ends_with("[]"));
    assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));
}
