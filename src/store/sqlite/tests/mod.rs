//! What the SQLite backend promises beyond the contract: batches, failures, files.

mod astray;
mod batches;
mod failures;
mod files;
mod generations;
mod logs;
mod plans;
mod refusals;
mod versions;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::super::Store;
use super::{Committer, Sqlite, SqliteOptions};
use crate::clock::Clock;
use crate::store::contract_tests::fixtures::NOW;

/// A store whose batches the test commits by hand, on a clock that the test moves.
struct Stepped {
    sqlite: Arc<Sqlite>,
    store: Store,
    committer: Committer,
    tasks: TaskTracker,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Stepped {
    fn open() -> Self {
        Self::open_with(|_| {})
    }

    fn open_with(change: impl FnOnce(&mut SqliteOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settles.db");
        let mut options = SqliteOptions::new(&path).creating();
        options.busy_wait = Duration::ZERO;
        options.clock = Clock::runtime(NOW);
        change(&mut options);
        let (sqlite, committer) = Sqlite::open_stepped(&options).unwrap();
        let sqlite = Arc::new(sqlite);
        let store = Store::Sqlite(Arc::clone(&sqlite));
        Self { sqlite, store, committer, tasks: TaskTracker::new(), path, _directory: directory }
    }

    /// Queues an operation; it is answered by a later [`Committer::commit_queued`].
    async fn queue<T, F>(&self, operation: impl FnOnce(Store) -> F) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let queued = self.committer.queued();
        let handle = self.tasks.spawn(operation(self.store.clone()));
        while self.committer.queued() == queued && !handle.is_finished() {
            tokio::task::yield_now().await;
        }
        handle
    }

    /// Runs one operation in a batch of its own.
    async fn alone<T, F>(&mut self, operation: impl FnOnce(Store) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let handle = self.queue(operation).await;
        self.committer.commit_queued();
        handle.await.unwrap()
    }

    /// Counts the transactions that were committed with a change in them.
    fn count_commits(&mut self) -> Arc<AtomicU32> {
        let commits = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&commits);
        let count = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        };
        self.committer.connection().commit_hook(Some(count)).unwrap();
        commits
    }

    /// Lets the next COMMITs fail, until the connection is replaced.
    fn fail_commits(&mut self) {
        self.committer.connection().commit_hook(Some(|| true)).unwrap();
    }
}
