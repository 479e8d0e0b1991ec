//! Which settles are worked on right now, on this replica: lets a repeated create wait for the call
//! in flight instead of starting another one.

use std::collections::HashMap;

use crate::settle::Key;
use crate::sync::{Arc, Mutex, MutexGuard, bell};

/// The work in flight, by settle; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<HashMap<Key, bell::Sender<Count>>>>);

/// How many workers are on a settle, and how many have finished.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Count {
    pub working: u32,
    pub finished: u64,
}

/// One worker on one settle; finishes when dropped.
pub(super) struct Work {
    in_flight: InFlight,
    key: Key,
    /// What its end adds to the finished ones.
    adds: u64,
}

/// Waits for the work on one settle.
pub(super) struct Waiter {
    in_flight: InFlight,
    key: Key,
    /// `None` only while dropping.
    counts: Option<bell::Receiver<Count>>,
    /// How many workers had finished when this was made.
    finished_before: u64,
}

/// Whether a worker has finished since the waiter was made. If so, a read that begins now finds its
/// result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finished {
    Yes,
    No,
}

impl InFlight {
    /// Begins work. Call this before other tasks can see the settle, so that a task that sees it
    /// also sees the work.
    pub(super) fn begin(&self, key: &Key) -> Work {
        self.map().entry(key.clone()).or_default().send_modify(|count| count.working += 1);
        Work { in_flight: self.clone(), key: key.clone(), adds: 1 }
    }

    pub(super) fn waiter(&self, key: &Key) -> Waiter {
        let counts = self.map().entry(key.clone()).or_default().subscribe();
        let finished_before = counts.get().finished;
        let counts = Some(counts);
        Waiter { in_flight: self.clone(), key: key.clone(), counts, finished_before }
    }

    fn forget_if_idle(&self, key: &Key) {
        let mut map = self.map();
        if let Some(counts) = map.get(key)
            && counts.receiver_count() == 0
            && counts.get().working == 0
        {
            map.remove(key);
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Key, bell::Sender<Count>>> {
        self.0.lock().expect("no code panics while holding this lock")
    }
}

impl Work {
    /// Ends work that found nothing to do. It does not count as finished.
    pub(super) fn cancel(mut self) {
        self.adds = 0;
    }
}

impl Waiter {
    /// Waits until no worker is on the settle. The answer is as of that moment: taken later, it
    /// could count a worker that finished after the caller had read the settle.
    pub(super) async fn until_idle(&mut self) -> Finished {
        self.until(|count| count.working == 0).await
    }

    /// Waits until at least one worker has finished since this was made, and none is working.
    pub(super) async fn until_finished(&mut self) {
        let before = self.finished_before;
        self.until(|count| count.working == 0 && count.finished > before).await;
    }

    async fn until(&mut self, wanted: impl FnMut(&Count) -> bool) -> Finished {
        let counts = self.counts.as_mut().expect("it is there until the waiter is dropped");
        let count = counts.wait_for(wanted).await;
        if count.finished > self.finished_before { Finished::Yes } else { Finished::No }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(counts) = self.in_flight.map().get(&self.key) {
            counts.send_modify(|count| {
                count.working -= 1;
                count.finished += self.adds;
            });
        }
        self.in_flight.forget_if_idle(&self.key);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.counts = None;
        self.in_flight.forget_if_idle(&self.key);
    }
}
