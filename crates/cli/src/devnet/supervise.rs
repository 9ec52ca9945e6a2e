//! A network in the foreground: until Ctrl-C, or until all its nodes have ended.

use std::io;
use std::path::Path;
use std::process::ExitStatus;

use futures_util::future::join_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::down::{STOP_TIME_MAX, forget_the_dead};
use super::lock::Lock;
use super::spawn::{Started, next_end};
use crate::console::Console;
use crate::fault::Fault;

/// Ctrl-C, a terminal that is closed, a supervisor that stops us.
#[derive(Debug)]
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    /// From now on these signals do not end this process.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn listen() -> Result<Self, Fault> {
        let listen = || -> io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
            })
        };
        listen().map_err(|error| Fault::refused(format!("cannot handle signals: {error}")))
    }

    /// Waits for one of them.
    pub(super) async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Watches the nodes that this command started.
///
/// # Errors
/// When all of them have ended, one of them badly; or they cannot be stopped.
pub(super) async fn supervise(
    console: Console,
    directory: &Path,
    started: &mut Vec<Started>,
    signals: &mut StopSignals,
) -> Result<(), Fault> {
    let mut failed = None;
    while !started.is_empty() {
        tokio::select! {
            () = signals.recv() => {
                console.note("\nstopping …");
                return stop(console, directory, started).await;
            }
            (node, status) = next_end(started) => {
                let fault = report(console, &node, status);
                failed = failed.or(fault);
                let _lock = Lock::take(console, directory).await?;
                forget_the_dead(directory)?;
            }
        }
    }
    console.note("all nodes of this command have ended");
    failed.map_or(Ok(()), Err)
}

fn report(console: Console, node: &Started, status: io::Result<ExitStatus>) -> Option<Fault> {
    let how = match status {
        Ok(status) if status.success() => {
            console.note(&format!("{} was stopped", node.name));
            return None;
        }
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let fault = Fault::refused(format!("{} ended: {}", node.name, node.last_words(&how)))
        .with_hint(format!("its log is {}", node.log().display()));
    console.warn(&fault);
    Some(fault)
}

/// Stops the nodes that this command started, and no others. Their numbers are theirs until we
/// have asked for their status, so nobody else can be hit.
///
/// # Errors
/// When one cannot be ended.
pub(super) async fn stop(
    console: Console,
    directory: &Path,
    started: &mut Vec<Started>,
) -> Result<(), Fault> {
    for node in started.iter() {
        node.terminate()?;
    }
    let ends = join_all(started.iter_mut().map(|node| node.child.wait()));
    if timeout(STOP_TIME_MAX, ends).await.is_err() {
        for node in started.iter_mut() {
            node.kill(console).await?;
        }
    }
    started.clear();
    let _lock = Lock::take(console, directory).await?;
    forget_the_dead(directory)
}
