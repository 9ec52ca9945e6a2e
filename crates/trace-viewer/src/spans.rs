use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Exported;
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status};

/// Spans that are kept; the oldest leave first. Some 50 MB, a thousand payments over four nodes.
pub const SPANS_MAX: usize = 100_000;

/// A span as it was exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
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
    /// Attributes that are texts or numbers.
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
}

/// A trace in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    trace_id: String,
    /// The name of its root; empty until that is here.
    name: String,
    spans: usize,
    /// Nanoseconds since 1970.
    start: u64,
    /// Nanoseconds since 1970.
    end: u64,
}

/// The spans that were received last; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Spans(Arc<Mutex<VecDeque<Span>>>);

impl Spans {
    /// All of them, in the order in which they came.
    #[must_use]
    pub fn all(&self) -> Vec<Span> {
        self.lock().iter().cloned().collect()
    }

    /// Those of a trace.
    pub(crate) fn of(&self, trace_id: &str) -> Vec<Span> {
        self.lock().iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }

    /// The traces, the latest first.
    pub(crate) fn traces(&self) -> Vec<Summary> {
        let mut traces = BTreeMap::<&str, Summary>::new();
        let spans = self.lock();
        for span in &*spans {
            let trace = traces.entry(&span.trace_id).or_insert_with(|| Summary {
                trace_id: span.trace_id.clone(),
                name: String::new(),
                spans: 0,
                start: span.start,
                end: span.end,
            });
            trace.spans += 1;
            trace.start = trace.start.min(span.start);
            trace.end = trace.end.max(span.end);
            if span.parent_id.is_empty() {
                trace.name.clone_from(&span.name);
            }
        }
        let mut traces: Vec<Summary> = traces.into_values().collect();
        drop(spans);
        traces.sort_unstable_by_key(|trace| std::cmp::Reverse(trace.start));
        traces
    }

    fn add(&self, span: Span) {
        let mut spans = self.lock();
        if spans.len() == SPANS_MAX {
            spans.pop_front();
        }
        spans.push_back(span);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for group in request.into_inner().resource_spans {
            let resource = attributes(group.resource.unwrap_or_default().attributes);
            let of = |key: &str| resource.get(key).cloned().unwrap_or_default();
            let (service, instance) = (of("service.name"), of("service.instance.id"));
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.add(read(&service, &instance, span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(service: &str, instance: &str, span: Exported) -> Span {
    Span {
        service: service.to_owned(),
        instance: instance.to_owned(),
        name: span.name,
        trace_id: hex::encode(span.trace_id),
        span_id: hex::encode(span.span_id),
        parent_id: hex::encode(span.parent_span_id),
        links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
        attributes: attributes(span.attributes),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |it: KeyValue| match it.value?.value? {
        Value::StringValue(text) => Some((it.key, text)),
        Value::IntValue(number) => Some((it.key, number.to_string())),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(trace: u64, name: &str, parent_id: &str, start: u64) -> Span {
        Span {
            service: "pentad-chain".to_owned(),
            instance: "node1".to_owned(),
            name: name.to_owned(),
            trace_id: format!("{trace:032x}"),
            span_id: String::new(),
            parent_id: parent_id.to_owned(),
            links: Vec::new(),
            attributes: BTreeMap::new(),
            start,
            end: start + 5,
        }
    }

    #[test]
    fn traces_are_listed_by_their_roots_the_latest_first() {
        let spans = Spans::default();
        spans.add(span(1, "below", "7", 12));
        spans.add(span(1, "root", "", 10));
        spans.add(span(2, "no root yet", "7", 30));
        let traces = spans.traces();
        let names: Vec<_> = traces.iter().map(|it| (it.name.as_str(), it.spans)).collect();
        assert_eq!(names, [("", 1), ("root", 2)]);
        assert_eq!((traces[1].start, traces[1].end), (10, 17));
        assert_eq!(spans.of(&traces[1].trace_id).len(), 2);
    }

    #[test]
    fn the_oldest_spans_leave_first() {
        let spans = Spans::default();
        for number in 0..SPANS_MAX as u64 + 3 {
            spans.add(span(number, "a", "", number));
        }
        let all = spans.all();
        assert_eq!((all.len(), all[0].start), (SPANS_MAX, 3));
    }
}
