//! A network in the foreground: until Ctrl-C, or until all its nodes have ended.

use std::io;
use std::path::Path;
use std::process::ExitStatus;

use pentad_network_file::{NetworkFile, NodeEntry};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::down::{end, forget_the_dead};
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

/// Stops the nodes that this command started, and no others.
///
/// # Errors
/// When one cannot be ended.
pub(super) async fn stop(
    console: Console,
    directory: &Path,
    started: &mut Vec<Started>,
) -> Result<(), Fault> {
    let network = NetworkFile::read(directory)?;
    let own: Vec<&NodeEntry> = started
        .iter()
        .filter_map(|node| network.nodes.get(node.index))
        .collect();
    let reap = async {
        // A child that ended stays visible until its parent has asked for its status.
        for node in started.iter_mut() {
            if let Err(error) = node.child.wait().await {
                console.warn(&Fault::refused(format!(
                    "lost sight of {}: {error}",
                    node.name
                )));
            }
        }
    };
    let (ended, ()) = tokio::join!(end(console, &own), reap);
    started.clear();
    ended?;
    let _lock = Lock::take(console, directory).await?;
    forget_the_dead(directory)
}
