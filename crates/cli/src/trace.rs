//! This command as the root of a trace.
//!
//! Where `PENTAD_TELEMETRY__OTLP_ENDPOINT`, which nodes read as well, names a collector, a command
//! is a span, sampled always, and what the nodes do for it is below it. `TRACEPARENT` names the
//! span above it; without a collector it is passed on as it is.

use std::env;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ArgMatches;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use pentad_api::{Connection, Traceparent};
use tonic::transport::Endpoint;

use crate::console::Console;
use crate::fault::Fault;

const ENDPOINT: &str = "PENTAD_TELEMETRY__OTLP_ENDPOINT";
const PARENT: &str = "TRACEPARENT";
/// Header of the W3C trace context.
const HEADER: &str = "traceparent";
/// The flag of a trace that is sampled.
const SAMPLED: u8 = 1;
/// A collector that takes longer is not waited for.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(1);

static TRACE: OnceLock<Trace> = OnceLock::new();

/// What this command tells nodes.
#[derive(Debug)]
struct Trace {
    context: Traceparent,
    own: Option<Own>,
}

/// This command's span.
#[derive(Debug)]
struct Own {
    endpoint: String,
    span: Span,
}

/// Begins the trace of this command, if anybody wants it.
pub fn begin(matches: &ArgMatches) {
    let parent = env::var(PARENT).ok().and_then(|parent| Traceparent::parse(&parent));
    let own = env::var(ENDPOINT).ok().and_then(|endpoint| {
        let context = own_context(parent)?;
        let span = own_span(name(matches), context, parent);
        Some((context, Own { endpoint, span }))
    });
    let (context, own) = own.unzip();
    if let Some(context) = context.or(parent) {
        // It is begun once.
        TRACE.set(Trace { context, own }).ok();
    }
}

/// Tells whoever is called over `connection` which trace the call belongs to.
pub fn over(connection: Connection) -> Connection {
    match TRACE.get().and_then(|trace| trace.context.to_string().parse().ok()) {
        Some(context) => connection.with_header_hook(move |headers| {
            let context: &tonic::codegen::http::HeaderValue = &context;
            headers.insert(HEADER, context.clone());
        }),
        None => connection,
    }
}

/// Tells the collector of this command, if it began a trace.
pub async fn end(console: Console, done: &Result<(), Fault>) {
    let Some(Own { endpoint, span }) = TRACE.get().and_then(|trace| trace.own.as_ref()) else {
        return;
    };
    let code = if done.is_ok() { StatusCode::Unset } else { StatusCode::Error };
    let status = Some(Status { code: code.into(), ..Status::default() });
    let span = Span { end_time_unix_nano: now(), status, ..span.clone() };
    if let Err(problem) = export(endpoint, span).await {
        let fault = Fault::refused(format!("the collector at {endpoint} took no trace: {problem}"));
        console.warn(&fault.with_hint(format!("unset {ENDPOINT} to trace nothing")));
    }
}

async fn export(endpoint: &str, span: Span) -> Result<(), String> {
    let collector = Endpoint::from_shared(endpoint.to_owned()).map_err(|it| it.to_string())?;
    let collector = collector.connect_timeout(EXPORT_TIMEOUT).connect_lazy();
    let name = AnyValue { value: Some(Value::StringValue("pentad".to_owned())) };
    let key = "service.name".to_owned();
    let name = KeyValue { key, value: Some(name), ..KeyValue::default() };
    let resource = Some(Resource { attributes: vec![name], ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans] };
    let mut client = TraceServiceClient::new(collector);
    match tokio::time::timeout(EXPORT_TIMEOUT, client.export(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// A new span of the parent's trace, or else of a new one; `None` without entropy.
fn own_context(parent: Option<Traceparent>) -> Option<Traceparent> {
    let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
    getrandom::fill(&mut trace_id).ok()?;
    getrandom::fill(&mut span_id).ok()?;
    let trace_id = parent.map_or(trace_id, |parent| parent.trace_id);
    Some(Traceparent { trace_id, span_id, flags: SAMPLED })
}

/// A span that begins now.
fn own_span(name: String, context: Traceparent, parent: Option<Traceparent>) -> Span {
    Span {
        trace_id: context.trace_id.to_vec(),
        span_id: context.span_id.to_vec(),
        parent_span_id: parent.map(|parent| parent.span_id.to_vec()).unwrap_or_default(),
        name,
        kind: SpanKind::Client.into(),
        start_time_unix_nano: now(),
        flags: SAMPLED.into(),
        ..Span::default()
    }
}

/// `pentad send`, `pentad chain get-info`.
fn name(matches: &ArgMatches) -> String {
    let mut name = "pentad".to_owned();
    let mut matches = matches;
    while let Some((verb, below)) = matches.subcommand() {
        name.push(' ');
        name.push_str(verb);
        matches = below;
    }
    name
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_command_stands_below_the_span_that_is_named() {
        let parent = Traceparent::parse(PARENT).expect("one");
        let context = own_context(Some(parent)).expect("entropy");
        let span = own_span("pentad send".to_owned(), context, Some(parent));
        assert_eq!(hex::encode(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex::encode(&span.parent_span_id), "b7ad6b7169203331");
        assert_eq!(span.span_id, context.span_id);
        let root = own_context(None).expect("entropy");
        assert_ne!(root.trace_id, context.trace_id);
        assert!(own_span("pentad send".to_owned(), root, None).parent_span_id.is_empty());
    }

    #[test]
    fn nonsense_is_no_parent() {
        for bad in [
            "",
            "00-0af7-b7ad-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            assert_eq!(Traceparent::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_span_is_called_as_the_command() {
        for line in ["pentad chain get-supply", "pentad devnet status"] {
            let matches = crate::command().try_get_matches_from(line.split(' '));
            assert_eq!(name(&matches.expect("valid")), line);
        }
    }
}
