//! The essential tasks. If one ends while the gateway should run, it is logged by its name and the
//! gateway stops: a process that answers and no longer drives settles or receives callbacks would
//! look healthy to everything but its callers.
//!
//! What it must not know: what the tasks do. A task does not end because the store fails; it tries
//! again.

use std::sync::{Arc, OnceLock};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Runner;
use crate::log_limit::error;

/// The essential tasks of one gateway; cheap to clone.
#[derive(Clone)]
pub(crate) struct Essentials {
    tasks: TaskTracker,
    runner: Runner,
    first: Arc<OnceLock<&'static str>>,
    told: CancellationToken,
}

impl Essentials {
    pub(crate) fn new(runner: Runner) -> Self {
        let (tasks, told) = (TaskTracker::new(), CancellationToken::new());
        Self { tasks, runner, first: Arc::default(), told }
    }

    /// Runs a task that must not end before `stop` is cancelled.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        stop: &CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let task = self.tasks.spawn(self.runner.around(Box::pin(task)));
        let (essentials, stop) = (self.clone(), stop.clone());
        let watch = async move {
            let panicked = task.await.is_err();
            if panicked || !stop.is_cancelled() {
                error!(
                    task = name,
                    panicked, "not serving: an essential task ended, and the gateway stops"
                );
                let _ = essentials.first.set(name);
                essentials.told.cancel();
            }
        };
        self.tasks.spawn(self.runner.around(Box::pin(watch)))
    }

    /// Waits until one has ended too early.
    pub(crate) async fn ended(&self) {
        self.told.cancelled().await;
    }

    /// Waits until all of them have ended.
    pub(crate) async fn all_ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The first one that ended too early.
    pub(crate) fn first_ended(&self) -> Option<&'static str> {
        self.first.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn essentials() -> Essentials {
        Essentials::new(Runner::Runtime)
    }

    #[tokio::test]
    async fn a_task_that_ends_or_panics_while_it_should_run_is_named() {
        let ends = essentials();
        ends.spawn("ends", &CancellationToken::new(), async {}).await.unwrap();
        ends.ended().await;
        ends.spawn("ends, too", &CancellationToken::new(), async {}).await.unwrap();
        assert_eq!(ends.first_ended(), Some("ends"));

        let (panics, stopped) = (essentials(), CancellationToken::new());
        stopped.cancel();
        panics.spawn("panics", &stopped, async { panic!("a bug") }).await.unwrap();
        assert_eq!(panics.first_ended(), Some("panics"), "stopped or not");
    }

    #[tokio::test]
    async fn a_task_that_ends_when_it_is_stopped_is_as_it_should_be() {
        let (essentials, stop) = (essentials(), CancellationToken::new());
        let task = essentials.spawn("ends well", &stop, stop.clone().cancelled_owned());
        assert_eq!(essentials.first_ended(), None);
        stop.cancel();
        task.await.unwrap();
        assert_eq!(essentials.first_ended(), None);
    }
}
