//! Spans of sampled traces by hand: where something begins in one place and ends in another, in
//! another process, or is known only once it is over. What belongs to no sampled trace costs
//! nothing here.

use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use pentad_api::Traceparent;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::TARGET;

/// Makes the spans of this process; not set where no traces are exported.
pub(super) static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Bytes of a context in its packed form.
pub const PACKED_LEN: usize = 24;

/// A span of a sampled trace, as whoever continues it knows it: the W3C trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    span_id: SpanId,
}

impl TraceContext {
    /// The current span, if its trace is sampled.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of(&tracing::Span::current())
    }

    /// A span, if its trace is sampled.
    #[must_use]
    pub fn of(span: &tracing::Span) -> Option<Self> {
        Self::from_span_context(span.context().span().span_context())
    }

    /// A W3C traceparent (`00-<trace id>-<span id>-<flags>`, all hex) that is valid and sampled.
    #[must_use]
    pub fn from_traceparent(text: &str) -> Option<Self> {
        Self::from_parent(Traceparent::parse(text)?)
    }

    /// One that is valid and sampled.
    #[must_use]
    pub fn from_parent(parent: Traceparent) -> Option<Self> {
        let trace_id = TraceId::from_bytes(parent.trace_id);
        let span_id = SpanId::from_bytes(parent.span_id);
        let flags = TraceFlags::new(parent.flags);
        let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
        Self::from_span_context(&context)
    }

    /// As others are told of it.
    #[must_use]
    pub fn to_parent(self) -> Traceparent {
        let (trace_id, span_id) = (self.trace_id.to_bytes(), self.span_id.to_bytes());
        Traceparent { trace_id, span_id, flags: TraceFlags::SAMPLED.to_u8() }
    }

    /// Trace id and span id.
    #[must_use]
    pub fn from_packed(bytes: &[u8; PACKED_LEN]) -> Option<Self> {
        let (trace_id, span_id) = bytes.split_at(16);
        let (trace_id, span_id) = (trace_id.try_into().ok()?, span_id.try_into().ok()?);
        let flags = TraceFlags::SAMPLED.to_u8();
        Self::from_parent(Traceparent { trace_id, span_id, flags })
    }

    /// Trace id and span id.
    #[must_use]
    pub fn to_packed(self) -> [u8; PACKED_LEN] {
        let mut bytes = [0; PACKED_LEN];
        let (trace_id, span_id) = bytes.split_at_mut(16);
        trace_id.copy_from_slice(&self.trace_id.to_bytes());
        span_id.copy_from_slice(&self.span_id.to_bytes());
        bytes
    }

    /// The trace, 32 hex digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        self.trace_id.to_string()
    }

    fn from_span_context(context: &SpanContext) -> Option<Self> {
        let is_sampled = context.is_valid() && context.is_sampled();
        is_sampled.then(|| Self { trace_id: context.trace_id(), span_id: context.span_id() })
    }

    fn to_span_context(self) -> SpanContext {
        let Self { trace_id, span_id } = self;
        SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::NONE)
    }

    /// Makes `span`, which has not begun yet, one below this one.
    pub fn adopt(self, span: &tracing::Span) {
        let parent = Context::new().with_remote_span_context(self.to_span_context());
        if span.set_parent(parent).is_err() {
            // No trace is recorded in this process (or the level hides this span).
            tracing::trace!("the trace ends here");
        }
    }

    /// Begins a span below this one, now. `target` is the module that does.
    pub fn begin(self, target: &'static str, name: &'static str) -> RecordedSpan {
        self.begin_at(target, name, SystemTime::now(), &[])
    }

    /// Begins a span below this one that began at `start`, linked to others.
    pub(super) fn begin_at(
        self,
        target: &'static str,
        name: &'static str,
        start: SystemTime,
        links: &[Self],
    ) -> RecordedSpan {
        let Some(tracer) = TRACER.get() else {
            return RecordedSpan { context: self, span: None };
        };
        let links = links.iter().map(|link| Link::new(link.to_span_context(), Vec::new(), 0));
        let builder = tracer
            .span_builder(name)
            .with_start_time(start)
            .with_links(links.collect())
            .with_attributes([KeyValue::new(TARGET, target)]);
        let parent = Context::new().with_remote_span_context(self.to_span_context());
        let span = builder.start_with_context(tracer, &parent);
        let context = Self::from_span_context(span.span_context()).unwrap_or(self);
        RecordedSpan { context, span: Some(Box::new(span)) }
    }

    /// Records a span below this one that is over.
    pub fn record(
        self,
        target: &'static str,
        name: &'static str,
        start: SystemTime,
        end: SystemTime,
    ) {
        self.begin_at(target, name, start, &[]).end_at(end);
    }
}

/// As W3C traceparent.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_parent().fmt(f)
    }
}

/// A span that is under way. It ends when it is dropped, or at a time that is said.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct RecordedSpan {
    context: TraceContext,
    /// `None` where no traces are exported: then others continue its parent. Boxed: most of what
    /// has room for a span has none.
    span: Option<Box<Span>>,
}

impl RecordedSpan {
    /// For whoever continues it.
    #[must_use]
    pub const fn context(&self) -> TraceContext {
        self.context
    }

    /// Says more about it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Ends it at a time.
    pub fn end_at(mut self, end: SystemTime) {
        if let Some(span) = &mut self.span {
            span.end_with_timestamp(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_survives_both_encodings() {
        let context = TraceContext::from_traceparent(PARENT).expect("valid");
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(TraceContext::from_packed(&context.to_packed()), Some(context));
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        // Other flags, and what a later version adds, are no reason to lose the trace.
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-more";
        assert_eq!(TraceContext::from_traceparent(later), Some(context));
    }

    #[test]
    fn what_is_invalid_or_not_sampled_is_no_context() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::from_traceparent(bad), None, "{bad:?}");
        }
        assert_eq!(TraceContext::from_packed(&[0; PACKED_LEN]), None);
    }

    #[test]
    fn without_an_exporter_others_continue_the_parent() {
        let context = TraceContext::from_traceparent(PARENT).expect("valid");
        assert_eq!(context.begin("test", "nothing").context(), context);
    }
}
