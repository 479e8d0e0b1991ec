//! Waiting for the worker of another replica, by looking at the settle's row: what `in_flight` is
//! within one process.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Gateway;
use crate::settle::{Key, Record, State};

/// How often a repeat looks at a row on which a worker of another replica is. What that worker
/// learns comes by a hint, earlier.
const ROW_INTERVAL: Duration = Duration::from_millis(250);

/// Whether a settle that no worker has is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rest {
    /// Nothing more comes of it soon.
    Enough,
    /// A worker is about to take it up.
    NotEnough,
}

impl Gateway {
    /// Whether a worker of another replica has the settle.
    pub(super) async fn is_worked_on_elsewhere(&self, key: &Key) -> bool {
        if self.0.store.has_one_process() {
            return false;
        }
        let scheduled = self.0.store.scheduled(key).await;
        scheduled.is_ok_and(|scheduled| scheduled.is_some_and(|now| now.leased.is_some()))
    }

    /// Waits until a worker of another replica has brought the settle out of SUBMITTING or has
    /// finished a turn, or until the deadline. Returns whether it did. Where there are no other
    /// replicas it waits for ever.
    pub(super) async fn until_worked_elsewhere(
        &self,
        key: &Key,
        deadline: Instant,
        rest: Rest,
    ) -> bool {
        if self.0.store.has_one_process() {
            return std::future::pending().await;
        }
        let looking = self.look_at_row(key, rest);
        tokio::time::timeout_at(deadline, looking).await.unwrap_or(false)
    }

    async fn look_at_row(&self, key: &Key, rest: Rest) -> bool {
        let (mut seat, _) = self.0.hub.subscribe(key);
        let mut attempts = None;
        loop {
            let record = seat.read(&self.0.store, Duration::ZERO).await;
            let is_open = |record: Arc<Record>| record.state == State::Submitting;
            if record.is_ok_and(|record| !record.is_some_and(is_open)) {
                return true;
            }
            if let Ok(Some(scheduled)) = self.0.store.scheduled(key).await {
                if scheduled.attempts > *attempts.get_or_insert(scheduled.attempts) {
                    return true;
                }
                if scheduled.leased.is_none() && rest == Rest::Enough {
                    return false;
                }
            }
            tokio::select! {
                biased;
                () = seat.hinted() => {}
                () = tokio::time::sleep(ROW_INTERVAL) => {}
            }
        }
    }
}
