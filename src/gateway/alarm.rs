//! When the poller looks at the schedule next. All code that makes a settle due says when; only a
//! moment before the one that the poller sleeps until wakes it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;

#[derive(Default)]
pub(super) struct Alarm {
    /// The earliest moment that was asked for since it rang.
    at: Mutex<Option<Instant>>,
    earlier: Notify,
}

impl Alarm {
    /// Something is due after `wait`, durably: the poller finds it when this rings.
    pub(super) fn set(&self, wait: Duration) {
        let wanted = Instant::now() + wait;
        let mut at = self.at();
        if at.is_none_or(|at| wanted < at) {
            *at = Some(wanted);
            drop(at);
            self.earlier.notify_one();
        }
    }

    /// Waits for the moment that is set. A moment that is set later counts for the next wait.
    pub(super) async fn ring(&self) {
        loop {
            let at = *self.at();
            tokio::select! {
                biased;
                () = self.earlier.notified() => {}
                () = clock::at(at) => break,
            }
        }
        *self.at() = None;
    }

    fn at(&self) -> MutexGuard<'_, Option<Instant>> {
        // No code can panic while holding this lock.
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_earliest_moment_and_forgets_the_later_ones() {
        let (alarm, began) = (Alarm::default(), Instant::now());
        let secs = Duration::from_secs;
        alarm.set(secs(9));
        let setting = async {
            tokio::time::sleep(secs(1)).await;
            alarm.set(secs(20));
            alarm.set(secs(2));
        };
        tokio::join!(alarm.ring(), setting);
        assert_eq!(began.elapsed(), secs(3));
        alarm.set(secs(5));
        alarm.ring().await;
        assert_eq!(began.elapsed(), secs(8));
        alarm.set(Duration::ZERO);
        alarm.ring().await;
        assert_eq!(began.elapsed(), secs(8));
    }
}
