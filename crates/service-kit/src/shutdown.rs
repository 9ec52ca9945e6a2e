//! From a signal to a clean end.

use std::io;
use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code after a second signal, as a shell reports an interrupted program.
const INTERRUPTED: i32 = 130;

/// A token that SIGTERM or Ctrl-C cancels. A second signal ends the process at once: somebody is
/// out of patience.
///
/// # Errors
/// When the system gives no signal handlers.
///
/// # Panics
/// Outside a tokio runtime.
pub fn on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
        shutdown.cancel();
        let name = next().await;
        tracing::warn!(signal = name, "ending at once");
        process::exit(INTERRUPTED);
    });
    Ok(token)
}
