//! A receiver of traces over OTLP/gRPC that keeps the last of them in memory, and a page that shows
//! each as a waterfall. It is for looking at a network for an afternoon: nothing is stored, nobody
//! is asked for a credential.

mod page;
mod spans;

pub use page::serve_page;
pub use spans::{SPANS_MAX, Span, Spans};
