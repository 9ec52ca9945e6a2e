//! Fewer lines where one place in the code has very much to say.
//!
//! Each place that logs has a quota. What is beyond it is left out and counted; the next line of
//! that place that is written is preceded by one that says how many were not.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use super::counts::COUNTS;

/// Lines of one place in the code that are written within [`WINDOW`].
pub const LINES_MAX: u32 = 100;
/// The time for which the lines of a place are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Writes events as `inner` does, within their quota.
#[derive(Debug)]
pub(super) struct Limited<F> {
    inner: F,
    format: LogFormat,
    quotas: Mutex<HashMap<Identifier, Quota>>,
}

#[derive(Clone, Copy, Debug)]
struct Quota {
    since: Instant,
    lines: u32,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is written; so many before it were not.
    Write {
        left_out: u64,
    },
    LeaveOut,
}

impl Quota {
    fn take(&mut self, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.lines) = (now, 0);
        }
        if self.lines >= LINES_MAX {
            self.left_out += 1;
            return Verdict::LeaveOut;
        }
        self.lines += 1;
        Verdict::Write { left_out: std::mem::take(&mut self.left_out) }
    }
}

impl<F> Limited<F> {
    pub(super) fn new(inner: F, format: LogFormat) -> Self {
        Self { inner, format, quotas: Mutex::default() }
    }

    fn judge(&self, metadata: &Metadata<'_>, now: Instant) -> Verdict {
        // Whoever asks for details wants all of them.
        if *metadata.level() > Level::INFO {
            return Verdict::Write { left_out: 0 };
        }
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = quotas.entry(metadata.callsite());
        quota.or_insert(Quota { since: now, lines: 0, left_out: 0 }).take(now)
    }

    fn tell(&self, mut line: Writer<'_>, of: &Metadata<'_>, left_out: u64) -> fmt::Result {
        let (level, target) = (of.level(), of.target());
        let message = "lines like the next one were left out";
        match self.format {
            LogFormat::Human => {
                SystemTime.format_time(&mut line)?;
                writeln!(line, " {level:>5} {target}: {message} left_out={left_out}")
            }
            LogFormat::Json => {
                write!(line, "{{\"timestamp\":\"")?;
                SystemTime.format_time(&mut line)?;
                writeln!(
                    line,
                    "\",\"level\":\"{level}\",\"fields\":{{\"message\":\"{message}\",\
                     \"left_out\":{left_out}}},\"target\":\"{target}\"}}"
                )
            }
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.judge(event.metadata(), Instant::now()) {
            Verdict::LeaveOut => {
                COUNTS.on_line_left_out(*event.metadata().level());
                return Ok(());
            }
            Verdict::Write { left_out: 0 } => {}
            Verdict::Write { left_out } => {
                self.tell(line.by_ref(), event.metadata(), left_out)?;
            }
        }
        self.inner.format_event(context, line, event)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_place_has_its_lines_and_then_a_count() {
        let start = Instant::now();
        let mut quota = Quota { since: start, lines: 0, left_out: 0 };
        let written = Verdict::Write { left_out: 0 };
        for _ in 0..LINES_MAX {
            assert_eq!(quota.take(start), written);
        }
        for _ in 0..7 {
            assert_eq!(quota.take(start + WINDOW / 2), Verdict::LeaveOut);
        }
        assert_eq!(quota.take(start + WINDOW), Verdict::Write { left_out: 7 });
        assert_eq!(quota.take(start + WINDOW), written);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_place_that_says_too_much_silences_no_other() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .with_writer(move || writer.clone())
            .map_event_format(|format| Limited::new(format, LogFormat::Json));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for number in 0..LINES_MAX + 50 {
                tracing::warn!(number, "again");
                tracing::debug!("whoever asks for details wants all of them");
            }
            tracing::error!("something else");
        });
        let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("\"again\""), LINES_MAX as usize);
        assert_eq!(count("something else"), 1);
        assert_eq!(count("details"), LINES_MAX as usize + 50);
    }

    /// What tells of lines that were left out is a line as others are.
    #[test]
    fn what_was_left_out_is_told_in_the_format_of_the_log() {
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            let callsite = tracing::info_span!("of this test");
            let metadata = callsite.metadata().expect("it is enabled");
            for (format, part) in [
                (LogFormat::Human, " INFO pentad_service_kit::telemetry::repeats::tests: lines"),
                (LogFormat::Json, "\"left_out\":57},\"target\":\"pentad_service_kit"),
            ] {
                let mut line = String::new();
                let limited = Limited::new((), format);
                limited.tell(Writer::new(&mut line), metadata, 57).expect("a string");
                assert!(line.contains(part) && line.ends_with('\n'), "{line}");
                assert!(line.contains("57"), "{line}");
            }
        });
    }
}
