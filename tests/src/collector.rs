//! A receiver of traces over OTLP, for exact questions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A span as it was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSpan {
    /// The service that made it: `pentad-chain`.
    pub service: String,
    /// Which of its kind: `node1`.
    pub instance: String,
    /// What it is called.
    pub name: String,
    /// Hex.
    pub trace_id: String,
    /// Hex.
    pub span_id: String,
    /// Hex; empty for a root.
    pub parent_id: String,
    /// Traces that it is linked to, hex.
    pub links: Vec<String>,
    /// Attributes that are texts.
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
}

/// What takes spans over OTLP.
pub trait Receiver {
    /// What nodes send to.
    fn endpoint(&self) -> String;
    /// All spans so far.
    fn spans(&self) -> Vec<SeenSpan>;
}

/// Keeps all spans that it is sent.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Seen,
    _runtime: Runtime,
}

#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<SeenSpan>>>);

impl Collector {
    /// Starts one on a port of loopback that the system chooses.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start() -> Self {
        let runtime = Runtime::new().expect("threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let spans = Seen::default();
        let service = TraceServiceServer::new(spans.clone());
        let incoming = TcpListenerStream::new(listener);
        runtime.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { address, spans, _runtime: runtime }
    }
}

impl Receiver for Collector {
    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn spans(&self) -> Vec<SeenSpan> {
        self.spans.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[tonic::async_trait]
impl TraceService for Seen {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for group in request.into_inner().resource_spans {
            let resource = texts(group.resource.unwrap_or_default().attributes);
            let of = |key: &str| resource.get(key).cloned().unwrap_or_default();
            let (service, instance) = (of("service.name"), of("service.instance.id"));
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                seen.push(read(&service, &instance, span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(service: &str, instance: &str, span: Span) -> SeenSpan {
    SeenSpan {
        service: service.to_owned(),
        instance: instance.to_owned(),
        name: span.name,
        trace_id: hex::encode(span.trace_id),
        span_id: hex::encode(span.span_id),
        parent_id: hex::encode(span.parent_span_id),
        links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
        attributes: texts(span.attributes),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |it: KeyValue| match it.value?.value? {
        Value::StringValue(text) => Some((it.key, text)),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}
