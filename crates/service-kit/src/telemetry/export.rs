//! Spans on their way to the collector, over OTLP. Whoever ends a span never waits: what there is
//! no room for is dropped and counted.

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::Channel;

use super::counts::{COUNTS, Dropped};
use super::{EXPORT_TIMEOUT, TARGET};

/// Spans that wait: some seconds of a busy node, some megabytes.
const QUEUE_MAX: usize = 8_192;
/// Spans of one export.
const BATCH_MAX: usize = 512;
/// How long a span waits for others to share an export with.
const DELAY: Duration = Duration::from_secs(1);
/// While the collector is away, a line says so this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// The services of a node, each with the name that its spans are exported under.
const SERVICES: [(&str, &str); 5] = [
    ("wallet", "pentad-wallet"),
    ("chain", "pentad-chain"),
    ("miner", "pentad-miner"),
    ("consensus", "pentad-consensus"),
    ("peer", "pentad-peer"),
];

/// Who exports.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The process: `pentad-node`, or a service that runs alone.
    pub(super) process: &'static str,
    /// What tells it from others of the same kind.
    pub(super) instance: String,
}

/// The way into the queue.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    flushes: mpsc::Sender<SyncSender<()>>,
}

/// Begins to export. Call it inside a tokio runtime.
pub(super) fn start(channel: Channel, origin: Origin) -> Queue {
    let (spans, waiting) = mpsc::channel(QUEUE_MAX);
    let (flushes, asked) = mpsc::channel(1);
    let exporter = Exporter {
        client: TraceServiceClient::new(channel),
        origin,
        resources: BTreeMap::new(),
        outage: None,
    };
    tokio::spawn(exporter.run(waiting, asked));
    Queue { spans, flushes }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        match self.spans.try_send(span) {
            Ok(()) => drop(COUNTS.waiting.inc()),
            Err(_) => COUNTS.on_dropped(Dropped::QueueFull, 1),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let (done, flushed) = sync_channel(1);
        let sent = self.flushes.try_send(done);
        sent.map_err(|_| OTelSdkError::AlreadyShutdown)?;
        flushed.recv_timeout(timeout).map_err(|_| OTelSdkError::Timeout(timeout))
    }
}

struct Exporter {
    client: TraceServiceClient<Channel>,
    origin: Origin,
    /// What is said of each service, by its name.
    resources: BTreeMap<&'static str, ResourceAttributesWithSchema>,
    outage: Option<Outage>,
}

/// The collector does not take spans.
struct Outage {
    told_at: Instant,
    /// Spans that were lost and not told of.
    lost: u64,
}

