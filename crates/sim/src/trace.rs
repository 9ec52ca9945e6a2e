//! What happened, to be read by a person who replays a seed.

use std::collections::VecDeque;
use std::fmt;

use crate::network::NodeId;
use crate::queue::Millis;

/// Lines kept for the message of a failed test; a traced run prints all of them as they come.
const LINES_KEPT: usize = 400;

#[derive(Clone, Debug)]
pub struct Trace {
    is_printed: bool,
    is_kept: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// `is_printed`: every line goes to the standard output. Otherwise nothing is recorded until
    /// [`Trace::keep`].
    #[must_use]
    pub const fn new(is_printed: bool) -> Self {
        Self { is_printed, is_kept: false, lines: VecDeque::new() }
    }

    /// From now on the newest lines are kept for the message of a failed test.
    pub const fn keep(&mut self) {
        self.is_kept = true;
    }

    pub fn line(&mut self, now: Millis, node: NodeId, text: impl FnOnce() -> String) {
        if !self.is_printed && !self.is_kept {
            return;
        }
        let line = format!("{now:>8} ms  node {node:<2}  {}", text());
        if self.is_printed {
            println!("{line}");
        }
        if self.is_kept {
            if self.lines.len() == LINES_KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
