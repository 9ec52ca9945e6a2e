//! Trace context beside the payload of a frame, so that a transaction is one trace over all nodes.

use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderValue;
use pentad_api::encoding;
use pentad_api::wire::v1::TraceContext;
use pentad_service_kit::telemetry::propagation;
use tracing::Span;

/// Header of the W3C trace context: `00-<trace id>-<span id>-<flags>`, all hex.
const TRACEPARENT: &str = "traceparent";

/// The current span for a frame; empty when nothing is traced.
pub(crate) fn current() -> Bytes {
    from_parent(&current_parent())
}

/// Makes `span` a child of the sender's. What cannot be understood is no reason to drop a message.
pub(crate) fn join(span: &Span, context: Bytes) {
    let message: Option<TraceContext> = encoding::decode(context).ok();
    let Some(parent) = message.as_ref().and_then(to_header) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, parent);
    propagation::join(span, &headers);
}

/// The current span as W3C traceparent; empty when nothing is traced.
pub(crate) fn current_parent() -> String {
    let mut headers = HeaderMap::new();
    propagation::inject(&mut headers);
    let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    parent.unwrap_or_default().to_owned()
}

/// The context for a frame from a W3C traceparent; empty if that is no valid one.
pub(crate) fn from_parent(parent: &str) -> Bytes {
    to_message(parent).map(|message| encoding::encode(&message)).unwrap_or_default()
}

/// The W3C traceparent of a frame's context; empty if that is no valid one.
pub(crate) fn to_parent(context: Bytes) -> String {
    let message: Option<TraceContext> = encoding::decode(context).ok();
    let parent = message.as_ref().and_then(to_header);
    parent.as_ref().and_then(|parent| parent.to_str().ok()).unwrap_or_default().to_owned()
}

fn to_message(parent: &str) -> Option<TraceContext> {
    let mut parts = parent.split('-').skip(1);
    let trace_id = hex::decode(parts.next()?).ok().filter(|id| id.len() == 16)?;
    let span_id = hex::decode(parts.next()?).ok().filter(|id| id.len() == 8)?;
    let flags = u32::from_str_radix(parts.next()?, 16).ok()?;
    Some(TraceContext { trace_id: trace_id.into(), span_id: span_id.into(), flags })
}

fn to_header(message: &TraceContext) -> Option<HeaderValue> {
    let flags = u8::try_from(message.flags).ok()?;
    if message.trace_id.len() != 16 || message.span_id.len() != 8 {
        return None;
    }
    let (trace_id, span_id) = (hex::encode(&message.trace_id), hex::encode(&message.span_id));
    HeaderValue::try_from(format!("00-{trace_id}-{span_id}-{flags:02x}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_the_wire() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let message = to_message(parent).expect("valid");
        assert_eq!(to_header(&message).expect("valid"), parent);
        for bad in ["", "00", "00-zz-b7ad6b7169203331-01", "00-0af7-b7ad-01-x"] {
            assert!(to_message(bad).as_ref().and_then(to_header).is_none(), "{bad:?}");
        }
    }
}