impl Exporter {
    /// Runs until no spans can come any more.
    async fn run(
        mut self,
        mut waiting: mpsc::Receiver<SpanData>,
        mut asked: mpsc::Receiver<SyncSender<()>>,
    ) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut due = None;
        loop {
            let room = BATCH_MAX - batch.len();
            let mut flush = None;
            tokio::select! {
                count = waiting.recv_many(&mut batch, room) => {
                    if count == 0 {
                        return;
                    }
                    due.get_or_insert_with(|| Instant::now() + DELAY);
                    if batch.len() < BATCH_MAX {
                        continue;
                    }
                }
                () = until(due) => {}
                Some(done) = asked.recv() => flush = Some(done),
            }
            due = None;
            self.export(std::mem::take(&mut batch)).await;
            if let Some(done) = flush {
                while !waiting.is_empty() {
                    waiting.recv_many(&mut batch, BATCH_MAX).await;
                    self.export(std::mem::take(&mut batch)).await;
                }
                // Whoever asked waits for so long and no longer.
                done.send(()).ok();
            }
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        COUNTS.waiting.dec_by(i64::try_from(count).unwrap_or(i64::MAX));
        if count == 0 {
            return;
        }
        let request = self.request(batch);
        let answer = match timeout(EXPORT_TIMEOUT, self.client.export(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return self.on_failure(count, status.message()),
            Err(_) => return self.on_failure(count, "no answer in time"),
        };
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        let refused = u64::try_from(refused).unwrap_or(0).min(count);
        COUNTS.exported.inc_by(count - refused);
        COUNTS.on_dropped(Dropped::Refused, refused);
        if let Some(Outage { lost, .. }) = self.outage.take() {
            tracing::info!(lost, "the collector takes spans again");
        }
    }

    fn on_failure(&mut self, count: u64, reason: &str) {
        COUNTS.on_dropped(Dropped::Unreachable, count);
        let now = Instant::now();
        let outage = self.outage.get_or_insert(Outage { told_at: now, lost: 0 });
        let is_new = outage.lost == 0;
        outage.lost += count;
        if is_new || now.duration_since(outage.told_at) >= COMPLAINT_INTERVAL {
            outage.told_at = now;
            let lost = outage.lost;
            tracing::warn!(reason, lost, "the collector takes no spans: they are dropped");
        }
    }

    fn request(&mut self, batch: Vec<SpanData>) -> ExportTraceServiceRequest {
        let mut services = BTreeMap::<&'static str, Vec<SpanData>>::new();
        for span in batch {
            services.entry(self.service_of(&span)).or_default().push(span);
        }
        let resource_spans = services.into_iter().flat_map(|(service, spans)| {
            let resource = self.resources.entry(service);
            let resource = resource.or_insert_with(|| describe(service, &self.origin));
            group_spans_by_resource_and_scope(spans, resource)
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
    }

    /// The service of this process that made a span: by the service that was called, or else by
    /// the module.
    fn service_of(&self, span: &SpanData) -> &'static str {
        let text = |key: &str| {
            let found = span.attributes.iter().find(|it| it.key.as_str() == key)?;
            match &found.value {
                Value::String(text) => Some(text.as_str()),
                _ => None,
            }
        };
        let called = text("rpc.service").and_then(|it| it.strip_prefix("pentad."));
        let module = || text(TARGET).and_then(|it| it.strip_prefix("pentad_"));
        let name = called.or_else(module).and_then(|it| it.split(['.', ':']).next());
        let found = SERVICES.iter().find(|(service, _)| name == Some(service));
        found.map_or(self.origin.process, |(_, full)| full)
    }
}

fn describe(service: &'static str, origin: &Origin) -> ResourceAttributesWithSchema {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.namespace", "pentad"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", origin.instance.clone()),
        ])
        .build();
    (&resource).into()
}

/// Waits for a time; for ever where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{
        SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
    };
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn span(key: &'static str, value: &'static str) -> SpanData {
        let (trace_id, span_id) = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([2; 8]));
        let flags = TraceFlags::SAMPLED;
        let now = SystemTime::now();
        SpanData {
            span_context: SpanContext::new(trace_id, span_id, flags, false, TraceState::NONE),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "span".into(),
            start_time: now,
            end_time: now,
            attributes: vec![KeyValue::new(key, value)],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    /// The collector takes a connection and then nothing.
    #[tokio::test]
    async fn what_waits_for_a_silent_collector_is_bounded_and_nobody_waits() {
        let (spans, waiting) = mpsc::channel(QUEUE_MAX);
        let queue = Queue { spans, flushes: mpsc::channel(1).0 };
        for _ in 0..QUEUE_MAX + 100 {
            queue.on_end(span("a", "b"));
        }
        assert_eq!(waiting.len(), QUEUE_MAX);
        assert_eq!(COUNTS.dropped(Dropped::QueueFull), 100);
    }

    #[tokio::test]
    async fn each_service_of_a_process_has_its_name() {
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let origin = Origin { process: "pentad-node", instance: "node1".to_owned() };
        let client = TraceServiceClient::new(channel);
        let exporter = Exporter { client, origin, resources: BTreeMap::new(), outage: None };
        for (key, value, service) in [
            ("rpc.service", "pentad.wallet.v1.WalletService", "pentad-wallet"),
            ("rpc.service", "grpc.health.v1.Health", "pentad-node"),
            (TARGET, "pentad_chain::writer::traced", "pentad-chain"),
            (TARGET, "pentad_consensus", "pentad-consensus"),
            (TARGET, "pentad_service_kit::stack", "pentad-node"),
            (TARGET, "h2", "pentad-node"),
            ("other", "pentad_chain", "pentad-node"),
        ] {
            assert_eq!(exporter.service_of(&span(key, value)), service, "{key} {value}");
        }
    }
}
