//! Background tasks that a service cannot live without.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and minds them: one that fails or panics takes the service down, which is better
/// than a service that looks alive and does half its work.
#[derive(Clone, Debug)]
pub struct Supervisor {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failure: Arc<OnceLock<TaskFailure>>,
}

/// The first task that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{task} failed: {reason}")]
pub struct TaskFailure {
    /// Name of the task.
    pub task: &'static str,
    /// What it said.
    pub reason: String,
}

impl Supervisor {
    /// Tasks run on `tracker`; a failure cancels `shutdown`.
    #[must_use]
    pub fn new(tracker: TaskTracker, shutdown: CancellationToken) -> Self {
        Self { tracker, shutdown, failure: Arc::default() }
    }

    /// Runs `task` in the background. It should watch the shutdown token and then return `Ok`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<E: fmt::Display>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let supervisor = self.clone();
        self.tracker.spawn(async move {
            let reason = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked".to_owned(),
            };
            let failure = TaskFailure { task: name, reason };
            tracing::error!(%failure, "shutting down");
            // Later failures are mostly consequences of the first one.
            supervisor.failure.get_or_init(|| failure);
            supervisor.shutdown.cancel();
        });
    }

    /// Waits for all tasks of the tracker, `time` at most.
    ///
    /// # Errors
    /// The first failure of a task.
    pub async fn finish(&self, time: Duration) -> Result<(), TaskFailure> {
        self.tracker.close();
        if timeout(time, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "background tasks did not end in time");
        }
        self.failure.get().cloned().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_failed_or_panicked_task_takes_the_service_down() {
        let failing = async { Err::<(), _>("the disk is gone") };
        let panicking = async { panic!("a bug") };
        let tasks: [(&str, futures_util::future::BoxFuture<'static, Result<(), &str>>); 2] =
            [("the disk is gone", Box::pin(failing)), ("it panicked", Box::pin(panicking))];
        for (reason, task) in tasks {
            let shutdown = CancellationToken::new();
            let supervisor = Supervisor::new(TaskTracker::new(), shutdown.clone());
            let watching = shutdown.clone();
            supervisor.spawn("watcher", async move {
                watching.cancelled().await;
                Ok::<(), Infallible>(())
            });
            supervisor.spawn("writer", task);
            let failure = supervisor.finish(PATIENCE).await.expect_err("failed");
            assert_eq!(failure, TaskFailure { task: "writer", reason: reason.to_owned() });
            assert!(shutdown.is_cancelled());
        }
    }

    #[tokio::test]
    async fn the_wait_is_bounded() {
        let supervisor = Supervisor::new(TaskTracker::new(), CancellationToken::new());
        supervisor.spawn("endless", std::future::pending::<Result<(), Infallible>>());
        assert_eq!(supervisor.finish(Duration::from_millis(10)).await, Ok(()));
    }
}
