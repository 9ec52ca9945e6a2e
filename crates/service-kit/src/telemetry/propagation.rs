//! W3C trace context in gRPC metadata, so that one transaction is one trace over all services.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Writes the context of the current span into `headers`; without a trace it writes nothing.
pub fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Writer(headers));
}

/// Makes `span` a child of the caller's span, where `headers` name one.
pub fn join(span: &Span, headers: &HeaderMap) {
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Reader(headers));
    if context.span().span_context().is_valid() && span.set_parent(context).is_err() {
        // No trace is recorded in this process (or the level hides this span).
        tracing::trace!("the caller's trace ends here");
    }
}

struct Reader<'a>(&'a HeaderMap);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Writer<'a>(&'a mut HeaderMap);

impl Injector for Writer<'_> {
    fn set(&mut self, key: &str, value: String) {
        // The propagator writes ASCII under fixed names; tracestate may come from a foreign caller
        // and is left out if no header can carry it.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
