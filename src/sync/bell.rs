//! A small value whose changes can be waited for. Floor 0: nothing here knows what the value means.
//!
//! It does what tokio's `watch` channel does, but wakes the tasks that wait in the order in which
//! they began. `watch` wakes them in random order, and simulated runs could not be repeated.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Changes the value.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// Notices every change since its last look.
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The last change that it knows.
    seen: u64,
}

struct Shared<T> {
    current: Mutex<Current<T>>,
    changed: Notify,
    receivers: AtomicUsize,
}

struct Current<T> {
    value: T,
    /// Grows with each change.
    changes: u64,
}

impl<T: Copy> Sender<T> {
    pub(crate) fn new(value: T) -> Self {
        let current = Mutex::new(Current { value, changes: 0 });
        Self(Arc::new(Shared { current, changed: Notify::new(), receivers: AtomicUsize::new(0) }))
    }

    /// A receiver that notices changes from now on.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, Ordering::Relaxed);
        Receiver { shared: Arc::clone(&self.0), seen: self.0.current().changes }
    }

    pub(crate) fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        {
            let mut current = self.0.current();
            modify(&mut current.value);
            current.changes += 1;
        }
        self.0.changed.notify_waiters();
    }

    pub(crate) fn get(&self) -> T {
        self.0.current().value
    }

    /// How many receivers there are.
    pub(crate) fn receiver_count(&self) -> usize {
        self.0.receivers.load(Ordering::Relaxed)
    }
}

impl<T: Copy + Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Copy> Receiver<T> {
    pub(crate) fn get(&self) -> T {
        self.shared.current().value
    }

    /// The value. All changes of it count as known now.
    pub(crate) fn get_and_update(&mut self) -> T {
        let current = self.shared.current();
        self.seen = current.changes;
        current.value
    }

    /// Waits for a change that is not known yet. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // Before the look, so that a change in between is noticed.
            changed.as_mut().enable();
            let changes = self.shared.current().changes;
            if changes != self.seen {
                self.seen = changes;
                return;
            }
            changed.await;
        }
    }

    /// Waits until the value is as wanted, and returns that value.
    pub(crate) async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> T {
        loop {
            let value = self.get_and_update();
            if wanted(&value) {
                return value;
            }
            self.changed().await;
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Shared<T> {
    fn current(&self) -> MutexGuard<'_, Current<T>> {
        // A panic cannot leave it half changed.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_task_that_waits_first_is_woken_first_and_no_change_is_lost() {
        let sender = Sender::new(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..20)
            .map(|name| {
                let (mut receiver, order) = (sender.subscribe(), Arc::clone(&order));
                async move {
                    receiver.changed().await;
                    order.lock().unwrap().push((name, receiver.get_and_update()));
                }
            })
            .collect();
        let mut tasks = tokio::task::JoinSet::new();
        for task in waiting {
            tasks.spawn(task);
        }
        tokio::task::yield_now().await;
        sender.send_modify(|value| *value = 7);
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), (0..20).map(|name| (name, 7)).collect::<Vec<_>>());

        let mut late = sender.subscribe();
        assert_eq!(sender.receiver_count(), 1);
        sender.send_modify(|value| *value = 8);
        late.changed().await;
        late.wait_for(|value| *value == 8).await;
        drop(late);
        assert_eq!((sender.receiver_count(), sender.get()), (0, 8));
    }
}
