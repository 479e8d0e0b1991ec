//! Which settles are watched on this replica. A hint only says "read the store again".
//!
//! All watchers of one settle share one slot, with a count of hints and the last read. So a slow
//! watcher fills no queue, and a thousand watchers of one settle cost one read per hint.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::settle::{Key, Record};
use crate::store::{self, Known, Store};
use crate::sync::{Arc, AsyncMutex, Mutex, MutexGuard, bell};

/// The slots of this replica; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Hub(Arc<Mutex<HashMap<Key, Arc<Slot>>>>);

struct Slot {
    /// Counts hints. Increased after each change of the record, awaited by its watchers.
    hints: bell::Sender<u64>,
    latest: Mutex<Latest>,
    /// Held by the watcher that reads for all.
    reading: AsyncMutex<()>,
    /// When Douyin last answered about this settle, whether or not that was news.
    confirmed: Mutex<Option<Timestamp>>,
}

#[derive(Default)]
struct Latest {
    /// The version of the record that was read last; 0: none.
    version: i64,
    /// The count of hints when that read began.
    hints: u64,
    /// The last read of the store, for the other watchers. A watcher that is alone keeps none: it
    /// has sent what it read.
    read: Option<Read>,
}

#[derive(Clone)]
struct Read {
    /// The count of hints when the read began: it covers all of them.
    hints: u64,
    at: Instant,
    record: Option<Arc<Record>>,
}

/// One watcher's place in a slot; gives it back when dropped.
pub(super) struct Subscription {
    hub: Hub,
    key: Key,
    /// `None` only while dropping.
    slot: Option<Arc<Slot>>,
    hints: bell::Receiver<u64>,
}

/// Whether a subscription opened the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Joined {
    First,
    Later,
}

impl Hub {
    /// Registers a watcher. Register first, then read: a change in between leaves a hint.
    pub(super) fn subscribe(&self, key: &Key) -> (Subscription, Joined) {
        let mut slots = self.slots();
        let joined = if slots.contains_key(key) { Joined::Later } else { Joined::First };
        let slot = slots.entry(key.clone()).or_insert_with(|| {
            Arc::new(Slot {
                hints: bell::Sender::new(0),
                latest: Mutex::new(Latest::default()),
                reading: AsyncMutex::new(()),
                confirmed: Mutex::new(None),
            })
        });
        let slot = Arc::clone(slot);
        let hints = slot.hints.subscribe();
        let (hub, key, slot) = (self.clone(), key.clone(), Some(slot));
        (Subscription { hub, key, slot, hints }, joined)
    }

    /// Says that the record of this key has changed.
    pub(super) fn hint(&self, key: &Key) {
        if let Some(slot) = self.slots().get(key) {
            slot.hints.send_modify(|hints| *hints += 1);
        }
    }

    /// Says that Douyin answered about this settle just now.
    pub(super) fn confirm(&self, key: &Key, now: Timestamp) {
        if let Some(slot) = self.slots().get(key) {
            *slot.confirmed.lock().expect("no code panics while holding this lock") = Some(now);
        }
    }

    pub(super) fn is_watched(&self, key: &Key) -> bool {
        self.slots().contains_key(key)
    }

    /// Every settle that is watched here, with the version that was read last.
    pub(super) fn known(&self) -> Vec<Known> {
        let slots = self.slots();
        let known = slots
            .iter()
            .map(|(key, slot)| Known { key: key.clone(), version: slot.latest().version });
        let mut known: Vec<Known> = known.collect();
        drop(slots);
        known.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        known
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        self.0.lock().expect("no code panics while holding this lock")
    }
}

impl Slot {
    /// The last read, if it covers this many hints and is young enough.
    fn read(&self, hints: u64, age_max: Duration) -> Option<Read> {
        let covers = |read: &Read| read.hints >= hints && read.at.elapsed() < age_max;
        self.latest().read.as_ref().filter(|read| covers(read)).cloned()
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().expect("no code panics while holding this lock")
    }
}

const HAS_SLOT: &str = "a subscription has its slot until it is dropped";

impl Subscription {
    /// Waits for a hint that came after the last [`Subscription::read`] of this subscription.
    pub(super) async fn hinted(&mut self) {
        self.hints.changed().await;
    }

    /// The record as of now: read by this watcher, or by another one since the last hint and at
    /// most `age_max` ago.
    pub(super) async fn read(
        &mut self,
        store: &Store,
        age_max: Duration,
    ) -> Result<Option<Arc<Record>>, store::Error> {
        let wanted = self.hints.get_and_update();
        let slot = self.slot.as_ref().expect(HAS_SLOT);
        if let Some(read) = slot.read(wanted, age_max) {
            return Ok(read.record);
        }
        let _reading = slot.reading.lock().await;
        // Another watcher may have read meanwhile.
        if let Some(read) = slot.read(wanted, age_max) {
            return Ok(read.record);
        }
        let hints = slot.hints.get();
        let at = Instant::now();
        let record = store.get(&self.key).await?.map(Arc::new);
        // The map has the slot, and each watcher.
        let is_alone = Arc::strong_count(slot) <= 2;
        let read = (!is_alone).then(|| Read { hints, at, record: record.clone() });
        let version = record.as_ref().map_or(0, |record| record.version);
        let before = std::mem::replace(&mut *slot.latest(), Latest { version, hints, read });
        // A change without a hint, found by chance: the other watchers may sleep.
        if !is_alone && before.hints == hints && ![0, version].contains(&before.version) {
            slot.hints.send_modify(|hints| *hints += 1);
        }
        Ok(record)
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    fn slot(&self) -> &Slot {
        self.slot.as_ref().expect(HAS_SLOT)
    }

    /// When Douyin last answered about this settle while it was watched here.
    pub(super) fn confirmed(&self) -> Option<Timestamp> {
        *self.slot().confirmed.lock().expect("no code panics while holding this lock")
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut slots = self.hub.slots();
        // Given back while the map is locked, so that of two that leave together the second sees
        // it.
        self.slot = None;
        if slots.get(&self.key).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&self.key);
        }
    }
}
