//! The bounded queue before the writer. Operations enter it, and the [`Committer`] commits them.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::Error;
use super::job::{Job, Unheard};
use super::writer::Writer;
use crate::metrics::STORE_QUEUE;

/// For how long the writer lets the other threads of its core go first before it commits what is
/// queued.
const YIELDS_TIME_MAX: Duration = Duration::from_millis(1);

/// Where operations queue up.
pub(super) struct Queue {
    /// `None`: the store was closed.
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
}

/// Commits what is queued. The writer's thread drives it, or a simulation.
pub struct Committer {
    jobs: mpsc::Receiver<Box<dyn Job>>,
    writer: Writer,
    batch_jobs_max: usize,
}

pub(super) fn queue(writer: Writer, options: &super::SqliteOptions) -> (Queue, Committer) {
    let (sender, jobs) = mpsc::channel(options.queue_jobs_max.max(1));
    let queue = Queue { jobs: Mutex::new(Some(sender)) };
    (queue, Committer { jobs, writer, batch_jobs_max: options.batch_jobs_max.max(1) })
}

impl Queue {
    pub(super) fn push(&self, job: Box<dyn Job>) -> Result<(), Error> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let pushed = match &*jobs {
            Some(jobs) => jobs.try_send(job).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => "too many writes are waiting",
                mpsc::error::TrySendError::Closed(_) => "its writer has ended",
            }),
            None => Err("it is closed"),
        };
        pushed.map_err(|why| Error::Unavailable(why.to_owned()))
    }

    /// Queued operations are still committed; no more are taken.
    pub(super) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Committer {
    /// The number of operations that wait.
    pub fn queued(&self) -> usize {
        self.jobs.len()
    }

    /// Commits one batch of what is queued and answers it; returns its size.
    pub fn commit_queued(&mut self) -> usize {
        let batch = self.take(self.batch_jobs_max);
        let jobs = batch.len();
        if jobs > 0 {
            self.writer.commit_batch(batch);
        }
        jobs
    }

    /// As [`Committer::commit_queued`], but the result of the commit is lost: every operation is
    /// answered `InDoubt`.
    pub fn commit_queued_unheard(&mut self) -> usize {
        let batch = self.take(self.batch_jobs_max);
        let jobs = batch.len();
        if jobs > 0 {
            let unheard = |job| -> Box<dyn Job> { Box::new(Unheard(job)) };
            self.writer.commit_batch(batch.into_iter().map(unheard).collect());
        }
        jobs
    }

    /// Drops one batch of what is queued: none of it is done, and every operation is answered
    /// `InDoubt`. Returns its size.
    pub fn lose_queued(&mut self) -> usize {
        self.take(self.batch_jobs_max).len()
    }

    /// At most this many of the operations that are queued now.
    fn take(&mut self, jobs_max: usize) -> Vec<Box<dyn Job>> {
        std::iter::from_fn(|| self.jobs.try_recv().ok()).take(jobs_max).collect()
    }

    /// Waits until something is queued and commits a batch; `false`: the queue is closed and empty.
    /// For a simulation, which drives a store on a runtime's own time.
    pub async fn commit_next(&mut self) -> bool {
        let Some(first) = self.jobs.recv().await else { return false };
        let mut batch = vec![first];
        batch.extend(self.take(self.batch_jobs_max - 1));
        self.writer.commit_batch(batch);
        true
    }

    /// Commits batch after batch until the queue is closed and empty. Blocks its thread.
    pub(super) fn run(mut self) {
        let mut last = 0;
        while let Some(first) = self.jobs.blocking_recv() {
            if last > 1 {
                self.let_others_queue();
            }
            let mut batch = Vec::with_capacity(self.batch_jobs_max);
            batch.push(first);
            batch.extend(self.take(self.batch_jobs_max - 1));
            last = batch.len();
            STORE_QUEUE.set_len([], last + self.jobs.len());
            self.writer.commit_batch(batch);
        }
        self.close();
    }

    /// Lets the threads that share this core with the writer run first, as long as they queue more
    /// operations, because a batch costs one flush however large it is. A writer with a core of its
    /// own does not wait; the operations that arrive during a flush are its next batch. On an
    /// overloaded machine each yield lasts long, so their time is bounded.
    fn let_others_queue(&self) {
        let clock = self.writer.clock();
        let (began, mut queued) = (clock.uptime(), self.jobs.len());
        while clock.uptime().since(began) < YIELDS_TIME_MAX {
            thread::yield_now();
            let now = self.jobs.len();
            if now == queued || now >= self.batch_jobs_max {
                return;
            }
            queued = now;
        }
    }

    /// For the hooks of tests.
    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut rusqlite::Connection {
        self.writer.connection()
    }

    /// Closes the database. Operations that were not committed are answered `InDoubt`.
    pub fn close(self) {
        drop(self);
    }
}
