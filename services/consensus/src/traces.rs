//! Trace context beside messages, so that a block is one trace over all nodes.

use http::HeaderMap;
use http::header::HeaderValue;
use pentad_service_kit::telemetry::propagation;
use tracing::Span;

/// Header of the W3C trace context.
const TRACEPARENT: &str = "traceparent";

/// A span as W3C traceparent; empty when nothing is traced.
pub(crate) fn parent(span: &Span) -> String {
    let mut headers = HeaderMap::new();
    span.in_scope(|| propagation::inject(&mut headers));
    let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    parent.unwrap_or_default().to_owned()
}

/// Makes `span` a child of the sender's. What cannot be understood is no reason to drop a message.
pub(crate) fn join(span: &Span, traceparent: &str) {
    if traceparent.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(traceparent) {
        propagation::join(
            span,
            &HeaderMap::from_iter([(http::header::HeaderName::from_static(TRACEPARENT), value)]),
        );
    }
}
