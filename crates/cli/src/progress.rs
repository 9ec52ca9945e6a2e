//! Something that moves while people wait.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::timeout;

/// Who waits longer wants to see that it goes on.
const SILENT_TIME: Duration = Duration::from_secs(1);
/// How often it moves.
const TICK: Duration = Duration::from_millis(100);

/// Does some work, and says on standard error that it goes on when it takes more than a second;
/// where that is no terminal, nothing.
pub async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if !io::stderr().is_terminal() {
        return work.await;
    }
    if let Ok(done) = timeout(SILENT_TIME, &mut work).await {
        return done;
    }
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    let spinner = ProgressBar::new_spinner()
        .with_style(style.expect("the template names fields that there are"))
        .with_elapsed(SILENT_TIME)
        .with_message(what.to_owned());
    spinner.enable_steady_tick(TICK);
    let done = work.await;
    spinner.finish_and_clear();
    done
}
