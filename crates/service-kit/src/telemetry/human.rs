//! Fields of log lines for people: what exists for collectors alone is left out.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// OpenTelemetry's own fields, and what repeats the method.
const HIDDEN: [&str; 5] =
    ["otel.name", "otel.kind", "otel.status_code", "rpc.system", "rpc.service"];

/// `message a=1 b="two"`, as the default, but for the hidden fields.
#[derive(Debug)]
pub struct HumanFields;

impl<'writer> FormatFields<'writer> for HumanFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_empty: true, outcome: Ok(()) };
        fields.record(&mut line);
        line.outcome
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    is_empty: bool,
    outcome: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        if self.outcome.is_err() || HIDDEN.contains(&name) {
            return;
        }
        let gap = if self.is_empty { "" } else { " " };
        self.is_empty = false;
        self.outcome = match name {
            "message" => write!(self.writer, "{gap}{value:?}"),
            _ => write!(self.writer, "{gap}{name}={value:?}"),
        };
    }
}
