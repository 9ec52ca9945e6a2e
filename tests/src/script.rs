//! Scripts of `tests/python` that run beside a test and tell what they see, a line of JSON each.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::tools::python;
use crate::wait::wait_for;

/// A running script; it ends with its handle.
#[derive(Debug)]
pub struct Script {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    reader: JoinHandle<()>,
}

impl Script {
    /// Starts a script.
    ///
    /// # Panics
    /// When Python does not start.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child =
            python(name).args(arguments).stdout(Stdio::piped()).spawn().expect("python starts");
        let output = BufReader::new(child.stdout.take().expect("a piped stdout"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                told.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, lines, reader }
    }

    /// What it has told so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Value>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a line with that field; the field's value.
    ///
    /// # Panics
    /// When none comes.
    #[must_use]
    pub fn told(&self, field: &str) -> Value {
        wait_for(&format!("the script tells {field:?}"), || {
            let has_ended = self.reader.is_finished();
            let lines = self.lines();
            let found = lines.iter().find_map(|line| line.get(field)).cloned();
            assert!(found.is_some() || !has_ended, "the script ended before {field:?}: {lines:?}");
            found.ok_or_else(|| format!("{lines:?}"))
        })
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the script ends", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("{:?}", self.lines())),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("a running child can be killed");
            self.child.wait().expect("a killed child can be reaped");
        }
    }
}
