//! Trace context beside the payload of a frame, so that a transaction is one trace over all nodes.

use bytes::Bytes;
use pentad_api::encoding;
use pentad_api::wire::v1 as proto;
use pentad_service_kit::telemetry::TraceContext;

/// The current span for a frame; empty unless its trace is sampled.
pub(crate) fn current() -> Bytes {
    encode(TraceContext::current())
}

/// A span for a frame; empty where there is none.
pub(crate) fn encode(context: Option<TraceContext>) -> Bytes {
    context.map(|context| from_parent(&context.to_string())).unwrap_or_default()
}

/// The sender's span, if its trace is sampled. What cannot be understood is no reason to drop a
/// message.
pub(crate) fn decode(context: &Bytes) -> Option<TraceContext> {
    TraceContext::from_traceparent(&to_parent(context))
}

/// The context for a frame from a W3C traceparent (`00-<trace id>-<span id>-<flags>`, all hex);
/// empty if that is no valid one.
pub(crate) fn from_parent(parent: &str) -> Bytes {
    to_message(parent).map(|message| encoding::encode(&message)).unwrap_or_default()
}

/// The W3C traceparent of a frame's context; empty if that is no valid one.
pub(crate) fn to_parent(context: &Bytes) -> String {
    let message: Option<proto::TraceContext> = encoding::decode(context.clone()).ok();
    message.as_ref().and_then(to_text).unwrap_or_default()
}

fn to_message(parent: &str) -> Option<proto::TraceContext> {
    let mut parts = parent.split('-').skip(1);
    let trace_id = hex::decode(parts.next()?).ok().filter(|id| id.len() == 16)?;
    let span_id = hex::decode(parts.next()?).ok().filter(|id| id.len() == 8)?;
    let flags = u32::from_str_radix(parts.next()?, 16).ok()?;
    Some(proto::TraceContext { trace_id: trace_id.into(), span_id: span_id.into(), flags })
}

fn to_text(message: &proto::TraceContext) -> Option<String> {
    let flags = u8::try_from(message.flags).ok()?;
    if message.trace_id.len() != 16 || message.span_id.len() != 8 {
        return None;
    }
    let (trace_id, span_id) = (hex::encode(&message.trace_id), hex::encode(&message.span_id));
    Some(format!("00-{trace_id}-{span_id}-{flags:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_the_wire() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(to_parent(&from_parent(parent)), parent);
        let context = TraceContext::from_traceparent(parent);
        assert_eq!(decode(&encode(context)), context);
        for bad in ["", "00", "00-zz-b7ad6b7169203331-01", "00-0af7-b7ad-01-x"] {
            assert!(from_parent(bad).is_empty(), "{bad:?}");
        }
        assert_eq!(decode(&Bytes::from_static(b"nonsense")), None);
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert_eq!(
            (to_parent(&from_parent(unsampled)).as_str(), decode(&from_parent(unsampled))),
            (unsampled, None)
        );
    }
}
