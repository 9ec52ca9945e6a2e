//! The W3C trace context, as calls and messages carry it.

use std::fmt;

/// Version of the traceparent that is written.
const VERSION: &str = "00";

/// A W3C traceparent: `00-<trace id>-<span id>-<flags>`, all hex. Whether the trace is sampled is
/// for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    /// Of the trace.
    pub trace_id: [u8; 16],
    /// Of the span to continue.
    pub span_id: [u8; 8],
    /// Bit 0: the trace is sampled.
    pub flags: u8,
}

impl Traceparent {
    /// `None` when it is none, or an id of it is all zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version, trace_id, span_id, flags] = std::array::from_fn(|_| parts.next());
        let (version, [flags]) = (version?, bytes(flags?)?);
        let [_] = bytes::<1>(version)?;
        // A later version may have more parts.
        let is_closed = version != VERSION || parts.next().is_none();
        let is_known = version != "ff" && is_closed;
        let (trace_id, span_id) = (bytes(trace_id?)?, bytes(span_id?)?);
        let is_valid = is_known && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, flags })
    }
}

fn bytes<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, flags } = self;
        write!(f, "{VERSION}-{}-{}-{flags:02x}", hex::encode(trace_id), hex::encode(span_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_no_traceparent_is_none() {
        let parsed = Traceparent::parse(TEXT).expect("one");
        assert_eq!((parsed.to_string().as_str(), parsed.flags), (TEXT, 1));
        let later = TEXT.replacen("00", "cc", 1) + "-more";
        assert_eq!(Traceparent::parse(&later), Some(parsed), "a later version");
        let (more, forbidden) = (format!("{TEXT}-more"), TEXT.replacen("00", "ff", 1));
        let short = TEXT.replacen("0af7", "0a", 1);
        let no_trace = Traceparent { trace_id: [0; 16], ..parsed }.to_string();
        let no_span = Traceparent { span_id: [0; 8], ..parsed }.to_string();
        for bad in ["", "00", "00-0af7-b7ad-01", "-", &more, &forbidden, &short, &TEXT[..54]] {
            assert_eq!(Traceparent::parse(bad), None, "{bad:?}");
        }
        for bad in [&no_trace, &no_span, &TEXT[..52]] {
            assert_eq!(Traceparent::parse(bad), None, "{bad:?}");
        }
    }
}
