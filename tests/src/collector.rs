//! Receivers of traces over OTLP.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
pub use pentad_trace_viewer::Span as SeenSpan;
use pentad_trace_viewer::Spans;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// What takes spans over OTLP.
pub trait Receiver {
    /// What nodes send to.
    fn endpoint(&self) -> String;
    /// All spans so far.
    fn spans(&self) -> Vec<SeenSpan>;
}

/// The project's own, within the test.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    _runtime: Runtime,
}

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
        let spans = Spans::default();
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
        self.spans.all()
    }
}
