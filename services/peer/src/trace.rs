//! Trace context beside the payload of a frame, so that a transaction is one trace over all nodes.

use bytes::Bytes;
use pentad_api::Traceparent;
use pentad_api::encoding;
use pentad_api::wire::v1 as proto;
use pentad_service_kit::telemetry::TraceContext;

/// The current span for a frame; empty unless its trace is sampled.
pub(crate) fn current() -> Bytes {
    encode(TraceContext::current())
}

/// A span for a frame; empty where there is none.
pub(crate) fn encode(context: Option<TraceContext>) -> Bytes {
    context.map(|context| to_bytes(context.to_parent())).unwrap_or_default()
}

/// The sender's span, if its trace is sampled. What cannot be understood is no reason to drop a
/// message.
pub(crate) fn decode(context: &Bytes) -> Option<TraceContext> {
    TraceContext::from_parent(from_bytes(context)?)
}

/// The context for a frame from a W3C traceparent (`00-<trace id>-<span id>-<flags>`, all hex);
/// empty if that is no valid one.
pub(crate) fn from_parent(parent: &str) -> Bytes {
    Traceparent::parse(parent).map(to_bytes).unwrap_or_default()
}

/// The W3C traceparent of a frame's context; empty if that is no valid one.
pub(crate) fn to_parent(context: &Bytes) -> String {
    from_bytes(context).map(|parent| parent.to_string()).unwrap_or_default()
}

fn to_bytes(parent: Traceparent) -> Bytes {
    let Traceparent { trace_id, span_id, flags } = parent;
    let (trace_id, span_id) = (trace_id.to_vec().into(), span_id.to_vec().into());
    encoding::encode(&proto::TraceContext { trace_id, span_id, flags: flags.into() })
}

fn from_bytes(context: &Bytes) -> Option<Traceparent> {
    let message: proto::TraceContext = encoding::decode(context.clone()).ok()?;
    let trace_id = message.trace_id.as_ref().try_into().ok()?;
    let span_id = message.span_id.as_ref().try_into().ok()?;
    Some(Traceparent { trace_id, span_id, flags: message.flags.try_into().ok()? })
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
