//! Changes that other replicas make: hints to them and from them, and what hints may have missed.
//!
//! A change is durable before a hint of it leaves, and the hint is never a part of that write. One
//! task of each process sends, many settles at a time. Another one hears, and compares the settles
//! that are watched here with the store, in few reads: so a lost hint costs a resync interval.
//!
//! What it must not know: who watches, and what changed.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::log_limit::limited;
use crate::metrics::HINTS_LOST;
use crate::settle::Key;
use crate::store::{self, Hint, KNOWN_MAX};

/// The least time between two hints of one process, which tell of many settles each.
const SEND_INTERVAL: Duration = Duration::from_millis(20);
/// Settles that wait to be told of. The others learn of more by their resync.
const UNTOLD_MAX: usize = 2_000;

/// The settles that the other replicas are to be told of.
#[derive(Default)]
pub(super) struct Untold {
    keys: Mutex<HashSet<Key>>,
    added: Notify,
}

impl Untold {
    fn add(&self, key: &Key) {
        let mut keys = self.keys();
        if keys.len() < UNTOLD_MAX {
            keys.insert(key.clone());
            drop(keys);
            self.added.notify_one();
        }
    }

    /// All of them, in an order that does not depend on chance; waits until there are some.
    async fn take(&self) -> Vec<Key> {
        loop {
            let mut keys: Vec<Key> = std::mem::take(&mut *self.keys()).into_iter().collect();
            if !keys.is_empty() {
                keys.sort_unstable();
                return keys;
            }
            self.added.notified().await;
        }
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Key>> {
        // No code can panic while holding this lock.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gateway {
    /// Says that the record of this key has changed, to the watchers of all replicas.
    pub(super) fn hint(&self, key: &Key) {
        self.0.hub.hint(key);
        if !self.0.store.has_one_process() {
            self.0.untold.add(key);
        }
    }

    /// Sends and hears hints until stopped. Not for the only process on its store.
    pub(crate) async fn share_hints(&self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = async { tokio::join!(self.send_hints(), self.hear_hints()); } => {}
        }
    }

    async fn send_hints(&self) {
        loop {
            let keys = self.0.untold.take().await;
            if let Err(error) = self.0.store.hint(keys) {
                HINTS_LOST.count([]);
                limited!(Peer, WARN, { %error },
                    "could not tell the other replicas of changes: they look by themselves");
            }
            tokio::time::sleep(SEND_INTERVAL).await;
        }
    }

    async fn hear_hints(&self) {
        let mut hearing = self.0.store.hear();
        let interval = self.0.config.shared_resync;
        let mut resync_at = Instant::now() + interval;
        loop {
            let hint = tokio::select! {
                biased;
                () = tokio::time::sleep_until(resync_at) => None,
                hint = hearing.next() => Some(hint),
            };
            match hint.as_deref() {
                Some(Hint::Changed(keys)) => keys.iter().for_each(|key| self.0.hub.hint(key)),
                Some(Hint::Lost) | None => {
                    if let Err(error) = self.resync().await {
                        limited!(Peer, WARN, { %error },
                            "cannot compare watched settles with the store: trying again");
                    }
                    resync_at = Instant::now() + interval;
                }
            }
        }
    }

    /// Compares every settle that is watched here with the store. A replica that works on it does
    /// not know that it is watched, so the next look is brought forward from here.
    async fn resync(&self) -> Result<(), store::Error> {
        let soon = self.0.config.schedule.watched_cap;
        for known in self.0.hub.known().chunks(KNOWN_MAX) {
            for changed in self.0.store.changed(known.to_vec(), soon).await? {
                let before = known.iter().find(|known| known.key == changed.key);
                if before.map(|known| Some(known.version)) != Some(changed.version) {
                    self.0.hub.hint(&changed.key);
                }
                if changed.due_in.is_some_and(|due_in| due_in > soon) {
                    self.look_sooner(&changed.key).await;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settle::{AppId, OutSettleNo, TradeSystem};

    #[tokio::test]
    async fn what_changes_often_is_told_once_and_the_untold_are_bounded() {
        let key = |number: usize| Key {
            app_id: AppId::parse("tt01").unwrap(),
            trade_system: TradeSystem::General,
            out_settle_no: OutSettleNo::parse(number.to_string()).unwrap(),
        };
        let untold = Untold::default();
        for number in [2, 1, 2, 2] {
            untold.add(&key(number));
        }
        assert_eq!(untold.take().await, [key(1), key(2)]);
        for number in 0..2 * UNTOLD_MAX {
            untold.add(&key(number));
        }
        assert_eq!(untold.take().await.len(), UNTOLD_MAX);
        let (later, ()) = tokio::join!(untold.take(), async { untold.add(&key(3)) });
        assert_eq!(later, [key(3)]);
    }
}
