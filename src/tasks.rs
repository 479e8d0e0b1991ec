//! Tasks and who awaits them. Floor 0: nothing here knows what a task does.

mod essentials;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

pub(crate) use essentials::Essentials;

/// A task as a [`Runner`] gets it.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the tasks of one process run.
#[derive(Clone, Default)]
pub enum Runner {
    /// Directly in the runtime.
    #[default]
    Runtime,
    /// Inside something that can delay each task or end it at any point, as when a process is
    /// suspended or killed (simulation).
    Within(Arc<dyn Fn(Task) -> Task + Send + Sync>),
}

impl Runner {
    pub fn around(&self, task: Task) -> Task {
        match self {
            Runner::Runtime => task,
            Runner::Within(run) => run(task),
        }
    }
}

/// The tasks of one owner, which awaits them when it stops. Cheap to clone; clones share the tasks.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    runner: Runner,
}

impl Tasks {
    pub fn new(runner: Runner) -> Self {
        Self { tracker: TaskTracker::new(), runner }
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(self.runner.around(Box::pin(task)));
    }

    /// Waits until every task has ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runner::Runtime => "Runtime",
            Runner::Within(_) => "Within",
        })
    }
}
